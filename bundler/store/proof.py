"""Blobs of a store hashed again, and damaged ones written right again in their place."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from bundler.model.digest import Digest
from bundler.support import clock, files, parallel
from bundler.support.buffers import page_buffer

PIECE = 1 << 20
# A body's bytes, in order, piece by piece.
Stream = Callable[[Callable[[memoryview], object]], None]


class Pace:
    """No more than `rate` bytes a second in all, by whichever threads; 0 is as fast as it goes."""

    def __init__(self, rate: int) -> None:
        self._rate, self._lock = rate, threading.Lock()
        self._free_at = clock.monotonic()

    def take(self, count: int) -> None:
        if not self._rate:
            return
        with self._lock:
            now = clock.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        parallel.pause(wait)


def hash_file(path: Path, take: Callable[[int], object]) -> Digest | None:
    """The digest of what the disk has, not of what memory remembers of it; None when it cannot be read to its end.

    Raises FileNotFoundError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    sha256, buffer, offset = hashlib.sha256(), page_buffer(PIECE), 0
    try:
        _forget(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while True:
            parallel.check_stopping()
            count = os.preadv(descriptor, [buffer], offset)
            if count <= 0:
                return Digest(sha256.hexdigest())
            sha256.update(buffer[:count])
            offset += count
            take(count)
    except OSError:
        return None  # a sector that the disk cannot give back
    finally:
        _forget(descriptor)
        os.close(descriptor)


def file_stream(path: Path) -> Stream:
    def stream(take: Callable[[memoryview], object]) -> None:
        buffer = page_buffer(PIECE)
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                take(buffer[:count])

    return stream


def write_right(path: Path, size: int, stream: Stream) -> None:
    """Make a file have the bytes of `stream`, in its place: all its names have them then, and no reader misses one.

    Only what differs is written, so it needs no room, and each piece is right from then on: killed anywhere, the next
    time it goes on. The caller proves the bytes before and after. Raises CannotWrite, DiskFull.
    """
    with files.writing(path):
        path.chmod(0o644)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, 0o444)  # open is open
        offset = 0

        def take(data: memoryview) -> None:
            nonlocal offset
            parallel.check_stopping()
            with files.writing(path):
                if _held(descriptor, len(data), offset) != data:
                    files.write_at(descriptor, data, offset)
            offset += len(data)

        stream(take)
        with files.writing(path):
            os.ftruncate(descriptor, size)
            files.sync_data(descriptor)
        _forget(descriptor)
    finally:
        os.close(descriptor)


def _held(descriptor: int, count: int, offset: int) -> bytes:
    try:
        return os.pread(descriptor, count, offset)
    except OSError:
        return b""


def _forget(descriptor: int) -> None:
    """What memory holds of the file, where that is on the disk too."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
