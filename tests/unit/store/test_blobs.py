"""The store: a blob has its name only once its bytes are proved."""

import os
from pathlib import Path

import pytest

from bundler.errors import StaleLink, StoreDamaged, WrongBytes
from bundler.model.digest import Digest
from bundler.store import blobs
from bundler.store.blobs import BlobStore
from bundler.support import files

DATA = b"a blob\n" * 1000
DIGEST = Digest.of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    made = BlobStore(tmp_path)
    made.prepare()
    return made


def put(store: BlobStore, data: bytes, digest: Digest, *, size: int = len(DATA)) -> None:
    with store.incoming(digest, size) as incoming:
        incoming.write(memoryview(data[:100]))
        incoming.write(memoryview(data[100:]))
        incoming.publish()


def test_a_blob(store: BlobStore) -> None:
    put(store, DATA, DIGEST)
    assert store.holds(DIGEST, len(DATA))
    assert store.read(DIGEST, limit=len(DATA)) == DATA
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o444
    assert store.path(DIGEST).stat().st_nlink == 1


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_its_mode_does_not_depend_on_the_umask(store: BlobStore, umask: int) -> None:
    before = os.umask(umask)
    try:
        put(store, DATA, DIGEST)
    finally:
        os.umask(before)
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", DATA.swapcase(), b""])
def test_wrong_bytes_get_no_name(store: BlobStore, data: bytes) -> None:
    with pytest.raises(WrongBytes):
        put(store, data, DIGEST)
    assert not store.path(DIGEST).exists()
    assert not list((store.folder / "incoming").iterdir())


def test_what_was_not_published_is_gone(store: BlobStore) -> None:
    with store.incoming(DIGEST, len(DATA)) as incoming:
        incoming.write(memoryview(DATA))
    assert not store.holds(DIGEST, len(DATA))
    assert not list((store.folder / "incoming").iterdir())


def test_a_blob_of_another_length_is_not_held_and_is_replaced(store: BlobStore) -> None:
    store.path(DIGEST).write_bytes(DATA[:-1])
    assert not store.holds(DIGEST, len(DATA))
    put(store, DATA, DIGEST)
    assert store.read(DIGEST, limit=len(DATA)) == DATA


def test_reading_proves(store: BlobStore) -> None:
    with pytest.raises(StaleLink):
        store.read(DIGEST, limit=10)
    store.path(DIGEST).write_bytes(DATA.swapcase())
    with pytest.raises(StoreDamaged):
        store.read(DIGEST, limit=len(DATA))


def test_what_a_killed_installation_left_is_cleared(store: BlobStore) -> None:
    (store.folder / "incoming" / DIGEST.hex).write_bytes(b"half")
    put(store, b"x", Digest.of(b"x"), size=1)
    store.prepare()
    assert not list((store.folder / "incoming").iterdir())
    assert store.holds(Digest.of(b"x"), 1)


def test_an_incoming_name_that_is_a_link_is_not_followed(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (store.folder / "incoming" / DIGEST.hex).symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        put(store, DATA, DIGEST)
    assert (tmp_path / "victim").read_bytes() == b"precious"


# --- large blobs that are interrupted


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(blobs, "MARK", 1000)
    return 1000


def interrupt(store: BlobStore, data: bytes) -> None:
    with store.incoming(DIGEST, len(DATA)) as incoming:
        incoming.write(memoryview(data))


@pytest.mark.parametrize(
    ("written", "kept"), [(0, 0), (1, 0), (1000, 0), (1001, 1000), (2000, 1000), (2001, 2000), (len(DATA), 6000)]
)
def test_what_is_surely_on_the_disk_is_kept(store: BlobStore, mark: int, written: int, kept: int) -> None:
    interrupt(store, DATA[:written])
    for left in (store.folder / "incoming").iterdir():
        left.chmod(0o444)  # killed between this and the rename
    store.prepare([DIGEST])
    assert all(left.stat().st_mode & 0o777 == 0o600 for left in (store.folder / "incoming").iterdir())
    assert store.begun(DIGEST, len(DATA)) == kept
    with store.incoming(DIGEST, len(DATA)) as incoming:
        assert incoming.position == kept
        incoming.write(memoryview(DATA[kept:]))
        incoming.publish()
    assert store.read(DIGEST, limit=len(DATA)) == DATA
    assert not list((store.folder / "incoming").iterdir())


def test_no_byte_beyond_a_mark_before_the_sync(store: BlobStore, mark: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the length alone tells what survived: at each sync the file ends exactly at a mark."""
    lengths = []
    monkeypatch.setattr(files, "sync_data", lambda descriptor: lengths.append(os.fstat(descriptor).st_size))
    put(store, DATA, DIGEST)
    assert lengths == [1000, 2000, 3000, 4000, 5000, 6000, len(DATA)]


def test_a_wrong_beginning_is_said_and_thrown_away(store: BlobStore, mark: int) -> None:
    interrupt(store, DATA[:3000].swapcase())
    with store.incoming(DIGEST, len(DATA)) as incoming:
        incoming.write(memoryview(DATA[incoming.position :]))
        with pytest.raises(StoreDamaged):
            incoming.publish()
    assert not list((store.folder / "incoming").iterdir())
    assert not store.holds(DIGEST, len(DATA))


def test_only_beginnings_of_what_is_wanted_stay(store: BlobStore, mark: int) -> None:
    interrupt(store, DATA[:3000])
    incoming = store.folder / "incoming"
    (incoming / ("0" * 64)).write_bytes(b"of another release")
    (incoming / ".x").write_bytes(b"")
    (incoming / "folder" / "deep").mkdir(parents=True)
    store.prepare([DIGEST])
    assert [path.name for path in incoming.iterdir()] == [DIGEST.hex]
    store.prepare()
    assert not list(incoming.iterdir())


def test_one_that_is_too_long_or_no_file_begins_anew(store: BlobStore, mark: int, tmp_path: Path) -> None:
    beside = store.folder / "incoming" / DIGEST.hex
    beside.write_bytes(DATA + b"more")
    assert store.begun(DIGEST, len(DATA)) == 0
    put(store, DATA, DIGEST)
    (tmp_path / "victim").write_bytes(DATA[:3000])
    beside.symlink_to(tmp_path / "victim")
    store.prepare([DIGEST])
    assert not beside.is_symlink()
