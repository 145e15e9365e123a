"""Making, for `bundle squash`, the blobs that a chain has as patches: each of what the chain's own files have.

One at a time: it takes up to 256 MB of memory, whatever the blob. Nothing of a patch is believed: it is proved before
it is read, what it unpacks is bounded, and the blob counts when its bytes have its digest. A blob that only others are
made of lies in a file without a name beside the bundle until the last of them is there.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from bundler.archive.chain import Merged
from bundler.archive.chain_patches import Make, Step, room_of, steps_of
from bundler.archive.form import owners_of
from bundler.archive.layout import Layout, Place
from bundler.archive.reader import BundleFile
from bundler.errors import BundleError, DamagedContent, DiskFull, Malformed, PatchFailed
from bundler.fetch.partial import Partial
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Held, Statement
from bundler.support import files, parallel
from bundler.support.progress import Progress
from bundler.verify.check import thread_buffer

if TYPE_CHECKING:
    from bundler.patch.bytes_at import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A bundle of the chain whose signatures hold."""

    file: BundleFile
    statement: Statement
    layout: Layout
    places: dict[str, Place]

    def proves(self, name: str, digest: Digest, progress: Progress | None = None) -> bool:
        """Whether an entry has these bytes."""
        sha256 = hashlib.sha256()

        def take(piece: memoryview) -> None:
            parallel.check_stopping()
            sha256.update(piece)
            if progress is not None:
                progress.advance(len(piece))

        self.file.stream(self.places[name], take, thread_buffer())
        return sha256.hexdigest() == digest.hex


def prove_patches(merged: Merged, opened: Sequence[Opened], progress: Progress) -> None:
    """All patches that will be applied, or go on as they are. Raises DamagedContent, for the first file that has any
    that were changed."""
    wanted = {(make.link, make.name) for make in merged.makes.values()}
    wanted |= {(at, name) for name, at in merged.sources.items() if name.startswith(PATCH_PREFIX)}
    if not wanted:
        return
    progress.expect(sum(opened[at].places[name].member.size for at, name in wanted))
    damaged: dict[int, list[str]] = {}
    for at, name in sorted(wanted):
        if not opened[at].proves(name, Digest(name.removeprefix(PATCH_PREFIX)), progress):
            damaged.setdefault(at, []).append(name)
    for at, names in damaged.items():
        owners = owners_of(opened[at].statement)
        raise DamagedContent(path=opened[at].file.path, damaged=tuple((name, owners.get(name, ())) for name in names))


class Maker:
    """Makes what a squashed bundle is to carry and no link carries whole. What is whole already is left alone."""

    def __init__(
        self, merged: Merged, opened: Sequence[Opened], partial: Partial, layout: Layout, progress: Progress
    ) -> None:
        self._merged, self._opened, self._partial, self._progress = merged, opened, partial, progress
        self._folder = partial.out.parent
        entries = enumerate(merged.statement.entries)
        self._slots = {entry.digest: slot for slot, entry in entries if entry.name.startswith(BLOB_PREFIX)}
        self._bodies = {place.member.name: place.body for place in layout.places}
        whole = {digest for digest, slot in self._slots.items() if partial.whole(slot)}
        wanted = sorted(merged.makes.keys() & self._slots.keys())
        self._steps = steps_of(merged.makes, wanted, kept=self._slots.keys(), whole=whole)
        links = {make.link for make in merged.makes.values()}
        self._owners = {link: owners_of(opened[link].statement) for link in links}
        self._halves: dict[Digest, tuple[Bytes, ExitStack]] = {}

    def check_room(self) -> None:
        """For what lies beside the bundle meanwhile; the bundle has its own already. Raises DiskFull."""
        need = room_of(self._steps, kept=self._slots.keys())
        if self._steps and need > (free := files.free_space(self._folder)):
            raise DiskFull(path=str(self._folder), missing=need - free)

    def run(self) -> None:
        """Raises PatchFailed, DamagedContent for a blob that something is made of, DiskFull, CannotWrite."""
        if not self._steps:
            return
        self._progress.expect(sum(step.make.patched.size for step in self._steps))
        with files.writing(self._folder), ExitStack() as stack:
            for step in self._steps:
                self._make(step, stack)
                for digest in step.frees:
                    self._halves.pop(digest)[1].close()

    def _make(self, step: Step, stack: ExitStack) -> None:
        make, others = step.make, list[str]()
        # As the release calls them that the patch is of.
        names = self._owners[make.link].get(make.name) or (make.patched.entry.name,)
        self._progress.begin(names[0])
        try:
            with (
                files.writing(self._folder, missing=make.patched.size + make.patched.scratch),
                ExitStack() as meanwhile,
            ):
                if step.digest in self._slots:
                    self._write(make, self._into_bundle(make), meanwhile, others)
                    self._partial.finish(self._slots[step.digest])
                else:
                    self._beside(make, stack, meanwhile, others)
        except Malformed as error:
            raise self._why(make, error, tuple(others), names) from None
        finally:
            self._progress.end(names[0])

    def _into_bundle(self, make: Make) -> Callable[[bytes], None]:
        at = self._bodies[make.patched.entry.name]

        def write(data: bytes) -> None:
            nonlocal at
            self._partial.write(data, at)
            at += len(data)

        return write

    def _beside(self, make: Make, stack: ExitStack, meanwhile: ExitStack, others: list[str]) -> None:
        from bundler.patch.bytes_at import of_descriptor

        half = stack.enter_context(ExitStack())
        file = half.enter_context(self._scratch())

        def write(data: bytes) -> None:
            file.write(data)

        self._write(make, write, meanwhile, others)
        file.flush()
        self._halves[make.patched.digest] = (of_descriptor(file.fileno(), make.patched.size), half)

    def _scratch(self) -> AbstractContextManager[BinaryIO]:
        return files.scratch(self._folder)

    def _write(self, make: Make, write: Callable[[bytes], None], stack: ExitStack, others: list[str]) -> None:
        """The blob, proved. `others` gets the kinds of which the maker of the patch had another compressor."""
        from bundler.patch.apply import other_compressors, rebuilt

        each, sha256 = make.patched, hashlib.sha256()
        bases = {held.digest: held for held in each.bases}

        def base(digest: Digest, size: int) -> "Bytes":
            if digest not in bases or bases[digest].size != size:
                raise Malformed(found=f"the base {digest} of {size} bytes", expected="one that the statement names")
            return self._base(bases[digest])

        patch = _of_entry(self._opened[make.link], make.name)
        head, pieces = rebuilt(patch, base, stack, scratch=self._scratch, room=each.scratch)
        if (head.target.digest, head.target.size) != (each.digest, each.size):
            raise Malformed(found=f"a patch for {head.target.digest}", expected=str(each.digest))
        others += other_compressors(head)
        for data in pieces:
            parallel.check_stopping()
            sha256.update(data)
            write(data)
            self._progress.advance(len(data))
        if sha256.hexdigest() != each.digest.hex:
            raise Malformed(found=f"bytes with sha256:{sha256.hexdigest()}", expected=str(each.digest))

    def _base(self, held: Held) -> "Bytes":
        """What a link carries, or what was made before."""
        from bundler.patch.bytes_at import Bytes

        if (link := self._merged.carried.get(held.digest)) is not None:
            return _of_entry(self._opened[link], held.entry.name)
        if held.digest in self._halves:
            return self._halves[held.digest][0]
        start, size = self._bodies[held.entry.name], held.size
        return Bytes(size=size, read=lambda count, at: self._partial.read(max(0, min(count, size - at)), start + at))

    def _why(self, make: Make, error: Malformed, others: tuple[str, ...], names: tuple[str, ...]) -> BundleError:
        """What is to blame: a base that a link carries, else the patch, or this machine's compressors."""
        for held in make.patched.bases:
            link, name = self._merged.carried.get(held.digest), held.entry.name
            if link is not None and not self._opened[link].proves(name, held.digest):
                owners = owners_of(self._opened[link].statement).get(name, ())
                return DamagedContent(path=self._opened[link].file.path, damaged=((name, owners),))
        what = f"{names[0]} of {self._opened[make.link].file.path}"
        why = f"found {error.found}, expected {error.expected}"
        return PatchFailed(what=what, digest=str(make.patched.digest), why=why, others=others)


def _of_entry(opened: Opened, name: str) -> "Bytes":
    from bundler.patch.bytes_at import Bytes

    place = opened.places[name]
    return Bytes(size=place.member.size, read=lambda count, at: opened.file.part(place, count, at))
