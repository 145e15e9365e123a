"""A bundle that is being written: `OUT.partial`, and `OUT.partial.journal` beside it.

The journal is a line that says which plan the partial file belongs to, then one 8-byte slot for each blob: how many of
its bytes are written, and in the top bit whether it is whole and on the disk. A large blob has a slot more for each of
its pieces, which say how many of the piece's bytes are written; its own has only the top bit. Slots live in shared
memory of the file, so a killed process loses nothing. Only a whole blob is believed; what is there of a half one is
hashed again, so a mark that ran ahead of its data in a power cut shows as a wrong digest, and that blob starts anew. A
partial file that is shorter than the bundle is not the one that the journal speaks of: it was removed, or published,
and begun again.

Volumes are written as the slices that they will be (bundler.fetch.parts): nothing is cut afterwards.
"""

import errno
import fcntl
import json
import mmap
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from bundler.errors import Busy, CannotWrite, DiskFull
from bundler.fetch.parts import Parts
from bundler.model.digest import Digest
from bundler.support import files

_HEAD = 4096
_WHOLE = 1 << 63
COMMIT_SECONDS = 0.5  # so that the disk is busy from the start, and little is left for the end


def refuse_folder(out: Path) -> None:
    """Raises CannotWrite when it is one."""
    with files.writing(out):
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


class Partial:
    """The file under construction; `size` is that of the finished bundle, `blobs` the number of slots; `volume` is the
    size of a slice, where it becomes several files."""

    def __init__(self, out: Path, *, plan: Digest, size: int, blobs: int, volume: int | None = None) -> None:
        self.out, self.size = out, size
        refuse_folder(out)
        self.parts = Parts(out, size, volume)
        self.path = self.parts.path
        self.journal = out.with_name(f"{out.name}.partial.journal")
        self._head = {"plan": str(plan), "blobs": blobs, "volume": volume}
        self._descriptor = self._lock()
        try:
            self.resumed = self._open(_HEAD + 8 * max(1, blobs))
            self._reserve()
        except BaseException:
            self._give_up()
            raise
        self._finished: list[int] = []
        self._changing = threading.Lock()
        self._closing = threading.Event()
        self._failure: OSError | None = None
        self._committer = threading.Thread(target=self._commit_often, name="committer", daemon=True)
        self._committer.start()

    def _lock(self) -> int:
        """Open the journal and hold it alone. Raises Busy."""
        while True:
            with files.writing(self.journal):
                descriptor = os.open(self.journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # The one who held it may have ended, and removed it, between our open and our lock.
                    if files.is_named(descriptor, self.journal):
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

    def _open(self, size: int) -> bool:
        """Open the files and map the slots; True when they are those of an earlier run of the same plan."""
        descriptor = self._descriptor
        with files.writing(self.journal):
            known = self._known() if os.fstat(descriptor).st_size == size else {}
        self.parts.open(published=bool(known.get("published")))
        same = bool(known) and self.parts.complete
        with files.writing(self.journal):
            if not same:
                os.ftruncate(descriptor, 0)
                self.parts.empty()
                # Written, not only made longer: a mapped page that finds no room on the disk kills the process.
                files.write_at(descriptor, bytes(size), 0)
            self._write_head(published=same and bool(known.get("published")))
            self._map = mmap.mmap(descriptor, size)
        self._slots = memoryview(self._map)[_HEAD:].cast("Q")
        return same

    def _known(self) -> dict[str, object]:
        """The journal's head, if it is one of this plan."""
        try:
            known = json.loads(os.pread(self._descriptor, _HEAD, 0).rstrip(b"\0"))
            return known if self._head.items() <= known.items() else {}
        except (ValueError, AttributeError, TypeError):
            return {}

    def _write_head(self, *, published: bool) -> None:
        head = json.dumps({**self._head, "published": published, "pid": os.getpid()}).encode()
        files.write_at(self._descriptor, head.ljust(_HEAD, b"\0"), 0)
        files.sync_data(self._descriptor)

    def _give_up(self) -> None:
        """Nothing could be begun; an empty journal helps nobody."""
        self.parts.close()
        if not os.fstat(self._descriptor).st_size:
            self.journal.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _reserve(self) -> None:
        """Take the room for the whole file now. Raises DiskFull with what is missing."""
        try:
            self.parts.reserve()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise CannotWrite(path=str(self.path), why=error.strerror or str(error)) from None
            missing = self.size - self.parts.taken() - files.free_space(self.path.parent)
            raise DiskFull(path=str(self.path.parent), missing=max(missing, 1)) from None

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
        with files.writing(self.path, missing=max(0, self.size - self.parts.taken())):
            self.parts.write(data, offset)

    def read(self, count: int, offset: int) -> bytes:
        """So many bytes; fewer only at the end."""
        return self.parts.read(count, offset)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """How many bytes of the buffer were filled. Raises CannotWrite: the disk does not give back what it took."""
        with files.writing(self.path):
            return self.parts.read_into(buffer, offset)

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
            self.parts.sync_data()
            for slot in finished:
                self._slots[slot] |= _WHOLE
            self._map.flush()

    def publish(self, beside: Mapping[str, bytes] | None = None) -> None:
        """Everything is written: sync, rename to OUT, write small files `beside` it by name, forget the journal.

        A run that is killed between the renames of several files goes on with them: the journal says so."""
        self._stop()
        with files.writing(self.out):
            if self._failure is not None:
                raise self._failure
            self._commit()
            self.parts.sync()
            self._write_head(published=True)
            self.parts.publish()
            files.sync_directory(self.out.parent)
            for name, data in (beside or {}).items():
                files.write_file(self.out.with_name(name), data)
            self.journal.unlink(missing_ok=True)

    def discard(self) -> None:
        """What was begun is of no use any more: leave nothing of it."""
        self._stop()
        with files.writing(self.path):
            self.parts.discard()
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
        self.parts.close()
        os.close(self._descriptor)
