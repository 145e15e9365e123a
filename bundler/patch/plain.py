"""From a blob to its plain stream and back, piece by piece."""

import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import zstandard

from bundler.errors import Malformed
from bundler.patch.bytes_at import Bytes
from bundler.patch.coders import encoder
from bundler.patch.dissect import unpacked
from bundler.patch.parts import RAW, XZ, ZSTD, Part
from bundler.support import parallel

PIECE = 1 << 20
_DICTIONARY = 64 << 20  # the largest that a preset of xz has


def plain_of(file: Bytes, parts: Sequence[Part]) -> Iterator[bytes]:
    """The plain stream. Raises Malformed where a part does not hold what it should, or more."""
    at = 0
    for part in parts:
        left = part.plain
        for data in decoded(file, at, part):
            left -= len(data)
            if left < 0:
                break
            yield data
        if left:
            raise Malformed(found=f"another number of plain bytes at byte {at}", expected=f"{part.plain}")
        at += part.size


def decoded(file: Bytes, start: int, part: Part) -> Iterator[bytes]:
    """The plain bytes of one part, in pieces of a bounded size, whatever they expand to. Raises Malformed."""
    try:
        if part.kind == ZSTD:
            yield from unpacked(file, start, part.size)
            return
        decode = _decoder(part.kind)
        for data in _pieces(file, start, part.size):
            yield from decode(data)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise Malformed(found=str(error)[:200], expected=f"a {part.kind} stream") from None


def _pieces(file: Bytes, at: int, left: int) -> Iterator[bytes]:
    while left:
        parallel.check_stopping()
        data = file.read(min(PIECE, left), at)
        if not data:
            raise Malformed(found="the end of the blob", expected=f"{left} bytes more")
        at, left = at + len(data), left - len(data)
        yield data


def _decoder(kind: str) -> Callable[[bytes], Iterator[bytes]]:
    if kind == RAW:
        return lambda data: iter((data,))
    if kind == XZ:
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": _DICTIONARY}]
        return _bounded(lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=filters))
    return _bounded(zlib.decompressobj(-15))


def _bounded(one: Any) -> Callable[[bytes], Iterator[bytes]]:
    def decode(data: bytes) -> Iterator[bytes]:
        while not one.eof:
            yield one.decompress(data, PIECE)
            data = getattr(one, "unconsumed_tail", b"")  # zlib gives back what it did not take; lzma keeps it
            if not data and getattr(one, "needs_input", True):
                return

    return decode


def encoded(parts: Sequence[Part], plain: Iterator[bytes]) -> Iterator[bytes]:
    """The blob, from its plain stream. Raises Malformed when that ends early or goes on."""
    pieces = _Pieces(plain)
    for part in parts:
        if part.kind == RAW:
            yield from pieces.take(part.plain)
            continue
        one = encoder(part.kind, part.coder, part.plain)
        for data in pieces.take(part.plain):
            parallel.check_stopping()
            yield one.compress(data)
        yield one.flush()
    pieces.finish()


class _Pieces:
    """A stream of pieces, cut where parts end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest, self._at = filter(None, pieces), b"", 0

    def take(self, count: int) -> Iterator[bytes]:
        while count:
            if self._at == len(self._rest):
                self._rest, self._at = next(self._pieces, b""), 0
            data = self._rest[self._at : self._at + min(count, PIECE)]
            if not data:
                raise Malformed(found="the end of the plain bytes", expected=f"{count} more")
            self._at += len(data)
            count -= len(data)
            yield data

    def finish(self) -> None:
        if self._at < len(self._rest) or any(self._pieces):
            raise Malformed(found="plain bytes behind the end", expected="none")
