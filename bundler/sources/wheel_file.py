"""Wheel files: their METADATA (the binary distribution format), in a file at hand or on a server."""

import contextlib
import email.parser
import hashlib
import io
import lzma
import re
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from packaging.utils import canonicalize_name

from bundler.errors import Malformed, WrongBytes
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock_parser import check_requires
from bundler.support.files import writing
from bundler.transport import Request, Transport

_METADATA = re.compile(r"([^/]+)-[^/-]+\.dist-info/METADATA")
_ENDS = (64 << 10, 4 << 20, 64 << 20)  # bytes: mostly directory and METADATA are within the first of these
_LARGEST = 64 << 30  # bytes of a wheel
_REQUIRES = {name.lower(): name for name in ("Requires-Python", "Requires-Dist", "Provides-Extra")}

_BROKEN = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def wheel_metadata(file: IO[bytes], *, project: str) -> bytes:
    """The METADATA of a wheel of `project` (a normalised name). Raises Malformed, also for two of them."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = [info for info in archive.infolist() if _METADATA.fullmatch(info.filename)]
            if len(found) != 1:
                raise Malformed(found=f"{len(found)} METADATA files", expected="a wheel with one")
            with archive.open(found[0]) as member:
                data = member.read(LIMITS.metadata + 1)
    except _BROKEN as error:
        raise Malformed(found=f"{type(error).__name__}: {error}"[:200], expected="a wheel (a zip file)") from None
    if len(data) > LIMITS.metadata:
        raise Malformed(found="a larger METADATA", expected=f"at most {LIMITS.metadata} bytes")
    match = _METADATA.fullmatch(found[0].filename)
    if match is None or canonicalize_name(match[1]) != project:
        raise Malformed(found=repr(found[0].filename[:160]), expected=f"the METADATA of {project}")
    return data


def requires_of(metadata: bytes) -> tuple[str, ...]:
    """The headers of METADATA that a resolver reads, each as one line, in their order. Raises Malformed."""
    headers = email.parser.HeaderParser().parsestr(metadata.decode("utf-8", "replace"), headersonly=True)
    named = ((_REQUIRES.get(name.lower()), " ".join(str(value).split())) for name, value in headers.items())
    return tuple(check_requires(f"{name}: {value}") for name, value in named if name and value)


def remote_metadata(transport: Transport, request: Request, *, size: int, project: str) -> bytes:
    """The METADATA of a wheel of `size` bytes on a server, read from its end, where the directory is.

    Raises Malformed, also where METADATA is not within the last 64 MiB, and what the transport raises.
    """
    for span in _ENDS:
        end = _End(whole=size, start=max(0, size - span))
        transport.receive(request, size=size, sink=end)
        with contextlib.suppress(_BeforeTheEnd):
            return wheel_metadata(io.BufferedReader(end), project=project)
    raise Malformed(found=f"{request.name} with its METADATA far from its end", expected="a wheel as others write it")


def fetched_metadata(transport: Transport, request: Request, *, digest: Digest, project: str) -> tuple[bytes, int]:
    """METADATA and size of a wheel whose size nobody tells: all of it is fetched, and checked.

    Raises WrongBytes, Malformed, DiskFull, and what the transport raises.
    """
    with tempfile.TemporaryFile(prefix="bundle-wheel-") as file:
        sink = _Spool(file)
        size = transport.receive_all(request, limit=_LARGEST, sink=sink)
        if sink.hash.hexdigest() != digest.hex:
            raise WrongBytes(what=request.name, expected=str(digest), found=f"sha256:{sink.hash.hexdigest()}")
        return wheel_metadata(file, project=project), size


class _BeforeTheEnd(Exception):
    """More of the file is needed than we have of its end."""


class _End(io.RawIOBase):
    """The end of a file of `whole` bytes from `start` on: it takes it as a sink and gives it as a file."""

    def __init__(self, *, whole: int, start: int) -> None:
        super().__init__()
        self._whole, self._start, self._at = whole, start, 0
        self._data = bytearray()

    @property
    def position(self) -> int:
        return self._start + len(self._data)

    def write(self, data: memoryview) -> None:  # type: ignore[override]
        self._data += data

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._whole}[whence]
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if self._at < self._start:
            raise _BeforeTheEnd
        data = self._data[self._at - self._start :][: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Spool:
    """Writes to a scratch file and hashes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.position, self.hash = file, 0, hashlib.sha256()

    def write(self, data: memoryview) -> None:
        self.hash.update(data)
        with writing(Path(tempfile.gettempdir())):
            self._file.write(data)
        self.position += len(data)
