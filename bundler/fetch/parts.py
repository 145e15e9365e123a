"""The file or files that a bundle's bytes go to: one, or each slice of volumes in its own place from the first byte on.

A slice is written as `NAME.001.partial` and renamed when all of them are whole. What already has a slice's own name is
a user's: it is never replaced, and a set is not begun beside it. Only a run that was killed between the renames finds
slices with their names, and its journal says so.
"""

import errno
import os
from pathlib import Path

from bundler.errors import CannotWrite
from bundler.model.volumes import MOST, SUFFIX, cut, pieces, slice_name
from bundler.support import files


class Parts:
    """Positional writes and reads over all of them, as if they were one file of `size` bytes."""

    def __init__(self, out: Path, size: int, volume: int | None) -> None:
        """Raises Usage for too many slices."""
        self._whole, self._several = out, volume is not None
        sizes = (size,) if volume is None else cut(size, volume)
        self._each, self._size = sizes[0] or 1, size
        self.sizes = sizes
        names = [out.name] if volume is None else [slice_name(out.name, at + 1) for at in range(len(sizes))]
        self.names = tuple(names)
        self._out = [out.with_name(name) for name in names]
        self._paths = [path.with_name(f"{path.name}.partial") for path in self._out]
        self._descriptors: list[int] = []

    @property
    def path(self) -> Path:
        """The first of the files under construction: for people."""
        return self._paths[0]

    def open(self, *, published: bool) -> None:
        """Raises CannotWrite, also for slices that are there already. `published`: a run was killed while it renamed
        them."""
        published = published and all(path.exists() or self._whole_at(at) for at, path in enumerate(self._paths))
        if self._several and not published:
            self._refuse_others()
        for path, out in zip(self._paths, self._out, strict=True):
            mine = out if self._several and published and out.exists() and not path.exists() else path
            if self._several and mine is path:
                self._refuse(out)
            with files.writing(path):
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                descriptor = os.open(mine, flags, 0o644)
                self._descriptors.append(descriptor)
                os.fchmod(descriptor, 0o644)

    def _whole_at(self, at: int) -> bool:
        out = self._out[at]
        return out.is_file() and not out.is_symlink() and out.stat().st_size == self.sizes[at]

    def _refuse_others(self) -> None:
        for number in range(1, MOST + 1):
            self._refuse(self._whole.with_name(slice_name(self._whole.name, number)))
        self._refuse(self._whole.with_name(f"{self._whole.name}{SUFFIX}"))

    def _refuse(self, path: Path) -> None:
        if os.path.lexists(path):
            raise CannotWrite(path=str(path), why="it is there already, and a slice is never replaced")

    @property
    def complete(self) -> bool:
        """Whether every file has its full length."""
        found = [os.fstat(descriptor).st_size for descriptor in self._descriptors]
        return found == list(self.sizes)

    def empty(self) -> None:
        for descriptor in self._descriptors:
            os.ftruncate(descriptor, 0)

    def reserve(self) -> None:
        """Take the room for all. Raises OSError; ENOSPC before anything is taken, as far as can be told."""
        if self._several and self._size - self.taken() > files.free_space(self._whole.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for descriptor, size in zip(self._descriptors, self.sizes, strict=True):
            files.reserve(descriptor, size)

    def taken(self) -> int:
        return sum(os.fstat(descriptor).st_blocks * 512 for descriptor in self._descriptors)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        for index, at, count in pieces(offset, len(view), self._each):
            files.write_at(self._descriptors[index], view[:count], at)
            view = view[count:]

    def read(self, count: int, offset: int) -> bytes:
        """So many bytes; fewer only at the end."""
        found = bytearray(max(0, min(count, self._size - offset)))
        view = memoryview(found)
        while view and (got := self.read_into(view, offset)):
            view, offset = view[got:], offset + got
        return bytes(memoryview(found)[: len(found) - len(view)])

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """How many bytes of the buffer were filled: no more than one file has there."""
        count = min(len(buffer), self._size - offset)
        if count <= 0:
            return 0
        index, at, count = next(pieces(offset, count, self._each))
        return os.preadv(self._descriptors[index], [buffer[:count]], at)

    def sync_data(self) -> None:
        for descriptor in self._descriptors:
            files.sync_data(descriptor)

    def sync(self) -> None:
        for descriptor in self._descriptors:
            files.sync_file(descriptor)

    def publish(self) -> None:
        """Give every file its name."""
        for path, out in zip(self._paths, self._out, strict=True):
            if not self._several:
                path.rename(out)
            elif path.exists():
                self._refuse(out)
                path.rename(out)

    def discard(self) -> None:
        for path in self._paths:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []
