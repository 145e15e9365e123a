"""A store hashed again: what is rotten or gone is found, named and mended, and stays so when the mending is killed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.archive.reader import BundleFile
from bundler.cli.main import main
from bundler.errors import StillRotten, UntrustedSigner
from bundler.model.digest import Digest
from bundler.site import generation
from bundler.site.kept import kept
from bundler.store import proof
from bundler.store.blobs import BlobStore
from bundler.support import clock, files, parallel
from bundler.support.progress import Silent
from bundler.workflows.gc import gc
from bundler.workflows.scrub import Scrubbed, scrub
from tests import histories
from tests.bundles import BOB, FILES, TinyBundle, tiny_bundle
from tests.campaigns import tree_of
from tests.histories import check_always, check_swept, put, rot

BIG = Digest.of(FILES["model.bin"])  # in every release


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyBundle, TinyBundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return histories.release(folder, 1), histories.release(folder, 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, made: tuple[TinyBundle, TinyBundle]) -> Path:
    root = tmp_path_factory.mktemp("sites") / "whole"
    with pytest.MonkeyPatch.context() as patched:
        histories.quick(patched)
        for each in made:
            put(each, root)
    return root


@pytest.fixture
def root(tmp_path: Path, whole: Path) -> Path:
    histories.copy(whole, tmp_path / "site")
    return tmp_path / "site"


def run(root: Path, *sources: TinyBundle, rate: int = 0) -> Scrubbed:
    return scrub(root, sources=[each.path for each in sources], jobs=2, rate=rate, progress=Silent())


def test_a_whole_store(root: Path) -> None:
    before = tree_of(root)
    done = run(root)
    assert (done.found, done.failure, done.repaired, done.views) == (0, None, (), ())
    assert done.blobs == len(list(BlobStore(root).digests()))
    assert done.size == sum(BlobStore(root).path(digest).stat().st_size for digest in BlobStore(root).digests())
    assert tree_of(root) == before


@pytest.mark.parametrize("at", [0, 40_000, len(FILES["model.bin"]) - 1])
def test_rotten(root: Path, made: tuple[TinyBundle, TinyBundle], at: int) -> None:
    """Named with what needs it, then mended from an older bundle, in its place: all names of it are right again."""
    before = tree_of(root)
    inode = BlobStore(root).path(BIG).stat().st_ino
    rot(root, BIG, at=at)
    done = run(root)
    assert done.rotten == ((str(BIG), ("model.bin",)),)
    assert isinstance(done.failure, StillRotten)
    done = run(root, made[0])
    assert (done.repaired, done.failure) == (((str(BIG), made[0].path.name),), None)
    assert BlobStore(root).path(BIG).stat().st_ino == inode
    assert tree_of(root) == before


@pytest.mark.parametrize("change", ["cut", "longer", "empty"])
def test_of_another_length(root: Path, made: tuple[TinyBundle, TinyBundle], change: str) -> None:
    before = tree_of(root)
    path = BlobStore(root).path(BIG)
    path.chmod(0o644)
    os.truncate(path, {"cut": 1000, "longer": 200_000, "empty": 0}[change])
    assert run(root).rotten
    assert run(root, made[1]).failure is None
    assert tree_of(root) == before


def test_gone_and_still_in_a_view(root: Path) -> None:
    before = tree_of(root)
    BlobStore(root).path(BIG).unlink()
    assert run(root).repaired == ((str(BIG), "a view"),)
    assert tree_of(root) == before


def test_gone_everywhere(root: Path, made: tuple[TinyBundle, TinyBundle]) -> None:
    inode = BlobStore(root).path(BIG).stat().st_ino
    for path in [path for path in root.rglob("*") if path.lstat().st_ino == inode]:
        path.unlink()
    done = run(root)
    assert done.missing == ((str(BIG), ("model.bin",)),)
    done = run(root, made[0])
    assert (done.failure, done.views) == (None, ("tiny-1", "tiny-2"))
    check_always(root)
    gc(root, keep=2)
    check_swept(root)


def test_the_folder_that_is_served_never_misses(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Views made anew change their place with the old ones in one step."""
    (root / "current/files/model.bin").unlink()
    shutil.rmtree(root / "current/registry/docker/registry/v2/blobs")
    real = files.exchange

    def exchange(one: Path, other: Path) -> bool:
        assert (root / "current/statement").is_dir()
        done = real(one, other)
        assert (root / "current/files/model.bin").exists()
        return done

    monkeypatch.setattr(files, "exchange", exchange)
    assert run(root).views == ("tiny-2",)
    check_always(root)


def test_rotten_and_needed_by_nobody(root: Path) -> None:
    """It must not be taken for good by the next installation."""
    folder = kept(root)[0].folder
    wheel = kept(root)[0].statement.wheels[0].digest
    shutil.rmtree(folder)
    rot(root, wheel)
    done = run(root)
    assert (done.removed, done.failure) == ((str(wheel),), None)
    assert not BlobStore(root).path(wheel).exists()


def test_a_view_with_a_copy_of_its_own(root: Path) -> None:
    """As a file system with reflinks has it: the view's own bytes are judged too, and serve to mend the store."""
    folder = generation.current(root)
    assert folder is not None
    view = next(folder.glob(f"registry/docker/registry/v2/blobs/sha256/*/{BIG.hex}/data"))
    data = view.read_bytes()
    view.unlink()
    view.write_bytes(data)
    rot(root, BIG)
    assert run(root).repaired == ((str(BIG), "a view"),)
    view.unlink()
    view.write_bytes(data[:-1] + b"?")
    assert run(root).views == ("tiny-2",)
    check_always(root)


def test_only_what_is_trusted_mends(root: Path, tmp_path: Path) -> None:
    rot(root, BIG)
    with pytest.raises(UntrustedSigner):
        run(root, tiny_bundle(tmp_path, keys=(BOB,)))
    assert run(root).rotten


def test_a_source_that_is_rotten_too(root: Path, made: tuple[TinyBundle, TinyBundle], tmp_path: Path) -> None:
    """Its body is proved before a byte of it is written; the next source does it."""
    rot(root, BIG, at=5)
    bad = tmp_path / "bad.bundle"
    shutil.copy(made[0].path, bad)
    with BundleFile(bad) as file:
        place = made[0].layout.place(f"blobs/sha256/{BIG.hex}")
        assert file.size > place.body
    with bad.open("r+b") as out:
        out.seek(place.body + 70_000)
        out.write(b"????")
    before = BlobStore(root).path(BIG).read_bytes()
    done = scrub(root, sources=[bad], jobs=1, rate=0, progress=Silent())
    assert done.rotten
    assert BlobStore(root).path(BIG).read_bytes() == before
    done = scrub(root, sources=[bad, made[1].path], jobs=1, rate=0, progress=Silent())
    assert done.repaired == ((str(BIG), made[1].path.name),)


def test_killed_while_mending(root: Path, made: tuple[TinyBundle, TinyBundle], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each change of the disk in turn; the next one ends where an undisturbed one would."""
    before = tree_of(root)
    for at in range(1, 9):
        rot(root, BIG)
        with histories.dying(at, monkeypatch):
            run(root, made[0])
        assert run(root, made[0]).failure is None
        assert tree_of(root) == before


def test_only_what_differs_is_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = BlobStore(root).path(BIG)
    rot(root, BIG, at=70_000)
    written = []
    real = files.write_at

    def write_at(descriptor: int, data: memoryview, offset: int) -> None:
        written.append(offset)
        real(descriptor, data, offset)

    monkeypatch.setattr(files, "write_at", write_at)
    pieces = [FILES["model.bin"][at : at + 4096] for at in range(0, len(FILES["model.bin"]), 4096)]

    def stream(take: Callable[[memoryview], object]) -> None:
        for piece in pieces:
            take(memoryview(piece))

    proof.write_right(path, len(FILES["model.bin"]), stream)
    assert written == [70_000 // 4096 * 4096]
    assert path.read_bytes() == FILES["model.bin"]
    assert path.stat().st_mode & 0o777 == 0o444


def test_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pauses, not of time: 10 MB at 5 MB a second are two seconds in all."""
    paused: list[float] = []
    monkeypatch.setattr(clock, "monotonic", lambda: 100.0 + sum(paused))
    monkeypatch.setattr(parallel, "pause", lambda seconds: paused.append(max(0, seconds)))
    pace = proof.Pace(5_000_000)
    for _ in range(10):
        pace.take(1_000_000)
    assert sum(paused) == pytest.approx(2)
    proof.Pace(0).take(1 << 40)


def test_the_command(root: Path, made: tuple[TinyBundle, TinyBundle], capsys: pytest.CaptureFixture[str]) -> None:
    at = ["scrub", "--root", str(root), "-q"]
    assert main(at) == 0
    rot(root, BIG)
    assert main([*at, "--json"]) == 118
    said = capsys.readouterr()
    assert json.loads(said.out)["rotten"] == [{"digest": str(BIG), "artifacts": ["model.bin"]}]
    assert "model.bin" in said.err
    assert main([*at, "--from", str(made[0].path), "--limit", "100M"]) == 0
    assert main([*at, "--limit", "fast"]) == 2
