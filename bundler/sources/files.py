"""Plain files: from a URL, or `file:NAME` below one declared folder."""

from pathlib import Path

from bundler.model.digest import Digest
from bundler.transport import Request, Sink, Transport


def file_source(url: str, *, files: Path) -> Request | Path:
    """What `url` means: a request, or a path below `files`. Raises Malformed for a way out of the folder."""
    raise NotImplementedError


def receive_local(path: Path, *, size: int, sink: Sink) -> None:
    """What Transport.receive does, for a local file."""
    raise NotImplementedError


def measure(source: Request | Path, *, transport: Transport, digest: Digest, name: str) -> int:
    """The size in bytes of a file whose digest is known; reads all of it. Raises WrongBytes."""
    raise NotImplementedError
