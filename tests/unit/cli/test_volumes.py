"""Volumes, copies and streams as commands: what they print, and the exit codes that scripts rely on."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundler.cli.main import main
from bundler.errors import SecondBundle, SliceDamaged, SliceMissing, TruncatedBundle
from bundler.support import files
from tests.bundles import ALICE, TinyBundle, tiny_bundle
from tests.campaigns import tree_of
from tests.volumes import Sliced, sliced

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyBundle:
    monkeypatch.chdir(tmp_path)
    Path("alice.pub").write_bytes(ALICE.public.pem())
    return tiny_bundle(tmp_path)


@pytest.fixture
def three(made: TinyBundle, tmp_path: Path) -> Sliced:
    return sliced(made, tmp_path / "slices", 3)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, code: int = 0, trust: bool = True) -> str:
        found = main([*arguments, *(("--trust", "alice.pub") if trust else ())])
        said = capfd.readouterr()
        assert found == code, said.out + said.err
        return said.out + said.err

    return run


@contextmanager
def stdin(data: bytes) -> Iterator[None]:
    kept, descriptor = os.dup(0), os.memfd_create("stdin")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        os.dup2(descriptor, 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(descriptor)


def test_slices_on_several_disks(run: Run, three: Sliced, made: TinyBundle, tmp_path: Path) -> None:
    disks = [tmp_path / f"disk-{number}" for number in three.numbers]
    for number, disk in zip(three.numbers, disks, strict=True):
        disk.mkdir()
        assert "would copy" in run("copy", str(three.path(number)), str(disk), "--dry-run")
        said = json.loads(run("copy", str(three.path(number)), str(disk), "--json", "-q"))
        assert said["files"][:2] == [three.path(number).name, "tiny.bundle.volumes.json"]
        assert "were there" in run("copy", str(three.path(number)), str(disk))
    first = str(disks[0] / "tiny.bundle.001")
    said = run("install", first, "--root", "site", code=SliceMissing.exit_code)
    assert "tiny.bundle.002  sha256:" in said
    assert "--disk DIR" in said
    more = ("--disk", str(disks[1]), "--disk", str(disks[2]))
    assert "now uses release tiny 1" in run("install", first, *more, "--root", "site")
    run("install", str(made.path), "--root", "straight")
    assert tree_of(Path("site")) == tree_of(Path("straight"))
    assert "good, every byte" in run("verify", str(disks[0]), *more)
    assert "slice 2 of 3" in run("verify", str(disks[1] / "tiny.bundle.002"))
    assert json.loads(run("verify", str(disks[1] / "tiny.bundle.002"), "--json", "-q"))["number"] == 2
    assert "release tiny 1" in run("inspect", str(three.folder), trust=False)
    said = run("install", first, *more, "--site", "site.yaml", code=2)
    assert "go with --root" in said


def test_a_damaged_slice(run: Run, three: Sliced) -> None:
    three.flip(2, 1000)
    for arguments in (
        ("verify", str(three.document)),
        ("verify", str(three.path(2))),
        ("copy", str(three.folder), "."),
    ):
        said = run(*arguments, code=SliceDamaged.exit_code)
        assert "tiny.bundle.002" in said
        assert "sha256:" in said
    run("verify", str(three.path(3)))


def test_a_stream(run: Run, made: TinyBundle, tmp_path: Path) -> None:
    data = made.path.read_bytes()
    with stdin(data):
        assert "good, every byte" in run("verify", "-")
    with stdin(data[:100_000]):
        assert "ends after 100000 bytes" in run("install", "-", "--root", "site", code=TruncatedBundle.exit_code)
    with stdin(data + data):
        assert "a second bundle" in run("install", "-", "--root", "site", code=SecondBundle.exit_code)
    with stdin(data):
        assert "now uses release tiny 1" in run("install", "-", "--root", "site")
    with stdin(data):
        assert "nothing to do" in run("install", "-", "--root", "site", trust=False)
    with stdin(data):
        run("install", "-", "--site", "site.yaml", code=2)


def test_sizes_that_are_none(run: Run, made: TinyBundle) -> None:
    for size in ("0", "floppy", "-3"):
        said = run("create", "-o", "x", "--volume-size", size, code=11, trust=False)
        assert "fat32" in said


def test_a_full_medium(run: Run, made: TinyBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(files, "free_space", lambda path: 1000)
    assert "more bytes" in run("copy", str(made.path), "disk", code=50)
    assert not os.listdir("disk")
    shutil.rmtree("disk")
    assert "no folder" in run("copy", str(made.path), "disk", code=12)
