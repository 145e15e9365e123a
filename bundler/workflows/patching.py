"""What of a delta `create` sends as patches, and why: the cheapest of nothing, a patch, and the whole blob."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.contents import Contents
from bundler.archive.delta import Known
from bundler.archive.draft import Draft, Patching
from bundler.archive.likeness import Like, likes
from bundler.archive.reader import BundleFile
from bundler.archive.slices import stands_for_volumes
from bundler.closure.inputs import inputs_of
from bundler.fetch.partial import Partial
from bundler.fetch.patches import LEAST, WORTH, Made, Wanted, clear, make_all, ready_of, tasks_for
from bundler.fetch.pool import Sources, fetch_all
from bundler.fetch.tasks import Task, slots_of
from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.statement import Statement
from bundler.model.statement_parser import parse_statement
from bundler.sources.tar_index import Part
from bundler.support.progress import Progress, counted

HELD, PATCH, WHOLE = "held", "patch", "whole"
JOBS = 2  # at once: each takes up to 256 MB of memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How one large blob travels: `travels` of its `size` bytes, and why so."""

    names: tuple[str, ...]
    digest: Digest
    size: int
    how: str
    travels: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """What was made before the bundle is written; `ready` is where its bytes lie."""

    made: tuple[Made, ...]
    likes: Mapping[Digest, Sequence[Like]]
    ready: Mapping[Digest, Part]

    @property
    def patchings(self) -> tuple[Patching, ...]:
        return tuple(each.patching for each in self.made)


NONE = Patches(made=(), likes={}, ready={})


class Patcher:
    """Makes the patches of one delta; its files lie beside the bundle until that is whole."""

    def __init__(self, out: Path, *, sources: Sources, jobs: int, progress: Progress, refresh: str) -> None:
        self._whole, self._folder = out.with_name(f"{out.name}.whole"), out.with_name(f"{out.name}.patches")
        self._sources, self._jobs, self._progress, self._refresh = sources, jobs, progress, refresh
        self._stack = ExitStack()
        self._partial: Partial | None = None

    def make(self, lock: Lock, draft: Draft, tasks: Sequence[Task], known: Known, old: Sequence[Path]) -> Patches:
        """`old` are bundles that have the bytes of what the site has; what else is known stays whole."""
        sizes = _candidates(lock, draft)
        found = likes(draft.statement.artifacts, sizes, _statements(old), known.blobs)
        if not found:
            return NONE
        self._progress.note(f"looking for what changed inside {counted(len(found), 'blob')}")
        needed = tasks_for(tasks, set(found))
        size = sum(task.size for task in needed)
        self._partial = self._stack.enter_context(
            Partial(self._whole, plan=draft.plan, size=size, blobs=slots_of(needed))
        )
        progress = self._progress
        fetch_all(needed, self._partial, self._sources, jobs=self._jobs, progress=progress, refresh=self._refresh)
        wanted = [Wanted(task=task, likes=tuple(found[task.digest])) for task in needed if task.digest in found]
        made = make_all(
            wanted,
            self._partial,
            self._folder,
            self._sources.cache,
            numbers=known.blobs,
            jobs=min(self._jobs, JOBS),
            progress=progress,
        )
        return Patches(made=made, likes=found, ready=ready_of(made, needed, self._partial))

    def done(self) -> None:
        """The bundle is whole: nothing of this is needed any more."""
        if self._partial is not None:
            self._partial.discard()
            clear(self._folder)

    def __enter__(self) -> "Patcher":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _candidates(lock: Lock, draft: Draft) -> Mapping[Digest, int]:
    """The new large blobs. Charts always travel, and what a release is proved by."""
    inputs = inputs_of(lock.asked, lock.charts, lock.files)
    charts = {chart.digest for chart in draft.contents.charts}
    payloads = draft.contents.payloads - charts - set(inputs)
    return {e.digest: e.size for e in draft.statement.entries if e.digest in payloads and e.size >= LEAST}


def _statements(paths: Sequence[Path]) -> list[Statement]:
    found = []
    for path in paths:
        if path.is_dir() and not stands_for_volumes(path):
            continue  # a site has its statements in another form, and what it holds is known of its receipt
        with BundleFile(path) as file:
            found.append(parse_statement(file.front().statement, path=str(path)))
    return found


def choices(contents: Contents, statement: Statement, patches: Patches) -> tuple[Choice, ...]:
    """For each large blob of a delta, the largest first."""
    names: dict[Digest, list[str]] = {}
    for artifact in statement.artifacts:
        for digest in artifact.members:
            names.setdefault(digest, []).append(artifact.name)
    made = {each.patching.patched.digest: each for each in patches.made}
    held = {each.digest for each in statement.delta.held} if statement.delta else set()
    found = []
    for blob in contents.blobs:
        if blob.digest not in contents.payloads:
            continue
        how, travels, why = WHOLE, blob.size, _why_whole(blob.digest, blob.size, patches)
        if blob.digest in held:
            how, travels, why = HELD, 0, "the site has it"
        elif blob.digest in made:
            one = made[blob.digest]
            how, travels = PATCH, one.patching.size
            why = "against an older version of it" if one.sure else "against one much like it"
        found.append(
            Choice(
                names=tuple(dict.fromkeys(names.get(blob.digest, ()))),
                digest=blob.digest,
                size=blob.size,
                how=how,
                travels=travels,
                why=why,
            )
        )
    return tuple(sorted(found, key=lambda each: (-each.size, each.digest)))


def _why_whole(digest: Digest, size: int, patches: Patches) -> str:
    if size < LEAST:
        return "it is small"
    if digest in patches.likes:
        return (
            f"no patch is below {WORTH:.0%} of it: it is compressed in another way than is known, or all of it is new"
        )
    return "no base is like it"
