"""Making a view: folders, small generated files and hard links of blobs.

Nothing here is synced: a generation is made whole, flushed once, and only then switched to.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from bundler.errors import NameConflict, StaleLink
from bundler.model.digest import Digest
from bundler.store.blobs import BlobStore
from bundler.support.files import write_all, writing


class Tree:
    """Paths are relative to `root` and use `/`. Folders get mode 0755 and files 0644, whatever the umask;
    a hard link has the mode of its blob."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made = {""}

    def folder(self, path: str) -> None:
        if path in self._made:
            return
        self.folder(path.rpartition("/")[0])
        place = self.root / path
        with writing(place):
            try:
                place.mkdir()
                place.chmod(0o755)
            except FileExistsError:
                if not place.is_dir():
                    raise
        self._made.add(path)

    def write(self, path: str, data: bytes) -> None:
        """A new small file. Raises CannotWrite, also when there is one."""
        self.folder(path.rpartition("/")[0])
        place = self.root / path
        with writing(place):
            descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.fchmod(descriptor, 0o644)
                write_all(descriptor, data)
            finally:
                os.close(descriptor)

    def blob(self, path: str, store: BlobStore, digest: Digest) -> int:
        """A hard link of the blob, and its size. Raises StaleLink when the store does not hold it."""
        source = store.path(digest)
        try:
            size = source.lstat().st_size
        except FileNotFoundError:
            raise StaleLink(view=path, digest=str(digest)) from None
        self.link(path, source)
        return size

    def link(self, path: str, source: Path) -> None:
        """Another name for `source`; the same link twice is one. Raises NameConflict or CannotWrite."""
        self.folder(path.rpartition("/")[0])
        place = self.root / path
        with writing(place):
            try:
                os.link(source, place, follow_symlinks=False)
            except FileExistsError:
                if not place.samefile(source):
                    raise NameConflict(name=path, first=str(source), second="another file") from None

    def paths(self, pattern: str) -> list[str]:
        """The files that match a glob, sorted."""
        return sorted(found.relative_to(self.root).as_posix() for found in self.root.glob(pattern))


def lines(parts: Iterable[str]) -> bytes:
    return "".join(f"{part}\n" for part in parts).encode()
