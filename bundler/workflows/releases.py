"""`bundle releases`, `bundle pin`, `bundle history`: what a site keeps, and how it came to that."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.errors import NotASite
from bundler.model.digest import Digest
from bundler.model.statement import Entry
from bundler.site import generation, history, retention
from bundler.site.history import Event
from bundler.site.kept import Kept, choose, in_use, kept, unfinished
from bundler.site.state import SiteState, read_state, write_state
from bundler.store.blobs import BlobStore
from bundler.support import files


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site's folder as it is at this moment. `serving` is None while nothing was installed to its end."""

    root: Path
    state: SiteState
    found: tuple[Kept, ...]
    serving: Kept | None

    @property
    def in_use(self) -> str:
        return self.serving.name if self.serving else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A kept release. `size` are the bytes of its blobs, `own` of those that no other kept one has, `missing` its blobs
    that the store lacks; `before` is what was in use before it."""

    one: Kept
    in_use: bool
    pinned: bool
    brought: Event | None
    before: str
    size: int
    own: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """`unfinished` is the release of an installation that was interrupted, as words, or nothing."""

    site: Site
    shown: tuple[Shown, ...]
    unfinished: str
    size: int

    @property
    def highest(self) -> Mapping[str, tuple[int, Digest]]:
        return self.site.state.releases


@contextlib.contextmanager
def changing(root: Path) -> Iterator[None]:
    """The root's lock. What is no site gets not even that file. Raises NotASite, Busy."""
    _check_site(root)
    with files.exclusive(root / ".lock", what=str(root)):
        yield


def _check_site(root: Path) -> None:
    if not (root / generation.GENERATIONS).is_dir():
        raise NotASite(root=str(root), why="nothing was ever installed there")


def look(root: Path) -> Site:
    """Raises NotASite, StateDamaged, StoreDamaged, NotReadable."""
    _check_site(root)
    state = read_state(root)
    found = kept(root)
    return Site(root=root, state=state, found=found, serving=in_use(root, found))


def releases(root: Path) -> Releases:
    """What is kept, lately used ones first."""
    site, store = look(root), BlobStore(root)
    past = site.state.history
    times = Counter(digest for each in site.found for digest in each.digests)
    ordered = retention.by_use(site.found, site.in_use, past)
    shown = tuple(_shown(site, each, store, times) for each in ordered)
    sizes = {entry.digest: entry.size for each in site.found for entry in each.statement.blobs}
    half = unfinished(root)
    words = str(half.release) if half else ""
    return Releases(site=site, shown=shown, unfinished=words, size=sum(sizes.values()))


def _shown(site: Site, one: Kept, store: BlobStore, times: Mapping[Digest, int]) -> Shown:
    blobs: Sequence[Entry] = one.statement.blobs
    earlier = retention.before(site.found, one, site.state.history)
    return Shown(
        one=one,
        in_use=one.name == site.in_use,
        pinned=one.name in site.state.pins,
        brought=history.brought(site.state.history, one.name),
        before=earlier.name if earlier else "",
        size=sum(entry.size for entry in blobs),
        own=sum(entry.size for entry in blobs if times[entry.digest] == 1),
        missing=sum(not store.holds(entry.digest, entry.size) for entry in blobs),
    )


def pin(root: Path, text: str, *, remove: bool) -> tuple[Kept, bool]:
    """Keep a release whatever the retention says, or no longer; and whether that changed anything.

    Raises NoSuchRelease, NotASite, Busy.
    """
    one = choose(root, look(root).found, text)
    with changing(root):
        state = read_state(root)
        there = {each.name for each in kept(root)}
        pins = ({*state.pins} & there) - {one.name} | (set() if remove else {one.name})
        changed = (one.name in state.pins) == remove
        if changed:
            write_state(root, replace(state, pins=tuple(sorted(pins))))
    return one, changed


def history_of(root: Path) -> tuple[Event, ...]:
    """The oldest first."""
    state = read_state(root)
    if state.trust is None:
        raise NotASite(root=str(root), why="nothing was ever installed there")
    return state.history
