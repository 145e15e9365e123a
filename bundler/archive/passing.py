"""A whole bundle that passes by once, front to back: on standard input, or slice by slice from one disk after another.

What the front says is kept until it is judged; then the layout is known, and everything goes by again from the first
byte: what is kept, then what comes. Headers and padding are compared on the way; a body is given to who wants it, and
read over otherwise.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Protocol

from bundler.archive import tar
from bundler.archive.front import begins, read_front
from bundler.archive.layout import Layout, Place
from bundler.archive.slices import OneFile, VolumeSet, signatures_beside
from bundler.errors import (
    BundleError,
    HeaderMismatch,
    SecondBundle,
    SliceDamaged,
    SliceMissing,
    TrailingBytes,
    TruncatedBundle,
)
from bundler.signing.trust import Signed
from bundler.support.buffers import page_buffer

_PIECE = 1 << 20


class Tape(Protocol):
    """Bytes in their order."""

    path: str

    def read_into(self, buffer: memoryview) -> int:
        """The next bytes; 0 at the end."""

    def skip(self, count: int) -> int:
        """Go over so many bytes, as far as that needs no reading; gives how many were gone over."""

    def ready(self) -> bool:
        """Whether the next byte can be had without asking anybody for it."""

    def signed(self) -> tuple[Mapping[str, bytes], Signed | None]:
        """The signatures beside the bundle, and what is said of its slices."""

    def explain(self, error: BundleError, ranges: Sequence[tuple[int, int]]) -> BundleError:
        """The error that says best why bytes of the bundle are wrong: (offset, count) of each."""


class Pipe:
    """What comes on a descriptor."""

    path = "the bundle on standard input"

    def __init__(self, descriptor: int, begun: bytes = b"") -> None:
        """`begun` was read from it already."""
        self._descriptor, self._begun = descriptor, begun
        with suppress(OSError):  # fewer and larger reads, where it is a pipe that may grow
            fcntl(descriptor, F_SETPIPE_SZ, _PIECE)

    def read_into(self, buffer: memoryview) -> int:
        if self._begun:
            data, self._begun = self._begun[: len(buffer)], self._begun[len(buffer) :]
            buffer[: len(data)] = data
            return len(data)
        return os.readv(self._descriptor, [buffer])

    def skip(self, count: int) -> int:
        return 0

    def ready(self) -> bool:
        return True

    def signed(self) -> tuple[Mapping[str, bytes], Signed | None]:
        return {}, None

    def explain(self, error: BundleError, ranges: Sequence[tuple[int, int]]) -> BundleError:
        return error


class Disks:
    """The slices of a set, one after the other. One is open at a time, so that its disk may be taken out after it."""

    def __init__(self, volumes: VolumeSet, ask: Callable[[SliceMissing], bool]) -> None:
        """`ask` is told of a slice that is missing, and says whether to look again."""
        self.path = str(volumes.path)
        self._volumes, self._ask = volumes, ask
        self._position = 0
        self._number = 0
        self._file: OneFile | None = None

    def read_into(self, buffer: memoryview) -> int:
        volumes = self._volumes.volumes
        if self._position >= volumes.size:
            return 0
        index, at = divmod(self._position, volumes.each)
        file = self._open(index + 1)
        try:
            count = file.read_into(buffer[: volumes.slices[index].size - at], at)
        except OSError as error:
            raise self._damaged(index + 1, error.strerror or str(error)) from None
        if not count:
            raise self._damaged(index + 1, f"it ends at byte {at}")
        self._position += count
        return count

    def skip(self, count: int) -> int:
        self._position += count
        return count

    def ready(self) -> bool:
        volumes = self._volumes.volumes
        number = min(self._position, volumes.size - 1) // volumes.each + 1
        return number == self._number or self._volumes.find(number) is not None

    def signed(self) -> tuple[Mapping[str, bytes], Signed | None]:
        beside = signatures_beside(self._volumes.path.with_name(self._volumes.name), self._volumes.folders)
        return beside, self._volumes.signed

    def explain(self, error: BundleError, ranges: Sequence[tuple[int, int]]) -> BundleError:
        try:
            self._volumes.blame(number for each in ranges for number in self._volumes.numbers(*each))
        except SliceDamaged as damaged:
            return damaged
        return error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._number, self._file = 0, None

    def _open(self, number: int) -> OneFile:
        if self._file is None or number != self._number:
            self.close()
            while self._volumes.find(number) is None:
                missing = self._volumes.lacking([number])
                if not self._ask(missing):
                    raise missing
            self._file, self._number = self._volumes.open(number), number
        return self._file

    def _damaged(self, number: int, why: str) -> SliceDamaged:
        return SliceDamaged(path=self.path, damaged=((self._volumes.file(number), why),))


class Passing:
    """A bundle on a tape. First `front`, then `places` once."""

    def __init__(self, tape: Tape) -> None:
        self.path, self._tape = tape.path, tape
        self._kept = bytearray()  # the front, until it is gone through again
        self._at = 0
        self._buffer = page_buffer(_PIECE)
        self._size = 0  # of the whole, once it is known

    def front(self) -> Signed:
        """Raises NotABundle, HeaderMismatch, TruncatedBundle, SliceMissing."""
        try:
            statement, inside = read_front(self._peek, path=self.path)
        except BundleError as error:
            raise self._tape.explain(error, [(0, len(self._kept))]) from None
        beside, volumes = self._tape.signed()
        return Signed(path=self.path, statement=statement, inside=inside, beside=beside, volumes=volumes)

    def places(self, layout: Layout) -> Iterator[Place]:
        """Each place when its body comes next; what is not taken with `body` is read over.

        Raises HeaderMismatch, TruncatedBundle; at the end SecondBundle or TrailingBytes when more comes.
        """
        self._size = layout.size
        for place in layout.places:
            self._compare(place.header, place.member.name)
            end = self._at + place.member.size
            yield place
            self.over(end - self._at)
            self._compare(place.padding, place.member.name)
        self._compare(tar.END, "the end mark")
        self._finish()

    def body(self, count: int, take: Callable[[memoryview], object]) -> None:
        """Give the next bytes to `take`, piece by piece. Raises TruncatedBundle."""
        while count:
            data = self._some(count)
            take(data)
            count -= len(data)

    def over(self, count: int) -> None:
        """Leave bytes out. Raises TruncatedBundle."""
        kept = max(0, min(len(self._kept) - self._at, count))
        self._at, count = self._at + kept, count - kept
        gone = self._tape.skip(count) if count else 0
        self._at += gone
        self.body(count - gone, lambda data: None)

    def explain(self, error: BundleError, places: Iterable[Place]) -> BundleError:
        return self._tape.explain(error, [(place.body, place.member.size) for place in places])

    def explain_front(self, error: BundleError) -> BundleError:
        """For what is wrong with the statement, bootstrap.tar or a signature."""
        return self._tape.explain(error, [(0, max(len(self._kept), self._at))])

    def _peek(self, offset: int, count: int) -> bytes:
        """Bytes of the front, which is kept whole; fewer only at the end."""
        while len(self._kept) < offset + count:
            got = self._tape.read_into(self._buffer[: min(_PIECE, offset + count - len(self._kept))])
            if not got:
                break
            self._kept += self._buffer[:got]
        return bytes(self._kept[offset : offset + count])

    def _some(self, most: int) -> memoryview:
        """The next bytes, valid until the next call."""
        if self._at < len(self._kept):
            data = memoryview(bytes(self._kept[self._at : self._at + min(most, _PIECE)]))
        else:
            got = self._tape.read_into(self._buffer[: min(most, _PIECE)])
            if not got:
                raise TruncatedBundle(path=self.path, size=self._at, expected=self._size)
            data = self._buffer[:got]
        self._at += len(data)
        return data

    def _compare(self, expected: bytes, entry: str) -> None:
        """The frame: for slices on a disk that nobody needs otherwise, it is left out."""
        if not expected or (self._at >= len(self._kept) and not self._tape.ready()):
            self.over(len(expected))
            return
        found, start = bytearray(), self._at
        self.body(len(expected), found.extend)
        if found != expected:
            at = next(at for at, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
            error = HeaderMismatch(path=self.path, entry=entry, offset=start + at)
            raise self._tape.explain(error, [(start + at, 1)])

    def _finish(self) -> None:
        at = self._at
        try:
            more = bytes(self._some(tar.BLOCK))
            while len(more) < tar.BLOCK:
                more += self._some(tar.BLOCK - len(more))
        except TruncatedBundle:
            more = b"" if self._at == at else b"?"
        if begins(more):
            raise SecondBundle(path=self.path, at=at)
        if more:
            raise TrailingBytes(path=self.path, size=self._at, expected=at)
