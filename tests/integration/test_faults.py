"""What goes wrong on real machines: full disks, no permission, two at once, keys and passphrases, interruptions."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.campaigns import Workshop, sha256_of, tree_of
from tests.lab import Upstream, require_program, require_root
from tests.waiting import eventually

MB = 1_000_000


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, empty_upstream: Upstream) -> Workshop:
    """24 MB of random images, locked, and a good bundle of them."""
    images = empty_upstream.add_random_images(3, size="2M", blobs=4, prefix="faults/")
    made = Workshop(folder=tmp_path_factory.mktemp("faults"), upstreams={"lab.example": empty_upstream.url})
    made.declare(images=[f"lab.example/{name}" for name in images])
    made.lock()
    made.run(*made.create("good.bundle"))
    made.folder.chmod(0o755)
    return made


def size_of(workshop: Workshop) -> int:
    return (workshop.folder / "good.bundle").stat().st_size


def installing(bundle: str, root: Path) -> tuple[str, ...]:
    return "install", bundle, "--trust", "release.pub", "--root", str(root)


# --- full disks


@contextmanager
def mounted(folder: Path, size: int, *, kind: str) -> Iterator[Path]:
    """A small file system at `folder`: tmpfs, or ext4 in a file."""
    require_root()
    folder.mkdir()
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    else:
        image = folder.with_name(f"{folder.name}.img")
        image.write_bytes(b"")
        os.truncate(image, size)
        subprocess.run([require_program("mkfs.ext4"), "-q", "-m", "0", "-O", "^has_journal", image], check=True)
        command = ["mount", "-o", "loop", str(image), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"impossible here: mounting {kind}: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def ballast(folder: Path, *, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    path = folder / "ballast"
    piece = bytes(16 << 10)
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while (state := os.statvfs(folder)).f_bavail * state.f_frsize > leave:
            file.write(piece)
    return path


def missing_in(text: str) -> int:
    """The number of bytes in `no space at X: N more bytes (…) are needed`."""
    return int(text.split(" more bytes", maxsplit=1)[0].rpartition(" ")[2])


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("leave", [20 * MB, 300_000, 0])
def test_no_room_to_create(workshop: Workshop, tmp_path: Path, kind: str, leave: int) -> None:
    with mounted(tmp_path / "disk", 64 * MB, kind=kind) as disk:
        filler = ballast(disk, leave=leave)
        create = workshop.create(str(disk / "o.bundle"))
        said = workshop.run(*create, code=50)
        assert "DiskFull" in said
        if leave:
            assert size_of(workshop) - leave <= missing_in(said) <= size_of(workshop)
        filler.unlink()
        workshop.run(*create)
        assert sha256_of(disk / "o.bundle") == sha256_of(workshop.folder / "good.bundle")


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_disk_that_fills_while_creating(workshop: Workshop, tmp_path: Path, kind: str) -> None:
    """All room is taken at the start: what fills the disk later meets the others, not us."""
    with mounted(tmp_path / "disk", 64 * MB, kind=kind) as disk:
        with workshop.start(*workshop.create(str(disk / "o.bundle")), "--jobs", "1") as process:
            while not (disk / "o.bundle.partial.journal").exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(0.05)
            ballast(disk, leave=0)
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, f"{out}{err}"
        assert sha256_of(disk / "o.bundle") == sha256_of(workshop.folder / "good.bundle")


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
@pytest.mark.parametrize("leave", [15 * MB, 2 * MB, 0])
def test_no_room_to_install(workshop: Workshop, tmp_path: Path, kind: str, leave: int) -> None:
    with mounted(tmp_path / "disk", 80 * MB, kind=kind) as disk:
        filler, root = ballast(disk, leave=leave), disk / "site"
        said = workshop.run(*installing("good.bundle", root), code=50)
        assert "DiskFull" in said
        if leave > MB:
            assert missing_in(said) > size_of(workshop) - leave - MB
        assert not (root / "current").is_symlink()
        filler.unlink()
        workshop.run(*installing("good.bundle", root))
        workshop.run(*installing("good.bundle", tmp_path / "straight"))
        assert tree_of(root) == tree_of(tmp_path / "straight")


def test_a_disk_that_fills_while_installing(workshop: Workshop, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 48 * MB, kind="tmpfs") as disk:
        root = disk / "site"
        with workshop.start(*installing("good.bundle", root), "--jobs", "1") as process:
            while not (root / "store" / "incoming").exists() and process.poll() is None:
                time.sleep(0.001)
            filler = ballast(disk, leave=MB)
            out, err = process.communicate(timeout=60)
        assert process.returncode in (50, 0), f"{out}{err}"
        assert (root / "current").is_symlink() == (process.returncode == 0)
        filler.unlink()
        workshop.run(*installing("good.bundle", root))
        workshop.run(*installing("good.bundle", tmp_path / "straight"))
        assert tree_of(root) == tree_of(tmp_path / "straight")


# --- two at once


def test_two_creates_at_once(workshop: Workshop) -> None:
    with silent() as url:
        slow = Workshop(folder=workshop.folder, upstreams={"lab.example": url})
        with slow.start(*slow.create("two.bundle")) as first:
            try:
                eventually((workshop.folder / "two.bundle.partial.journal").exists)
                time.sleep(0.2)
                said = workshop.run(*workshop.create("two.bundle"), code=51)
                assert f"process {first.pid}" in said
            finally:
                first.kill()
    workshop.run(*workshop.create("two.bundle"))
    assert sha256_of(workshop.folder / "two.bundle") == sha256_of(workshop.folder / "good.bundle")


def test_two_installs_at_once(workshop: Workshop, tmp_path: Path) -> None:
    root = tmp_path / "site"
    with workshop.start(*installing("good.bundle", root), "--jobs", "1") as first:
        eventually((root / "store" / "incoming").exists)
        first.send_signal(signal.SIGSTOP)
        said = workshop.run(*installing("good.bundle", root), code=51)
        assert f"process {first.pid}" in said
        first.send_signal(signal.SIGCONT)
        assert first.wait(60) == 0
    assert "nothing to do" in workshop.run(*installing("good.bundle", root))


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


# --- permissions


def powerless() -> tuple[str, ...]:
    """What to put before a command so that permissions count for root, too."""
    if os.geteuid() != 0:
        return ()
    return require_program("setpriv"), "--bounding-set=-all", "--inh-caps=-all"


@pytest.fixture
def closed(workshop: Workshop) -> Iterator[Workshop]:
    """A folder that may be read and not written, with one in it that may not even be looked into."""
    inner, key = workshop.folder / "closed", workshop.folder / "closed.key"
    inner.mkdir()
    inner.chmod(0)
    key.write_bytes((workshop.folder / "release.key").read_bytes())
    key.chmod(0)
    workshop.folder.chmod(0o555)
    yield workshop
    workshop.folder.chmod(0o755)
    inner.rmdir()
    key.unlink()


def test_without_permission(closed: Workshop) -> None:
    """Each says what it cannot do, and none leaves a trace."""
    folder = closed.folder
    before = sorted(folder.rglob("*"))
    commands: list[tuple[tuple[str, ...], int]] = [
        (closed.create("o.bundle"), 52),
        (closed.create("closed/o.bundle"), 52),
        (("create", "--lock", "campaign.lock", "--key", "closed.key", "-o", "o.bundle"), 12),
        (installing("good.bundle", folder / "site"), 52),
        (installing("good.bundle", folder / "closed"), 12),
        (installing("good.bundle", folder / "closed" / "site"), 12),
        (installing("closed/good.bundle", folder / "site"), 12),
        (("keys", "create", "mine"), 52),
        (("sign", "good.bundle", "--key", "release.key"), 52),
        (("lock", "-p", "campaign", "-o", "mine.lock"), 52),
        (("extract", "good.bundle", "none", "--trust", "release.pub", "-o", "x"), 18),
        (("serve", "--root", "closed"), 52),
        (("verify", "good.bundle", "--trust", "release.pub"), 0),
        (("inspect", "good.bundle"), 0),
    ]
    for command, code in commands:
        said = closed.run(*command, code=code, prefix=powerless())
        assert "fault of the tool" not in said
    assert sorted(folder.rglob("*")) == before


def test_a_key_that_others_can_read(workshop: Workshop) -> None:
    key = workshop.folder / "release.key"
    assert "can be read by others" not in workshop.run("sign", "good.bundle", "--key", key.name)
    key.chmod(0o644)
    assert "can be read by others" in workshop.run("sign", "good.bundle", "--key", key.name)
    key.chmod(0o600)
    for path in workshop.folder.glob("good.bundle.*.sig"):
        path.unlink()


# --- what the user gives


WRONG: dict[str, tuple[tuple[str, ...], int]] = {
    "no lock": (("create", "--lock", "none.lock", "--key", "release.key", "-o", "x"), 12),
    "a lock that is none": (("create", "--lock", "release.pub", "--key", "release.key", "-o", "x"), 10),
    "no key": (("create", "--lock", "campaign.lock", "--key", "none.key", "-o", "x"), 12),
    "a public key to sign with": (("create", "--lock", "campaign.lock", "--key", "release.pub", "-o", "x"), 34),
    "a private key to trust": (("verify", "good.bundle", "--trust", "release.key"), 34),
    "the same key twice": (
        ("create", "--lock", "campaign.lock", "--key", "release.key", "--key", "release.key", "-o", "x"),
        39,
    ),
    "a folder to write to": (("create", "--lock", "campaign.lock", "--key", "release.key", "-o", "manifests"), 52),
    "here to write to": (("create", "--lock", "campaign.lock", "--key", "release.key", "-o", "."), 52),
    "a delta here": (("create", "--lock", "campaign.lock", "--delta-from", "good.bundle", "-o", "."), 52),
    "a folder that is not there": (("create", "--lock", "campaign.lock", "--key", "release.key", "-o", "a/b/c"), 52),
    "a folder to read": (("verify", "manifests", "--trust", "release.pub"), 12),
    "no trust": (("verify", "good.bundle"), 2),
    "no trust at first": (("install", "good.bundle", "--root", "site"), 2),
    "keys that are there": (("keys", "create", "release"), 52),
    "no command": (("fly",), 2),
    "no profile": (("lock", "-p", "none"), 12),
    "nothing of that name": (("extract", "good.bundle", "none", "--trust", "release.pub"), 18),
    "no site": (("serve", "--root", "manifests"), 60),
    "a reuse that is not there": (
        ("create", "--lock", "campaign.lock", "--key", "release.key", "-o", "x", "--reuse", "none"),
        12,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong(workshop: Workshop, case: str) -> None:
    arguments, code = WRONG[case]
    before = sorted(workshop.folder.iterdir())
    said = workshop.run(*arguments, code=code)
    assert "error" in said.lower()
    assert "fault of the tool" not in said
    assert sorted(workshop.folder.iterdir()) == before


def test_passphrases(workshop: Workshop, tmp_path: Path) -> None:
    right, wrong, empty = tmp_path / "right", tmp_path / "wrong", tmp_path / "empty"
    for path, text in ((right, "correct horse\n"), (wrong, "battery\n"), (empty, "\n")):
        path.write_text(text)
    key = str(tmp_path / "locked")
    workshop.run("keys", "create", key, "--passphrase-file", str(right))
    assert b"ENCRYPTED" in Path(f"{key}.key").read_bytes()
    create = ("create", "--lock", "campaign.lock", "--key", f"{key}.key", "-o", str(tmp_path / "o"))
    workshop.run(*create, code=35)
    workshop.run(*create, "--passphrase-file", str(wrong), code=35)
    workshop.run(*create, "--passphrase-file", str(empty), code=2)
    workshop.run(*create, "--passphrase-file", str(tmp_path / "none"), code=12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "locked.key", "locked.pub", "right", "wrong"]
    workshop.run(*create, "--passphrase-file", str(right))
    workshop.run("verify", str(tmp_path / "o"), "--trust", f"{key}.pub")


# --- interruptions


def test_ctrl_c_while_a_server_is_silent(workshop: Workshop) -> None:
    """Silence is not waited for: the command ends within moments, and can be run again."""
    with silent() as url:
        slow = Workshop(folder=workshop.folder, upstreams={"lab.example": url})
        with slow.start(*slow.create("slow.bundle")) as process:
            eventually((workshop.folder / "slow.bundle.partial.journal").exists)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            start = time.monotonic()
            _, err = process.communicate(timeout=60)
            took = time.monotonic() - start
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert took < 5
    workshop.run(*workshop.create("slow.bundle"))


def test_a_reader_that_goes_away(workshop: Workshop) -> None:
    """`bundle … | head`: no message, and the exit code of a broken pipe."""
    read, write = os.pipe()
    os.close(read)
    with workshop.start("inspect", "good.bundle", stdout=write) as process:
        os.close(write)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, "")


def test_output_to_a_full_disk(workshop: Workshop) -> None:
    with Path("/dev/full").open("w") as full:
        said = workshop.run("inspect", "good.bundle", stdout=full, code=52)
    assert "No space left on device" in said


def test_quiet_when_piped(workshop: Workshop, tmp_path: Path) -> None:
    """No bar, no escape sequences; with --quiet nothing but the result; with --json only JSON on stdout."""
    verify = ("verify", "good.bundle", "--trust", "release.pub")
    with workshop.start(*verify) as process:
        out, err = process.communicate()
    assert "\x1b" not in out + err
    assert "\r" not in out + err
    for command in (
        workshop.create("json.bundle"),
        verify,
        ("inspect", "good.bundle"),
        installing("good.bundle", tmp_path / "site"),
    ):
        quiet = () if command[0] == "inspect" else ("--quiet",)
        with workshop.start(*command, "--json", *quiet) as process:
            out, err = process.communicate()
        assert process.returncode == 0
        assert err == ""
        assert json.loads(out)
