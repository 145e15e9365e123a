"""Bytes that can be read anywhere: a blob in a bundle, in a store, or a plain stream in a scratch file."""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """`size` bytes; `read` gives so many (count) from an offset on, fewer only at the end."""

    size: int
    read: Callable[[int, int], bytes]


def of_descriptor(descriptor: int, size: int) -> Bytes:
    """Of an open file, which the caller keeps open."""

    def read(count: int, offset: int) -> bytes:
        data = os.pread(descriptor, count, offset)
        while 0 < len(data) < count and (more := os.pread(descriptor, count - len(data), offset + len(data))):
            data += more
        return data

    return Bytes(size=size, read=read)


def of_bytes(data: bytes) -> Bytes:
    return Bytes(size=len(data), read=lambda count, offset: data[offset : offset + count])


def one_behind_the_other(all_of: Sequence[Bytes]) -> Bytes:
    starts = list(accumulate((each.size for each in all_of), initial=0))

    def read(count: int, offset: int) -> bytes:
        found = b""
        while len(found) < count and 0 <= offset < starts[-1]:
            number = bisect_right(starts, offset) - 1
            data = all_of[number].read(min(count - len(found), starts[number + 1] - offset), offset - starts[number])
            if not data:
                break
            found, offset = found + data if found else data, offset + len(data)
        return found

    return Bytes(size=starts[-1], read=read)
