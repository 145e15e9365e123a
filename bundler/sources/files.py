"""Plain files: from a URL, or `file:NAME` below one declared folder."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from bundler.catalog.manifests import Manifests
from bundler.errors import NotReadable, TooLarge, WrongBytes
from bundler.model.digest import Digest
from bundler.support import parallel
from bundler.support.buffers import page_buffer
from bundler.transport import Request, Sink, Transport, Upstreams

LARGEST = 1 << 40  # bytes of one file
_TOLD = 1 << 30  # bytes after which a reader hears of progress
_BUFFER = 1 << 20


def file_source(url: str, *, manifests: Manifests, upstreams: Upstreams) -> Request | Path:
    """What a locked file's URL means: a request, to the upstream of its host where there is one, or for `file:NAME` a
    path below the manifests' `files`.

    Raises Malformed for a NAME that leads out of the folder, by `..` or through a link; NotReadable.
    """
    if url.startswith("file:"):
        return manifests.file(url)
    parts = urlsplit(url)
    upstream = upstreams.base(parts.netloc)
    query = f"?{parts.query}" if parts.query else ""
    return Request(url=f"{upstream}{parts.path}{query}" if upstream else url, what=url)


def receive_local(path: Path, *, size: int, sink: Sink, offset: int | None = None) -> None:
    """What Transport.receive does, for a local file, or with `offset` for a part of one.

    Raises NotReadable, or WrongBytes for another size.
    """
    buffer = page_buffer(_BUFFER)
    descriptor = _open(path)
    try:
        found = os.fstat(descriptor).st_size if offset is None else size
        while found == size and sink.position < size:
            count = _read_at(path, descriptor, buffer[: size - sink.position], (offset or 0) + sink.position)
            if not count:
                found = sink.position
                break
            sink.write(buffer[:count])
    finally:
        os.close(descriptor)
    if found != size:
        raise WrongBytes(what=str(path), expected=f"{size} bytes", found=f"{found} bytes")


def size_of(source: Request | Path, *, transport: Transport) -> int | None:
    """A file's size without reading it; None where its server does not say. Raises NotReadable, TooLarge and what
    Transport.size_of raises."""
    if isinstance(source, Path):
        descriptor = _open(source)
        size: int | None = os.fstat(descriptor).st_size
        os.close(descriptor)
    else:
        size = transport.size_of(source)
    if size is not None and size > LARGEST:
        raise TooLarge(what=source.name, limit=LARGEST)
    return size


def read_whole(source: Request | Path, *, transport: Transport, tell: Callable[[int], None]) -> tuple[Digest, int]:
    """The digest and the size of a file, which is read and not kept. `tell` hears now and then how far it has come.

    Raises what Transport.receive_all and `receive_local` raise.
    """
    sink = _Hash(tell)
    if isinstance(source, Path):
        size = size_of(source, transport=transport) or 0
        receive_local(source, size=size, sink=sink)
    else:
        size = transport.receive_all(source, limit=LARGEST, sink=sink)
    return sink.digest, size


class _Hash:
    """A sink that keeps nothing."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self.position = 0
        self._hash, self._tell = hashlib.sha256(), tell

    def write(self, data: memoryview) -> None:
        parallel.check_stopping()
        before = self.position // _TOLD
        self._hash.update(data)
        self.position += len(data)
        if self.position // _TOLD > before:
            self._tell(self.position)

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
