"""Rebuilding a blob from a patch and its bases."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import BinaryIO

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.patch.bytes_at import Bytes, of_descriptor, one_behind_the_other
from bundler.patch.coders import probe
from bundler.patch.form import Head, Side, read_head, read_segment, unpack
from bundler.patch.match import SEGMENT, Range
from bundler.patch.parts import is_raw
from bundler.patch.plain import PIECE, encoded, plain_of
from bundler.support import parallel

# A new file without a name, away when it is closed or the process ends, however it ends.
Scratch = Callable[[], AbstractContextManager[BinaryIO]]


def rebuilt(
    patch: Bytes, base: Callable[[Digest, int], Bytes], stack: ExitStack, *, scratch: Scratch, room: int
) -> tuple[Head, Iterator[bytes]]:
    """What the patch makes, in pieces, no more than its target has; the caller proves it. `base` gives the blob of that
    digest and size; `room` is how many bytes the scratch files may have. Raises Malformed, also while it is read."""
    head, start = read_head(patch)
    if scratch_size(head.bases) > room:
        raise Malformed(found=f"{scratch_size(head.bases)} bytes of scratch", expected=f"at most {room}")
    pool = pool_of([(base(side.digest, side.size), side) for side in head.bases], stack, scratch)
    return head, _bounded(encoded(head.target.parts, _plain(patch, head, start, pool)), head.target.size)


def scratch_size(bases: Sequence[Side]) -> int:
    """What the plain streams take beside the blobs."""
    return sum(side.plain for side in bases if not is_raw(side.parts))


def other_compressors(head: Head) -> tuple[str, ...]:
    """The kinds of which this machine has another library than the maker of the patch."""
    return tuple(kind for kind, found in head.probes if probe(kind) != found)


def pool_of(bases: Sequence[tuple[Bytes, Side]], stack: ExitStack, scratch: Scratch) -> Bytes:
    """The plain streams of the bases; those of compressed ones go to scratch files. Raises Malformed."""
    return one_behind_the_other([_plain_base(data, side, stack, scratch) for data, side in bases])


def _plain_base(data: Bytes, side: Side, stack: ExitStack, scratch: Scratch) -> Bytes:
    if is_raw(side.parts):
        return data
    file = stack.enter_context(scratch())
    for piece in plain_of(data, side.parts):
        file.write(piece)
    file.flush()
    return of_descriptor(file.fileno(), side.plain)


def _plain(patch: Bytes, head: Head, at: int, pool: Bytes) -> Iterator[bytes]:
    """The plain stream of the target."""
    for segment in head.segments:
        parallel.check_stopping()
        dictionary = b"".join(pool.read(each.size, each.start) for each in segment.ranges)
        data = unpack(patch.read(segment.size, at), 2 * SEGMENT, dictionary)
        at += segment.size
        for piece in read_segment(data, segment.plain):
            yield from _copied(pool, piece) if isinstance(piece, Range) else (piece,) if piece else ()


def _copied(pool: Bytes, what: Range) -> Iterator[bytes]:
    at, end = what.start, what.start + what.size
    while at < end:
        data = pool.read(min(PIECE, end - at), at) if at >= 0 else b""
        if not data:
            raise Malformed(found=f"a copy from byte {at} of the bases", expected=f"at most {pool.size}")
        yield data
        at += len(data)


def _bounded(pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    for data in pieces:
        size -= len(data)
        if size < 0:
            raise Malformed(found="more bytes", expected="those of the target")
        yield data
