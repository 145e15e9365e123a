"""Wheel files: their METADATA (the binary distribution format), in a file at hand or on a server."""

import io
import lzma
import re
import struct
import zipfile
import zlib
from typing import IO

from packaging.utils import canonicalize_name

from bundler.errors import Malformed, WrongBytes
from bundler.model.limits import LIMITS
from bundler.transport import Request, Transport

_METADATA = re.compile(r"([^/]+)-[^/-]+\.dist-info/METADATA")
_TAIL = 64 << 10  # the end of a wheel: its directory and, as most builders write it, METADATA too
_MOST = LIMITS.index_page  # bytes that we read of a remote wheel for its METADATA

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


class RemoteFile(io.RawIOBase):
    """A file on a server, read by ranges (RFC 9110 section 14); from one that knows no ranges, whole.

    Raises what the transport raises, WrongBytes for an answer that is not the range asked for, and Malformed
    for a reader who wants more than 64 MiB of it.
    """

    def __init__(self, transport: Transport, url: str, *, what: str) -> None:
        super().__init__()
        self._transport, self._url, self._what = transport, url, what
        self._position = self._spent = 0
        self._tail, self._start, self.size = self._fetch(f"-{_TAIL}", _MOST)

    def _fetch(self, span: str, limit: int) -> tuple[bytes, int, int]:
        """Bytes, where they start, and the size of the whole file."""
        request = Request(url=self._url, headers={"Range": f"bytes={span}"}, what=self._what)
        answer = self._transport.get(request, limit=limit, accept=(200, 206))
        self._spent += len(answer.body)
        if self._spent > _MOST:
            raise Malformed(found=f"a need for more than {_MOST} bytes", expected="a wheel with a small directory")
        if answer.status == 200:
            return answer.body, 0, len(answer.body)
        given = answer.headers.get("content-range", "")
        match = re.fullmatch(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})", given)
        first, last, size = map(int, match.groups()) if match else (0, 0, 0)
        if match is None or last - first + 1 != len(answer.body) or last >= size:
            raise WrongBytes(what=self._what, expected=f"bytes {span}", found=given[:80] or "no Content-Range")
        return answer.body, first, size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence])
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self.size)
        if end <= self._position:
            return 0
        data = self._span(self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _span(self, start: int, end: int) -> bytes:
        if start >= self._start:
            return self._tail[start - self._start : end - self._start]
        data, first, size = self._fetch(f"{start}-{end - 1}", _MOST)
        if (first, size, len(data)) != (start, self.size, end - start):
            raise WrongBytes(what=self._what, expected=f"bytes {start}-{end - 1}/{self.size}", found=f"{first}, {size}")
        return data
