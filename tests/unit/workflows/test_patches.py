"""Patches inside blobs, from `create` to what a site has in the end."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import BaseMissing, DamagedContent, DiskFull, PatchFailed, StoreDamaged, Unsupported
from bundler.fetch import patches as making
from bundler.model.statement import PATCH_PREFIX
from bundler.patch import coders
from bundler.store.blobs import BlobStore
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows import create as module
from bundler.workflows import gc, rebuild
from bundler.workflows.arrive import install_stream, verify_stream
from bundler.workflows.create import Created
from bundler.workflows.install import install
from bundler.workflows.look import extract
from bundler.workflows.verify import verify
from tests.bundles import ALICE, SOURCES, TinyBundle
from tests.campaigns import tree_of
from tests.patched import contents, delta_between, releases
from tests.sender import front, sending

KEYS = (ALICE.public,)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cuts, and a tool of two files, of which nobody proves that it is whole."""
    monkeypatch.setattr(module, "tool_sources", lambda: SOURCES)
    monkeypatch.setattr(module, "prove_before", lambda lock, progress: None)
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TinyBundle, TinyBundle, Created]]:
    """The old release, the new one, and the delta between them."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "tool_sources", lambda: SOURCES)
        patched.setattr(module, "prove_before", lambda lock, progress: None)
        folder = tmp_path_factory.mktemp("made")
        old, new = releases(folder)
        yield old, new, delta_between(old, new)


Made = tuple[TinyBundle, TinyBundle, Created]


def put(path: Path, root: Path) -> None:
    install(path, root, keys=KEYS, threshold=None, jobs=2, progress=Silent())


def put_stream(path: Path, root: Path) -> None:
    with path.open("rb") as file:
        install_stream(file.fileno(), root, keys=KEYS, threshold=None, progress=Silent())


def put_receive(path: Path, root: Path) -> None:
    from bundler.archive.sending import parse_missing
    from bundler.model.canonical import dump
    from bundler.workflows.receive import ask_missing, receive

    read, write = os.pipe()
    with os.fdopen(write, "wb") as pipe:
        pipe.write(front(path))
    found = ask_missing(read, root, keys=KEYS, threshold=None)
    os.close(read)
    missing = parse_missing(dump(found), source="the site")
    folder = root.with_name("way")
    with sending(path, KEYS, missing.blobs) as stream:
        folder.write_bytes(b"".join(stream.chunks()))
        assert folder.stat().st_size == stream.size < path.stat().st_size
    with folder.open("rb") as file:
        receive(file.fileno(), root, keys=KEYS, threshold=None, progress=Silent())


def test_every_kind(made: Made) -> None:
    _, new, done = made
    patched = {each.digest for each in done.statement.patches}
    assert {each.digest for each in new.statement.files if each.name in contents(b"")} <= patched
    assert {each.digest for each in new.statement.wheels} | {each.digest for each in new.statement.debs} <= patched
    (image,) = new.statement.images
    assert patched & set(image.blobs)
    assert done.statement.requires == ("delta", "patch")
    assert done.statement.content == new.statement.content
    assert {entry.digest for entry in done.statement.blobs} == {entry.digest for entry in new.statement.blobs}
    assert sum(each.travels for each in done.choices) < sum(each.size for each in done.choices) / 20
    assert all(each.how == "patch" for each in done.choices if each.digest in patched)
    verified = verify(done.out, keys=KEYS, threshold=1, jobs=2, progress=Silent()).statement
    assert verified == done.statement
    assert not [path for path in done.out.parent.iterdir() if "patches" in path.name or "partial" in path.name]


def shown(tree: dict[str, str]) -> dict[str, str]:
    """What of a site does not come from the statement, in which a delta differs from a whole bundle."""
    return {name: what for name, what in tree.items() if "statement/" not in name}


@pytest.mark.parametrize("way", [put, put_stream, put_receive])
def test_the_same_site(way: object, made: Made, tmp_path: Path) -> None:
    old, new, done = made
    for name, last in (("by-patches", done.out), ("whole", new.path)):
        put(old.path, tmp_path / name)
        (way if last == done.out else put)(last, tmp_path / name)  # type: ignore[operator]
    one, two = tree_of(tmp_path / "by-patches"), tree_of(tmp_path / "whole")
    assert {k: v for k, v in one.items() if "statement/" not in k} == {
        k: v for k, v in two.items() if "statement/" not in k
    }
    put(done.out, tmp_path / "by-patches")  # once more: nothing to do


def test_in_slices_and_as_a_stream(made: Made, tmp_path: Path) -> None:
    old, new, _ = made
    done = delta_between(old, new, name="sliced.bundle", volume=9000)
    assert len(done.slices) > 2
    verify(done.out.with_name("sliced.bundle.volumes.json"), keys=KEYS, threshold=1, jobs=1, progress=Silent())
    put(old.path, tmp_path / "site")
    put(done.out.with_name("sliced.bundle.volumes.json"), tmp_path / "site")
    with made[2].out.open("rb") as file:
        assert verify_stream(file.fileno(), keys=KEYS, threshold=1, progress=Silent()).statement.patches


def test_the_same_bytes_every_time(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a run that goes on after others were killed."""
    old, new, done = made
    expected, real, count = done.out.read_bytes(), making._Maker.make, 0
    for late in (1, 4):

        def make(self: making._Maker, wanted: making.Wanted, late: int = late) -> None:
            nonlocal count
            count += 1
            if count > late:
                raise KeyboardInterrupt
            real(self, wanted)

        monkeypatch.setattr(making._Maker, "make", make)
        count = 0
        with pytest.raises(KeyboardInterrupt):
            delta_between(old, new, name="again.bundle", jobs=1)
        assert done.out.with_name("again.bundle.patches").exists()
    monkeypatch.setattr(making._Maker, "make", real)
    assert delta_between(old, new, name="again.bundle", jobs=1).out.read_bytes() == expected
    assert not [path for path in done.out.parent.iterdir() if path.name.startswith("again.bundle.")]


def test_without_patches(made: Made) -> None:
    old, new, done = made
    whole = delta_between(old, new, name="unpatched.bundle", patch=False)
    assert whole.statement.requires == ("delta",)
    assert whole.size > 2 * done.size
    assert {each.how for each in whole.choices} == {"held", "whole"} or {each.how for each in whole.choices} == {
        "whole"
    }


def test_what_a_delta_has_only_as_a_patch(made: Made, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="only as a patch"):
        extract(made[2].out, "model.bin", tmp_path / "out", keys=KEYS, threshold=1)


def test_a_site_that_lacks_a_base(made: Made, tmp_path: Path) -> None:
    old, _, done = made
    put(old.path, tmp_path / "site")
    model = next(each.digest for each in old.statement.files if each.name == "model.bin")
    BlobStore(tmp_path / "site").path(model).unlink()
    before = tree_of(tmp_path / "site")
    with pytest.raises(BaseMissing) as refused:
        put(done.out, tmp_path / "site")
    assert "tiny 1" in refused.value.hint
    assert [digest for digest, _ in refused.value.missing] == [str(model)]
    assert tree_of(tmp_path / "site") == before


def test_a_base_that_rotted(made: Made, tmp_path: Path) -> None:
    old, _, done = made
    put(old.path, tmp_path / "site")
    model = next(each.digest for each in old.statement.files if each.name == "model.bin")
    path = BlobStore(tmp_path / "site").path(model)
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamaged, match=model.hex):
        put(done.out, tmp_path / "site")


def test_another_compressor(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried all the same; the hash decides, and what was in use stays in use."""
    old, new, done = made
    put(old.path, tmp_path / "site")
    before = {k: v for k, v in tree_of(tmp_path / "site").items() if k.startswith("current")}
    real = coders._ENCODERS["deflate"]
    with monkeypatch.context() as patched:
        patched.setitem(coders._ENCODERS, "deflate", lambda coder, plain: real("zlib-1-8", plain))
        coders.probe.cache_clear()
        with pytest.raises(PatchFailed) as refused:
            put(done.out, tmp_path / "site")
    coders.probe.cache_clear()
    assert "another deflate" in refused.value.detail
    assert "--no-patch" in refused.value.hint
    assert {k: v for k, v in tree_of(tmp_path / "site").items() if k.startswith("current")} == before
    put(new.path, tmp_path / "site")
    assert not list((tmp_path / "site/store/incoming").iterdir())


def test_a_disk_without_room(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scratch files count: it is known before anything is written."""
    old, _, done = made
    put(old.path, tmp_path / "site")
    before = tree_of(tmp_path / "site")
    scratch = sum(sorted((each.scratch for each in done.statement.patches), reverse=True)[: rebuild.JOBS])
    new = sum(each.size for each in done.statement.patches)
    monkeypatch.setattr(files, "free_space", lambda path: (16 << 20) + scratch + new)
    with pytest.raises(DiskFull):
        put(done.out, tmp_path / "site")
    assert tree_of(tmp_path / "site") == before


def test_a_flipped_bit_of_a_patch(made: Made, tmp_path: Path) -> None:
    old, _, done = made
    put(old.path, tmp_path / "site")
    data = bytearray(done.out.read_bytes())
    name = next(entry for entry in done.statement.entries if entry.name.startswith(PATCH_PREFIX)).name
    at = data.index(b"bundle patch 1", data.rindex(name.encode()))
    data[at + 200] ^= 8
    (tmp_path / "flipped").write_bytes(data)
    before = tree_of(tmp_path / "site/current")
    with pytest.raises(DamagedContent, match=name):
        put(tmp_path / "flipped", tmp_path / "site")
    assert tree_of(tmp_path / "site/current") == before


# --- killed


def names(root: Path) -> dict[str, str]:
    """Every path and its content; a file may have more names or fewer."""
    return {name: what.split()[-1] for name, what in tree_of(root).items()}


def kill_at(number: int, path: Path, root: Path) -> bool:
    """Install in a child that is killed just before its `number`-th write or change of a name; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(real: object) -> object:
            def call(*args: object, **facts: object) -> object:
                nonlocal count
                count += 1
                if count == number:
                    os.kill(os.getpid(), 9)
                return real(*args, **facts)  # type: ignore[operator]

            return call

        for owner, names in ((files, ("write_at", "write_file", "sync_directory")), (Path, ("rename", "unlink"))):
            for name in names:
                setattr(owner, name, counted(getattr(owner, name)))
        try:
            put(path, root)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def test_killed_at_any_point(made: Made, tmp_path: Path) -> None:
    """Each time at another write, on one site; what comes out is what an undisturbed installation gives."""
    old, _, done = made
    put(old.path, tmp_path / "site")
    put(old.path, tmp_path / "straight")
    put(done.out, tmp_path / "straight")
    served = [names(tmp_path / "site/current/"), names(tmp_path / "straight/current/")]
    kills, number = 0, 1
    while kill_at(number, done.out, tmp_path / "site"):
        kills, number = kills + 1, number + 3
        assert names(tmp_path / "site/current/") in served
    assert kills >= 10
    put(done.out, tmp_path / "site")
    assert not list((tmp_path / "site/store/incoming").iterdir())
    assert tree_of(tmp_path / "site/store") == tree_of(tmp_path / "straight/store")
    assert tree_of(tmp_path / "site/current/") == tree_of(tmp_path / "straight/current/")


def test_gc_in_the_middle(made: Made, tmp_path: Path) -> None:
    """What an interrupted installation needs stays: the patches that came, and what they are made against."""
    old, _, done = made
    put(old.path, tmp_path / "site")
    assert kill_at(40, done.out, tmp_path / "site")
    gc.gc(tmp_path / "site", keep=1)
    store = BlobStore(tmp_path / "site")
    assert all(store.holds(held.digest, held.size) for held in done.statement.delta.needed)  # type: ignore[union-attr]
    put(done.out, tmp_path / "site")
    assert not list((tmp_path / "site/store/incoming").iterdir())
