"""Durable files: the only place that calls fsync, locks files or names temporary ones."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from bundler.errors import Busy, CannotWrite, DiskFull, NotReadable

_HALF = re.compile(r"\..+\.[0-9a-f]{16}\.new")
_FALLOC_FL_KEEP_SIZE = 1
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_WINDOW = 1 << 30  # of a file that is looked at in one go


def read_file(path: Path, *, limit: int) -> bytes:
    """A user's file, whole. Raises NotReadable, also when it is larger than `limit` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    if len(data) > limit:
        advice = "Check that it is the file that was meant."
        raise NotReadable(path=str(path), why=f"it is larger than {limit} bytes", advice=advice)
    return data


def read_text(path: Path, *, limit: int) -> str:
    """A user's text file. Raises NotReadable, also when it is not UTF-8."""
    try:
        return read_file(path, limit=limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotReadable(path=str(path), why=f"it is not UTF-8 (byte {error.start})") from None


def read_end(path: Path, *, limit: int) -> bytes:
    """The last whole lines of a file, `limit` bytes at most. Raises NotReadable."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            data = file.read(limit)
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    return data if size <= limit else data.partition(b"\n")[2]


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a reader sees the old bytes or the new ones, also after a power cut.

    The mode holds from the first byte, whatever the umask. Raises CannotWrite or DiskFull.
    """
    # A name of its own each time: what a killed run left behind must not be in the way.
    beside = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.new")
    with writing(path):
        with _new_file(beside, data, mode):
            beside.rename(path)
        sync_directory(path.parent)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[BinaryIO]:
    """A new file without a name in a folder: away when it is closed, and when the process ends, however it ends.
    Raises CannotWrite or DiskFull."""
    with writing(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed below)
    with file:
        yield file


def clear_halves(folder: Path) -> None:
    """Take away what `write_file` left in a folder when it was killed. Only where no other writes: under a lock.
    Raises CannotWrite."""
    with writing(folder):
        for path in folder.glob(".*.new"):
            if _HALF.fullmatch(path.name):
                path.unlink(missing_ok=True)


def create_file(path: Path, data: bytes, *, mode: int) -> None:
    """Write a new file, durably; one that exists is left alone. Raises CannotWrite."""
    with writing(path):
        with _new_file(path, data, mode):
            pass
        sync_directory(path.parent)


@contextlib.contextmanager
def _new_file(path: Path, data: bytes, mode: int) -> Iterator[None]:
    """A file with this content, on the disk; away again when it or what is done with it fails."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(descriptor, mode)
        write_all(descriptor, data)
        os.fsync(descriptor)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)


class Log:
    """A file that lines are appended to, each on the disk before `append` comes back. Raises CannotWrite, DiskFull."""

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self.path = path
        with writing(path):
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(path, flags, mode)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                write_all(self._descriptor, b"\n")  # what a killed run left half written

    def append(self, line: str) -> None:
        with writing(self.path):
            write_all(self._descriptor, f"{line}\n".encode())
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def sync_data(descriptor: int) -> None:
    os.fdatasync(descriptor)


def sync_file(descriptor: int) -> None:
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_filesystem(path: Path) -> None:
    """Flush the file system that holds `path`: one call for many files (syncfs(2), else sync(2))."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if syncfs is None:
            os.sync()
        elif syncfs(descriptor) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(descriptor)


def exchange(one: Path, other: Path) -> bool:
    """Let two existing paths change their places in one step (renameat2(2)); False where the system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def reserve(descriptor: int, size: int) -> None:
    """Make the file `size` bytes long and reserve its blocks where the file system can, without writing them.

    glibc's posix_fallocate would write zeros where it cannot, so the raw call is made; else the file is sparse.
    Raises OSError with ENOSPC or EDQUOT when there is not enough room; the file then has the blocks it had before.
    """
    before, room = os.fstat(descriptor), os.fstatvfs(descriptor)
    # Asked first: fallocate takes all there is before it fails, and others write to this disk too.
    if size - before.st_blocks * 512 > room.f_bavail * room.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    libc = ctypes.CDLL(None, use_errno=True)
    fallocate = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if fallocate is not None and size > 0:
        fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        failed = fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, 0, size) != 0
        if failed and (code := ctypes.get_errno()) in (errno.ENOSPC, errno.EDQUOT):
            os.ftruncate(descriptor, before.st_size)  # gives back what lies beyond the end
            raise OSError(code, os.strerror(code))
    os.ftruncate(descriptor, size)


def forget(descriptor: int) -> int:
    """Drop what the page cache has of a synced file, so that the next read comes from the medium; gives how many bytes
    stay in memory all the same (a file system that lives there keeps them)."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    size = os.fstat(descriptor).st_size
    mincore = getattr(ctypes.CDLL(None, use_errno=True), "mincore", None)
    if mincore is None:
        return 0
    return sum(_resident(mincore, descriptor, at, min(_WINDOW, size - at)) for at in range(0, size, _WINDOW))


def _resident(mincore: Callable[..., int], descriptor: int, offset: int, count: int) -> int:
    """Bytes of a part of a file that are in memory (mincore(2)); whole pages."""
    pages = (ctypes.c_ubyte * -(-count // mmap.PAGESIZE))()
    # Writable only so that its address can be taken; nothing is written.
    with mmap.mmap(descriptor, count, flags=mmap.MAP_PRIVATE, offset=offset) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        known = mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(count), pages) == 0
        del first
    return mmap.PAGESIZE * sum(page & 1 for page in pages) if known else 0


def filesystem_of(path: Path) -> str:
    """The kind of file system that a folder is on, as the kernel calls it (`vfat`); empty where it does not say."""
    number = path.stat().st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    # proc_pid_mountinfo(5): the third field is the device, the kind follows a lone dash.
    kinds = (line.split(" - ", 1)[1].split()[0] for line in lines if line.split()[2] == wanted and " - " in line)
    return next(kinds, "")


def is_named(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def free_space(path: Path) -> int:
    """Bytes that we may still write on the file system of `path`."""
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize


@contextlib.contextmanager
def writing(path: Path, *, missing: int = 0) -> Iterator[None]:
    """Turn the OSErrors of a write to `path` into DiskFull (`missing` bytes more are needed) or CannotWrite."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(path=str(path), missing=missing or 4096) from None
        raise CannotWrite(path=str(path), why=error.strerror or str(error)) from None


@contextlib.contextmanager
def exclusive(path: Path, *, what: str) -> Iterator[None]:
    """Hold the one lock at `path`, which is created and stays. Raises Busy, naming the holder's process.

    The kernel lets go of it when the holder ends, however it ends.
    """
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode("ascii", "replace").strip()
            raise Busy(path=what, holder=f"process {holder}" if holder.isdigit() else "another process") from None
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, without a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
