"""The site's store: read-only blobs under their SHA-256, each on the disk once.

A blob appears under its name only after its digest was proved and its bytes are on the disk. Blobs in flight lie in
`incoming/`. Of a large one that an installation left there when it was killed, the next one believes what is surely on
the disk, hashes it again and goes on behind it; everything else there is thrown away.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from bundler.errors import StaleLink, StoreDamaged, WrongBytes
from bundler.model.digest import Digest
from bundler.support import files, parallel
from bundler.support.buffers import page_buffer

# What is written up to here is brought to the disk before the next byte is written: so a file's length alone tells,
# also after a power cut, how much of it is surely there.
MARK = 64 << 20
_PIECE = 1 << 20
_NAME = re.compile("[0-9a-f]{64}")
_PATCH = ".patch"  # behind the name of one that is whole


class BlobStore:
    """The blobs of the site at `root`, in `ROOT/store/blobs/sha256/<first two digits>/<hex>`."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "store"
        self._blobs = self.folder / "blobs" / "sha256"
        self._incoming = self.folder / "incoming"

    def prepare(self, wanted: Iterable[Digest] = ()) -> None:
        """Make the folders and clear what an interrupted installation left, but for the beginnings of `wanted` blobs
        and patches, and the patches among them that are whole.

        The caller holds the root's lock.
        """
        keep = {digest.hex for digest in wanted}
        with files.writing(self.folder):
            self._incoming.mkdir(parents=True, exist_ok=True)
            for path in self._incoming.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif self.begins(path) not in keep or path.is_symlink():
                    path.unlink()
                else:
                    path.chmod(0o600)  # read-only already, if the kill came just before its rename
            for number in range(256):
                (self._blobs / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        return self._blobs / digest.hex[:2] / digest.hex

    def digests(self) -> Iterator[Digest]:
        """All blobs that are here under their names; what has another name is not ours."""
        for folder in _entries(self._blobs):
            for path in _entries(folder):
                if _NAME.fullmatch(path.name) and path.name[:2] == folder.name:
                    yield Digest(path.name)

    def beginnings(self) -> Iterator[Path]:
        """What interrupted installations left of blobs on their way."""
        return (path for path in _entries(self._incoming))

    @staticmethod
    def begins(beginning: Path) -> str:
        """The digest of what one of them is of, in hex, if it is of anything."""
        return beginning.name.removesuffix(_PATCH)

    def holds(self, digest: Digest, size: int) -> bool:
        """Whether the blob is here in full length; `scrub` is what hashes again."""
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def begun(self, digest: Digest, size: int) -> int:
        """How many bytes of a blob that is not here an interrupted installation left; the next one goes on there."""
        try:
            found = (self._incoming / digest.hex).lstat()
        except FileNotFoundError:
            return 0
        return _durable(found.st_size) if stat.S_ISREG(found.st_mode) and found.st_size <= size else 0

    def read(self, digest: Digest, *, limit: int) -> bytes:
        """A small blob, proved once more. Raises StaleLink or StoreDamaged."""
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            raise StaleLink(view=str(self.folder), digest=str(digest)) from None
        if Digest.of(data) != digest:
            raise StoreDamaged(path=str(self.path(digest)), why="its bytes have another digest")
        return data

    def incoming(self, digest: Digest, size: int, *, anew: bool = False) -> "Incoming":
        """`anew`: nothing that is here of it is used."""
        begun = 0 if anew else self.begun(digest, size)
        return Incoming(self, digest, self._incoming / digest.hex, begun=begun)

    # --- patches, which lie in `incoming/` until they are used

    def patch_path(self, digest: Digest) -> Path:
        return self._incoming / f"{digest.hex}{_PATCH}"

    def has_patch(self, digest: Digest, size: int) -> bool:
        """Whether a patch is here whole; it was proved when it got that name."""
        try:
            return self.patch_path(digest).lstat().st_size == size
        except FileNotFoundError:
            return False

    def incoming_patch(self, digest: Digest, size: int) -> "Incoming":
        begun = self.begun(digest, size)
        return Incoming(self, digest, self._incoming / digest.hex, begun=begun, place=self.patch_path(digest))

    def scratch(self) -> AbstractContextManager[BinaryIO]:
        """A file for what is needed meanwhile; nothing of it is left, however the process ends."""
        return files.scratch(self._incoming)

    def bring(self, digest: Digest, size: int, stream: Callable[[Callable[[memoryview], object]], None]) -> None:
        """One blob from a stream of its bytes, from the beginning; all else that is on its way here stays."""
        with files.writing(self.folder, missing=size):
            self._incoming.mkdir(parents=True, exist_ok=True)
            self.path(digest).parent.mkdir(parents=True, exist_ok=True)
            with Incoming(self, digest, self._incoming / digest.hex, begun=0) as incoming:
                stream(incoming.write)
                incoming.publish()
            files.sync_directory(self.path(digest).parent)

    def settle(self) -> None:
        """Make all names published so far survive a power cut."""
        files.sync_filesystem(self.folder)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


class Incoming:
    """One blob on its way into the store: written and hashed piece by piece from `position` on, then published."""

    def __init__(
        self, store: BlobStore, digest: Digest, beside: Path, *, begun: int, place: Path | None = None
    ) -> None:
        """`place` is where it gets its name, when that is not the store's own."""
        self._digest, self._beside = digest, beside
        self._place = place or store.path(digest)
        self._begun = self.position = begun
        self._hash = hashlib.sha256()
        self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, data: memoryview) -> None:
        self._hash.update(data)
        while data:
            room = MARK - self.position % MARK
            if room == MARK and self.position > self._begun:
                files.sync_data(self._descriptor)
            files.write_at(self._descriptor, data[:room], self.position)
            self.position += len(data[:room])
            data = data[room:]

    def publish(self) -> None:
        """Prove, sync, rename. Raises WrongBytes when these are not the bytes of the digest; StoreDamaged when it may
        be that what an earlier installation left of them is wrong. Nothing of them is kept then."""
        found = Digest(self._hash.hexdigest())
        if found != self._digest:
            begun, self.position = self._begun, 0
            if begun:
                why = f"with the {begun} bytes that were held of it the digest is another"
                raise StoreDamaged(path=str(self._beside), why=why)
            raise WrongBytes(what=str(self._digest), expected=str(self._digest), found=str(found))
        os.fchmod(self._descriptor, 0o444)
        files.sync_data(self._descriptor)
        self._beside.rename(self._place)

    def __enter__(self) -> "Incoming":
        try:
            os.ftruncate(self._descriptor, self._begun)
            self._hash_again()
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, (OSError, StoreDamaged)):  # else the next one would stop here too
                self._beside.unlink(missing_ok=True)
            raise
        return self

    def _hash_again(self) -> None:
        if not self._begun:
            return
        buffer, offset = page_buffer(_PIECE), 0
        while offset < self._begun:
            parallel.check_stopping()
            count = os.preadv(self._descriptor, [buffer[: self._begun - offset]], offset)
            if count <= 0:
                raise StoreDamaged(path=str(self._beside), why=f"it ends at byte {offset}")
            self._hash.update(buffer[:count])
            offset += count

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if not _durable(self.position):
            self._beside.unlink(missing_ok=True)


def _durable(size: int) -> int:
    """How much of a file in `incoming/` that is `size` bytes long is surely on the disk."""
    return max(size - 1, 0) // MARK * MARK
