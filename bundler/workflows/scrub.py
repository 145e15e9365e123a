"""`bundle scrub`: every blob of a site's store hashed again, and what is damaged or gone brought back.

A damaged blob is written right in its place: views have it under other names of the same file, so all of them are
mended at once, no reader ever misses the file, and a full disk is no obstacle. One that is gone comes back from a view
that still has it, or from a bundle. Views whose files are other ones than the store's are made anew.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bundler.archive.form import owners_of
from bundler.archive.reader import BundleFile
from bundler.archive.sending import front_of
from bundler.errors import Busy, CannotWrite, DamagedContent, NotASite, StillRotten
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX
from bundler.site import generation
from bundler.site.kept import Kept, judge_again
from bundler.site.state import SiteState, read_state, write_state
from bundler.store.blobs import BlobStore
from bundler.store.proof import Pace, Stream, file_stream, hash_file, write_right
from bundler.support import clock, files, parallel
from bundler.support.progress import Progress
from bundler.verify.check import hash_body, layout_of, thread_buffer
from bundler.views.promised import promises
from bundler.views.registry import data_path
from bundler.workflows.releases import Site, changing, look

_PATIENCE = 600.0  # seconds to wait for an installation, when there is something to mend
_VIEW = "a view"

Named = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """What kept releases need: each blob with its size, and the artifacts that need it."""

    sizes: Mapping[Digest, int]
    owners: Mapping[Digest, tuple[str, ...]]

    def named(self, digests: Sequence[Digest]) -> Named:
        return tuple((str(digest), self.owners.get(digest, ())) for digest in sorted(digests))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrubbed:
    """`repaired` are blobs by digest with where they came from; `removed` damaged ones that nothing needs; `views` the
    generations whose views were made anew. `rotten` and `missing` are left."""

    root: Path
    blobs: int
    size: int
    found: int
    repaired: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]
    views: tuple[str, ...]
    rotten: Named
    missing: Named

    @property
    def failure(self) -> StillRotten | None:
        if not (self.rotten or self.missing):
            return None
        return StillRotten(root=str(self.root), rotten=self.rotten, missing=self.missing)


def scrub(root: Path, *, sources: Sequence[Path], jobs: int, rate: int, progress: Progress) -> Scrubbed:
    """Hash everything, `rate` bytes a second at most (0: no bound), and mend from `sources`, which are bundles.

    The store may be used meanwhile; only what has to be mended waits for its turn. Raises NotASite, Busy, and for a
    source the errors of trust and of bundles, before anything is read.
    """
    with contextlib.ExitStack() as stack:
        with changing(root):
            site, store = _look(root), BlobStore(root)
            sizes = {digest: _size(store.path(digest)) for digest in store.digests()}
        bundles = [_Bundle(stack.enter_context(BundleFile(path)), site.state) for path in sources]
        suspects = _hash_all(store, sizes, jobs=jobs, pace=Pace(rate), progress=progress)
        done = _Mending(store=store, bundles=bundles, needed=_needed(site), progress=progress)
        views: tuple[str, ...] = ()
        if suspects or done.gone() or any(_is_odd(each, store) for each in site.found):
            with _turn(root):
                site = _look(root)
                done.needed = _needed(site)
                done.mend(site, suspects)
                views = _mend_views(site, store, done)
    return done.result(root, blobs=len(sizes), size=sum(sizes.values()), views=views)


def _look(root: Path) -> Site:
    site = look(root)
    if site.state.trust is None:
        raise NotASite(root=str(root), why="nothing was ever installed there")
    return site


def _needed(site: Site) -> Needed:
    """What an interrupted installation has brought is not needed: where it is damaged, the next one brings it again."""
    sizes: dict[Digest, int] = {}
    owners: dict[Digest, tuple[str, ...]] = {}
    for each in site.found:
        named = owners_of(each.statement)
        for entry in each.statement.blobs:
            sizes[entry.digest] = entry.size
            owners.setdefault(entry.digest, named.get(entry.name, ()))
    return Needed(sizes=sizes, owners=owners)


def _hash_all(
    store: BlobStore, sizes: Mapping[Digest, int], *, jobs: int, pace: Pace, progress: Progress
) -> tuple[Digest, ...]:
    """The blobs whose bytes have another digest, or cannot be read."""
    suspects: list[Digest] = []
    progress.expect(sum(sizes.values()))

    def take(count: int) -> None:
        progress.advance(count)
        pace.take(count)

    def check(digest: Digest) -> None:
        with contextlib.suppress(FileNotFoundError):  # taken away meanwhile: what is missing is found out at the end
            if hash_file(store.path(digest), take) != digest:
                suspects.append(digest)

    parallel.each(sorted(sizes, key=lambda digest: (-sizes[digest], digest.hex)), check, jobs=jobs)
    return tuple(sorted(suspects))


class _Bundle:
    """A bundle that is trusted as the site trusts: its bodies, each proved before it is used."""

    def __init__(self, file: BundleFile, state: SiteState) -> None:
        self._file = file
        signed = file.front()
        statement = judge_again(state, signed).statement
        layout = layout_of(file, statement, len(signed.statement))
        self.name = Path(file.path).name
        self._places = {
            Digest(place.member.name.removeprefix(BLOB_PREFIX)): place
            for place in layout.places
            if place.member.name.startswith(BLOB_PREFIX)
        }

    def stream(self, digest: Digest) -> Stream | None:
        """The blob's bytes, if the bundle has them whole."""
        place = self._places.get(digest)
        try:
            if place is None or hash_body(self._file, place, lambda _: None) != digest:
                return None
        except DamagedContent:
            return None
        found = place
        return lambda take: self._file.stream(found, take, thread_buffer())


@dataclass(kw_only=True)
class _Mending:
    """What was done, and what is left to do. All of it under the root's lock."""

    store: BlobStore
    bundles: Sequence[_Bundle]
    needed: Needed
    progress: Progress
    found: int = 0
    repaired: dict[Digest, str] = field(default_factory=dict)
    removed: list[Digest] = field(default_factory=list)
    rotten: list[Digest] = field(default_factory=list)

    def gone(self) -> list[Digest]:
        return [digest for digest in self.needed.sizes if not self.store.path(digest).exists()]

    def mend(self, site: Site, suspects: Sequence[Digest]) -> None:
        for digest in suspects:
            if self._is_right(digest, missing=True):  # taken away meanwhile, or mended
                continue
            self.found += 1
            if digest not in self.needed.sizes:
                with files.writing(self.store.folder):
                    self.store.path(digest).unlink()
                self.removed.append(digest)
            elif not self._rewrite(site, digest):
                self.rotten.append(digest)
        for digest in self.gone():
            self.found += 1
            self._bring(site, digest)

    def _is_right(self, digest: Digest, *, missing: bool) -> bool:
        try:
            return hash_file(self.store.path(digest), lambda _: None) == digest
        except FileNotFoundError:
            return missing

    def _rewrite(self, site: Site, digest: Digest) -> bool:
        for name, stream in self._sources(site, digest):
            with contextlib.suppress(CannotWrite):  # the disk takes no right bytes there either
                write_right(self.store.path(digest), self.needed.sizes[digest], stream)
                if self._is_right(digest, missing=False):
                    self.repaired[digest] = name
                    return True
        return False

    def _bring(self, site: Site, digest: Digest) -> None:
        path = self.store.path(digest)
        for copy in self._copies(site, digest):
            with files.writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.link(copy, path)
                files.sync_directory(path.parent)
            self.repaired[digest] = _VIEW
            return
        for name, stream in self._sources(site, digest):
            self.store.bring(digest, self.needed.sizes[digest], stream)
            self.repaired[digest] = name
            return

    def _sources(self, site: Site, digest: Digest) -> Iterator[tuple[str, Stream]]:
        """Where right bytes of a blob are: copies in views, then bundles."""
        for copy in self._copies(site, digest):
            yield _VIEW, file_stream(copy)
        for bundle in self.bundles:
            stream = bundle.stream(digest)
            if stream is not None:
                yield bundle.name, stream

    def _copies(self, site: Site, digest: Digest) -> Iterator[Path]:
        for each in site.found:
            copy, path = each.folder / data_path(digest), self.store.path(digest)
            with contextlib.suppress(FileNotFoundError):
                if path.exists() and copy.samefile(path):  # another name of what is damaged
                    continue
                if hash_file(copy, lambda _: None) == digest:
                    yield copy

    def result(self, root: Path, *, blobs: int, size: int, views: tuple[str, ...]) -> Scrubbed:
        return Scrubbed(
            root=root,
            blobs=blobs,
            size=size,
            found=self.found,
            repaired=tuple((str(digest), name) for digest, name in sorted(self.repaired.items())),
            removed=tuple(str(digest) for digest in self.removed),
            views=views,
            rotten=self.needed.named(self.rotten),
            missing=self.needed.named(self.gone()),
        )


def _is_odd(one: Kept, store: BlobStore) -> bool:
    """Whether a generation lacks a blob that it must show, or has a file that is neither the store's nor right."""
    shown = {digest for artifact in one.statement.artifacts for digest in artifact.members}
    if any(not (one.folder / data_path(digest)).exists() for digest in shown):
        return True
    found = promises(one.folder)
    return any(not _is_stored(store, digest, inode) and _differs(path, digest) for path, digest, inode in found)


def _is_stored(store: BlobStore, digest: Digest, inode: int) -> bool:
    try:
        return store.path(digest).lstat().st_ino == inode
    except FileNotFoundError:
        return False


def _differs(path: Path, digest: Digest) -> bool:
    try:
        return hash_file(path, lambda _: None) != digest
    except FileNotFoundError:  # the generation is dropped just now
        return False


def _mend_views(site: Site, store: BlobStore, done: _Mending) -> tuple[str, ...]:
    """Make the views of odd generations anew; those whose blobs are not all right again stay as they are."""
    left = {*done.rotten, *done.gone()}
    made = []
    for one in site.found:
        if left.isdisjoint(one.digests) and _is_odd(one, store):
            _make_anew(site.root, one, store)
            made.append(one.short)
    return tuple(made)


def _make_anew(root: Path, one: Kept, store: BlobStore) -> None:
    state, signed = read_state(root), one.signed()
    accepted = judge_again(state, signed, serving=True)
    date = state.next_date(clock.now())
    generation.build(root, accepted, one.data, store, date=date, anew=True, front=front_of(signed))
    write_state(root, replace(state, signed_at=date, latest=state.time(date)))


@contextlib.contextmanager
def _turn(root: Path) -> Iterator[None]:
    """The root's lock, waited for: hours of reading must not be in vain because somebody installs just now."""
    until = clock.monotonic() + _PATIENCE
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(changing(root))
                break
            except Busy:
                if clock.monotonic() > until:
                    raise
                clock.sleep(1)
        yield


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
