"""Bundles that somebody changed, without any key: each refused under its own name, and nothing is written."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, STATEMENT
from bundler.errors import (
    BadSignature,
    BundleError,
    DamagedContent,
    DoubledKey,
    HeaderMismatch,
    MalformedStatement,
    NotABundle,
    NotReadable,
    ThresholdNotMet,
    TrailingBytes,
    TruncatedBundle,
    Unsigned,
    UntrustedSigner,
)
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust
from bundler.support.progress import Silent
from bundler.workflows.install import install
from bundler.workflows.verify import verify
from tests.bundles import ALICE, BOB, CAROL, FILES, TinyBundle, tiny_bundle


@pytest.fixture
def made(tmp_path: Path) -> TinyBundle:
    return tiny_bundle(tmp_path, files={**FILES, "one": b"one\n", "two": b"two\n"})


def refused(
    path: Path, error: type[BundleError], *, keys: Sequence[PublicKey] = (ALICE.public,), threshold: int = 1
) -> BundleError:
    """Both `verify` and `install` refuse, alike, and `install` makes nothing."""
    with pytest.raises(BundleError) as checked:
        verify(path, keys=keys, threshold=threshold, jobs=1, progress=Silent())
    assert type(checked.value) is error, repr(checked.value)
    root = path.parent / "site"
    with pytest.raises(BundleError) as installed:
        install(path, root, keys=keys, threshold=threshold, jobs=1, progress=Silent())
    # Bodies are proved on their way into the store; all else is known before anything is made.
    if error is DamagedContent:
        assert isinstance(installed.value, DamagedContent | BadSignature)
        assert not (root / "current").is_symlink()
        assert not (root / "state" / "site.json").exists()
    else:
        assert type(installed.value) is error, repr(installed.value)
        assert not root.exists()
    return checked.value


Change = Callable[[bytes, TinyBundle], bytes]


def entry(name: str, made: TinyBundle) -> slice:
    place = made.layout.place(name)
    return slice(place.start, place.end)


def swapped(data: bytes, made: TinyBundle) -> bytes:
    """Two blobs of one size and header length change places, headers and all."""
    first, second = _same_shape(made)
    one, two = entry(first, made), entry(second, made)
    return data[: one.start] + data[two] + data[one.stop : two.start] + data[one] + data[two.stop :]


def swapped_bodies(data: bytes, made: TinyBundle) -> bytes:
    first, second = (made.layout.place(name) for name in _same_shape(made))
    changed = bytearray(data)
    size = first.member.size
    changed[first.body : first.body + size] = data[second.body : second.body + size]
    changed[second.body : second.body + size] = data[first.body : first.body + size]
    return bytes(changed)


def _same_shape(made: TinyBundle) -> tuple[str, str]:
    seen: dict[int, str] = {}
    for place in made.layout.places:
        if place.member.name.startswith("blobs/"):
            if place.member.size in seen:
                return seen[place.member.size], place.member.name
            seen[place.member.size] = place.member.name
    raise AssertionError("no two blobs have one size")


def doubled(name: str) -> Change:
    return lambda data, made: data[: entry(name, made).stop] + data[entry(name, made).start :]


def removed(name: str) -> Change:
    return lambda data, made: data[: entry(name, made).start] + data[entry(name, made).stop :]


def renamed(data: bytes, made: TinyBundle) -> bytes:
    place = made.layout.place("README.txt")
    head = tar.header(name="README.TXT", size=place.member.size)
    return data[: place.start] + head + data[place.body :]


def inserted(kind: bytes, name: str = "extra", link: str = "") -> Change:
    """Another entry, sound in itself, before the first blob: a link, a device, a folder."""

    def change(data: bytes, made: TinyBundle) -> bytes:
        at = next(place.start for place in made.layout.places if place.member.name.startswith("blobs/"))
        return data[:at] + head_of(kind, name, link) + data[at:]

    return change


def retyped(kind: bytes, link: str = "/etc/passwd") -> Change:
    """README.txt becomes a link, a device …: its header is sound, its size the same."""

    def change(data: bytes, made: TinyBundle) -> bytes:
        place = made.layout.place("README.txt")
        head = head_of(kind, "README.txt", link, size=place.member.size)
        return data[: place.start] + head + data[place.body :]

    return change


def head_of(kind: bytes, name: str, link: str = "", size: int = 0) -> bytes:
    block = bytearray(tar.header(name=name, size=size))
    block[156:157], block[157 : 157 + len(link)] = kind, link.encode()
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax_before(record: bytes) -> Change:
    """A pax header before README.txt that gives it another name or size for those who read pax."""

    def change(data: bytes, made: TinyBundle) -> bytes:
        at = made.layout.place("README.txt").start
        return data[:at] + head_of(b"x", "pax/README.txt", size=len(record)) + record.ljust(512, b"\0") + data[at:]

    return change


def base256(data: bytes, made: TinyBundle) -> bytes:
    place = made.layout.place("README.txt")
    block = bytearray(data[place.start : place.body])
    block[124:136] = (1 << 95 | place.member.size).to_bytes(12, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[: place.start] + bytes(block) + data[place.body :]


def padded_with(filler: bytes) -> Change:
    """A message in the padding after README.txt."""

    def change(data: bytes, made: TinyBundle) -> bytes:
        place = made.layout.place("README.txt")
        at = place.body + place.member.size
        return data[:at] + filler + data[at + len(filler) :]

    return change


ATTACKS: dict[str, tuple[Change, type[BundleError]]] = {
    "a byte after the end": (lambda data, made: data + b"\0", TrailingBytes),
    "a block after the end": (lambda data, made: data + bytes(512), TrailingBytes),
    "another tar after the end": (lambda data, made: data + data, TrailingBytes),
    "swapped entries": (swapped, HeaderMismatch),
    "swapped bodies": (swapped_bodies, DamagedContent),
    "a doubled blob": (lambda data, made: doubled(made.layout.places[-1].member.name)(data, made), TrailingBytes),
    "a doubled statement": (doubled(STATEMENT), HeaderMismatch),
    "a doubled bootstrap": (doubled(BOOTSTRAP), TrailingBytes),
    "a doubled signature": (doubled(f"{STATEMENT}.{ALICE.public.keyid}.sig"), DoubledKey),
    "no signature of the statement": (removed(f"{STATEMENT}.{ALICE.public.keyid}.sig"), Unsigned),
    "no signature of the bootstrap": (removed(f"{BOOTSTRAP}.{ALICE.public.keyid}.sig"), TruncatedBundle),
    "no statement": (removed(STATEMENT), NotABundle),
    "no bootstrap": (removed(BOOTSTRAP), HeaderMismatch),
    "no README": (removed("README.txt"), TruncatedBundle),
    "a renamed entry": (renamed, HeaderMismatch),
    "a hard link": (retyped(b"1"), HeaderMismatch),
    "a symbolic link": (retyped(b"2"), HeaderMismatch),
    "a character device": (retyped(b"3"), HeaderMismatch),
    "a block device": (retyped(b"4"), HeaderMismatch),
    "a folder": (retyped(b"5"), HeaderMismatch),
    "a pipe": (retyped(b"6"), HeaderMismatch),
    "a contiguous file": (retyped(b"7"), HeaderMismatch),
    "an old-style file": (retyped(b"\0", ""), HeaderMismatch),
    "one more link": (inserted(b"2", "out", "/etc"), TrailingBytes),
    "one more absolute file": (inserted(b"0", "/etc/cron.d/x"), TrailingBytes),
    "a GNU long name": (inserted(b"L"), TrailingBytes),
    "a global pax header": (inserted(b"g"), TrailingBytes),
    "another pax path": (pax_before(b"15 path=../../x\n"), TrailingBytes),
    "another pax size": (pax_before(b"13 size=9999\n"), TrailingBytes),
    "a base-256 size": (base256, HeaderMismatch),
    "a message in the padding": (padded_with(b"hello"), HeaderMismatch),
    "nothing": (lambda data, made: b"", NotABundle),
    "zeros": (lambda data, made: bytes(4096), NotABundle),
    "no tar": (lambda data, made: b"PK\3\4" + bytes(4096), NotABundle),
    "another tar": (lambda data, made: data[entry("README.txt", made).start :], NotABundle),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_changed_file(made: TinyBundle, attack: str) -> None:
    change, error = ATTACKS[attack]
    made.path.write_bytes(change(made.path.read_bytes(), made))
    refused(made.path, error)


def boundaries(made: TinyBundle) -> list[int]:
    marks = {made.layout.size, 512, 1024}
    for place in made.layout.places:
        marks |= {place.start, place.body, place.body + place.member.size, place.end}
    around = {mark + step for mark in marks for step in (-1, 0, 1)}
    return sorted(mark for mark in around if 0 <= mark < made.layout.size)


def test_truncated_anywhere(made: TinyBundle) -> None:
    data = made.path.read_bytes()
    for size in boundaries(made):
        made.path.write_bytes(data[:size])
        with pytest.raises(BundleError) as caught:
            verify(made.path, keys=made.publics, threshold=1, jobs=1, progress=Silent())
        expected = NotABundle if size < tar.BLOCK else TruncatedBundle
        assert type(caught.value) is expected, (size, caught.value)


def test_truncated_and_made_long_again(made: TinyBundle) -> None:
    """A copy that broke off on a file system that had the size already."""
    data, cut = made.path.read_bytes(), made.layout.place("README.txt").end
    made.path.write_bytes(data[:cut].ljust(len(data), b"\0"))
    refused(made.path, HeaderMismatch)


def test_a_foreign_key(made: TinyBundle) -> None:
    error = refused(made.path, UntrustedSigner, keys=(BOB.public,))
    assert isinstance(error, UntrustedSigner)
    assert (error.signed, error.trusted) == ((ALICE.public.keyid,), (BOB.public.keyid,))


def test_no_key_signed(tmp_path: Path) -> None:
    refused(tiny_bundle(tmp_path, keys=()).path, Unsigned)


def test_the_threshold(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path, keys=(ALICE, BOB))
    keys = (ALICE.public, CAROL.public)
    error = refused(made.path, ThresholdNotMet, keys=keys, threshold=2)
    assert isinstance(error, ThresholdNotMet)
    assert (error.signed, error.missing) == ((ALICE.public.keyid,), (CAROL.public.keyid,))
    made.sign_beside(CAROL)
    assert len(verify(made.path, keys=keys, threshold=2, jobs=1, progress=Silent()).signed) == 2


def test_one_key_does_not_count_twice(made: TinyBundle) -> None:
    """Neither given twice, nor with a signature inside and one beside the file."""
    refused(made.path, DoubledKey, keys=(ALICE.public, ALICE.public), threshold=2)
    made.sign_beside(ALICE)
    refused(made.path, ThresholdNotMet, keys=(ALICE.public, BOB.public), threshold=2)


def test_a_signature_under_the_name_of_another_key(made: TinyBundle) -> None:
    beside = made.sign_beside(BOB)
    beside.rename(beside.with_name(f"{made.path.name}.{CAROL.public.keyid}.sig"))
    refused(made.path, BadSignature, keys=(CAROL.public,))


@pytest.mark.parametrize("data", [b"", b"\0" * 63, b"\0" * 64, b"\0" * 65, b"\xff" * 10_000], ids=len)
def test_rubbish_beside(made: TinyBundle, data: bytes) -> None:
    """Rubbish under a trusted key's name is an error where that key is needed, and no more than that."""
    made.path.with_name(f"{made.path.name}.{BOB.public.keyid}.sig").write_bytes(data)
    refused(made.path, BadSignature, keys=(ALICE.public, BOB.public), threshold=2)
    assert verify(made.path, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent()).signed


def test_signatures_of_another_bundle(tmp_path: Path, made: TinyBundle) -> None:
    """A good signature over other bytes, put in place."""
    (tmp_path / "other").mkdir()
    other = tiny_bundle(tmp_path / "other", number=2)
    data = bytearray(made.path.read_bytes())
    for name in (f"{STATEMENT}.{ALICE.public.keyid}.sig", f"{BOOTSTRAP}.{ALICE.public.keyid}.sig"):
        place, source = made.layout.place(name), other.layout.place(name)
        signature = other.path.read_bytes()[source.body : source.body + 64]
        data[place.body : place.body + 64] = signature
    made.path.write_bytes(data)
    refused(made.path, BadSignature)


def test_a_swapped_bootstrap(made: TinyBundle) -> None:
    """bundle.json and its signature are intact: the tool that would run first is what was changed."""
    place = made.layout.place(BOOTSTRAP)
    data = made.path.read_bytes()
    evil = data[place.body : place.body + place.member.size].replace(b"print", b"input")
    assert len(evil) == place.member.size
    made.path.write_bytes(data[: place.body] + evil + data[place.body + place.member.size :])
    error = refused(made.path, DamagedContent)
    assert isinstance(error, DamagedContent)
    assert error.damaged == ((BOOTSTRAP, ()),)


def test_a_signer_who_is_not_announced(made: TinyBundle) -> None:
    """The file of two signers around the statement of one."""
    data, at = made.path.read_bytes(), made.layout.place(BOOTSTRAP).start
    keyid = BOB.public.keyid
    statement = made.layout.place(STATEMENT)
    signature = BOB.sign(data[statement.body : statement.body + statement.member.size])
    more = tar.header(name=f"{STATEMENT}.{keyid}.sig", size=64) + signature.ljust(512, b"\0")
    made.path.write_bytes(data[:at] + more + data[at:])
    refused(made.path, MalformedStatement)


def test_a_statement_that_would_be_huge(tmp_path: Path) -> None:
    path = tmp_path / "huge.bundle"
    path.write_bytes(tar.header(name=STATEMENT, size=65 << 20))
    with path.open("r+b") as file:
        file.truncate(70 << 20)
    refused(path, NotABundle)


def test_more_signatures_than_there_may_be(tmp_path: Path) -> None:
    path = tmp_path / "many.bundle"
    names = (f"{STATEMENT}.ed25519-{number:064x}.sig" for number in range(17))
    entries = b"".join(tar.header(name=name, size=64) + bytes(512) for name in names)
    path.write_bytes(tar.header(name=STATEMENT, size=0) + entries + bytes(1024))
    refused(path, NotABundle)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none", Path("/dev/null")):
        with pytest.raises(NotReadable):
            verify(path, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())


def test_a_threshold_that_cannot_be_met() -> None:
    for threshold in (0, 2):
        with pytest.raises(BundleError):
            replace(Trust(keys=(ALICE.public,), threshold=1), threshold=threshold)
