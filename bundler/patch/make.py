"""Making a patch: from a blob, and others that who gets it has already."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from bundler.model.digest import Digest
from bundler.patch.apply import Scratch, pool_of
from bundler.patch.bytes_at import Bytes
from bundler.patch.coders import probe
from bundler.patch.dissect import dissect
from bundler.patch.explain import explained
from bundler.patch.form import Head, Segment, Side, pack, write_head, write_segment
from bundler.patch.match import SEGMENT, Matcher, rest_of
from bundler.patch.parts import RAW, Part, is_raw, raw
from bundler.patch.plain import plain_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    digest: Digest
    data: Bytes


def make(target: Blob, bases: Sequence[Blob], out: BinaryIO, *, scratch: Scratch, most: int) -> Head | None:
    """Write the patch to the empty `out`. None when it would have more than `most` bytes. Raises Malformed."""
    parts = explained(target.data)
    sides = list(_bases(bases, parts))
    with ExitStack() as stack:
        segments: list[Segment] = []
        body = stack.enter_context(scratch())
        pool = pool_of([(blob.data, side) for blob, side in sides], stack, scratch)
        matcher, start, size = Matcher(pool), 0, 0
        for data in _segments(target.data, parts):
            copies = matcher.copies(data, start)
            ranges = matcher.near(data, start, copies)
            dictionary = b"".join(pool.read(each.size, each.start) for each in ranges)
            packed = pack(write_segment(copies, rest_of(data, copies)), dictionary)
            segments.append(Segment(plain=len(data), size=len(packed), ranges=ranges))
            start, size = start + len(data), size + len(packed)
            if size > most:
                return None
            body.write(packed)
        head = Head(
            target=Side(digest=target.digest, size=target.data.size, parts=parts),
            bases=tuple(side for _, side in sides),
            probes=tuple((kind, probe(kind)) for kind in sorted({part.kind for part in parts} - {RAW})),
            segments=tuple(segments),
        )
        front = write_head(head)
        out.write(front)
        body.seek(0)
        while data := body.read(1 << 20):
            out.write(data)
    return head if len(front) + size <= most else None


def _bases(bases: Sequence[Blob], parts: tuple[Part, ...]) -> Sequence[tuple[Blob, Side]]:
    """Each base taken apart; and as it stands, where what is compressed in the target stays as it is."""
    found = []
    for base in bases:
        apart = dissect(base.data)
        ways = [apart] if is_raw(apart) or not _stays(parts) else [apart, (raw(base.data.size),)]
        found += [(base, Side(digest=base.digest, size=base.data.size, parts=way)) for way in ways]
    return found


def _stays(parts: tuple[Part, ...]) -> bool:
    """Whether so much of a blob stands as it is that some of it may be compressed by an unknown program."""
    return sum(part.size for part in parts if part.kind == RAW) > sum(part.size for part in parts) // 4


def _segments(file: Bytes, parts: tuple[Part, ...]) -> Iterator[bytes]:
    """The plain stream of a blob in pieces of one size."""
    held = bytearray()
    for data in plain_of(file, parts):
        held += data
        while len(held) >= SEGMENT:
            yield bytes(held[:SEGMENT])
            del held[:SEGMENT]
    if held:
        yield bytes(held)
