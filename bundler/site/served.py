"""What the server reads: one generation, held open for one request, and nothing outside it."""

import errno
import os
import stat
from pathlib import Path

from bundler.site.http import Content

_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG))


class Missing(Exception):
    """There is no such file or folder in the generation."""


class OpenFile:
    """A regular file of the generation, open for reading."""

    def __init__(self, descriptor: int, state: os.stat_result) -> None:
        self.file = os.fdopen(descriptor, "rb", buffering=0)
        self.size = state.st_size
        self.modified = int(state.st_mtime)
        # The inode too: a file replaced within the clock's resolution by one of the same size is another file.
        self.tag = f"{state.st_size:x}-{state.st_mtime_ns:x}-{state.st_ino:x}"

    def content(self, etag: str = "") -> Content:
        return Content(size=self.size, etag=etag or self.tag, modified=self.modified)

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes from the start, the file being closed after that."""
        with self.file:
            data = bytearray()
            while len(data) < limit and (piece := self.file.read(limit - len(data))):
                data += piece
            return bytes(data)

    def close(self) -> None:
        self.file.close()


class Generation:
    """The folder that ROOT/current names at this moment. A switch or a rollback does not move it under a request.

    Paths are relative; no symlink below it is followed, and names that begin with a dot do not exist.
    """

    def __init__(self, root: Path) -> None:
        """Raises Missing when nothing is installed."""
        try:
            self._folder = os.open(root / "current", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            raise Missing from None

    def open(self, path: str) -> OpenFile:
        """Raises Missing, also for what is no regular file."""
        descriptor = self._descend(path, os.O_NONBLOCK)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise Missing
        return OpenFile(descriptor, state)

    def holds(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        try:
            os.close(self._descend(path, os.O_NONBLOCK))
        except Missing:
            return False
        return True

    def names(self, path: str) -> list[str]:
        """What a folder holds, sorted; nothing when there is no such folder."""
        try:
            descriptor = self._descend(path, os.O_DIRECTORY)
        except Missing:
            return []
        try:
            return sorted(name for name in os.listdir(descriptor) if not name.startswith("."))
        finally:
            os.close(descriptor)

    def _descend(self, path: str, flags: int) -> int:
        """Open segment by segment, each in the folder before it: nothing leads out, and no link is followed."""
        parts = path.split("/")
        if any(not part or part.startswith(".") or "\0" in part for part in parts):
            raise Missing
        here = self._folder
        for part in parts[:-1]:
            here = self._step(here, part, os.O_DIRECTORY)
        return self._step(here, parts[-1], flags)

    def _step(self, here: int, part: str, flags: int) -> int:
        try:
            return os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=here)
        except OSError as error:
            if error.errno in _ABSENT:
                raise Missing from None
            raise
        finally:
            if here != self._folder:
                os.close(here)

    def close(self) -> None:
        os.close(self._folder)

    def __enter__(self) -> "Generation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
