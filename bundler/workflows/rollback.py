"""`bundle rollback`: back to a release that the site keeps, by one rename."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.sending import front_of
from bundler.errors import NotASite, NothingBefore
from bundler.model.digest import Digest
from bundler.model.statement import Artifact, Statement
from bundler.signing.trust import Signed
from bundler.site import fronts, generation, retention
from bundler.site.history import ROLLBACK, Event
from bundler.site.kept import Kept, check_complete, choose, judge_again
from bundler.site.state import write_state
from bundler.store.blobs import BlobStore
from bundler.support import clock
from bundler.workflows.releases import Site, changing, look


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """From what is in use to what is meant. Artifacts by name: what clients no longer find, what they find again, and
    what is another one under its name."""

    root: Path
    here: Kept
    there: Kept
    gone: tuple[str, ...]
    back: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        return self.here.name == self.there.name


def plan(root: Path, wanted: str | None) -> Change:
    """What a rollback would do, and whether it can: changes nothing.

    Raises NotASite, NoSuchRelease, NothingBefore, ReleaseIncomplete, and the errors of trust (RevokedKey).
    """
    return _plan(look(root), wanted)


def rollback(root: Path, wanted: str | None, *, reason: str = "") -> Change:
    """Switch to the release that `wanted` names, or to the one before. Raises as `plan`; DiskFull, CannotWrite, Busy.

    The old one serves until the one rename. The highest release of each line stays as it is: what was left can be
    installed again, and nothing older than it from outside.
    """
    with changing(root):
        site = look(root)
        change = _plan(site, wanted)
        if not change.nothing:
            _switch(site, change, reason)
    return change


def _plan(site: Site, wanted: str | None) -> Change:
    here = site.serving
    if here is None:
        raise NotASite(root=str(site.root), why="no release is in use")
    if wanted is None:
        there = retention.before(site.found, here, site.state.history)
        if there is None:
            kept = tuple(each.short for each in site.found)
            raise NothingBefore(root=str(site.root), release=str(here.release), kept=kept)
    else:
        there = choose(site.root, site.found, wanted)
    if there.name != here.name:
        check_complete(site.root, there, BlobStore(site.root))
        judge_again(site.state, there.signed())
    return _change(site.root, here, there)


def _switch(site: Site, change: Change, reason: str) -> None:
    root, state, there = site.root, site.state, change.there
    signed: Signed = there.signed()
    accepted = judge_again(state, signed)
    now = clock.now()
    date = state.next_date(now)
    front = front_of(signed)
    generation.build(root, accepted, there.data, BlobStore(root), date=date, front=front)
    fronts.write(fronts.in_use_path(root), signed)
    event = Event(at=state.time(now), what=ROLLBACK, generation=there.name, before=change.here.name, reason=reason)
    write_state(root, state.returned(date=date, event=event))
    generation.switch(root, there.folder)


def _change(root: Path, here: Kept, there: Kept) -> Change:
    ours, theirs = _named(here.statement), _named(there.statement)
    return Change(
        root=root,
        here=here,
        there=there,
        gone=tuple(sorted(ours.keys() - theirs.keys())),
        back=tuple(sorted(theirs.keys() - ours.keys())),
        other=tuple(sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])),
    )


def _named(statement: Statement) -> Mapping[str, tuple[Digest, ...]]:
    """Artifacts by their names; a package's has its archive and release too."""
    return {_name(artifact): artifact.members for artifact in statement.artifacts}


def _name(artifact: Artifact) -> str:
    place = [getattr(artifact, name) for name in ("archive", "release") if hasattr(artifact, name)]
    return "/".join((*place, artifact.name))
