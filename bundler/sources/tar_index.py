"""What a tar holds and where: members are read at their offsets, nothing is unpacked.

The tar is not trusted: names are only looked up, links lead to other members or nowhere, and all of it is bounded.
"""

import io
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from bundler.errors import Malformed, NotReadable

_MEMBERS = 100_000
_LONGEST = 64 << 10  # bytes of one extended header
_LINKS = 8  # one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`size` bytes of a file, from `offset` on; with `whole` that is all of it."""

    path: Path
    offset: int
    size: int
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A member that is another name of a member."""

    target: str


class Members:
    """Members by name, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[str, Part | Link] = {}

    def add(self, name: str, member: Part | Link) -> None:
        """Raises Malformed: two readers must not take one name for two things."""
        if name in self._found:
            raise Malformed(found=f"{name[:160]!r} twice", expected="each member once")
        self._found[name] = member

    def find(self, name: str) -> Part | None:
        """The regular member of a name, links followed; None where there is none. Raises Malformed for a loop."""
        here = clean(name)
        for _ in range(_LINKS):
            found = self._found.get(here)
            if not isinstance(found, Link):
                return found
            here = found.target
        raise Malformed(found=f"{name[:160]!r}, a link of links", expected="a file")


def clean(name: str) -> str:
    """The name without `.` and `..`, which do not lead above the top."""
    return posixpath.normpath(f"/{name}").lstrip("/")


def index_tar(path: Path) -> Members:
    """Raises NotReadable, Malformed for what is no plain tar."""
    members = Members()
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotReadable(path=str(path), why="it is no regular file")
        with path.open("rb") as file, tarfile.open(fileobj=_Headers(file), mode="r:") as archive:
            for entry in entries(archive, what=str(path)):
                if (link := link_of(entry)) is not None:
                    members.add(clean(entry.name), link)
                elif entry.isreg():
                    members.add(clean(entry.name), Part(path=path, offset=entry.offset_data, size=entry.size))
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    except (tarfile.TarError, RecursionError, ValueError):
        expected = "a tar that is not compressed"
        raise Malformed(found=f"{path}, which is none or is damaged", expected=expected) from None
    return members


def entries(archive: tarfile.TarFile, *, what: str) -> Iterator[tarfile.TarInfo]:
    """The members, a bounded number; sparse ones are refused: their bytes are not in one piece. Raises Malformed."""
    for count, entry in enumerate(archive):
        if count >= _MEMBERS or entry.issparse():
            raise Malformed(found=f"{entry.name[:160]!r} in {what}", expected=f"{_MEMBERS} plain members at most")
        cast(Any, archive).members.clear()  # else it keeps them all
        yield entry


def link_of(entry: tarfile.TarInfo) -> Link | None:
    """Where a link leads, below the top of the tar."""
    if entry.issym():
        target = posixpath.join(posixpath.dirname(f"/{entry.name}"), entry.linkname)
        return Link(target=clean(target))
    return Link(target=clean(entry.linkname)) if entry.islnk() else None


class _Headers(io.RawIOBase):
    """The file as tarfile may read it: headers, and no extended header that would fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST:
            raise tarfile.ReadError
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@contextmanager
def reading_tar(what: str) -> Iterator[None]:
    """Tar errors as ours. Raises Malformed."""
    try:
        yield
    except (tarfile.TarError, RecursionError, ValueError):
        raise Malformed(found=f"{what}, which is damaged", expected="a tar") from None
