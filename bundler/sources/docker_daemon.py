"""Images of the Docker daemon (Docker Engine API: GET /images/NAME/json, GET /images/NAME/get), through its package.

The daemon gives an image as one stream and cannot be asked for a part of it; so it is read as it comes and never kept.
"""

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3

from bundler.errors import Malformed, NotFound, ToolMissing, Unreachable
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.sources.docker_save import Measured
from bundler.sources.tar_index import Link, clean, entries, link_of, reading_tar
from bundler.support import parallel

SCHEME = "docker-daemon:"
_TIMEOUT = 600  # seconds between two bytes: some versions write the whole image to their disk first
_CHUNK = 1 << 20
_SMALL = 64 << 20  # bytes of documents that are kept of one image
_LINKS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of the stream; `file` has to be read before the next one is asked for."""

    name: str
    size: int
    file: Any


@contextlib.contextmanager
def saving(source: str) -> Iterator[Iterator[Member | tuple[str, Link]]]:
    """The members of the stream that the daemon saves an image as: files, and links with their names.

    Raises ToolMissing, Unreachable when no daemon answers, NotFound for an image that it does not have, Malformed.
    """
    name = source.removeprefix(SCHEME)
    with _talking(source) as client, reading_tar(source):
        identity = client.inspect_image(name)["Id"]
        # Its own get_image gives only an iterator, which leaves the connection open when the rest is not wanted.
        place = f"{client.base_url}/v{client.api_version}/images/{identity}/get"
        with contextlib.closing(client.get(place, stream=True, timeout=_TIMEOUT)) as answer:
            answer.raise_for_status()
            stream = _Stream(answer.iter_content(_CHUNK))
            with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK) as archive:
                yield _members(archive, source)


def image_id(source: str) -> str:
    """The daemon's own id of an image. Raises as `saving`."""
    with _talking(source) as client:
        return str(client.inspect_image(source.removeprefix(SCHEME))["Id"])


@dataclass(kw_only=True)
class StreamedSave:
    """All of a stream measured, with its small documents kept. It holds no layer."""

    members: dict[str, Measured] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str) -> "StreamedSave":
        found, kept = cls(), 0
        with saving(source) as stream:
            for member in stream:
                if not isinstance(member, Member):
                    found.links[member[0]] = member[1]
                    continue
                measured, data = _measure(member, keep=member.size <= min(LIMITS.manifest, _SMALL - kept))
                found.members[member.name] = measured
                if data[:1] in (b"{", b"["):
                    found.documents[member.name] = data
                    kept += len(data)
        return found

    def read(self, name: str) -> bytes:
        data = self.documents.get(self._followed(name))
        if data is None:
            raise Malformed(found=f"no document {name[:160]!r}", expected="one in what the daemon saves")
        return data

    def measure(self, name: str) -> Measured:
        found = self.members.get(self._followed(name))
        if found is None:
            raise Malformed(found=f"no member {name[:160]!r}", expected="one in what the daemon saves")
        return found

    def _followed(self, name: str) -> str:
        here = clean(name)
        for _ in range(_LINKS):
            if here not in self.links:
                break
            here = self.links[here].target
        return here


def _measure(member: Member, *, keep: bool) -> tuple[Measured, bytes]:
    hashed, head, data = hashlib.sha256(), b"", bytearray()
    while piece := member.file.read(_CHUNK):
        parallel.check_stopping()
        head = head or bytes(piece[:8])
        hashed.update(piece)
        if keep:
            data += piece
    return Measured(digest=Digest(hashed.hexdigest()), size=member.size, head=head), bytes(data)


def _members(archive: tarfile.TarFile, source: str) -> Iterator[Member | tuple[str, Link]]:
    for entry in entries(archive, what=source):
        if (link := link_of(entry)) is not None:
            yield clean(entry.name), link
        elif entry.isreg():
            yield Member(name=clean(entry.name), size=entry.size, file=archive.extractfile(entry))


@contextlib.contextmanager
def _talking(source: str) -> Iterator[Any]:
    try:
        import docker
        from docker.errors import DockerException
        from docker.errors import NotFound as NoSuchImage
    except ImportError:
        raise ToolMissing(tool="the Python package docker", needed_for=f"images from {SCHEME}") from None
    try:
        client = docker.from_env(timeout=_TIMEOUT).api
        try:
            yield client
        finally:
            client.close()
    except NoSuchImage:
        raise NotFound(url="the Docker daemon", what=source) from None
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = next((each.strerror for each in _chain(error) if isinstance(each, OSError) and each.strerror), "")
        why = (
            f"the Docker daemon does not answer ({reason or type(error).__name__}). Start it, or name it in "
            "DOCKER_HOST, or write the image with `docker save -o FILE` and say docker-archive:FILE"
        )
        raise Unreachable(url=source, why=why) from None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from (each for each in error.args if isinstance(each, BaseException))
        error = error.__cause__ or error.__context__


class _Stream(io.RawIOBase):
    """A body that comes in pieces, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)
