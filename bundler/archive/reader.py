"""Reading a bundle: its front before anything is trusted, then its frame and bodies by a known layout."""

import contextlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, STATEMENT
from bundler.archive.front import read_front
from bundler.archive.layout import Layout, Place
from bundler.archive.slices import OneFile, VolumeSet, medium_of, signatures_beside, volumes_of
from bundler.errors import (
    BadSignature,
    BundleError,
    DamagedContent,
    HeaderMismatch,
    MalformedStatement,
    NotABundle,
    NotReadable,
    SliceDamaged,
    TrailingBytes,
    TruncatedBundle,
)
from bundler.signing.trust import Signed
from bundler.support.buffers import page_buffer

CHUNK = 1 << 20
_FRONT = 1 << 20  # where the front of a bundle ends mostly


_OF_THE_FRONT = (BadSignature, MalformedStatement, NotABundle, TruncatedBundle, TrailingBytes)


class BundleFile:
    """An open bundle: one file, or all slices of its volumes. Only positional reads are made, so many threads may share
    it."""

    def __init__(self, path: Path, folders: Sequence[Path] = ()) -> None:
        """`path` is the file, or stands for volumes; `folders` may hold their slices too.

        Raises NotReadable; SliceMissing and SliceDamaged for volumes that are not all there.
        """
        self.volumes = volumes_of(path, folders)
        self.path = str(path if self.volumes is None else self.volumes.path)
        self._medium = medium_of(path, self.volumes)
        self.size = self._medium.size
        self._front = _FRONT
        self._layout: Layout | None = None

    def __enter__(self) -> "BundleFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._medium.close()
        if self.volumes is not None and isinstance(error, BundleError):
            self._blame(self.volumes, error)

    def _blame(self, volumes: VolumeSet, error: BundleError) -> None:
        """Raises SliceDamaged instead of what was found, where it comes from slices that are damaged."""
        if isinstance(error, DamagedContent) and self._layout is not None:
            names = {name for name, _ in error.damaged}
            places = [place for place in self._layout.places if place.member.name in names]
            suspects = [number for place in places for number in volumes.numbers(place.body, place.member.size)]
        elif isinstance(error, HeaderMismatch):
            suspects = volumes.numbers(error.offset, 1)
        elif isinstance(error, _OF_THE_FRONT) and getattr(error, "what", STATEMENT) in (STATEMENT, BOOTSTRAP):
            suspects = volumes.numbers(0, min(self._front, self.size))
        else:
            return
        try:
            volumes.blame(suspects)
        except SliceDamaged as damaged:
            raise damaged from error

    def front(self) -> Signed:
        """The statement's exact bytes and the signatures inside the file and beside it; nothing of them is parsed."""
        volumes = self.volumes
        statement, inside = read_front(self._read, path=self.path)
        self._front = len(statement) + _FRONT
        if volumes is None:
            beside = signatures_beside(Path(self.path))
        else:
            beside = signatures_beside(volumes.path.with_name(volumes.name), volumes.folders)
        return Signed(
            path=self.path,
            statement=statement,
            inside=inside,
            beside=beside,
            volumes=None if volumes is None else volumes.signed,
        )

    def check_size(self, layout: Layout) -> None:
        """Raises TruncatedBundle or TrailingBytes."""
        self._layout, self._front = layout, layout.place(BOOTSTRAP).end + _FRONT
        if self.size < layout.size:
            raise TruncatedBundle(path=self.path, size=self.size, expected=layout.size)
        if self.size > layout.size:
            raise TrailingBytes(path=self.path, size=self.size, expected=layout.size)

    def check_frame(self, layout: Layout) -> None:
        """Compare every byte that is no body with what the layout implies. Raises HeaderMismatch."""
        for place in layout.places:
            self._compare(place.start, place.header, place.member.name)
            self._compare(place.body + place.member.size, place.padding, place.member.name)
        self._compare(layout.size - len(tar.END), tar.END, "the end mark")

    def _compare(self, offset: int, expected: bytes, entry: str) -> None:
        found = self._read(offset, len(expected))
        if found != expected:
            at = next((at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(found))
            raise HeaderMismatch(path=self.path, entry=entry, offset=offset + at)

    def stream(
        self, place: Place, take: Callable[[memoryview], object], buffer: bytearray | memoryview, *, skip: int = 0
    ) -> None:
        """Give the body of a place, less its first `skip` bytes, to `take`, piece by piece, through `buffer`.

        Raises DamagedContent.
        """
        view = memoryview(buffer)
        offset, end = place.body + skip, place.body + place.member.size
        while offset < end:
            try:
                count = self._medium.read_into(view[: min(len(buffer), end - offset)], offset)
            except OSError:
                count = 0  # a medium that cannot give a byte back has damaged it
            if count <= 0:
                raise DamagedContent(path=self.path, damaged=((place.member.name, ()),))
            take(view[:count])
            offset += count

    def piece(self, place: Place, offset: int) -> bytes:
        """The next bytes of a body from `offset` in it, CHUNK of them at most. Raises DamagedContent."""
        data = bytearray(min(CHUNK, place.member.size - offset))
        try:
            count = self._medium.read_into(memoryview(data), place.body + offset)
        except OSError:
            count = 0
        if not count:
            raise DamagedContent(path=self.path, damaged=((place.member.name, ()),))
        return bytes(data) if count == len(data) else bytes(data[:count])

    def advise(self, place: Place) -> None:
        """The body will be read in order."""
        self._medium.advise(place.body, place.member.size)

    @contextlib.contextmanager
    def whole(self, place: Place) -> Iterator[memoryview]:
        """A whole body in memory, however large: mapped, where it lies in one file."""
        if isinstance(self._medium, OneFile):
            start = place.body - place.body % mmap.ALLOCATIONGRANULARITY
            length = place.body + place.member.size - start
            with (
                mmap.mmap(self._medium.descriptor, length, access=mmap.ACCESS_READ, offset=start) as mapped,
                memoryview(mapped) as view,
                view[place.body - start :] as data,
            ):
                yield data
            return
        buffer, at = page_buffer(max(1, place.member.size)), 0

        def take(data: memoryview) -> None:
            nonlocal at
            buffer[at : at + len(data)] = data
            at += len(data)

        self.stream(place, take, page_buffer(CHUNK))
        yield buffer[: place.member.size]

    def body(self, place: Place) -> bytes:
        """A whole small body."""
        return self._read(place.body, place.member.size)

    def part(self, place: Place, count: int, offset: int) -> bytes:
        """So many bytes of a body from `offset` in it; fewer only at its end. Raises NotReadable, SliceDamaged."""
        return self._read(place.body + offset, min(count, place.member.size - offset))

    def _read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end of the file. Raises NotReadable when the disk cannot give them,
        SliceDamaged where it is a slice."""
        data = bytearray(max(0, min(count, self.size - offset)))
        at = 0
        try:
            while at < len(data) and (got := self._medium.read_into(memoryview(data)[at:], offset + at)):
                at += got
        except OSError as error:
            why = error.strerror or str(error)
            if self.volumes is None:
                raise NotReadable(path=self.path, why=why) from None
            name = self.volumes.file(self.volumes.numbers(offset + at, 1)[0])
            raise SliceDamaged(path=self.path, damaged=((name, why),)) from None
        return bytes(memoryview(data)[:at])
