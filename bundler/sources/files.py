"""Plain files: from a URL, or `file:NAME` below one declared folder."""

import hashlib
import os
import stat
from pathlib import Path

from bundler.errors import Malformed, NotReadable, WrongBytes
from bundler.model.digest import Digest
from bundler.support.buffers import page_buffer
from bundler.transport import Request, Sink, Transport

_LARGEST = 1 << 40  # bytes of one file
_BUFFER = 1 << 20


def file_source(url: str, *, files: Path) -> Request | Path:
    """What a locked file's URL means: a request, or for `file:NAME` a path below `files`.

    Raises Malformed for a NAME that leads out of the folder, by `..` or through a link.
    """
    if not url.startswith("file:"):
        return Request(url=url)
    folder = files.resolve()
    path = (folder / url.removeprefix("file:")).resolve()
    if folder not in path.parents:
        raise Malformed(found=repr(url[:160]), expected=f"file:NAME of a file below {files}")
    return path


def receive_local(path: Path, *, size: int, sink: Sink) -> None:
    """What Transport.receive does, for a local file. Raises NotReadable, or WrongBytes for another size."""
    buffer = page_buffer(_BUFFER)
    descriptor = _open(path)
    try:
        found = os.fstat(descriptor).st_size
        while found == size and sink.position < size:
            count = _read_at(path, descriptor, buffer[: size - sink.position], sink.position)
            if not count:
                found = sink.position
                break
            sink.write(buffer[:count])
    finally:
        os.close(descriptor)
    if found != size:
        raise WrongBytes(what=str(path), expected=f"{size} bytes", found=f"{found} bytes")


def measure(source: Request | Path, *, transport: Transport, digest: Digest, name: str) -> int:
    """The size in bytes of a file whose digest is known; reads all of it. `name` is for errors.

    Raises WrongBytes for another digest, and what Transport.receive_all and `receive_local` raise.
    """
    sink = _Hash()
    if isinstance(source, Path):
        descriptor = _open(source)
        size = os.fstat(descriptor).st_size
        os.close(descriptor)
        receive_local(source, size=size, sink=sink)
    else:
        size = transport.receive_all(source, limit=_LARGEST, sink=sink)
    if sink.digest != digest:
        raise WrongBytes(what=name, expected=str(digest), found=str(sink.digest))
    return size


class _Hash:
    """A sink that keeps nothing."""

    def __init__(self) -> None:
        self.position = 0
        self._hash = hashlib.sha256()

    def write(self, data: memoryview) -> None:
        self._hash.update(data)
        self.position += len(data)

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def _open(path: Path) -> int:
    """A regular file to read; nothing that blocks or has no end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotReadable(path=str(path), why="it is no regular file")
    return descriptor


def _read_at(path: Path, descriptor: int, buffer: memoryview, offset: int) -> int:
    try:
        return os.preadv(descriptor, [buffer], offset)
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
