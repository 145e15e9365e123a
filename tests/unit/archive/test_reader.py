import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, STATEMENT, bundle_layout, owners_of, signature_name
from bundler.archive.reader import BundleFile
from bundler.errors import (
    BundleError,
    DamagedContent,
    HeaderMismatch,
    NotABundle,
    NotReadable,
    TrailingBytes,
    TruncatedBundle,
)
from bundler.model.limits import LIMITS
from bundler.model.statement import BLOB_PREFIX, write_statement
from bundler.signing.trust import Signed
from tests.bundles import ALICE, BOB, TinyBundle, front, signing_key, tiny_bundle
from tests.content import make_tar

KEYID = ALICE.public.keyid
SIGNATURE = signature_name(STATEMENT, KEYID)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    return tiny_bundle(tmp_path_factory.mktemp("reader"), keys=(ALICE, BOB))


@contextmanager
def opened(tmp_path: Path, data: bytes) -> Iterator[BundleFile]:
    path = tmp_path / "x.bundle"
    path.write_bytes(data)
    with BundleFile(path) as file:
        yield file


def read_front(tmp_path: Path, data: bytes) -> Signed:
    with opened(tmp_path, data) as file:
        return file.front()


def test_front(made: TinyBundle) -> None:
    with BundleFile(made.path) as file:
        signed = file.front()
        statement = write_statement(made.statement)
        keys = sorted(made.keys, key=lambda key: key.public.keyid)
        assert signed.statement == statement
        assert signed.inside == tuple((key.public.keyid, key.sign(statement)) for key in keys)
        assert (signed.path, signed.beside) == (str(made.path), {})
        assert made.layout == bundle_layout(
            len(statement), [keyid for keyid, _ in signed.inside], made.statement.entries
        )
        file.check_size(made.layout)
        file.check_frame(made.layout)
        for entry in made.statement.entries:
            got, buffer = bytearray(), bytearray(1000)
            file.stream(made.layout.place(entry.name), got.extend, buffer)
            assert entry.digest == type(entry.digest).of(bytes(got))


def test_a_front_without_signatures(tmp_path: Path) -> None:
    assert read_front(tmp_path, front(b"{}")).inside == ()
    assert read_front(tmp_path, front(b"")).statement == b""


def header(name: str, size: int | bytes) -> bytes:
    """A header whose size field is anything, with the checksum that belongs to it."""
    block = bytearray(tar.header(name=name, size=0))
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


BODY = b"{}".ljust(512, b"\0")
GOOD = tar.header(name=STATEMENT, size=2) + BODY
SIGNED = tar.header(name=SIGNATURE, size=64) + bytes(512)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotABundle),
        (b"x", NotABundle),
        (bytes(511), NotABundle),
        (bytes(10_000), NotABundle),
        (b"PK\3\4" + bytes(2000), NotABundle),
        (b"\x1f\x8b" + bytes(2000), NotABundle),
        (make_tar({"manifest.json": b"[]"}), NotABundle),
        (make_tar({"bundle.jso": b"{}"}), NotABundle),
        (make_tar({"./bundle.json": b"{}"}), NotABundle),
        (make_tar({"bundle.json": b"{}"}), HeaderMismatch),  # not as we write it
        (header(STATEMENT, b"-0000000001\0") + BODY, HeaderMismatch),
        (header(STATEMENT, b"\x80" + bytes(10) + b"\2") + BODY, HeaderMismatch),  # base-256
        (header(STATEMENT, b"\xff" * 12) + BODY, HeaderMismatch),  # base-256, negative
        (header(STATEMENT, b"         2 \0") + BODY, HeaderMismatch),
        (header(STATEMENT, b"00000000002 ") + BODY, HeaderMismatch),
        (header(STATEMENT, b"00000000008\0") + BODY, HeaderMismatch),
        (header(STATEMENT, bytes(12)) + BODY, HeaderMismatch),
        (header(STATEMENT, 8**11 - 1) + BODY, NotABundle),
        (header(STATEMENT, LIMITS.document + 1) + BODY, NotABundle),
        (header(STATEMENT, LIMITS.document) + BODY, TruncatedBundle),
        (header(STATEMENT, 513) + BODY, TruncatedBundle),
        (header(STATEMENT, 512) + BODY, TruncatedBundle),
        (GOOD, TruncatedBundle),
        (GOOD + bytes(1024), HeaderMismatch),
        (GOOD + tar.header(name="README.txt", size=0), HeaderMismatch),
        (GOOD + tar.header(name="bootstrap.tar.x", size=0), HeaderMismatch),
        (GOOD + SIGNED[:600], TruncatedBundle),
        (GOOD + SIGNED, TruncatedBundle),
        (GOOD + header(SIGNATURE, 65) + bytes(512), HeaderMismatch),
        (GOOD + header(SIGNATURE, 8**11 - 1) + bytes(512), HeaderMismatch),
        (GOOD + header(f"bundle.json.{KEYID.upper()}.sig", 64) + bytes(512), HeaderMismatch),
        (GOOD + header("bundle.json.ed25519-00.sig", 64) + bytes(512), HeaderMismatch),
        (GOOD + SIGNED[:20] + b"\xff" + SIGNED[21:], HeaderMismatch),
        (GOOD + SIGNED * (LIMITS.signers + 1), NotABundle),
        (GOOD + SIGNED * LIMITS.signers, TruncatedBundle),
    ],
)
def test_hostile_fronts(tmp_path: Path, data: bytes, error: type[BundleError]) -> None:
    with pytest.raises(error) as caught:
        read_front(tmp_path, data)
    assert str(tmp_path / "x.bundle") in caught.value.summary


@given(st.binary(max_size=700) | st.binary(max_size=600).map(lambda tail: GOOD + tail))
def test_any_front(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    try:
        read_front(tmp_path_factory.getbasetemp(), data)
    except BundleError:
        return
    raise AssertionError("no such front is whole")


def test_every_flipped_bit_of_the_front(made: TinyBundle, tmp_path: Path) -> None:
    """Either the front does not read, or it says something else: nothing is lost on the way to the judge."""
    data = made.path.read_bytes()[: made.layout.place(BOOTSTRAP).start + tar.BLOCK]
    padding = {at for place in made.layout.places[:3] for at in range(place.body + place.member.size, place.end)}
    with opened(tmp_path, data) as file, file_to_change(tmp_path) as change:
        whole = file.front()
        for at in sorted(set(range(0, len(data), 11)) - padding):  # the padding is check_frame's part
            change(at, data[at] ^ 1 << at % 8)
            with contextlib.suppress(HeaderMismatch, NotABundle):
                found = file.front()
                assert (found.statement, found.inside) != (whole.statement, whole.inside)
            change(at, data[at])
        assert file.front() == whole


def test_every_byte_of_the_frame_is_checked(made: TinyBundle, tmp_path: Path) -> None:
    data = made.path.read_bytes()
    bodies = {at for place in made.layout.places for at in range(place.body, place.body + place.member.size)}
    with opened(tmp_path, data) as file, file_to_change(tmp_path) as change:
        frame = [at for at in range(len(data)) if at not in bodies]
        for at in frame[::13]:
            change(at, data[at] ^ 0x40)
            with pytest.raises(HeaderMismatch) as caught:
                file.check_frame(made.layout)
            assert caught.value.offset == at
            change(at, data[at])
        file.check_frame(made.layout)


@contextmanager
def file_to_change(tmp_path: Path) -> Iterator[Callable[[int, int], object]]:
    with (tmp_path / "x.bundle").open("r+b") as file:
        yield lambda at, value: os.pwrite(file.fileno(), bytes([value]), at)


def test_size(made: TinyBundle, tmp_path: Path) -> None:
    data = made.path.read_bytes()
    for cut in (1, 512, 1024, len(data) // 2):
        with opened(tmp_path, data[:-cut]) as file, pytest.raises(TruncatedBundle) as short:
            file.check_size(made.layout)
        assert short.value.expected - short.value.size == cut
    for more in (1, 512, 10_240):
        with opened(tmp_path, data + bytes(more)) as file, pytest.raises(TrailingBytes) as long:
            file.check_size(made.layout)
        assert long.value.size - long.value.expected == more


def test_a_body_cut_short(made: TinyBundle, tmp_path: Path) -> None:
    last = made.layout.places[-1]
    with opened(tmp_path, made.path.read_bytes()[: last.body + 10]) as file, pytest.raises(DamagedContent) as caught:
        file.stream(last, bytes, bytearray(4))
    assert caught.value.damaged == ((last.member.name, ()),)
    with opened(tmp_path, made.path.read_bytes()[: last.body]) as file, pytest.raises(HeaderMismatch):
        file.check_frame(made.layout)


@pytest.mark.parametrize(
    "name", ["plain.bundle", "glob[1]*?.bundle", "**", "[!a]", "a b'\"$x.bundle", "-x", "ünïcode", "n\nl", "[[]"]
)
def test_signatures_beside(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(front(b"{}"))
    for suffix, data in (
        (f".{KEYID}.sig", b"a" * 64),
        (f".{BOB.public.keyid}.sig", b"b" * 200),
        (f".{KEYID.upper()}.sig", b"c"),
        (".ed25519-00.sig", b"d"),
        (f".{KEYID}.sig.sig", b"e"),
        (f".{KEYID}", b"f"),
    ):
        (tmp_path / f"{name}{suffix}").write_bytes(data)
    (tmp_path / f"other{name}.{KEYID}.sig").write_bytes(b"g")
    (tmp_path / f"glob1xx.bundle.{KEYID}.sig").write_bytes(b"h")
    with BundleFile(path) as file:
        assert file.front().beside == {KEYID: b"a" * 64, BOB.public.keyid: b"b" * 65}


def test_what_lies_beside_and_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(front(b"{}"))
    names = [f"x.{signing_key(str(number)).public.keyid}.sig" for number in range(4)]
    os.mkfifo(tmp_path / names[0])  # reading it would never end
    (tmp_path / names[1]).mkdir()
    (tmp_path / names[2]).symlink_to("nowhere")
    (tmp_path / names[3]).write_bytes(b"s" * 64)
    with BundleFile(path) as file:
        assert list(file.front().beside.values()) == [b"s" * 64]


def test_junk_does_not_crowd_out_a_signature(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(front(b"{}"))
    for number in range(100):
        (tmp_path / f"x.ed25519-{number}.sig").write_bytes(b"")
    (tmp_path / f"x.{KEYID}.sig").write_bytes(b"s" * 64)
    with BundleFile(path) as file:
        assert file.front().beside == {KEYID: b"s" * 64}


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "dangling"])
def test_not_readable(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(NotReadable):
        BundleFile(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_owners(made: TinyBundle) -> None:
    owners = owners_of(made.statement)
    assert owners[f"{BLOB_PREFIX}{made.statement.wheels[0].metadata.hex}"] == ("tiny-1.0-py3-none-any.whl",)
    files = tuple(entry.name for entry in made.statement.files)
    assert owners[f"{BLOB_PREFIX}{made.statement.files[0].config.hex}"] == files  # the empty config belongs to all
