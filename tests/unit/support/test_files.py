import ctypes
import errno
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundler.errors import Busy, CannotWrite, DiskFull, NotReadable
from bundler.support import files


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("wanted", [0o600, 0o644, 0o755])
@pytest.mark.usefixtures("umask")
def test_modes(tmp_path: Path, wanted: int) -> None:
    written, created = tmp_path / "written", tmp_path / "created"
    written.write_bytes(b"before")
    files.write_file(written, b"after", mode=wanted)
    files.create_file(created, b"new", mode=wanted)
    assert (mode(written), mode(created)) == (wanted, wanted)
    assert (written.read_bytes(), created.read_bytes()) == (b"after", b"new")
    assert sorted(os.listdir(tmp_path)) == ["created", "written"]


def test_a_secret_is_never_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watch(descriptor: int, data: bytes) -> int:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return write(descriptor, data)

    write = os.write
    monkeypatch.setattr(os, "write", watch)
    files.write_file(tmp_path / "a", b"x", mode=0o600)
    files.create_file(tmp_path / "b", b"x", mode=0o600)
    assert seen == [0o600, 0o600]


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_the_old_bytes_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        assert path.read_bytes() == b"old"
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DiskFull):
        files.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_what_a_killed_run_left_is_not_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container a process has the same number every time."""
    script = (
        "import os, sys; from pathlib import Path; from bundler.support import files\n"
        "os.fsync = lambda descriptor: os._exit(9)\n"
        "files.write_file(Path(sys.argv[1]), b'half')\n"
    )
    path = tmp_path / "x"
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == 9
    (left,) = os.listdir(tmp_path)
    assert left != "x"
    monkeypatch.setattr(os, "getpid", lambda: 1)
    files.write_file(path, b"one")
    files.write_file(path, b"two")
    assert path.read_bytes() == b"two"


def test_a_new_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"kept")
    with pytest.raises(CannotWrite, match="exists"):
        files.create_file(path, b"new", mode=0o600)
    assert path.read_bytes() == b"kept"

    def fail(descriptor: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull):
        files.create_file(tmp_path / "half", b"new", mode=0o600)
    assert os.listdir(tmp_path) == ["x"]


def test_long_names_and_links(tmp_path: Path) -> None:
    files.write_file(tmp_path / ("x" * 255), b"x")
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"kept")
    link.symlink_to(target)
    files.write_file(link, b"new")  # takes the link's place, and does not write through it
    assert (target.read_bytes(), link.is_symlink()) == (b"kept", False)
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(CannotWrite):
        files.create_file(link, b"new", mode=0o644)
    with pytest.raises(CannotWrite), files.exclusive(link, what="x"):
        pass


@pytest.mark.parametrize("place", ["nowhere/x", "file/x"])
def test_cannot_write(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    for write in (files.write_file, lambda path, data: files.create_file(path, data, mode=0o644)):
        with pytest.raises(CannotWrite) as caught:
            write(tmp_path / place, b"x")
        assert caught.value.path == str(tmp_path / place)


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("é".encode())
    assert files.read_file(path, limit=2) == "é".encode()
    assert files.read_text(path, limit=2) == "é"
    for why, reading in (
        ("larger than 1 bytes", lambda: files.read_file(path, limit=1)),
        ("No such file", lambda: files.read_file(tmp_path / "y", limit=1)),
        ("directory", lambda: files.read_text(tmp_path, limit=1)),
    ):
        with pytest.raises(NotReadable, match=why):
            reading()
    path.write_bytes(b"ab\xff")
    with pytest.raises(NotReadable, match=r"not UTF-8 \(byte 2\)"):
        files.read_text(path, limit=9)


def test_writing_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write may take less than it was given."""
    write, pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: pwrite(descriptor, data[:2], at))
    with (tmp_path / "x").open("wb") as file:
        files.write_all(file.fileno(), b"0123456789")
        files.write_at(file.fileno(), memoryview(b"abcde"), 8)
        files.sync_data(file.fileno())
        files.sync_file(file.fileno())
    assert (tmp_path / "x").read_bytes() == b"01234567abcde"


@pytest.mark.parametrize(
    ("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, CannotWrite)]
)
def test_errors_of_writing(code: int, error: type[Exception]) -> None:
    with pytest.raises(error) as caught, files.writing(Path("/x"), missing=7):
        raise OSError(code, os.strerror(code))
    assert getattr(caught.value, "missing", 7) == 7


HOLD = (
    "import sys; from pathlib import Path; from bundler.support import files\n"
    "with files.exclusive(Path(sys.argv[1]), what='it'):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


def test_exclusive(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with files.exclusive(path, what="the site"):
        with pytest.raises(Busy) as caught, files.exclusive(path, what="the site"):
            pass
        assert (caught.value.path, caught.value.holder) == ("the site", f"process {os.getpid()}")
    with files.exclusive(path, what="the site"):  # let go, and the file stays
        pass
    assert path.exists()


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(Busy) as caught, files.exclusive(path, what="it"):
            pass
        assert caught.value.holder == f"process {holder.pid}"
        holder.kill()
        holder.wait()
        with files.exclusive(path, what="it"):
            pass


def test_a_lock_holds_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    held, again = (files.exclusive(tmp_path / "lock", what="it") for _ in range(2))
    with held, pytest.raises(Busy) as caught, again:
        pass
    assert caught.value.holder == "another process"


@pytest.mark.parametrize("size", [0, 1, 10_000_000])
def test_reserve(tmp_path: Path, size: int) -> None:
    with (tmp_path / "x").open("w+b") as file:
        file.write(b"abc")
        file.flush()
        files.reserve(file.fileno(), size)
        assert os.fstat(file.fileno()).st_size == size
        assert os.pread(file.fileno(), 10, 0) == b"abc"[:size].ljust(min(size, 10), b"\0")


def test_no_block_is_taken_where_the_file_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk only says that it is nearly full: no test may fill a disk that others use."""
    real = os.statvfs(tmp_path)
    state = SimpleNamespace(f_bavail=10, f_frsize=real.f_frsize)
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: state)
    with (tmp_path / "x").open("w+b") as file:
        with pytest.raises(OSError, match="No space") as caught:
            files.reserve(file.fileno(), 1 << 20)
        assert caught.value.errno == errno.ENOSPC
        assert os.fstat(file.fileno()).st_blocks == 0
        files.reserve(file.fileno(), 10 * real.f_frsize)
        # What the file has already counts: a resumed one needs only the rest.
        state.f_bavail = 0
        files.reserve(file.fileno(), 10 * real.f_frsize)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_blocks_of_a_failed_reservation_are_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """ext4 keeps what it gave before it ran out; played here with 1 MiB."""
    libc = ctypes.CDLL(None, use_errno=True)

    def runs_out(descriptor: int, how: int, offset: int, size: int) -> int:
        libc.fallocate64(descriptor, how, ctypes.c_int64(0), ctypes.c_int64(1 << 20))
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(fallocate64=runs_out))
    with (tmp_path / "x").open("w+b") as file:
        file.write(b"kept")
        file.flush()
        with pytest.raises(OSError, match=re.escape(os.strerror(code))):
            files.reserve(file.fileno(), 2 << 20)
        assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20
        assert os.pread(file.fileno(), 10, 0) == b"kept"


def test_sync_filesystem(tmp_path: Path) -> None:
    files.sync_filesystem(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync_filesystem(tmp_path / "nothing")


def test_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        assert files.is_named(file.fileno(), path)
        path.rename(tmp_path / "y")
        assert not files.is_named(file.fileno(), path)
        path.write_bytes(b"")
        assert not files.is_named(file.fileno(), path)
