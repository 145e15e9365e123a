"""Bundles in slices, and bundles that pass by once: whatever comes, in any order, the same site or a clear refusal."""

import itertools
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.archive.reader import BundleFile
from bundler.errors import (
    BadSignature,
    BundleError,
    DamagedContent,
    HeaderMismatch,
    MalformedStatement,
    NotABundle,
    NotReadable,
    SecondBundle,
    SliceDamaged,
    SliceMissing,
    TrailingBytes,
    TruncatedBundle,
    Unsigned,
    UntrustedSigner,
    Usage,
)
from bundler.store import blobs
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows.arrive import install_any, install_stream, verify_stream
from bundler.workflows.diff import diff
from bundler.workflows.install import Installed
from bundler.workflows.look import extract, inspect
from bundler.workflows.places import is_bundle
from bundler.workflows.sign import attach, sign, statement_of_bundle
from bundler.workflows.verify import Verified, verify, verify_slice
from tests.bundles import ALICE, BOB, CAROL, TinyBundle, tiny_bundle
from tests.campaigns import tree_of
from tests.volumes import Sliced, sliced

MARK = 10_000  # model.bin has 76,800 bytes


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cuts here, and small marks."""
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(blobs, "MARK", MARK)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    return tiny_bundle(tmp_path_factory.mktemp("made"), keys=(ALICE, BOB))


@pytest.fixture(scope="module")
def expected(made: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The site that the one file makes."""
    root = tmp_path_factory.mktemp("expected") / "site"
    installed(made.path, root)
    return tree_of(root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def five(made: TinyBundle, tmp_path: Path) -> Sliced:
    return sliced(made, tmp_path / "disk", 5)


def installed(path: Path, root: Path, **more: object) -> Installed:
    trust = {"keys": (ALICE.public, BOB.public), "threshold": 2}
    return install_any(path, root, jobs=2, progress=Silent(), **{**trust, **more})  # type: ignore[arg-type]


def streamed(data: bytes, root: Path) -> Installed:
    descriptor = pipe_of(data)
    try:
        return install_stream(descriptor, root, keys=(ALICE.public, BOB.public), threshold=2, progress=Silent())
    finally:
        os.close(descriptor)


def pipe_of(data: bytes) -> int:
    descriptor = os.memfd_create("stream")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def verified(path: Path, **more: object) -> Verified:
    trust = {"keys": (ALICE.public, BOB.public), "threshold": 2}
    return verify(path, jobs=2, progress=Silent(), **{**trust, **more})  # type: ignore[arg-type]


def one_verified(path: Path) -> bool:
    found = verify_slice(path, keys=(ALICE.public, BOB.public), threshold=2, progress=Silent())
    return found is not None


def names(error: SliceMissing | SliceDamaged) -> list[str]:
    found = error.missing if isinstance(error, SliceMissing) else error.damaged
    return [Path(name).name for name, _ in found]


# --- whatever takes a bundle takes its volumes


@pytest.mark.parametrize("count", [1, 5, 40])
def test_slices_are_read_in_place(made: TinyBundle, expected: dict[str, str], tmp_path: Path, count: int) -> None:
    found = sliced(made, tmp_path / "disk", count)
    assert b"".join(found.data) == made.path.read_bytes()
    bare = found.folder / made.path.name  # the bundle's own name
    for path in (found.document, found.path(1), found.path(count), found.folder, bare):
        assert verified(path).signed == tuple(key.public.keyid for key in (ALICE, BOB))
        assert is_bundle(path)
    installed(found.document, tmp_path / "site")
    assert tree_of(tmp_path / "site") == expected


def test_every_command(five: Sliced, made: TinyBundle, tmp_path: Path) -> None:
    path = five.document
    assert inspect(path) == inspect(made.path)
    assert diff(made.path, path).changes == ()
    extract(path, "model.bin", tmp_path / "model.bin", keys=made.publics, threshold=2)
    assert (tmp_path / "model.bin").stat().st_size == 76_800
    assert statement_of_bundle(path) == statement_of_bundle(made.path)


def test_signatures_made_later(tmp_path: Path) -> None:
    """Unsigned, then signed on other machines: the statement and what names the slices both need it."""
    made = tiny_bundle(tmp_path, keys=())
    found = sliced(made, tmp_path / "disk", 3)
    trust = {"keys": (ALICE.public,), "threshold": 1}
    with pytest.raises(Unsigned):
        verified(found.document, **trust)
    written = sign(found.path(2), ALICE)
    keyid = ALICE.public.keyid
    assert [path.name for path in written] == [f"tiny.bundle.{keyid}.sig", f"tiny.bundle.volumes.json.{keyid}.sig"]
    verify(found.document, **trust, jobs=1, progress=Silent())  # type: ignore[arg-type]
    raw = tmp_path / "raw"
    for data, name in (
        (statement_of_bundle(made.path), "tiny.bundle"),
        (found.document.read_bytes(), found.document.name),
    ):
        raw.write_bytes(BOB.sign(data))
        assert attach(found.document, BOB.public, raw).name == f"{name}.{BOB.public.keyid}.sig"
    verified(found.document)
    raw.write_bytes(BOB.sign(b"else"))
    with pytest.raises(BadSignature):
        attach(found.document, BOB.public, raw)


# --- any order of arrival


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_order_of_arrival(made: TinyBundle, tmp_path: Path, count: int) -> None:
    """After each arrival the slices that are still missing are named; with the last one it is whole."""
    for at, order in enumerate(itertools.permutations(range(1, count + 1))):
        found = sliced(made, tmp_path / f"disk-{at}", count, put=False)
        for arrived, number in enumerate(order):
            with pytest.raises(SliceMissing) as caught:
                BundleFile(found.document)
            assert names(caught.value) == [found.path(each).name for each in sorted(order[arrived:])]
            found.put(number)
        verified(found.document)
        shutil.rmtree(found.folder)


@pytest.mark.parametrize("order", [(3, 2, 1), (2, 3, 1), (1, 3, 2), (2, 1, 3)])
def test_installed_with_what_is_there(
    made: TinyBundle, expected: dict[str, str], tmp_path: Path, order: tuple[int, ...]
) -> None:
    """After each arrival an installation is tried: the first one that is missing is named, and it goes on later."""
    found, root = sliced(made, tmp_path / "disk", 3, put=False), tmp_path / "site"
    for arrived, number in enumerate(order):
        with pytest.raises(SliceMissing) as caught:
            installed(found.document, root)
        assert names(caught.value) == [found.path(min(order[arrived:])).name]
        assert not (root / "current").exists()
        found.put(number)
    installed(found.document, root)
    assert tree_of(root) == expected


def test_what_earlier_slices_hold_is_not_needed_again(five: Sliced, expected: dict[str, str], root: Path) -> None:
    """Slices 1 to 4 first: all blobs but the last one, which goes on into the fifth, are in the store."""
    five.path(5).unlink()
    with pytest.raises(SliceMissing) as caught:
        installed(five.document, root)
    assert names(caught.value) == ["tiny.bundle.005"]
    five.put(5)
    assert installed(five.document, root).new == 76_800
    assert tree_of(root) == expected


@pytest.mark.parametrize("count", [2, 5, 40])
def test_one_disk_after_the_other(made: TinyBundle, expected: dict[str, str], tmp_path: Path, count: int) -> None:
    """One drive: when the next one is put in, the one before is gone. Each is asked for once, by its name."""
    found, asked = sliced(made, tmp_path / "disk", count, put=False), []
    found.put(1)

    def ask(missing: SliceMissing) -> bool:
        asked.extend(names(missing))
        number = int(asked[-1][-3:])
        found.path(number - 1).unlink()
        found.put(number)
        return True

    installed(found.document, tmp_path / "site", ask=ask)
    assert asked == [found.path(number).name for number in range(2, count + 1)]
    assert tree_of(tmp_path / "site") == expected


def test_slices_in_several_folders(five: Sliced, expected: dict[str, str], tmp_path: Path, root: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for number in five.numbers:
        five.path(number).unlink()
        five.put(number, folders[number % 2])
    with pytest.raises(SliceMissing):
        verified(five.document)
    verified(five.document, folders=folders)
    verified(tmp_path / "elsewhere" / "tiny.bundle", folders=[five.folder, *folders])
    installed(five.document, root, folders=folders)
    assert tree_of(root) == expected


def test_a_short_copy_of_a_slice_does_not_hide_a_whole_one(five: Sliced, tmp_path: Path) -> None:
    whole = five.put(3, tmp_path / "b")
    five.path(3).write_bytes(five.data[2][:-1])
    verified(five.document, folders=[tmp_path / "b"])
    whole.unlink()
    with pytest.raises(SliceDamaged) as caught:
        verified(five.document, folders=[tmp_path / "b"])
    assert names(caught.value) == ["tiny.bundle.003"]


# --- damage


@pytest.mark.parametrize("where", ["first", "middle", "last"])
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_flipped_byte_in_each_slice(
    five: Sliced, expected: dict[str, str], root: Path, number: int, where: str
) -> None:
    """Named by number and digest, also on its own; only that one has to be copied again."""
    size = len(five.data[number - 1])
    five.flip(number, {"first": 0, "middle": size // 2, "last": size - 1}[where])
    for refused in (verified, lambda path: installed(path, root)):
        with pytest.raises(SliceDamaged) as caught:
            refused(five.document)
        assert names(caught.value) == [five.path(number).name]
        assert "sha256:" in caught.value.detail
    for each in five.numbers:
        if each == number:
            with pytest.raises(SliceDamaged):
                one_verified(five.path(each))
        else:
            assert one_verified(five.path(each))
    five.put(number)
    verified(five.document)
    if where == "middle":
        installed(five.document, root)
        assert tree_of(root) == expected


@pytest.mark.parametrize("at", [10, 700, 2000])
def test_a_flipped_byte_in_the_front_on_one_disk_of_several(five: Sliced, root: Path, at: int) -> None:
    five.flip(1, at)
    five.path(5).unlink()
    with pytest.raises(SliceDamaged) as caught:
        installed(five.document, root)
    assert names(caught.value) == ["tiny.bundle.001"]
    assert not root.exists()


def test_a_flipped_byte_on_one_disk_of_several(five: Sliced, expected: dict[str, str], root: Path) -> None:
    """Also when the slices go by one after the other: the rest of them is kept."""
    start = 2 * len(five.data[0])
    body = next(place.body for place in five.made.layout.places if place.body >= start and place.member.size)
    five.flip(3, body - start)
    five.path(5).unlink()

    def ask(missing: SliceMissing) -> bool:
        five.put(5)
        return True

    with pytest.raises(SliceDamaged) as caught:
        installed(five.document, root, ask=ask)
    assert names(caught.value) == ["tiny.bundle.003"]
    five.put(3)
    installed(five.document, root)
    assert tree_of(root) == expected


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_each_slice_missing(five: Sliced, root: Path, number: int) -> None:
    five.path(number).unlink()
    for refused in (verified, inspect, lambda path: installed(path, root)):
        with pytest.raises(SliceMissing) as caught:
            refused(five.document)
        assert names(caught.value) == [five.path(number).name]
        assert caught.value.missing[0][1].startswith("sha256:")


def test_the_document_is_signed(five: Sliced, tmp_path: Path, root: Path) -> None:
    data = five.document.read_bytes()
    five.document.write_bytes(data.replace(b'"number":1', b'"number":2'))
    for refused in (verified, lambda path: installed(path, root), lambda path: one_verified(five.path(2))):
        with pytest.raises(BadSignature):
            refused(five.document)
    five.document.write_bytes(data + b" ")
    with pytest.raises(MalformedStatement):
        verified(five.document)
    five.document.write_bytes(data)
    for beside in five.folder.glob("*.sig"):
        beside.unlink()
    with pytest.raises(Unsigned):
        verified(five.document)
    assert not root.exists()


def test_another_bundles_document(five: Sliced, tmp_path: Path) -> None:
    """Signed by the same keys, of slices of the same sizes."""
    other = tiny_bundle(tmp_path, keys=(ALICE, BOB), number=2, name="other.bundle")
    found = sliced(other, tmp_path / "other", 5)
    for path in found.folder.glob("*.volumes.json*"):
        shutil.copy(path, five.folder / path.name.replace("other", "tiny"))
    with pytest.raises((SliceDamaged, MalformedStatement)):
        verified(five.document)


def test_paths_that_stand_for_nothing(five: Sliced, tmp_path: Path) -> None:
    with pytest.raises(NotReadable):
        verified(tmp_path / "nothing")
    with pytest.raises(NotReadable):
        verified(tmp_path)
    with pytest.raises(NotReadable):
        one_verified(five.path(6))
    shutil.copy(five.document, five.folder / "second.volumes.json")
    with pytest.raises(Usage, match="several sets"):
        verified(five.folder)
    five.document.unlink()
    (five.folder / "second.volumes.json").unlink()
    with pytest.raises(TruncatedBundle):
        verified(five.path(1))  # a file of that name and no set


# --- one pass, no seek


def test_a_bundle_on_standard_input(made: TinyBundle, expected: dict[str, str], root: Path) -> None:
    data = made.path.read_bytes()
    assert streamed(data, root).changed
    assert tree_of(root) == expected
    assert not streamed(data, root).changed
    descriptor = pipe_of(data)
    keys = (ALICE.public, BOB.public)
    assert verify_stream(descriptor, keys=keys, threshold=2, progress=Silent()) == verified(made.path)


def test_parts_in_another_order(made: TinyBundle, tmp_path: Path, root: Path) -> None:
    found = sliced(made, tmp_path / "disk", 4)
    for order in itertools.permutations(found.data):
        if order != found.data:
            with pytest.raises((NotABundle, HeaderMismatch, DamagedContent, TruncatedBundle, BadSignature)):
                streamed(b"".join(order), root)
    assert not (root / "current").exists()


def test_cut_at_many_places_then_sent_again(made: TinyBundle, expected: dict[str, str], tmp_path: Path) -> None:
    """Each cut is half a stream; the whole again goes on with what is held."""
    data, chance = made.path.read_bytes(), random.Random(7)
    root = tmp_path / "site"
    for cut in sorted(chance.randrange(len(data)) for _ in range(20)):
        with pytest.raises((TruncatedBundle, NotABundle)):
            streamed(data[:cut], root)
        assert not (root / "current").exists()
    assert streamed(data, root).new < sum(map(len, made.blobs.values()))
    assert tree_of(root) == expected


def test_a_cut_inside_a_large_blob_goes_on_behind_its_mark(made: TinyBundle, root: Path) -> None:
    place = next(each for each in made.layout.places if each.member.size == 76_800)
    data = made.path.read_bytes()
    with pytest.raises(TruncatedBundle):
        streamed(data[: place.body + 5 * MARK + 1], root)
    (half,) = (root / "store" / "incoming").iterdir()
    assert half.stat().st_size == 5 * MARK + 1
    streamed(data, root)
    assert not any((root / "store" / "incoming").iterdir())


def test_more_than_one_bundle(made: TinyBundle, root: Path) -> None:
    data = made.path.read_bytes()
    with pytest.raises(SecondBundle) as caught:
        streamed(data + data, root)
    assert caught.value.at == len(data)
    for rest in (b"\0", data[:100], bytes(1024), data[512:5000]):
        with pytest.raises(TrailingBytes):
            streamed(data + rest, root)
    assert not (root / "current").exists()


def test_no_bundle(root: Path) -> None:
    for data in (b"", b"x" * 10, b"x" * 10_000, b"bundle stream 1\n", b"bundle stream 2\n" * 100):
        with pytest.raises((NotABundle, TruncatedBundle)):
            streamed(data, root)
    assert not root.exists()


def test_a_stream_is_judged_first(made: TinyBundle, root: Path) -> None:
    descriptor = pipe_of(made.path.read_bytes())
    with pytest.raises(UntrustedSigner):
        install_stream(descriptor, root, keys=(CAROL.public,), threshold=1, progress=Silent())
    assert not root.exists()


def flips(made: TinyBundle) -> Iterator[tuple[int, str]]:
    """A byte of every header, padding and body."""
    for place in made.layout.places:
        yield place.start + 5, "frame"
        if place.member.size:
            yield place.body + place.member.size // 2, place.member.name
        if place.padding:
            yield place.end - 1, "frame"
    yield made.layout.size - 1, "frame"


def test_a_flipped_byte_anywhere_in_a_stream(made: TinyBundle, tmp_path: Path) -> None:
    data = made.path.read_bytes()
    for at, what in flips(made):
        changed = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
        descriptor = pipe_of(changed)
        with pytest.raises(BundleError) as caught:
            verify_stream(descriptor, keys=(ALICE.public, BOB.public), threshold=2, progress=Silent())
        os.close(descriptor)
        assert isinstance(caught.value, (HeaderMismatch, DamagedContent, BadSignature)), (at, what)
        if isinstance(caught.value, DamagedContent):
            assert [name for name, _ in caught.value.damaged] == [what]


def test_damage_in_a_stream_costs_one_blob(made: TinyBundle, expected: dict[str, str], root: Path) -> None:
    place = next(each for each in made.layout.places if each.member.size == 76_800)
    data = bytearray(made.path.read_bytes())
    data[place.body + 5] ^= 1
    with pytest.raises(DamagedContent) as caught:
        streamed(bytes(data), root)
    assert [name for name, _ in caught.value.damaged] == [place.member.name]
    assert streamed(made.path.read_bytes(), root).new == 76_800
    assert tree_of(root) == expected
