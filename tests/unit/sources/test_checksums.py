"""Vendors' lists of checksums: every form, every way to be of no use, signed and not."""

from pathlib import Path

import pysequoia
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.catalog.manifests import Manifests
from bundler.errors import BadSignature, ChecksumUnknown, NotReadable, TooLarge, Unsupported
from bundler.model.component import Checksums, FileRequest
from bundler.model.digest import Digest
from bundler.signing.openpgp import clear_sign, create_apt_key, public_armored, public_binary
from bundler.sources.checksums import find_digest, parse_checksums, vendor_digest
from bundler.sources.files import file_source
from bundler.transport import Upstreams
from tests.hostile_server import endless, ok

A, B = "a" * 64, "B" * 64
URL = "https://dl.example/v1/amd64/tool-1.run"
SOURCE = "https://dl.example/v1/SHA256SUMS"


def found(text: str, *, file: str = "tool.run", url: str = URL) -> str:
    return find_digest(text, file=file, url=url, source=SOURCE).hex


@pytest.mark.parametrize(
    "text",
    [
        f"{A}",
        f"{A}\n",
        f"\ufeff{A}\r\n",
        f"{A}  tool-1.run\n",
        f"{A} *tool-1.run\n",
        f"{A} tool-1.run",
        f"{A}\ttool-1.run",
        f"{A}  ./tool-1.run",
        f"{A}  /build/out/tool-1.run",
        f"{A}  amd64/tool-1.run\n{B}  arm64/tool-1.run\n",
        f"{B}  tool-1.run\n{A}  amd64/tool-1.run\n",
        f"{B}  64/tool-1.run\n{A}  v1/amd64/tool-1.run\n{B}  amd64/tool-1.run\n",
        f"# made by hand\n\n{B}  other\r\n{A.upper()}  tool-1.run\r\n",
        f"{A}  tool-1.run\n{A}  tool-1.run\n",
        f"SHA256 (tool-1.run) = {A}",
        f"SHA256(tool-1.run)= {A}",
        f"SHA2-256(./tool-1.run)= {A}",
        f"MD5 (tool-1.run) = {'0' * 32}\nSHA512 (tool-1.run) = {'0' * 128}\nSHA256 (tool-1.run) = {A}\n",
        f"{'0' * 32}  tool-1.run\n{'0' * 40}  tool-1.run\n{A}  tool-1.run\n",
        f"SHA3-256 (tool-1.run) = {B}\nSHA256 (tool-1.run) = {A}",
        f"{A}  tool.run",
        f"{A}  tool.run\n{B}  other.run",
        f"<html>\n{A}  tool-1.run",
    ],
)
def test_forms(text: str) -> None:
    assert found(text) == A


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no checksum"),
        ("<html><body>Not found</body></html>", "no checksum"),
        (f"{A}\n{B}\n", "no checksum"),
        (f"{A}  other.run", "names other.run"),
        (f"{A}  tool-1.run.asc\n{A} xtool-1.run", "names tool-1.run.asc, xtool-1.run"),
        ("".join(f"{A}  file-{number}\n" for number in range(9)), "and 4 more"),
        (f"{A}  tool-1.run\n{B}  tool-1.run", f"several: {A}, {B.lower()}"),
        (f"{A}  x/tool-1.run\n{B}  y/tool-1.run", "several"),
        (f"{A}  amd64/tool-1.run\n{B}  amd64/tool-1.run", "several"),
    ],
)
def test_lists_that_settle_nothing(text: str, why: str) -> None:
    with pytest.raises(ChecksumUnknown) as caught:
        found(text)
    assert why in caught.value.why
    assert (caught.value.file, caught.value.source) == ("tool.run", SOURCE)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"{'0' * 32}  tool-1.run", "MD5"),
        (f"{'0' * 40} *tool-1.run\n{A}  other", "SHA-1"),
        (f"{'0' * 128}", "SHA-512"),
        (A[:-1], "of 252 bits"),
        (f"MD5 (tool-1.run) = {'0' * 32}\nSHA1 (tool-1.run) = {'0' * 40}", "MD5, SHA1"),
        (f"BLAKE2s (tool-1.run) = {A}", "BLAKE2S"),
    ],
)
def test_other_algorithms_are_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(Unsupported) as caught:
        found(text)
    assert caught.value.what == f"the checksum {named}"
    assert "give its SHA-256 as `digest`" in caught.value.why


@given(st.text(max_size=300))
def test_any_text_is_parsed(text: str) -> None:
    for entry in parse_checksums(text):
        assert 32 <= len(entry.value) <= 128


# --- from a server, with a signature


@pytest.fixture
def key() -> bytes:
    return create_apt_key("Vendor <vendor@example.com>")


@pytest.fixture
def manifests(tmp_path: Path, key: bytes) -> Manifests:
    (tmp_path / "files").mkdir()
    other = create_apt_key("Another <other@example.com>")
    (tmp_path / "files/vendor.asc").write_bytes(public_armored(key))
    (tmp_path / "files/two.pgp").write_bytes(public_binary(other) + public_binary(key))
    (tmp_path / "files/other.pgp").write_bytes(public_binary(other))
    (tmp_path / "files/empty.pgp").write_bytes(b"")
    (tmp_path / "files/sums").write_text(f"{A}  tool-1.run\n")
    return Manifests(folders=(tmp_path,))


LIST = f"{A}  tool-1.run\n{B}  - a dash\n".encode()


def detached(key: bytes, data: bytes, *, armor: bool) -> bytes:
    signer = pysequoia.Tsk.from_bytes(key).signer()
    return bytes(pysequoia.sign(signer, data, mode=pysequoia.SignatureMode.DETACHED, armor=armor))


@pytest.fixture
def ask(server, transport, manifests):
    def digest(**named: str) -> str:
        url = named.pop("url", f"{server.url}/sums")
        checksums = Checksums(**{"url": url, "signature": "", "keyring": "", **named})
        request = FileRequest(name="tool.run", url=URL, digest=None, checksums=checksums, license="")
        return vendor_digest(
            request,
            checksums,
            locate=lambda url: file_source(url, manifests=manifests, upstreams=Upstreams()),
            transport=transport,
            manifests=manifests,
        ).hex

    return digest


def test_from_a_server_and_from_a_folder(server, ask):
    server.on("/sums", ok(LIST))
    assert ask() == ask(url="file:sums") == A


@pytest.mark.parametrize("armor", [True, False])
@pytest.mark.parametrize("keyring", ["file:vendor.asc", "file:two.pgp"])
def test_a_detached_signature(server, ask, key, keyring, armor):
    server.on("/sums", ok(LIST))
    signature = server.on("/sums.asc", ok(detached(key, LIST, armor=armor)))
    assert ask(signature=signature, keyring=keyring) == A


@pytest.mark.parametrize("keyring", ["file:vendor.asc", "file:two.pgp"])
def test_a_clearsigned_list(server, ask, key, keyring):
    server.on("/sums", ok(f"{B}  tool-1.run\n".encode() + clear_sign(key, LIST) + f"{B}  tool-1.run\n".encode()))
    assert ask(keyring=keyring) == A  # what lies around the signed text does not count


def test_a_clearsigned_list_that_nobody_checks(server, ask, key):
    server.on("/sums", ok(clear_sign(key, LIST)))
    assert ask() == A
    server.on("/sums", ok(clear_sign(key, LIST).replace(b"\n", b"\r\n")))
    assert ask() == A


@pytest.mark.parametrize("spoil", ["list", "key", "signature", "none"])
def test_a_signature_that_does_not_hold(server, ask, key, spoil):
    good = detached(key, LIST, armor=True)
    server.on("/sums", ok(LIST.replace(b"a", b"c", 1) if spoil == "list" else LIST))
    server.on("/sums.asc", ok({"signature": detached(key, b"", armor=True), "none": b"<html>"}.get(spoil, good)))
    keyring = "file:other.pgp" if spoil == "key" else "file:vendor.asc"
    with pytest.raises(BadSignature) as caught:
        ask(signature=f"{server.url}/sums.asc", keyring=keyring)
    assert "\n" not in caught.value.why
    assert caught.value.what == f"{server.url}/sums"


def test_a_clearsigned_list_that_does_not_hold(server, ask, key):
    for data in (clear_sign(key, LIST).replace(b"aaa", b"aab", 1), LIST, b""):
        server.on("/sums", ok(data))
        with pytest.raises(BadSignature):
            ask(keyring="file:vendor.asc")
    server.on("/sums", ok(clear_sign(key, LIST)))
    with pytest.raises(BadSignature):
        ask(keyring="file:other.pgp")


@pytest.mark.parametrize("keyring", ["file:empty.pgp", "file:sums", "file:none"])
def test_a_keyring_without_keys(server, ask, key, keyring):
    server.on("/sums", ok(clear_sign(key, LIST)))
    with pytest.raises(NotReadable):
        ask(keyring=keyring)


def test_a_list_without_end(server, ask):
    server.on("/sums", endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536))
    with pytest.raises(TooLarge):
        ask()


def test_digest_is_of_the_list(server, ask):
    server.on("/sums", ok(f"{Digest.of(b'x').hex}\n".encode()))
    assert ask() == Digest.of(b"x").hex
