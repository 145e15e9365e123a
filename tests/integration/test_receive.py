"""A site filled over a pipe between two processes: either end is killed, the disk is full; the site is the same."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.archive.sending import Missing, parse_missing
from tests import sender
from tests.bundles import ALICE, TinyBundle, tiny_bundle
from tests.campaigns import BUNDLE, Workshop, sha256_of, tree_of
from tests.lab import ROOT, require_root

MB = 1 << 20
MARK = 64 * MB  # where a large blob goes on


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A machine with a bundle, and one with a site at `root`."""

    workshop: Workshop
    made: TinyBundle
    root: Path

    def run(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> bytes:
        done = subprocess.run(
            [*BUNDLE, "receive", "--root", str(self.root), *arguments],
            input=stdin,
            capture_output=True,
            cwd=self.workshop.folder,
            env=self.workshop.environment,
        )
        assert done.returncode == code, done.stderr.decode()
        assert b"Traceback" not in done.stderr
        return done.stdout

    def ask(self) -> Missing:
        return parse_missing(
            self.run("--missing", "--trust", "alice.pub", stdin=sender.front(self.made.path)), source="b"
        )

    @contextmanager
    def started(self, *, rate: float = 1e12) -> "Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]":
        """Both ends on their way: (sender, receiver)."""
        (self.workshop.folder / "answer").write_bytes(
            self.run("--missing", "--trust", "alice.pub", stdin=sender.front(self.made.path))
        )
        command = [sys.executable, "-m", "tests.sender", str(self.made.path), "alice.pub", "answer", str(rate)]
        environment = {**self.workshop.environment, "PYTHONPATH": str(ROOT)}
        with (
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.workshop.folder, env=environment
            ) as sending,
            subprocess.Popen(
                [*BUNDLE, "receive", "--root", str(self.root), "--trust", "alice.pub", "-q"],
                stdin=sending.stdout,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.workshop.folder,
                env=self.workshop.environment,
            ) as receiving,
        ):
            assert sending.stdout is not None
            sending.stdout.close()  # the receiver alone has it now
            yield sending, receiving

    def send(self, *, code: int = 0) -> str:
        with self.started() as (_, receiving):
            out, err = receiving.communicate(timeout=120)
        assert receiving.returncode == code, err.decode()
        assert b"Traceback" not in err
        return (out + err).decode()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("receive")
    (folder / "alice.pub").write_bytes(ALICE.public.pem())
    return Workshop(folder=folder)


@pytest.fixture(scope="module")
def made(workshop: Workshop) -> TinyBundle:
    """340 MB in three large blobs, and many small ones."""
    chance = random.Random(5)
    large = {f"large-{number}": chance.randbytes(number * 50 * MB + 12345) for number in (1, 2, 3)}
    small = {f"small-{number}": chance.randbytes(number * 100) for number in range(60)}
    return tiny_bundle(workshop.folder, files={**large, **small})


@pytest.fixture(scope="module")
def straight(workshop: Workshop, made: TinyBundle) -> dict[str, str]:
    """The site that `install` makes from the file."""
    workshop.run("install", str(made.path), "--trust", "alice.pub", "--root", "straight", "-q")
    return tree_of(workshop.folder / "straight")


@pytest.fixture
def link(workshop: Workshop, made: TinyBundle, tmp_path: Path) -> Iterator[Link]:
    yield Link(workshop=workshop, made=made, root=tmp_path / "site")
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_same_site(link: Link, straight: dict[str, str]) -> None:
    size = link.ask().size
    started = time.monotonic()
    assert '"changed": true' in link.send()
    print(f"{size / 1e6 / (time.monotonic() - started):.0f} MB/s, {size} bytes, start of both ends included")
    assert tree_of(link.root) == straight
    assert link.ask().nothing_to_do
    before = sha256_of(link.root / "state" / "site.json")
    assert '"changed": false' in link.send()
    assert sha256_of(link.root / "state" / "site.json") == before


def test_the_state_is_said_fast(link: Link) -> None:
    """In processor time: others may keep this machine busy."""
    link.send()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b'"number": 1' in link.run("--state")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


@pytest.mark.parametrize("victim", ["receiver", "sender", "hangup"])
def test_killed_at_any_moment(link: Link, straight: dict[str, str], victim: str) -> None:
    """Six times, then once more to the end: the same site, and what was held is not sent again."""
    chance, offered = random.Random(victim), [link.ask().size]
    for _ in range(6):
        with link.started(rate=100e6) as (sending, receiving):
            while receiving.poll() is None and not any(link.root.glob("store/incoming/*")):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1.2))
            if victim == "sender":
                sending.kill()
            elif victim == "receiver":
                receiving.kill()
            else:
                receiving.send_signal(signal.SIGHUP)  # as sshd ends what it started
            receiving.communicate(timeout=60)
        offered.append(link.ask().size)
    print(f"{victim}: bytes still missing after each kill: {offered}")
    assert offered == sorted(offered, reverse=True)
    assert offered[-1] < offered[0]
    link.send()
    assert tree_of(link.root) == straight


def test_a_large_blob_goes_on_at_its_last_mark(link: Link, straight: dict[str, str]) -> None:
    """The stream is cut in the middle of the largest: little is sent twice."""
    missing = link.ask()
    name = max(missing.blobs, key=lambda each: link.made.layout.place(each).member.size)
    with sender.sending(link.made.path, link.made.publics, missing.blobs) as stream:
        data = b"".join(stream.chunks())
    cut = data.index(f"{name} 0 ".encode()) + 130 * MB
    link.run("--trust", "alice.pub", stdin=data[:cut], code=41)
    rest = link.ask()
    assert rest.blobs[name] == 2 * MARK
    assert rest.size < missing.size - 128 * MB
    link.send()
    assert tree_of(link.root) == straight


def test_a_full_disk(workshop: Workshop, made: TinyBundle, tmp_path: Path) -> None:
    """Said before anything is sent; with the room the same again ends well."""
    require_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={200 * MB}", "tmpfs", str(disk)], check=True)
    try:
        link = Link(workshop=workshop, made=made, root=disk / "site")
        assert link.ask().free < link.ask().size
        assert "DiskFull" in link.send(code=50)
        assert not any(path.is_file() for path in (link.root / "store").rglob("*"))
        subprocess.run(["mount", "-o", f"remount,size={500 * MB}", str(disk)], check=True)
        ballast = disk / "ballast"
        with link.started(rate=100e6) as (_, receiving):  # another fills the disk while it comes
            time.sleep(1)
            receiving.send_signal(signal.SIGSTOP)
            fill(ballast, disk)
            receiving.send_signal(signal.SIGCONT)
            _, err = receiving.communicate(timeout=60)
        assert (receiving.returncode, b"DiskFull" in err) == (50, True), err.decode()
        ballast.unlink()
        link.send()
        assert link.ask().nothing_to_do
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path, disk: Path) -> None:
    room = os.statvfs(disk)
    assert room.f_bavail * room.f_frsize > 200 * MB  # most is still to come
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - 8 * MB)


def test_it_is_in_no_overview(link: Link) -> None:
    assert "receive" not in link.workshop.run("--help")
    assert "--missing" in link.workshop.run("receive", "--help")
