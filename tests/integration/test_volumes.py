"""Volumes killed while they are made, and carried on several disks with one drive."""

import os
import pty
import random
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.model.lock_text import write_lock
from tests.bundles import ALICE, bare_lock, tiny_bundle
from tests.campaigns import BUNDLE, Workshop, sha256_of, tree_of
from tests.lab import ROOT
from tests.volumes import sliced

MB = 1 << 20
VOLUME = 3_000_001  # not aligned to anything


def make_lock(folder: Path) -> None:
    """20 MB in six files."""
    chance, entries = random.Random(3), []
    (folder / "files").mkdir()
    for at in range(1, 7):
        data, name = chance.randbytes(at * MB + at), f"{at}.bin"
        (folder / "files" / name).write_bytes(data)
        entries.append(LockedFile(name=name, url=f"file:{name}", digest=Digest.of(data), size=len(data)))
    (folder / "lock").write_text(write_lock(bare_lock(files=tuple(entries))))


@pytest.fixture
def forker(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    make_lock(tmp_path)
    command = [sys.executable, "-m", "tests.forker", str(tmp_path), str(VOLUME)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()


def tell(forker: "subprocess.Popen[str]", seconds: float) -> str:
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(f"{seconds}\n")
    forker.stdin.flush()
    return forker.stdout.readline().strip()


def test_killed_while_they_are_made(forker: "subprocess.Popen[str]", tmp_path: Path) -> None:
    """At 30 moments over several runs: the same slices, the same document, nothing left over."""

    def made() -> dict[str, str]:
        return {path.name: sha256_of(path) for path in sorted(tmp_path.glob("o.bundle.*"))}

    def clear() -> None:
        for path in tmp_path.glob("o.bundle.*"):
            path.unlink()

    started = time.monotonic()
    assert tell(forker, 600) == "0"
    longest = time.monotonic() - started
    expected, chance, kills, whole = made(), random.Random(11), 0, 1
    assert sum(name.endswith(tuple(f"{at:03d}" for at in range(1, 9))) for name in expected) == 8
    clear()
    while kills < 30:
        answer = tell(forker, chance.uniform(0, longest))
        kills += answer == "killed"
        # A kill that comes when all is done leaves the whole result, as no kill does.
        done = (tmp_path / "o.bundle.volumes.json").exists() and not (tmp_path / "o.bundle.partial.journal").exists()
        if answer != "killed" or done:
            assert answer in ("0", "killed")
            assert made() == expected
            whole += 1
            clear()
    again = tell(forker, 600)
    assert again == "0"
    print(f"{kills} kills, {whole + 1} whole results, {longest:.1f} s undisturbed")
    assert made() == expected


def test_disks_one_after_the_other(tmp_path: Path) -> None:
    """On a terminal the next one is asked for by its name; the drive has room for one."""
    (tmp_path / "alice.pub").write_bytes(ALICE.public.pem())
    made = tiny_bundle(tmp_path)
    found = sliced(made, tmp_path / "slices", 3)
    disks = [tmp_path / f"disk-{number}" for number in found.numbers]
    for number, disk in zip(found.numbers, disks, strict=True):
        shutil.copytree(found.folder, disk, ignore=shutil.ignore_patterns(f"*.00[!{number}]"))
    workshop, drive, root = Workshop(folder=tmp_path), tmp_path / "drive", tmp_path / "site"
    shutil.copytree(disks[0], drive)
    command = ["install", str(drive / "tiny.bundle.001"), "--trust", "alice.pub", "--root", str(root), "-q"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*BUNDLE, *command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=workshop.environment
    ) as process:
        os.close(theirs)
        for number in (2, 3):
            assert f"tiny.bundle.{number:03d}" in read_until(ours, "press Enter")
            shutil.rmtree(drive)  # and the document with it
            shutil.copytree(disks[number - 1], drive)
            os.write(ours, b"\n")
        said = read_until(ours, "serve it with")
        assert process.wait(timeout=600) == 0, said
    os.close(ours)
    workshop.run("install", str(made.path), "--trust", "alice.pub", "--root", "straight", "-q")
    assert tree_of(root) == tree_of(tmp_path / "straight")


def read_until(descriptor: int, text: str) -> str:
    found = ""
    while text not in found:
        ready, _, _ = select.select([descriptor], [], [], 600)
        assert ready, found
        found += os.read(descriptor, 4096).decode()
    return found
