"""The file under construction and its journal: what is believed after a crash, and what is not."""

import errno
import os
from pathlib import Path

import pytest

from bundler.errors import Busy, CannotWrite, DiskFull
from bundler.fetch import partial as module
from bundler.fetch.partial import Partial
from bundler.model.digest import Digest
from bundler.support import files

PLAN, OTHER = Digest.of(b"plan"), Digest.of(b"other plan")
SIZE, BLOBS = 10_000, 3


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "site.bundle"


def begin(out: Path, plan: Digest = PLAN, size: int = SIZE, blobs: int = BLOBS) -> Partial:
    return Partial(out, plan=plan, size=size, blobs=blobs)


def test_nothing_has_its_name_before_it_is_whole(out: Path) -> None:
    with begin(out) as partial:
        assert not partial.resumed
        partial.write(b"x" * SIZE, 0)
        assert not out.exists()
        partial.publish()
    assert out.read_bytes() == b"x" * SIZE
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_mode_does_not_depend_on_the_umask(out: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with begin(out) as partial:
            partial.publish()
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o7777 == 0o644


def test_going_on(out: Path) -> None:
    with begin(out) as partial:
        partial.write(b"abc", 100)
        partial.mark(0, 3)
        partial.mark(1, 77)
        partial.finish(0)
    with begin(out) as partial:
        assert partial.resumed
        assert (partial.whole(0), partial.whole(1), partial.position(1)) == (True, False, 77)
        assert partial.read(3, 100) == b"abc"


def interrupted(out: Path) -> None:
    """A run that had the first blob and was killed."""
    with begin(out) as partial:
        partial.write(b"abc", 100)
        partial.mark(0, 3)
        partial.finish(0)


def begins_anew(out: Path, **other: object) -> None:
    with begin(out, **other) as partial:  # type: ignore[arg-type]
        assert not partial.resumed
        assert not partial.whole(0)
        assert partial.position(0) == 0
        assert partial.read(3, 100) == b"\0\0\0"


def test_another_plan_begins_anew(out: Path) -> None:
    interrupted(out)
    begins_anew(out, plan=OTHER)


def test_another_number_of_blobs_begins_anew(out: Path) -> None:
    interrupted(out)
    begins_anew(out, blobs=BLOBS + 1)


def test_a_journal_without_its_partial_file_is_not_believed(out: Path) -> None:
    """Removed by hand, or renamed to OUT by a run that was killed before it could remove the journal."""
    interrupted(out)
    out.with_name("site.bundle.partial").unlink()
    begins_anew(out)


def test_killed_between_the_rename_and_the_end(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with begin(out) as partial:
        partial.write(b"abc", 100)
        partial.mark(0, 3)
        partial.finish(0)
        with monkeypatch.context() as patched:
            patched.setattr(files, "sync_directory", killed)
            with pytest.raises(KeyboardInterrupt):
                partial.publish()
    assert out.exists()
    begins_anew(out)


@pytest.mark.parametrize(
    "journal",
    [b"", b"{}", b"[]", b"null", b"\xff" * 5000, b'{"plan": 1, "blobs": 3}', b"x" * 4095, b"{" * 4096],
    ids=range(8),
)
def test_a_damaged_journal_begins_anew(out: Path, journal: bytes) -> None:
    interrupted(out)
    out.with_name("site.bundle.partial.journal").write_bytes(journal)
    begins_anew(out)


@pytest.mark.parametrize("size", [0, 4096, 4096 + 8 * BLOBS - 1])
def test_a_journal_cut_short_begins_anew(out: Path, size: int) -> None:
    interrupted(out)
    os.truncate(out.with_name("site.bundle.partial.journal"), size)
    begins_anew(out)


def test_the_journal_is_on_the_disk_before_it_is_mapped(out: Path) -> None:
    """A hole in it would kill the process once the disk is full: SIGBUS."""
    with begin(out, blobs=100_000):
        state = out.with_name("site.bundle.partial.journal").stat()
        assert state.st_blocks * 512 >= state.st_size


def test_one_at_a_time(out: Path) -> None:
    with begin(out):
        with pytest.raises(Busy) as caught:
            begin(out)
        assert caught.value.holder == f"process {os.getpid()}"
    with begin(out):
        pass


def test_what_was_there_stays_until_the_new_file_is_whole(out: Path) -> None:
    out.write_bytes(b"old")
    with begin(out):
        pass
    assert out.read_bytes() == b"old"


@pytest.fixture
def folder(out: Path) -> Path:
    out.mkdir()
    (out / "precious").write_bytes(b"")
    return out


def test_a_directory_is_refused_before_anything_is_fetched(folder: Path) -> None:
    with pytest.raises(CannotWrite):
        begin(folder)
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    for path in (Path(), Path("/"), Path("..")):
        with pytest.raises(CannotWrite):
            begin(path)


def test_a_link_under_the_partial_name_is_not_followed(out: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    out.with_name("site.bundle.partial").symlink_to(tmp_path / "victim")
    with pytest.raises(CannotWrite):
        begin(out)
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_room(out: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(descriptor: int, size: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files, "reserve", refuse)
    monkeypatch.setattr(files, "free_space", lambda path: SIZE - 300)
    with pytest.raises(DiskFull) as caught:
        begin(out)
    assert caught.value.missing == 300


def test_a_file_system_without_large_files(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, size: int) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(files, "reserve", refuse)
    with pytest.raises(CannotWrite, match="too large"):
        begin(out)


def test_data_that_could_not_be_synced_is_never_published(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of a failed write-back once: what comes after would seem to succeed."""

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.01)
    with begin(out) as partial:
        with monkeypatch.context() as patched:
            patched.setattr(files, "sync_data", fail)
            partial.finish(0)
            partial._committer.join(10)
        with pytest.raises(CannotWrite):
            partial.publish()
    assert not out.exists()
    with begin(out) as partial:
        assert not partial.whole(0)


# --- volumes


def slices(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


def begin_slices(out: Path, *, volume: int = 3000, plan: Digest = PLAN) -> Partial:
    return Partial(out, plan=plan, size=SIZE, blobs=BLOBS, volume=volume)


def test_slices_are_written_in_their_places(out: Path) -> None:
    data = os.urandom(SIZE)
    with begin_slices(out) as partial:
        partial.write(data[2500:9500], 2500)  # over three borders
        partial.write(data[:2500], 0)
        partial.write(data[9500:], 9500)
        assert partial.read(SIZE, 0) == data
        assert partial.read(7000, 2999) == data[2999:9999]
        assert partial.read(10, SIZE - 3) == data[-3:]
        buffer = memoryview(bytearray(5000))
        assert partial.read_into(buffer, 2900) == 100  # as far as one file goes
        assert slices(out)[:4] == [f"site.bundle.{number:03d}.partial" for number in range(1, 5)]
        partial.publish({"site.bundle.volumes.json": b"{}"})
    names = [f"site.bundle.{number:03d}" for number in range(1, 5)]
    assert slices(out) == [*names, "site.bundle.volumes.json"]
    assert b"".join(out.with_name(name).read_bytes() for name in names) == data
    assert [out.with_name(name).stat().st_mode & 0o7777 for name in names] == [0o644] * 4


def test_slices_go_on(out: Path) -> None:
    with begin_slices(out) as partial:
        partial.write(b"abcdef", 2997)
        partial.mark(0, 6)
        partial.finish(0)
    with begin_slices(out) as partial:
        assert partial.resumed
        assert partial.whole(0)
        assert partial.read(6, 2997) == b"abcdef"
    for other in ({"volume": 2999}, {"plan": OTHER}):
        with begin_slices(out, **other) as partial:
            assert not partial.resumed


@pytest.mark.parametrize("renamed", [0, 1, 3, 4])
def test_killed_between_the_renames(out: Path, monkeypatch: pytest.MonkeyPatch, renamed: int) -> None:
    """The journal says that they were whole: the next run only gives the others their names."""
    rename, left = Path.rename, renamed

    def killed(self: Path, target: Path) -> Path:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return rename(self, target)

    with begin_slices(out) as partial:
        partial.write(b"x" * SIZE, 0)
        for slot in range(BLOBS):
            partial.finish(slot)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                partial.publish({"site.bundle.volumes.json": b"{}"})
    assert not out.with_name("site.bundle.volumes.json").exists()
    with begin_slices(out) as partial:
        assert partial.resumed
        assert all(partial.whole(slot) for slot in range(BLOBS))
        assert partial.read(SIZE, 0) == b"x" * SIZE
        partial.publish({"site.bundle.volumes.json": b"{}"})
    assert slices(out) == [*(f"site.bundle.{number:03d}" for number in range(1, 5)), "site.bundle.volumes.json"]


def test_a_users_slice_is_never_touched(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("site.bundle.001", "site.bundle.007", "site.bundle.volumes.json"):
        path = out.with_name(name)
        path.write_bytes(b"precious")
        with pytest.raises(CannotWrite, match="never replaced"):
            begin_slices(out)
        assert path.read_bytes() == b"precious"
        path.unlink()
    with begin_slices(out) as partial:  # one that comes meanwhile
        out.with_name("site.bundle.002").write_bytes(b"precious")
        with pytest.raises(CannotWrite, match="never replaced"):
            partial.publish()
    assert out.with_name("site.bundle.002").read_bytes() == b"precious"
    with pytest.raises(CannotWrite, match="never replaced"):  # also not when the journal says that ours were whole
        begin_slices(out)
    assert out.with_name("site.bundle.002").read_bytes() == b"precious"


def test_slices_one_at_a_time(out: Path) -> None:
    with begin_slices(out), pytest.raises(Busy):
        begin_slices(out)


def test_no_room_for_slices(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_space", lambda path: SIZE - 300)
    with pytest.raises(DiskFull) as caught:
        begin_slices(out)
    assert caught.value.missing == 300
