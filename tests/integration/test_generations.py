"""A site's releases as an administrator handles them: kill -9, full disks, and clients that notice nothing."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest

from bundler.site.kept import kept
from bundler.store.blobs import BlobStore
from tests import histories
from tests.bundles import ALICE, TinyBundle
from tests.campaigns import Workshop, tree_of
from tests.histories import check_always, check_swept, serving
from tests.integration.test_faults import ballast, missing_in, mounted

MB = 1_000_000


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("generations")
    (folder / "alice.pub").write_bytes(ALICE.public.pem())
    return Workshop(folder=folder)


@pytest.fixture(scope="module")
def made(workshop: Workshop) -> list[TinyBundle]:
    """Three releases, each with 25 MB of its own: `install` wants 17 MB free for views beside its blobs."""
    chance, found = random.Random(7), []
    for number in (1, 2, 3):
        own = {f"own-{number}-{at}": chance.randbytes(250_000) for at in range(100)}
        found.append(histories.release(workshop.folder, number, more=own))
    return found


@pytest.fixture(scope="module")
def by_delta(made: list[TinyBundle]) -> TinyBundle:
    """The third release for who has the second."""
    return histories.delta(made[2], made[1], name="3-by-2.bundle")


def site_of(workshop: Workshop, name: str, releases: Sequence[TinyBundle]) -> Path:
    for each in releases:
        workshop.run("install", str(each.path), "--trust", "alice.pub", "--root", name, "-q")
    return workshop.folder / name


@pytest.fixture(scope="module")
def start(workshop: Workshop, made: list[TinyBundle]) -> Path:
    return site_of(workshop, "start", made)


@pytest.fixture(scope="module")
def earlier(workshop: Workshop, made: list[TinyBundle]) -> Path:
    return site_of(workshop, "earlier", made[:2])


COMMANDS = {
    "rollback": ("rollback", "1", "--yes"),
    "gc": ("gc", "--keep", "1"),
    "apply": ("install", "3-by-2.bundle", "-q"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_kill_9(
    workshop: Workshop, start: Path, earlier: Path, by_delta: TinyBundle, tmp_path: Path, name: str, kills: int
) -> None:
    """At random moments of the command's own work, each time from the beginning; then to its end: the same tree."""
    assert by_delta.path.is_file()
    before, command = earlier if name == "apply" else start, COMMANDS[name]
    calm, root = tmp_path / "calm", tmp_path / "root"
    histories.copy(before, calm)
    began = time.monotonic()
    workshop.run(*command, "--root", str(calm))
    longest, expected, chance, died = time.monotonic() - began, tree_of(calm), random.Random(name), 0
    for _ in range(kills):
        histories.copy(before, root)
        with workshop.start(*command, "--root", str(root)) as process:
            time.sleep(chance.uniform(0.3, 1.0) * longest)
            process.kill()
            process.communicate()
        died += process.returncode == -9
        check_always(root)
        assert serving(root) in (serving(before), serving(calm))
        workshop.run(*command, "--root", str(root))
        assert tree_of(root) == expected
        shutil.rmtree(root)
    print(f"{name}: {died} of {kills} were killed before their end, {longest:.1f} s undisturbed")


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk(workshop: Workshop, made: list[TinyBundle], tmp_path: Path, kind: str) -> None:
    """Not a byte is left: gc works all the same, and a rollback that cannot leaves everything as it was."""
    with mounted(tmp_path / "disk", 120 * MB, kind=kind) as disk:
        root = disk / "site"
        for each in made:
            workshop.run("install", str(each.path), "--trust", "alice.pub", "--root", str(root), "-q")
        filler = ballast(disk, leave=0)
        before = (root / "current").readlink()
        said = workshop.run("rollback", "--root", str(root), "--yes", code=50)
        assert "DiskFull" in said
        assert (root / "current").readlink() == before
        check_always(root)
        fourth = histories.release(tmp_path, 4, more={"own-4": random.Random(4).randbytes(3 * MB)})
        said = workshop.run("install", str(fourth.path), "--root", str(root), "-q", code=50)
        assert "bundle gc --root" in said
        facts = json.loads(workshop.run("gc", "--root", str(root), "--keep", "2", "--json"))
        assert facts["bytes"] > 24 * MB
        check_swept(root)
        assert [each.short for each in kept(root)] == ["tiny-2", "tiny-3"]
        workshop.run("install", str(fourth.path), "--root", str(root), "-q")
        workshop.run("rollback", "--root", str(root), "--yes")
        assert serving(root) == "tiny-3"
        filler.unlink()


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_delta_on_a_full_disk(
    workshop: Workshop, made: list[TinyBundle], by_delta: TinyBundle, tmp_path: Path, kind: str
) -> None:
    """What is said to be missing is enough; before that the old release serves, and nothing of it is lost."""
    with mounted(tmp_path / "disk", 140 * MB, kind=kind) as disk:
        root = disk / "site"
        for each in made[:2]:
            workshop.run("install", str(each.path), "--trust", "alice.pub", "--root", str(root), "-q")
        filler, said = disk / "ballast", ""
        for leave in (0, 10 * MB, 30 * MB):
            ballast(disk, leave=leave)
            said = workshop.run("install", str(by_delta.path), "--root", str(root), "-q", code=50)
            assert missing_in(said) > 0
            assert serving(root) == "tiny-2"
            check_always(root)
        os.truncate(filler, filler.stat().st_size - missing_in(said) - 4096)  # a disk has blocks, not bytes
        workshop.run("install", str(by_delta.path), "--root", str(root), "-q")
        assert serving(root) == "tiny-3"
        ballast(disk, leave=0)
        assert "DiskFull" in workshop.run("rollback", "1", "--root", str(root), "--yes", code=50)
        assert serving(root) == "tiny-3"
        check_always(root)
        workshop.run("gc", "--root", str(root), "--keep", "1")
        check_swept(root)


def test_rot_on_a_full_disk(workshop: Workshop, made: list[TinyBundle], tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", 60 * MB, kind="ext4") as disk:
        root = disk / "site"
        workshop.run("install", str(made[0].path), "--trust", "alice.pub", "--root", str(root), "-q")
        digest = max(made[0].statement.blobs, key=lambda entry: entry.size).digest
        histories.rot(root, digest)
        ballast(disk, leave=0)
        assert str(digest) in workshop.run("scrub", "--root", str(root), "-q", code=118)
        workshop.run("scrub", "--root", str(root), "-q", "--from", str(made[0].path))
        check_always(root)


class Reader:
    """Clients without an hour's rest: what one release has, by its indexes and then by what they name."""

    def __init__(self, url: str) -> None:
        self._url, self._stop = url, threading.Event()
        self.rounds, self.failed = 0, list[str]()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._round()
            except OSError as error:
                self.failed.append(f"round {self.rounds}: {error}")
            self.rounds += 1

    def _round(self) -> None:
        index = json.loads(self._get("/pypi/simple/tiny/", accept="application/vnd.pypi.simple.v1+json"))
        time.sleep(0.02)  # the switch may come here
        for file in index["files"]:
            assert self._get(urljoin("/pypi/simple/tiny/", file["url"]))
        release = self._get("/apt/debian/dists/bookworm/InRelease").decode()
        hashes = {line.split()[0] for line in release.splitlines() if line.endswith("/Packages")}
        time.sleep(0.02)
        for each in hashes:
            packages = self._get(f"/apt/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{each}").decode()
            for line in packages.splitlines():
                if line.startswith("Filename: "):
                    assert self._get(f"/apt/debian/{line.partition(' ')[2]}")

    def _get(self, path: str, *, accept: str = "*/*") -> bytes:
        request = urllib.request.Request(f"{self._url}{path}", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: bytes = answer.read()
        return data

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


@contextmanager
def served(workshop: Workshop, root: Path) -> Iterator[str]:
    with workshop.start("serve", "--root", str(root), "--listen", "127.0.0.1:0", "--quiet") as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].rstrip("/")
        process.terminate()


def test_clients_notice_nothing(workshop: Workshop, start: Path, tmp_path: Path) -> None:
    """Back and forth under clients that read an index and then, across the switch, what it names; apt's dates grow."""
    root = tmp_path / "site"
    histories.copy(start, root)
    with served(workshop, root) as url, Reader(url) as reader:
        while not reader.rounds and not reader.failed:
            time.sleep(0.05)
        for name in ("2", "3", "2", "1", "3"):
            workshop.run("rollback", name, "--root", str(root), "--yes")
        workshop.run("gc", "--root", str(root), "--keep", "2")
        wheel = tmp_path / "wheel"
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--index-url",
            f"{url}/pypi/simple/",
            "-d",
            str(wheel),
        ]
        done = subprocess.run([*pip, "tiny", "-q", "--disable-pip-version-check"], capture_output=True, text=True)
    assert reader.failed == [], reader.failed[:5]
    assert done.returncode == 0, done.stderr
    assert [path.name for path in wheel.iterdir()] == ["tiny-3.0-py3-none-any.whl"]
    print(f"{reader.rounds} rounds, none failed")
    assert len(list(BlobStore(root).digests())) > 100
