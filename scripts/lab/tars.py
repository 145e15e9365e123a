"""Compressed tars that are a function of names, contents and executable bits: nothing of the clock, users or order."""

import gzip
import hashlib
import io
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from scripts.lab.common import CHUNK

# A path that is none of this machine (Path) is what a symbolic link says.
Members = Mapping[PurePosixPath, Path | PurePosixPath | bytes]


def write_tar(target: Path, members: Members) -> str:
    """Write a .tar.gz of what is on disk, and of bytes for short programs; the digest of the plain tar."""
    folders = {parent for path in members for parent in path.parents} - {PurePosixPath()}
    with target.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
        plain = Hashing(cast(BinaryIO, packed))
        with tarfile.open(fileobj=cast(Any, plain), mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as tar:
            for path in sorted(folders | members.keys()):
                add(tar, str(path), members.get(path))
    return plain.digest


class Hashing:
    """A file to write to, that knows the digest of what was written."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner, self._hasher = inner, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hasher.update(data)
        return self._inner.write(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"


def add(tar: tarfile.TarFile, name: str, content: Path | PurePosixPath | bytes | None) -> None:
    """Add a folder (None), a program's bytes, a link, or what is on disk."""
    entry = tarfile.TarInfo(name)
    entry.mode = 0o755
    if content is None:
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    elif isinstance(content, bytes):
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    elif not isinstance(content, Path) or content.is_symlink():
        leads = content.readlink() if isinstance(content, Path) else content
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(leads), 0o777
        tar.addfile(entry)
    else:
        found = content.stat()
        entry.size, entry.mode = found.st_size, 0o755 if found.st_mode & 0o111 else 0o644
        entry.mode |= found.st_mode & stat.S_ISUID
        with content.open("rb") as stream:
            tar.addfile(entry, stream)
