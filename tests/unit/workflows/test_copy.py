"""A bundle on its way to a medium: what arrives is proved from there, what cannot fit is said before."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.errors import (
    CannotWrite,
    DamagedContent,
    DiskFull,
    NotReadable,
    ReadBackDiffers,
    SliceDamaged,
    SliceMissing,
    TooLargeForDisk,
    UntrustedSigner,
)
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows import copy as module
from bundler.workflows.copy import READ_BACK, Copied, copy
from bundler.workflows.verify import verify
from tests.bundles import ALICE, BOB, CAROL, TinyBundle, tiny_bundle
from tests.lab import require_root
from tests.volumes import Sliced, sliced

MARK = 20_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(module, "MARK", MARK)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    made = tiny_bundle(tmp_path_factory.mktemp("made"))
    made.sign_beside(BOB)
    return made


@pytest.fixture
def four(made: TinyBundle, tmp_path: Path) -> Sliced:
    return sliced(made, tmp_path / "slices", 4)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def copied(*sources: Path, disk: Path, **more: object) -> Copied:
    return copy(sources, disk, jobs=2, **{"progress": Silent(), **more})  # type: ignore[arg-type]


class Hook(Silent):
    """Does something when the first file is about to be read back: what a bad medium does to it meanwhile."""

    def __init__(self, act: Callable[[], object], name: str = "") -> None:
        self._act, self._name, self.done = act, name, 0

    def begin(self, name: str) -> None:
        if name.startswith(READ_BACK) and self._name in name:
            self.done += 1
            self._act()


def flip(path: Path, at: int) -> None:
    descriptor = os.open(path, os.O_RDWR)
    before = os.pread(descriptor, 1, at)
    os.pwrite(descriptor, bytes([before[0] ^ 1]), at)
    os.close(descriptor)


def test_a_file_and_its_signatures(made: TinyBundle, disk: Path) -> None:
    done = copied(made.path, disk=disk, keys=[ALICE.public])
    assert sorted(done.files) == sorted(path.name for path in disk.iterdir())
    assert (done.written, done.there) == (made.path.stat().st_size, 0)
    keys = (ALICE.public, BOB.public)
    verify(disk / made.path.name, keys=keys, threshold=2, jobs=1, progress=Silent())
    again = copied(made.path, disk=disk)
    assert (again.written, again.there) == (0, done.written)


def test_slices_together_and_apart(four: Sliced, disk: Path, tmp_path: Path) -> None:
    copied(four.document, disk=disk, keys=[ALICE.public])
    assert sorted(path.name for path in disk.iterdir()) == sorted(path.name for path in four.folder.iterdir())
    verify(disk, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())
    (tmp_path / "b").mkdir()
    done = copied(four.path(2), four.path(4), disk=tmp_path / "b")
    keyid = ALICE.public.keyid
    assert done.files == (
        "tiny.bundle.002",
        "tiny.bundle.004",
        "tiny.bundle.volumes.json",
        f"tiny.bundle.volumes.json.{keyid}.sig",
    )


def test_nothing_is_copied_unjudged(made: TinyBundle, four: Sliced, disk: Path) -> None:
    for path in (made.path, four.document):
        with pytest.raises(UntrustedSigner):
            copied(path, disk=disk, keys=[CAROL.public])
    assert not any(disk.iterdir())


def places(made: TinyBundle) -> list[int]:
    """A byte of the front, of a header, of a body, of the end."""
    place = next(each for each in made.layout.places if each.member.size == 76_800)
    return [10, 600, place.start + 3, place.body + 70_000, made.layout.size - 1]


def test_a_medium_that_gives_back_other_bytes(made: TinyBundle, disk: Path) -> None:
    out = disk / made.path.name
    for at in places(made):
        with pytest.raises(ReadBackDiffers):
            copied(made.path, disk=disk, progress=Hook(lambda at=at: flip(disk / f"{out.name}.partial", at)))  # type: ignore[misc]
        assert not any(disk.iterdir())
    copied(made.path, disk=disk)
    assert out.read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_slice_that_comes_back_otherwise(four: Sliced, disk: Path, number: int) -> None:
    name = four.path(number).name
    hook = Hook(lambda: flip(disk / f"{name}.partial", 77), name)
    with pytest.raises(ReadBackDiffers) as caught:
        copied(four.document, disk=disk, progress=hook)
    assert caught.value.path == str(disk / f"{name}.partial")
    assert "sha256:" in caught.value.why
    assert sorted(path.name for path in disk.iterdir()) == [four.path(each).name for each in range(1, number)]
    assert copied(four.document, disk=disk).there == sum(map(len, four.data[: number - 1]))


def test_a_medium_that_loses_the_end(made: TinyBundle, disk: Path) -> None:
    with pytest.raises(ReadBackDiffers):
        copied(made.path, disk=disk, progress=Hook(lambda: os.truncate(disk / f"{made.path.name}.partial", 1000)))


def test_a_damaged_source_is_not_the_mediums_fault(made: TinyBundle, four: Sliced, disk: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bundle"
    bad.write_bytes(made.path.read_bytes())
    flip(bad, places(made)[3])
    with pytest.raises(DamagedContent) as caught:
        copied(bad, disk=disk)
    assert caught.value.path == str(bad)
    four.flip(2, 5)
    with pytest.raises(SliceDamaged) as damaged:
        copied(four.path(2), disk=disk)
    assert damaged.value.damaged[0][0] == str(four.path(2))
    four.path(2).unlink()
    with pytest.raises(SliceMissing):
        copied(four.document, disk=disk)


def test_another_file_of_that_name_is_left_alone(made: TinyBundle, four: Sliced, disk: Path) -> None:
    for path in (made.path, four.path(3)):
        (disk / path.name).write_bytes(b"precious")
        with pytest.raises(CannotWrite, match="other bytes"):
            copied(path, disk=disk)
        assert (disk / path.name).read_bytes() == b"precious"
    (disk / four.document.name).write_bytes(b"precious")
    with pytest.raises(CannotWrite, match="other bytes"):
        copied(four.path(1), disk=disk)


def test_going_on(made: TinyBundle, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is before the last mark is believed, and proved at the end like all the rest."""
    whole = made.path.read_bytes()
    partial = disk / f"{made.path.name}.partial"
    partial.write_bytes(whole[: 3 * MARK + 5])
    done = copied(made.path, disk=disk)
    assert (done.there, done.written) == (3 * MARK, len(whole) - 3 * MARK)
    (disk / made.path.name).unlink()
    partial.write_bytes(b"x" * (3 * MARK + 5))  # a power cut left other bytes there
    copied(made.path, disk=disk)
    assert (disk / made.path.name).read_bytes() == whole


def test_no_room_is_said_before(made: TinyBundle, four: Sliced, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = made.path.stat().st_size
    monkeypatch.setattr(files, "free_space", lambda path: size - 1)
    for path in (made.path, four.document):
        with pytest.raises(DiskFull):
            copied(path, disk=disk)
        with pytest.raises(DiskFull):
            copied(path, disk=disk, dry_run=True)
    assert not any(disk.iterdir())
    assert copied(four.path(1), disk=disk, dry_run=True).written == len(four.data[0])
    assert not any(disk.iterdir())


def test_a_file_that_fat_cannot_hold(made: TinyBundle, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "filesystem_of", lambda path: "vfat")
    copied(made.path, disk=disk)
    (disk / made.path.name).unlink()
    monkeypatch.setattr(module, "_LARGEST_ON_FAT", 1000)
    with pytest.raises(TooLargeForDisk) as caught:
        copied(made.path, disk=disk)
    assert "--volume-size fat32" in caught.value.hint


def test_no_folder(made: TinyBundle, tmp_path: Path) -> None:
    with pytest.raises(NotReadable):
        copied(made.path, disk=tmp_path / "nothing")


def test_the_kind_of_a_file_system(tmp_path: Path) -> None:
    assert files.filesystem_of(Path("/proc")) == "proc"
    found = subprocess.run(["stat", "-f", "-c", "%T", "/dev/shm"], capture_output=True, text=True)
    assert files.filesystem_of(Path("/dev/shm")) == found.stdout.strip() == "tmpfs"


def test_what_stays_in_memory_is_said(tmp_path: Path) -> None:
    """tmpfs keeps everything there; a disk lets go of what is synced."""
    for folder, kept in ((Path("/dev/shm"), True), (tmp_path, files.filesystem_of(tmp_path) == "tmpfs")):
        path = folder / f"bundle-forget-{os.getpid()}"
        try:
            with path.open("w+b") as file:
                file.write(b"x" * 100_000)
                file.flush()
                subprocess.run(["sync", str(path)], check=True)
                assert (files.forget(file.fileno()) > 0) == kept
        finally:
            path.unlink()


def test_a_medium_that_is_really_full(made: TinyBundle, tmp_path: Path) -> None:
    """Another writes to it meanwhile: the copy stops, and goes on when there is room."""
    require_root()
    disk = tmp_path / "tmpfs"
    disk.mkdir()
    size = made.path.stat().st_size
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + (64 << 10)}", "tmpfs", str(disk)], check=True)
    try:
        ballast, before = disk / "ballast", files.free_space(disk)

        class Filling(Silent):
            def begin(self, name: str) -> None:
                if not ballast.exists():
                    ballast.write_bytes(b"x" * (before // 2))

        with pytest.raises(DiskFull):
            copied(made.path, disk=disk, progress=Filling())
        assert not (disk / made.path.name).exists()
        with pytest.raises(DiskFull) as caught:
            copied(made.path, disk=disk)
        assert caught.value.missing > 0
        ballast.unlink()
        assert copied(made.path, disk=disk).cached >= size
        assert (disk / made.path.name).read_bytes() == made.path.read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_file_size_that_the_system_refuses(made: TinyBundle, disk: Path) -> None:
    """As a file system without large files does: by EFBIG (here a limit of the process)."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from bundler.workflows.copy import copy; from bundler.support.progress import Silent\n"
        "from bundler.errors import TooLargeForDisk\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try: copy([Path(sys.argv[1])], Path(sys.argv[2]), jobs=1, progress=Silent())\n"
        "except TooLargeForDisk: sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(made.path), str(disk)], check=False)
    assert done.returncode == 7
