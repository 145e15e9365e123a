"""`bundle push`: from a bundle file to a registry that the site has already."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.form import owners_of
from bundler.archive.reader import BundleFile
from bundler.errors import BundleError, DamagedContent, IndexRefused, PushFailed
from bundler.model.statement import Statement
from bundler.push.look import Blobs, Need, look
from bundler.push.plan import Item, items_of
from bundler.push.push import Outcome, Push, outlook
from bundler.push.registry import Registry
from bundler.push.target import Target
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust, judge
from bundler.support.progress import Progress
from bundler.transport import Transport
from bundler.verify.carried import check_carried
from bundler.verify.check import check_bootstrap_signatures, layout_of, raise_damaged
from bundler.views.registry import check_registry_names
from bundler.workflows.look import find


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """`done` is what was sent; of a dry run, what would be. `moved` are tags that named something else; `unresolved`
    are digests of indexes that do not resolve there, by `--sparse-index platform`."""

    target: Target
    statement: Statement
    signed: tuple[str, ...]
    artifacts: int
    done: Outcome
    moved: tuple[str, ...]
    unresolved: tuple[str, ...]

    @property
    def changed(self) -> bool:
        return bool(self.done.blobs or self.done.mounted or self.done.manifests or self.done.tags)

    @property
    def error(self) -> BundleError | None:
        """What did not go well, when all the rest had been pushed."""
        refused = tuple(sorted(self.done.refused.items()))
        if self.done.failed:
            failures = [(name, str(error).replace("\n", "; ")) for name, error in self.done.failed.items()]
            return PushFailed(registry=str(self.target), failures=tuple(sorted([*failures, *refused])))
        return IndexRefused(registry=str(self.target), refused=refused) if refused else None


def push(
    path: Path,
    target: Target,
    *,
    keys: Sequence[PublicKey],
    threshold: int,
    only: Sequence[str] = (),
    only_platform: bool = False,
    dry_run: bool = False,
    realms: Mapping[str, str] | None = None,
    jobs: int,
    progress: Progress,
    transport: Transport | None = None,
) -> Pushed:
    """Signatures first; then ask what the registry lacks; then send that.

    Raises the trust and bundle errors, NoSuchArtifact for a name in `only`, and what the transport raises of the
    registry as a whole. What concerns one artifact is in `Pushed.error`; DamagedContent is raised last.
    """
    with BundleFile(path) as file:
        signed = file.front()
        accepted = judge(Trust(keys=tuple(keys), threshold=threshold), signed)
        statement = accepted.statement
        layout = layout_of(file, statement, len(signed.statement))
        check_bootstrap_signatures(file, statement, layout)
        check_registry_names(statement.artifacts)
        blobs = Blobs(file, {place.member.name: place for place in layout.places})
        chosen = tuple(dict.fromkeys(find(statement, name) for name in only)) or statement.artifacts
        members = (digest for artifact in chosen for digest in artifact.members)
        check_carried(file.path, statement, members, what="pushing")
        items = [
            item
            for artifact in chosen
            for item in items_of(
                artifact, repository=target.repository, read=blobs.manifest, only_platform=only_platform
            )
        ]
        registry = Registry(target, transport=transport or Transport(), realms=realms)
        registry.ping()
        need = look(registry, items, blobs, jobs=jobs)
        done = outlook(items, blobs, need)
        if not dry_run:
            done = Push(registry, items, blobs, need, jobs=jobs, progress=progress).run()
        _raise_damaged(file, statement, done)
    return Pushed(
        target=target,
        statement=statement,
        signed=accepted.signed,
        artifacts=len(chosen),
        done=done,
        moved=_moved(need, items, done),
        unresolved=tuple(sorted({item.pin for item in items if item.unresolved is not None})),
    )


def _raise_damaged(file: BundleFile, statement: Statement, done: Outcome) -> None:
    """What is wrong with the file is worse than what is wrong with a registry, and is named whole."""
    errors = (error for error in done.failed.values() if isinstance(error, DamagedContent))
    raise_damaged(file, {name for error in errors for name, _ in error.damaged}, owners_of(statement))


def _moved(need: Need, items: Sequence[Item], done: Outcome) -> tuple[str, ...]:
    stayed = {*done.refused, *done.failed}
    tags = {(item.repository, item.tag): item.root for item in items if item.tag and item.name not in stayed}
    return tuple(
        f"{repository}:{tag} from {old} to {root}"
        for (repository, tag), root in sorted(tags.items())
        if (old := need.tags.get((repository, tag))) is not None
    )
