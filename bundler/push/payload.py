"""A blob's bytes on their way out of the bundle file, hashed as they are read."""

import hashlib
from collections.abc import Callable, Iterator

from bundler.archive.layout import Place
from bundler.archive.reader import BundleFile
from bundler.errors import DamagedContent
from bundler.model.digest import Digest
from bundler.support import parallel

_PIECE = 128 << 10  # one write to a socket, which has seconds for it: the slowest peer that is waited for takes 13 kB/s


class Payload:
    """One blob, for one thread. `advance` is told the bytes that were sent, negative where they are sent once more."""

    def __init__(self, file: BundleFile, place: Place, digest: Digest, advance: Callable[[int], object]) -> None:
        self._file, self._place, self._advance = file, place, advance
        self.digest, self.size = digest, place.member.size
        self._hash, self._at, self._sent = hashlib.sha256(), 0, 0

    def part(self, first: int, end: int) -> "Part":
        return Part(self, first, end)

    def read(self, first: int, end: int) -> Iterator[memoryview]:
        """The bytes from `first` up to `end`. What is not the blob never leaves whole: raises DamagedContent before its
        last piece."""
        self._hash_up_to(first)
        self._advance(first - self._sent)
        self._sent = first
        while self._at < end:
            data = self._next(end)
            for start in range(0, len(data), _PIECE):
                parallel.check_stopping()
                yield data[start : start + _PIECE]
                count = len(data[start : start + _PIECE])
                self._sent += count
                self._advance(count)

    def _hash_up_to(self, offset: int) -> None:
        """An upload that goes on needs the hash of what was sent before: it is read again, not sent."""
        if offset < self._at:
            self._hash, self._at = hashlib.sha256(), 0
        while self._at < offset:
            parallel.check_stopping()
            self._next(offset)

    def _next(self, end: int) -> memoryview:
        data = memoryview(self._file.piece(self._place, self._at))[: end - self._at]
        self._hash.update(data)
        self._at += len(data)
        if self._at == self.size and self._hash.hexdigest() != self.digest.hex:
            raise DamagedContent(path=self._file.path, damaged=((self._place.member.name, ()),))
        return data


class Part:
    """Some of a blob as the body of a request, which may have to be sent more than once."""

    def __init__(self, payload: Payload, first: int, end: int) -> None:
        self._payload, self._first, self._end = payload, first, end

    def __len__(self) -> int:
        return self._end - self._first

    def __iter__(self) -> Iterator[memoryview]:
        return self._payload.read(self._first, self._end)
