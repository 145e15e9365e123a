"""A bundle that is being written: `OUT.partial`, and `OUT.partial.journal` beside it.

The journal is a line that says which plan the partial file belongs to, then one 8-byte slot for each blob: how many of
its bytes are written, and in the top bit whether it is whole and on the disk. A large blob has a slot more for each of
its pieces, which say how many of the piece's bytes are written; its own has only the top bit. Slots live in shared
memory of the file, so a killed process loses nothing. Only a whole blob is believed; what is there of a half one is
hashed again, so a mark that ran ahead of its data in a power cut shows as a wrong digest, and that blob starts anew. A
partial file that is shorter than the bundle is not the one that the journal speaks of: it was removed, or published,
and begun again.
"""

import errno
import fcntl
import json
import mmap
import os
import threading
from pathlib import Path

from bundler.errors import Busy, CannotWrite, DiskFull
from bundler.model.digest import Digest
from bundler.support import files

_HEAD = 4096
_WHOLE = 1 << 63
COMMIT_SECONDS = 0.5  # so that the disk is busy from the start, and little is left for the end


class Partial:
    """The file under construction; `size` is that of the finished bundle, `blobs` the number of slots."""

    def __init__(self, out: Path, *, plan: Digest, size: int, blobs: int) -> None:
        self.out, self.size = out, size
        with files.writing(out):
            if out.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self.path = out.with_name(f"{out.name}.partial")
        self.journal = out.with_name(f"{out.name}.partial.journal")
        self.descriptor = self._lock()
        try:
            self.resumed = self._open_journal(plan, blobs)
            self._reserve()
        except BaseException:
            os.close(self.descriptor)
            raise
        self._finished: list[int] = []
        self._changing = threading.Lock()
        self._closing = threading.Event()
        self._failure: OSError | None = None
        self._committer = threading.Thread(target=self._commit_often, name="committer", daemon=True)
        self._committer.start()

    def _lock(self) -> int:
        """Open the partial file and hold it alone. Raises Busy."""
        while True:
            with files.writing(self.path):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # The one who held it may have renamed it to OUT between our open and our lock.
                    if files.is_named(descriptor, self.path):
                        os.fchmod(descriptor, 0o644)
                        return descriptor
                except BlockingIOError:
                    os.close(descriptor)
                    raise Busy(path=str(self.out), holder=self._holder()) from None
                except OSError:
                    os.close(descriptor)
                    raise
            os.close(descriptor)

    def _holder(self) -> str:
        try:
            head = json.loads(self.journal.read_bytes()[:_HEAD].rstrip(b"\0"))
            return f"process {int(head['pid'])}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def _open_journal(self, plan: Digest, blobs: int) -> bool:
        """Map the slots; True when they are those of an earlier run of the same plan."""
        with files.writing(self.journal):
            descriptor = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                size = _HEAD + 8 * max(1, blobs)
                sizes = os.fstat(descriptor).st_size, os.fstat(self.descriptor).st_size
                same = sizes == (size, self.size) and self._same_plan(os.pread(descriptor, _HEAD, 0), plan, blobs)
                if not same:
                    os.ftruncate(descriptor, 0)
                    os.ftruncate(self.descriptor, 0)
                    # Written, not only made longer: a mapped page that finds no room on the disk kills the process.
                    files.write_at(descriptor, bytes(size), 0)
                head = json.dumps({"plan": str(plan), "blobs": blobs, "pid": os.getpid()}).encode()
                files.write_at(descriptor, head.ljust(_HEAD, b"\0"), 0)
                files.sync_data(descriptor)
                self._map = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        self._slots = memoryview(self._map)[_HEAD:].cast("Q")
        return same

    def _same_plan(self, head: bytes, plan: Digest, blobs: int) -> bool:
        try:
            known = json.loads(head.rstrip(b"\0"))
            return bool(known["plan"] == str(plan) and known["blobs"] == blobs)
        except (ValueError, KeyError, TypeError):
            return False

    def _reserve(self) -> None:
        """Take the room for the whole file now. Raises DiskFull with what is missing."""
        try:
            files.reserve(self.descriptor, self.size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise CannotWrite(path=str(self.path), why=error.strerror or str(error)) from None
            missing = self.size - self._taken() - files.free_space(self.path.parent)
            raise DiskFull(path=str(self.path.parent), missing=max(missing, 1)) from None

    def _taken(self) -> int:
        return os.fstat(self.descriptor).st_blocks * 512

    def whole(self, slot: int) -> bool:
        return bool(self._slots[slot] & _WHOLE)

    def position(self, slot: int) -> int:
        """How many bytes of the blob were written, as far as is known."""
        return int(self._slots[slot] & ~_WHOLE)

    def mark(self, slot: int, position: int) -> None:
        self._slots[slot] = position

    def finish(self, slot: int) -> None:
        """The blob is proved; soon it will be on the disk and marked whole."""
        with self._changing:
            self._finished.append(slot)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Raises DiskFull or CannotWrite."""
        with files.writing(self.path, missing=max(0, self.size - self._taken())):
            files.write_at(self.descriptor, data, offset)

    def read(self, count: int, offset: int) -> bytes:
        return os.pread(self.descriptor, count, offset)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """How many bytes of the buffer were filled. Raises CannotWrite: the disk does not give back what it took."""
        with files.writing(self.path):
            return os.preadv(self.descriptor, [buffer], offset)

    def _commit_often(self) -> None:
        while not self._closing.wait(COMMIT_SECONDS):
            try:
                self._commit()
            except OSError as error:
                self._failure = error  # a later sync would not tell of it again
                return

    def _commit(self) -> None:
        with self._changing:
            finished, self._finished = self._finished, []
        if finished:
            files.sync_data(self.descriptor)
            for slot in finished:
                self._slots[slot] |= _WHOLE
            self._map.flush()

    def publish(self) -> None:
        """Everything is written: sync, rename to OUT, forget the journal."""
        self._stop()
        with files.writing(self.out):
            if self._failure is not None:
                raise self._failure
            files.sync_file(self.descriptor)
            self.path.rename(self.out)
            files.sync_directory(self.out.parent)
            self.journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """What was begun is of no use any more: leave nothing of it."""
        self._stop()
        with files.writing(self.path):
            self.path.unlink(missing_ok=True)
            self.journal.unlink(missing_ok=True)

    def _stop(self) -> None:
        self._closing.set()
        self._committer.join()

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._closing.is_set():
            self._stop()
            with files.writing(self.path):
                if self._failure is None:
                    self._commit()
        self._slots.release()
        self._map.close()
        os.close(self.descriptor)
