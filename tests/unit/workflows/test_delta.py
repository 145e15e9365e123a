"""A delta: what a site has is left out, what it lacks is named, and the site that it makes is the same."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bundler.archive.delta import Known, known_of
from bundler.archive.draft import draft_of
from bundler.archive.reader import BundleFile
from bundler.errors import BadSignature, BaseMissing, BundleError, MalformedReceipt, Unsupported, UntrustedSigner
from bundler.fetch.bases import read_known
from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.lock_text import write_lock
from bundler.model.statement import Statement
from bundler.signing.keys import SigningKey
from bundler.support.progress import Silent
from bundler.verify.carried import carried_lock
from bundler.workflows import receipt
from bundler.workflows.install import install
from bundler.workflows.look import extract
from bundler.workflows.verify import verify
from tests import histories
from tests.bundles import ALICE, SOURCES, TinyBundle, assemble, tiny_bundle
from tests.content import make_image, make_wheel

OLD = {"kept.bin": bytes(range(256)) * 400, "gone.bin": b"gone" * 4000}
NEW = {"kept.bin": OLD["kept.bin"], "fresh.bin": b"fresh" * 4000}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture
def old(tmp_path: Path) -> TinyBundle:
    return tiny_bundle(tmp_path, files=OLD, name="old.bundle")


@pytest.fixture
def new(tmp_path: Path) -> TinyBundle:
    wheels, images = (make_wheel("tiny"), make_wheel("more")), {"r.example/a/b:2": make_image({"app": b"new\n"})}
    return tiny_bundle(tmp_path, number=2, files=NEW, wheels=wheels, images=images, name="new.bundle")


def delta(target: TinyBundle, *bases: Statement, key: SigningKey = ALICE, name: str = "delta.bundle") -> Path:
    return write_delta(target.lock, target.blobs, target.path.with_name(name), *bases, key=key)


def write_delta(lock: Lock, blobs: Mapping[Digest, bytes], path: Path, *bases: Statement, key: SigningKey) -> Path:
    return write_known(lock, blobs, path, known_of(bases), key=key)


def write_known(
    lock: Lock, blobs: Mapping[Digest, bytes], path: Path, known: Known, *, key: SigningKey = ALICE
) -> Path:
    draft = draft_of(lock, sources=SOURCES, signers=(key.public,), known=known)
    data, _ = assemble(draft, blobs, (key,))
    path.write_bytes(data)
    return path


def put(path: Path, root: Path) -> None:
    install(path, root, keys=[ALICE.public], threshold=None, jobs=2, progress=Silent())


def views(root: Path) -> dict[str, bytes]:
    """What clients see, but for the signed indexes, which have their time and the site's own key, and the statement."""
    current = (root / "current").resolve()
    found = {str(path.relative_to(current)): path for path in sorted(current.rglob("*")) if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith("statement/") and "Release" not in name and "by-hash" not in name and "/key." not in name
    }


def test_a_site_is_the_same_by_a_delta(old: TinyBundle, new: TinyBundle, tmp_path: Path) -> None:
    made = delta(new, old.statement)
    assert made.stat().st_size < new.path.stat().st_size
    put(old.path, tmp_path / "by-delta")
    put(made, tmp_path / "by-delta")
    put(old.path, tmp_path / "whole")
    put(new.path, tmp_path / "whole")
    assert views(tmp_path / "by-delta") == views(tmp_path / "whole")
    put(made, tmp_path / "by-delta")  # once more: nothing to do


def test_what_travels(old: TinyBundle, new: TinyBundle) -> None:
    """Only what the site lacks of the large blobs; every document, so that the file explains itself."""
    proved = verify(delta(new, old.statement), keys=[ALICE.public], threshold=1, jobs=2, progress=Silent())
    found = proved.statement
    assert found.kind == "delta"
    assert found.delta
    assert found.content == new.statement.content
    assert [str(base.release) for base in found.delta.bases] == [str(old.statement.release)]
    by_name = {artifact.name: artifact for artifact in found.artifacts}
    held = {each.digest for each in found.delta.held}
    (wheel,) = (each for each in found.wheels if each.project == "tiny")
    assert by_name["kept.bin"].digest in held  # type: ignore[union-attr]
    assert {wheel.digest, wheel.metadata} <= held
    assert {entry.digest for entry in found.blobs} == {entry.digest for entry in new.statement.blobs}
    assert not held & {entry.digest for entry in found.entries}


def test_the_same_delta_every_time(old: TinyBundle, new: TinyBundle) -> None:
    one, two = delta(new, old.statement), delta(new, old.statement, name="again.bundle")
    assert one.read_bytes() == two.read_bytes()


def test_what_a_delta_cannot_give(old: TinyBundle, new: TinyBundle, tmp_path: Path) -> None:
    """It is said where that is; what it carries it gives."""
    made, keys = delta(new, old.statement), (ALICE.public,)
    with pytest.raises(Unsupported) as refused:
        extract(made, "kept.bin", tmp_path / "out", keys=keys, threshold=1)
    assert str(old.statement.release) in refused.value.why
    assert extract(made, "fresh.bin", tmp_path / "out", keys=keys, threshold=1) == len(NEW["fresh.bin"])


def test_a_site_that_lacks_the_base(old: TinyBundle, new: TinyBundle, tmp_path: Path) -> None:
    """Refused before anything is made, with what is missing and where it is."""
    made = delta(new, old.statement)
    with pytest.raises(BaseMissing) as refused:
        put(made, tmp_path / "empty")
    assert str(old.statement.release) in refused.value.hint
    assert "kept.bin" in refused.value.detail
    assert not (tmp_path / "empty").exists()


def test_a_chain_with_a_link_missing(old: TinyBundle, new: TinyBundle, tmp_path: Path) -> None:
    """The third is made against both before it: who skipped the second is told so."""
    second = verify(delta(new, old.statement), keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()).statement
    third = tiny_bundle(tmp_path, number=3, files=NEW | {"last": b"last"}, name="third.bundle")
    made = delta(third, old.statement, second, name="third-delta.bundle")
    put(old.path, tmp_path / "site")
    before = sorted(tmp_path.joinpath("site").rglob("*"))
    with pytest.raises(BaseMissing) as refused:
        put(made, tmp_path / "site")
    assert str(second.release) in refused.value.hint
    assert str(old.statement.release) not in refused.value.hint
    assert [owners for _, owners in refused.value.missing] == [("fresh.bin",)]
    assert sorted(tmp_path.joinpath("site").rglob("*")) == before


def test_the_lock_in_a_delta(old: TinyBundle, new: TinyBundle) -> None:
    path = delta(new, old.statement)
    proved = verify(path, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent())
    with BundleFile(path) as file:
        assert write_lock(carried_lock(file, proved.statement, proved.layout)) == write_lock(new.lock)


# --- against what a site says that it holds


def test_a_delta_against_a_receipt(old: TinyBundle, new: TinyBundle, tmp_path: Path) -> None:
    put(old.path, tmp_path / "site")
    done = receipt.write(tmp_path / "site", tmp_path / "site.receipt")
    known = read_known([tmp_path / "site.receipt"], sites=[done.keyid])
    assert known == known_of([old.statement])
    made = write_known(new.lock, new.blobs, tmp_path / "by-receipt.bundle", known)
    assert made.read_bytes() == delta(new, old.statement).read_bytes()
    put(made, tmp_path / "site")
    again = receipt.write(tmp_path / "site", tmp_path / "site.receipt")
    assert again.keyid == done.keyid, "a site has one key"
    assert [str(base.release) for base in again.receipt.releases] == ["tiny 1", "tiny 2"]


def test_a_receipt_says_only_what_is_there(old: TinyBundle, tmp_path: Path) -> None:
    put(old.path, tmp_path / "site")
    victim = max(old.statement.blobs, key=lambda entry: entry.size)
    (tmp_path / "site/store/blobs/sha256" / victim.digest.hex[:2] / victim.digest.hex).unlink()
    found = receipt.write(tmp_path / "site", tmp_path / "site.receipt").receipt
    assert victim.digest not in {held.digest for held in found.blobs}


def test_for_several_sites_what_all_have(old: TinyBundle, new: TinyBundle, tmp_path: Path) -> None:
    put(old.path, tmp_path / "one")
    put(old.path, tmp_path / "two")
    put(delta(new, old.statement), tmp_path / "two")
    keys = [receipt.write(tmp_path / name, tmp_path / f"{name}.receipt").keyid for name in ("one", "two")]
    known = read_known([tmp_path / "one.receipt", tmp_path / "two.receipt"], sites=keys)
    assert set(known.blobs) == {entry.digest for entry in old.statement.blobs}


@pytest.mark.parametrize(
    ("old_text", "new_text", "error"),
    [
        ('"free":', '"free":1', BadSignature),
        ('"type":"bundle-receipt"', '"type":"bundle-statement"', MalformedReceipt),
        ('"format":1', '"format": 1', MalformedReceipt),
        ('"current":0', '"current":7', MalformedReceipt),
        ('"size":', '"size":-', MalformedReceipt),
        ("}\n", "}", MalformedReceipt),
    ],
)
def test_a_receipt_that_was_changed(
    old_text: str, new_text: str, error: type[BundleError], old: TinyBundle, tmp_path: Path
) -> None:
    put(old.path, tmp_path / "site")
    path = tmp_path / "site.receipt"
    done = receipt.write(tmp_path / "site", path)
    assert old_text in path.read_text()
    path.write_text(path.read_text().replace(old_text, new_text, 1))
    with pytest.raises(error):
        read_known([path], sites=[done.keyid])


def test_the_receipt_of_a_site_that_nobody_named(old: TinyBundle, tmp_path: Path) -> None:
    put(old.path, tmp_path / "site")
    keyid = receipt.write(tmp_path / "site", tmp_path / "site.receipt").keyid
    with pytest.raises(UntrustedSigner, match=keyid):
        read_known([tmp_path / "site.receipt"], sites=[ALICE.public.keyid])
