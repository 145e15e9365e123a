"""Taking a blob apart: gzip, zip, xz, zstd, what lies in an ar, and what hangs behind a shell script. What is none of
these, or not as its format says, stands as it is; nothing here fails on foreign bytes."""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

import zstandard

from bundler.patch.bytes_at import Bytes
from bundler.patch.frames import MAGIC as _ZSTD
from bundler.patch.frames import frame
from bundler.patch.parts import DEFLATE, MOST, SPARE, XZ, ZSTD, Part, joined, raw
from bundler.patch.xz import blocks
from bundler.support import parallel

_PIECE = 256 << 10
_GZIP = b"\x1f\x8b\x08"
_ZIP = b"PK\x03\x04"
_AR = b"!<arch>\n"
_XZ = b"\xfd7zXZ\x00"
_SCRIPT = b"#!"
_FRONT = 1 << 20  # of a script, in which its archive begins
_LEAST = 64  # compressed bytes below which nothing is gained
_MEMBERS = 50_000


def dissect(file: Bytes) -> tuple[Part, ...]:
    """The parts of a blob, in order; their `coder` is not known yet."""
    found = joined(list(_stretch(file, 0, file.size)))
    return found if len(found) <= 2 * _MEMBERS else (raw(file.size),)


def _stretch(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """The parts of some bytes of the file, by what they begin with."""
    head = file.read(8, start)
    for magic, taken in _KINDS:
        if head.startswith(magic):
            yield from taken(file, start, end)
            return
    yield raw(end - start)


def _gzip(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """Members one after the other (RFC 1952)."""
    at = start
    while at < end:
        head = _gzip_head(file.read(4096, at))
        found = inflated(file, at + head, end - 8) if head else None
        if found is None:
            break
        size, plain = found
        yield from (raw(head), Part(kind=DEFLATE, size=size, plain=plain), raw(8))
        at += head + size + 8
    yield raw(end - at)


def _gzip_head(data: bytes) -> int:
    """The length of a member's head; 0 when it is none, or a very long one."""
    if len(data) < 18 or not data.startswith(_GZIP):
        return 0
    flags, at = data[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = data.find(b"\0", at) + 1
            if at == 0:
                return 0
    return at + (2 if flags & 2 else 0) if at < len(data) - 2 else 0


def inflated(file: Bytes, start: int, end: int) -> tuple[int, int] | None:
    """How long the deflate stream is that begins here, and how many plain bytes it holds; None when it is none."""
    one, at, plain = zlib.decompressobj(-15), start, 0
    try:
        while not one.eof and at < end:
            parallel.check_stopping()
            data = file.read(min(_PIECE, end - at), at)
            if not data or plain > MOST * (at - start) + SPARE:
                return None
            at += len(data)
            while data and not one.eof:
                plain += len(one.decompress(data, 1 << 20))
                data = one.unconsumed_tail
    except zlib.error:
        return None
    size = at - start - len(one.unused_data)
    return (size, plain) if one.eof and plain <= MOST * size + SPARE else None


def _zip(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """By the local heads, in the order in which they lie; what is between them stands as it is."""
    at = start
    for _ in range(_MEMBERS):
        head = file.read(30, at)
        if len(head) < 30 or not head.startswith(_ZIP):
            break
        flags, method, size, name, extra = struct.unpack("<6xHH8xI4xHH", head)
        body = at + 30 + name + extra
        # A size that is not said yet stands behind the body; deflate knows its own end.
        found = inflated(file, body, end) if method == 8 else None
        if found:
            size, plain = found
            yield raw(body - at)
            yield Part(kind=DEFLATE, size=size, plain=plain) if size >= _LEAST else raw(size)
        elif body + size <= end and not (method == 8 or flags & 8):
            yield raw(body + size - at)
        else:
            break
        at = body + size
        step = min(_descriptor(file.read(24, at)), end - at)
        yield raw(step)
        at += step
    yield raw(end - at)


def _descriptor(data: bytes) -> int:
    """The length of what stands behind a member's body: nothing, or its checksum and sizes."""
    if data.startswith(b"PK\x07\x08"):
        return 24 if data[12:16] == data[20:24] == b"\0\0\0\0" else 16
    return 0


def _ar(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """Members by their heads of 60 bytes (ar(5)), each looked into once."""
    at = start + len(_AR)
    yield raw(len(_AR))
    while at + 60 <= end:
        head = file.read(60, at)
        digits = head[48:58].strip()
        if head[58:] != b"`\n" or not digits.isdigit() or at + 60 + int(digits) > end:
            break
        size = int(digits)
        yield raw(60)
        yield from _member(file, at + 60, at + 60 + size)
        at += 60 + size
        if size % 2 and at < end:
            yield raw(1)
            at += 1
    yield raw(end - at)


def _member(file: Bytes, start: int, end: int) -> Iterator[Part]:
    nested = file.read(8, start).startswith((_GZIP, _XZ, _ZSTD))
    yield from _stretch(file, start, end) if nested else iter([raw(end - start)])


def _script(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """A self-extracting archive: it begins on a line of its own."""
    front = file.read(min(_FRONT, end - start), start)
    found = [at + 1 for magic in (_GZIP, _XZ, _ZSTD) if (at := front.find(b"\n" + magic)) >= 0]
    at = min(found, default=end - start)
    yield raw(at)
    if found:
        yield from _member(file, start + at, end)


def _xz(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """The LZMA2 inside of each block; heads, checks and the index stand."""
    at = start
    for first, size, plain in blocks(file, start, end):
        part = Part(kind=XZ, size=size, plain=plain)
        yield from (raw(first - at), part if part.bounded else raw(size))
        at = first + size
    yield raw(end - at)


def _zstd(file: Bytes, start: int, end: int) -> Iterator[Part]:
    """Frames one after the other; one that may be skipped stands."""
    at = start
    while at < end and (found := frame(file, at, end)):
        size, _ = found
        plain = _frame_plain(file, at, size)
        yield raw(size) if plain is None else Part(kind=ZSTD, size=size, plain=plain)
        at += size
    yield raw(end - at)


def _frame_plain(file: Bytes, start: int, size: int) -> int | None:
    """How many plain bytes a frame has; None when it is damaged, or has too many."""
    plain = 0
    try:
        for data in unpacked(file, start, size):
            plain += len(data)
            if plain > MOST * size + SPARE:
                return None
    except zstandard.ZstdError:
        return None
    return plain


def unpacked(file: Bytes, start: int, size: int) -> Iterator[bytes]:
    """The plain bytes of a frame, in pieces of a bounded size. Raises ZstdError."""
    source = _Window(file, start, size)
    reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(cast(BinaryIO, source), read_size=_PIECE)
    while data := reader.read(_PIECE):
        parallel.check_stopping()
        yield data
    if source.left:
        raise zstandard.ZstdError("bytes behind the end of the frame")


class _Window:
    """What `stream_reader` reads from."""

    def __init__(self, file: Bytes, start: int, size: int) -> None:
        self._file, self._at, self.left = file, start, size

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(min(self.left, count) if count >= 0 else self.left, self._at)
        self._at, self.left = self._at + len(data), self.left - len(data)
        return data


_KINDS = ((_GZIP, _gzip), (_ZIP, _zip), (_AR, _ar), (_XZ, _xz), (_ZSTD, _zstd), (_SCRIPT, _script))
