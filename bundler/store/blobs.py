"""The site's store: read-only blobs under their SHA-256, each on the disk once.

A blob appears under its name only after its digest was proved and its bytes are on the disk. Blobs in flight lie in
`incoming/`; what a killed installation left there is thrown away by the next one.
"""

import hashlib
import os
import shutil
from pathlib import Path

from bundler.errors import StaleLink, StoreDamaged, WrongBytes
from bundler.model.digest import Digest
from bundler.support import files


class BlobStore:
    """The blobs of the site at `root`, in `ROOT/store/blobs/sha256/<first two digits>/<hex>`."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "store"
        self._blobs = self.folder / "blobs" / "sha256"
        self._incoming = self.folder / "incoming"

    def prepare(self) -> None:
        """Make the folders and clear what an interrupted installation left. The caller holds the root's lock."""
        with files.writing(self.folder):
            shutil.rmtree(self._incoming, ignore_errors=True)
            self._incoming.mkdir(parents=True, exist_ok=True)
            for number in range(256):
                (self._blobs / f"{number:02x}").mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        return self._blobs / digest.hex[:2] / digest.hex

    def holds(self, digest: Digest, size: int) -> bool:
        """Whether the blob is here in full length; `scrub` is what hashes again."""
        try:
            return self.path(digest).stat().st_size == size
        except FileNotFoundError:
            return False

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

    def incoming(self, digest: Digest, size: int) -> "Incoming":
        return Incoming(self, digest, size, self._incoming / digest.hex)

    def settle(self) -> None:
        """Make all names published so far survive a power cut."""
        files.sync_filesystem(self.folder)


class Incoming:
    """One blob on its way into the store: written and hashed piece by piece, then published."""

    def __init__(self, store: BlobStore, digest: Digest, size: int, beside: Path) -> None:
        self._store, self._digest, self._size, self._beside = store, digest, size, beside
        self._hash = hashlib.sha256()
        self._descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, data: memoryview) -> None:
        self._hash.update(data)
        files.write_all(self._descriptor, data)

    def publish(self) -> None:
        """Prove, sync, rename. Raises WrongBytes when these are not the bytes of the digest."""
        found = Digest(self._hash.hexdigest())
        if found != self._digest:
            raise WrongBytes(what=str(self._digest), expected=str(self._digest), found=str(found))
        os.fchmod(self._descriptor, 0o444)
        files.sync_data(self._descriptor)
        self._beside.rename(self._store.path(self._digest))

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        self._beside.unlink(missing_ok=True)
