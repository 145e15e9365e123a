"""`create` without a network: files, caches, resuming, and what is left when it fails."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import (
    BundleError,
    CannotWrite,
    DoubledKey,
    FetchFailed,
    InvalidDocument,
    NotReadable,
    WrongBytes,
)
from bundler.fetch.partial import Partial
from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.model.lock_text import write_lock
from bundler.model.volumes import parse_volumes
from bundler.signing.keys import SigningKey
from bundler.support import files, parallel
from bundler.support.progress import Silent
from bundler.workflows import create as module
from bundler.workflows.create import Created
from bundler.workflows.create import create as run
from bundler.workflows.install import install
from bundler.workflows.places import Places
from bundler.workflows.verify import verify
from tests.bundles import ALICE, BOB, SOURCES, bare_lock

FILES = {"one.txt": b"one\n", "two.bin": os.urandom(3 << 20), "three.bin": bytes(range(256)) * 999, "empty": b""}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool of two files, and no power cuts."""
    monkeypatch.setattr(module, "tool_sources", lambda: SOURCES)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    for name, data in FILES.items():
        (tmp_path / "files" / name).write_bytes(data)
    entries = (LockedFile(name=n, url=f"file:{n}", digest=Digest.of(d), size=len(d)) for n, d in FILES.items())
    made = bare_lock(files=tuple(entries))
    (tmp_path / "lock").write_text(write_lock(made))
    return tmp_path / "lock"


def create(
    lock: Path, out: str = "o.bundle", *, keys: tuple[SigningKey, ...] = (ALICE,), jobs: int = 2, **places: object
) -> Created:
    found = Places(**{"manifests": Manifests(folders=(lock.parent,)), **places})  # type: ignore[arg-type]
    return run(lock, lock.parent / out, keys=keys, places=found, jobs=jobs, progress=Silent())


def names(lock: Path) -> set[str]:
    return {path.name for path in lock.parent.iterdir()} - {"lock", "files"}


def test_the_whole_way(lock: Path) -> None:
    done = create(lock)
    assert (done.resumed, done.received, names(lock)) == (False, 0, {"o.bundle"})
    assert done.out.stat().st_size == done.size
    verify(done.out, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())
    install(done.out, lock.parent / "site", keys=(ALICE.public,), threshold=None, jobs=1, progress=Silent())
    for name, data in FILES.items():
        assert (lock.parent / "site" / "current" / "files" / name).read_bytes() == data


def test_the_order_of_keys_does_not_matter(lock: Path) -> None:
    one = create(lock, "one", keys=(ALICE, BOB)).out.read_bytes()
    assert create(lock, "two", keys=(BOB, ALICE), jobs=16).out.read_bytes() == one
    with pytest.raises(DoubledKey):
        create(lock, keys=(ALICE, BOB, ALICE))


@pytest.mark.parametrize("late", range(0, 40, 3))
def test_resumed(lock: Path, monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    """Ended at the n-th write, wherever that is; then the same bytes."""
    expected = create(lock, "expected").out.read_bytes()
    count = 0

    def write(self: Partial, data: bytes | memoryview, offset: int) -> None:
        nonlocal count
        count += 1
        if count > late:
            raise KeyboardInterrupt
        real(self, data, offset)

    real: Callable[[Partial, bytes | memoryview, int], None] = Partial.write
    with monkeypatch.context() as patched:
        patched.setattr(Partial, "write", write)
        with pytest.raises(KeyboardInterrupt):
            create(lock, jobs=1)
    assert names(lock) == {"expected", "o.bundle.partial", "o.bundle.partial.journal"}
    done = create(lock)
    assert done.resumed
    assert done.out.read_bytes() == expected
    assert names(lock) == {"expected", "o.bundle"}


def test_bytes_that_rotted_under_the_journal(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut can leave a mark ahead of its data: the blob is hashed again, found wrong and fetched anew."""
    expected = create(lock, "expected").out.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(module, "_sign", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patched.setattr(Partial, "finish", lambda self, slot: None)
        with pytest.raises(KeyboardInterrupt):
            create(lock)
    partial = lock.parent / "o.bundle.partial"
    data = partial.read_bytes()
    at = data.index(FILES["two.bin"])
    partial.write_bytes(data[:at] + bytes(5000) + data[at + 5000 :])
    assert create(lock).out.read_bytes() == expected


def test_reuse(lock: Path) -> None:
    """From an earlier bundle and from a site; what is damaged there is not taken."""
    expected = create(lock, "expected").out
    data = expected.read_bytes()
    install(expected, lock.parent / "site", keys=(ALICE.public,), threshold=None, jobs=1, progress=Silent())
    nowhere = Manifests(folders=(lock.parent / "nowhere",))
    for place in (expected, lock.parent / "site"):
        assert create(lock, manifests=nowhere, reuse=(place,)).out.read_bytes() == data
    rotten = bytearray(data)
    rotten[data.index(FILES["two.bin"])] ^= 1
    expected.write_bytes(rotten)
    with pytest.raises(NotReadable):
        create(lock, "x", manifests=nowhere, reuse=(expected,))
    assert create(lock, "x", reuse=(expected,)).out.read_bytes() == data
    assert create(lock, "y", manifests=nowhere, reuse=(expected, lock.parent / "site")).out.read_bytes() == data


def test_a_reuse_that_is_not_there_leaves_nothing(lock: Path) -> None:
    with pytest.raises(NotReadable):
        create(lock, reuse=(lock.parent / "none",))
    assert names(lock) == set()


def test_wrong_bytes_keep_the_rest(lock: Path) -> None:
    """One source is wrong: it is named, the others' bytes are kept, and nothing has the final name."""
    (lock.parent / "files" / "two.bin").write_bytes(bytes(3 << 20))
    with pytest.raises(WrongBytes, match=r"two\.bin"):
        create(lock)
    assert "o.bundle" not in names(lock)
    for name in ("one.txt", "three.bin"):
        (lock.parent / "files" / name).unlink()
    (lock.parent / "files" / "two.bin").write_bytes(FILES["two.bin"])
    assert create(lock).resumed


def test_all_that_fails_is_told_at_once(lock: Path) -> None:
    for name in ("one.txt", "three.bin"):
        (lock.parent / "files" / name).unlink()
    with pytest.raises(FetchFailed) as caught:
        create(lock)
    assert [what for what, _ in caught.value.failures] == ["one.txt", "three.bin"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda lock: lock.unlink(), NotReadable),
        (lambda lock: lock.write_bytes(b"\xff\xfe"), NotReadable),
        (lambda lock: lock.write_text("lockVersion: 2\n"), InvalidDocument),
        (lambda lock: lock.write_text(lock.read_text().replace("one.txt", "../one.txt")), InvalidDocument),
        (lambda lock: lock.write_text(lock.read_text().replace("file:one.txt", "file:../lock")), BundleError),
        (lambda lock: (lock.parent / "o.bundle").mkdir(), CannotWrite),
    ],
)
def test_what_cannot_be(lock: Path, change: Callable[[Path], object], error: type[BundleError]) -> None:
    change(lock)
    with pytest.raises(error):
        create(lock)
    assert not (lock.parent / "o.bundle").is_file()


def test_giving_up_wakes_sleepers() -> None:
    """A pause between two attempts ends when other work failed for good."""

    def work(item: int) -> None:
        if item == 0:
            raise NotReadable(path="x", why="gone")
        parallel.pause(60)

    with pytest.raises(NotReadable):
        parallel.each(range(2), work, jobs=2, fatal=lambda error: True)


def test_volumes(lock: Path) -> None:
    """Put together they are the bundle, bit for bit; each is what the signed document says."""
    create(lock, "whole.bundle")
    done = create_volumes(lock, 1_000_001)
    whole = (lock.parent / "whole.bundle").read_bytes()
    assert [path.name for path in done.slices] == [f"o.bundle.{at:03d}" for at in range(1, len(done.slices) + 1)]
    assert b"".join(path.read_bytes() for path in done.slices) == whole
    document = lock.parent / "o.bundle.volumes.json"
    volumes = parse_volumes(document.read_bytes(), path="x")
    assert volumes.content == done.statement.content
    assert [each.digest for each in volumes.slices] == [Digest.of(path.read_bytes()) for path in done.slices]
    beside = document.with_name(f"{document.name}.{ALICE.public.keyid}.sig")
    assert ALICE.public.verifies(beside.read_bytes(), document.read_bytes())
    assert not list(lock.parent.glob("*.partial*"))
    verify(document, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())
    with pytest.raises(CannotWrite, match="never replaced"):
        create_volumes(lock, 1_000_001)
    kept = document.read_bytes()
    for path in lock.parent.glob("o.bundle.*"):
        path.unlink()
    create_volumes(lock, 1_000_001, jobs=1)
    assert document.read_bytes() == kept


def test_volumes_are_a_cache(lock: Path, tmp_path: Path) -> None:
    """One file out of slices, and slices out of one file, with no other source."""
    create_volumes(lock, 500_000)
    create(lock, "whole.bundle")
    for path in (tmp_path / "files").iterdir():
        path.unlink()
    create(lock, "again.bundle", reuse=(tmp_path / "o.bundle.volumes.json",))
    assert (tmp_path / "again.bundle").read_bytes() == (tmp_path / "whole.bundle").read_bytes()
    create_volumes(lock, 700_000, "second.bundle", reuse=(tmp_path / "whole.bundle",))


def create_volumes(lock: Path, volume: int, out: str = "o.bundle", *, jobs: int = 2, **places: object) -> Created:
    found = Places(**{"manifests": Manifests(folders=(lock.parent,)), **places})  # type: ignore[arg-type]
    return run(lock, lock.parent / out, keys=(ALICE,), places=found, jobs=jobs, progress=Silent(), volume=volume)
