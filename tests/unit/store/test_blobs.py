"""The store: a blob has its name only once its bytes are proved."""

import os
from pathlib import Path

import pytest

from bundler.errors import StaleLink, StoreDamaged, WrongBytes
from bundler.model.digest import Digest
from bundler.store.blobs import BlobStore

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
