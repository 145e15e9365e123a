"""Where in the plain streams of the bases a stretch of the target comes from.

Some places of every stream are anchors: its content alone chooses them, so that they are found again wherever they have
moved to. From an anchor that a base has too, equal bytes are followed in both directions, and become copies. What is
left between copies is compressed against the blocks of the bases that it most likely was made from.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

from bundler.patch.bytes_at import Bytes
from bundler.support import parallel

SEGMENT = 16 << 20  # plain bytes of the target that are dealt with as one
NEAR = 16 << 20  # of the bases, against which the rest of a segment is compressed
_BLOCK = 64 << 10
_ANCHOR = re.compile(rb"\x8b[\x40-\x4f]|[,;:]\n|\x00[\x80-\x8f]", re.DOTALL)  # some of text, code and noise
_KEY = 24  # bytes from an anchor on that make it this one
_DENSE = 64 << 20  # up to so many bytes of bases every anchor is kept, then one of two, of four…
_LEAST = 256  # bytes of a copy
_PIECE = 1 << 20
_FIRST = 4 << 10  # compared at first; then four times as many
_FOLLOWED = 1000  # votes of one block, because what is beside it was copied


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """`size` bytes of a segment, from `at` on, are those from `source` on of the bases."""

    at: int
    source: int
    size: int

    @property
    def end(self) -> int:
        return self.at + self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    start: int
    size: int


class Matcher:
    """Of the plain streams of all bases, one behind the other."""

    def __init__(self, pool: Bytes) -> None:
        self._pool = pool
        self._every = 1
        while pool.size // self._every > _DENSE:
            self._every *= 2
        self._places: dict[int, int] = {}
        self._shift = 0
        for offset in range(0, pool.size, _PIECE):
            parallel.check_stopping()
            data = pool.read(_PIECE + _KEY, offset)
            for at, key in self._anchors(data):
                self._places.setdefault(key, offset + at)

    def _anchors(self, data: bytes) -> Iterator[tuple[int, int]]:
        every = self._every
        for match in _ANCHOR.finditer(data):
            at = match.start()
            key = crc32(data[at : at + _KEY])
            if key % every == 0:
                yield at, key

    def copies(self, segment: bytes, start: int) -> list[Copy]:
        """In order, none over another; `start` is where the segment lies in the target."""
        found: list[Copy] = []
        done = 0
        for at, key in [(0, 0), *self._anchors(segment)]:
            if at < done:
                continue
            for source in dict.fromkeys((start + at + self._shift, self._places.get(key, -1))):
                copy = self._extended(segment, at, source, done)
                if copy.size >= _LEAST:
                    found.append(copy)
                    done, self._shift = copy.end, copy.source - start - copy.at
                    break
        return found

    def _extended(self, segment: bytes, at: int, source: int, least: int) -> Copy:
        if not 0 <= source < self._pool.size:
            return Copy(at=at, source=source, size=0)
        end, size, step = len(segment), 0, _FIRST
        while at + size < end:
            want = segment[at + size : at + size + step]
            same = _same(want, self._pool.read(len(want), source + size))
            size, step = size + same, min(4 * step, _PIECE)
            if same < len(want):
                break
        before, step = 0, _FIRST
        while size and (room := min(step, at - least - before, source - before)) > 0:
            want = segment[at - before - room : at - before]
            same = _same(want[::-1], self._pool.read(room, source - before - room)[::-1])
            before, step = before + same, min(4 * step, _PIECE)
            if same < room:
                break
        return Copy(at=at - before, source=source - before, size=size + before)

    def near(self, segment: bytes, start: int, copies: Sequence[Copy]) -> tuple[Range, ...]:
        """What to compress the rest against: blocks beside what was copied, then those that have its anchors."""
        votes: Counter[int] = Counter()
        for before, gap, end, after in _gaps(copies, len(segment)):
            places = [before.source + before.size if before else start + gap + self._shift]
            if after:
                places.append(after.source - (end - gap))
            for place in places:
                for block in _blocks(place - _BLOCK // 2, place + end - gap + _BLOCK // 2):
                    votes[block] += _FOLLOWED
            if end - gap >= _KEY:
                known = (self._places.get(key, -1) for _, key in self._anchors(segment[gap:end]))
                votes.update(place // _BLOCK for place in known if place >= 0)
        there = (block for block, _ in votes.most_common() if 0 <= block * _BLOCK < self._pool.size)
        chosen = [block for block, _ in zip(there, range(NEAR // _BLOCK), strict=False)]
        return self._ranges(sorted(chosen))

    def _ranges(self, blocks: Sequence[int]) -> tuple[Range, ...]:
        found: list[Range] = []
        for block in blocks:
            start = block * _BLOCK
            size = min(_BLOCK, self._pool.size - start)
            if found and found[-1].start + found[-1].size == start:
                found[-1] = Range(start=found[-1].start, size=found[-1].size + size)
            else:
                found.append(Range(start=start, size=size))
        return tuple(found)


def rest_of(segment: bytes, copies: Sequence[Copy]) -> bytes:
    """What no copy gives."""
    return b"".join(segment[gap:end] for _, gap, end, _ in _gaps(copies, len(segment)))


def _gaps(copies: Sequence[Copy], size: int) -> Iterator[tuple[Copy | None, int, int, Copy | None]]:
    """Each gap between copies, with the ones at its sides."""
    sides = [None, *copies, None]
    for before, after in pairwise(sides):
        start, end = before.end if before else 0, after.at if after else size
        if start < end:
            yield before, start, end, after


def _blocks(start: int, end: int) -> range:
    return range(max(0, start) // _BLOCK, max(0, end) // _BLOCK + 1)


def _same(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    one = one[: len(other)]
    low, high = 0, len(one)
    if one == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
