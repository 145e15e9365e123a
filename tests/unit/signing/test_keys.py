import contextlib
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import BundleError, Malformed, MalformedKey, NotReadable, WrongPassphrase
from bundler.signing.keys import PublicKey, SigningKey, generate, read_public_key, read_signing_key
from tests.bundles import ALICE, BOB
from tests.lab import require_program

FOREIGN: dict[str, Any] = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=1024),
    "x25519": x25519.X25519PrivateKey.generate(),
    "ed448": ed448.Ed448PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
}
PKCS8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
SPKI = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def never() -> bytes | None:
    raise AssertionError("a passphrase was asked for")


def put(folder: Path, data: bytes) -> Path:
    path = folder / "x.pem"
    path.write_bytes(data)
    return path


def read(folder: Path, data: bytes, passphrase: bytes | None = None) -> SigningKey:
    return read_signing_key(put(folder, data), lambda: passphrase)


def openssl(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([require_program("openssl"), *arguments], capture_output=True, text=True)


def test_round_trip(tmp_path: Path) -> None:
    key = generate()
    assert key.public != generate().public
    assert read_signing_key(put(tmp_path, key.pem(None)), never).public == key.public
    assert read_public_key(put(tmp_path, key.public.pem())) == key.public
    assert re.fullmatch("ed25519-[0-9a-f]{64}", key.public.keyid)


def test_encrypted(tmp_path: Path) -> None:
    pem = ALICE.pem(b"secret")
    assert [b"ENCRYPTED" in each for each in (pem, ALICE.pem(None))] == [True, False]
    assert read(tmp_path, pem, b"secret").public == ALICE.public
    for wrong in (b"Secret", b"x" * 2000, b"", None):
        with pytest.raises(WrongPassphrase):
            read(tmp_path, pem, wrong)
    with pytest.raises(WrongPassphrase):
        read(tmp_path, pem.replace(pem[60:70], pem[70:80]), b"secret")


@pytest.mark.parametrize("passphrase", [b"", b"x" * 1024])
def test_no_passphrase_for_a_key(passphrase: bytes) -> None:
    """An empty one would leave the key in the clear without a word."""
    with pytest.raises(Malformed):
        ALICE.pem(passphrase)


@pytest.mark.parametrize("passphrase", [b"x" * 1023, "Schlüssel".encode(), b"\0\xff"])
def test_any_passphrase(tmp_path: Path, passphrase: bytes) -> None:
    assert read(tmp_path, ALICE.pem(passphrase), passphrase).public == ALICE.public


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_kind_of_key(tmp_path: Path, kind: str) -> None:
    key = FOREIGN[kind]
    with pytest.raises(MalformedKey):
        read(tmp_path, key.private_bytes(*PKCS8, serialization.NoEncryption()))
    with pytest.raises(MalformedKey):
        read(tmp_path, key.private_bytes(*PKCS8, serialization.BestAvailableEncryption(b"secret")), b"secret")
    with pytest.raises(MalformedKey):
        read_public_key(put(tmp_path, key.public_key().public_bytes(*SPKI)))


PUBLIC = ALICE.public.pem()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"ENCRYPTED",
        PUBLIC[:60],
        PUBLIC.replace(b"PUBLIC", b"PRIVATE"),
        PUBLIC.replace(b"MCow", b"MCox"),
        b"\xff\xfe",
    ],
)
def test_no_key(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(MalformedKey):
        read_public_key(put(tmp_path, data))
    with pytest.raises((MalformedKey, WrongPassphrase)):
        read(tmp_path, data, b"secret")


def test_mixed_up(tmp_path: Path) -> None:
    with pytest.raises(MalformedKey):
        read_public_key(put(tmp_path, ALICE.pem(None)))
    with pytest.raises(MalformedKey):
        read_signing_key(put(tmp_path, ALICE.public.pem()), never)
    protected = FOREIGN["rsa"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    with pytest.raises(MalformedKey):
        read(tmp_path, protected)


def test_not_readable(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", tmp_path, put(tmp_path, bytes(1 << 20))):
        with pytest.raises(NotReadable):
            read_public_key(path)
        with pytest.raises(NotReadable):
            read_signing_key(path, never)


@given(
    st.binary(max_size=300)
    | st.tuples(st.integers(0, 112), st.binary(max_size=3)).map(
        lambda cut: PUBLIC[: cut[0]] + cut[1] + PUBLIC[cut[0] + 1 :]
    )
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = put(tmp_path_factory.getbasetemp(), data)
    for reading in (read_public_key, lambda path: read_signing_key(path, lambda: b"secret")):
        with contextlib.suppress(BundleError):
            reading(path)


@given(st.binary(max_size=50), st.integers(0, 511))
def test_verifies_only_exactly_this(data: bytes, bit: int) -> None:
    signature = ALICE.sign(data)
    assert len(signature) == 64
    assert ALICE.public.verifies(signature, data)
    assert ALICE.public.verifies(signature, memoryview(data))
    assert not ALICE.public.verifies(signature, data + b"\0")
    assert not BOB.public.verifies(signature, data)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not ALICE.public.verifies(bytes(flipped), data)


@pytest.mark.parametrize("signature", [b"", b"x", bytes(64), bytes(65), b"\xff" * 64])
@pytest.mark.parametrize("raw", [ALICE.public.raw, b"", bytes(31), b"\xff" * 32])
def test_verifies_never_raises(raw: bytes, signature: bytes) -> None:
    assert PublicKey(raw).verifies(signature, b"data") is False


def test_the_malleable_twin_of_a_signature_is_refused() -> None:
    """S + L instead of S (RFC 8032 section 5.1.7 asks for S < L)."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = ALICE.sign(b"data")
    twin = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not ALICE.public.verifies(twin, b"data")


def test_openssl_verifies_our_signature(tmp_path: Path) -> None:
    data, signature, public = (tmp_path / name for name in ("data", "signature", "public"))
    data.write_bytes(b"data\n")
    signature.write_bytes(ALICE.sign(b"data\n"))
    public.write_bytes(ALICE.public.pem())
    command = ("pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", data, "-sigfile", signature)
    assert openssl(*command).returncode == 0
    data.write_bytes(b"Data\n")
    assert openssl(*command).returncode != 0


@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_openssl_reads_our_keys(tmp_path: Path, passphrase: bytes | None) -> None:
    path = put(tmp_path, ALICE.pem(passphrase))
    done = openssl("pkey", "-in", path, "-pubout", "-passin", "pass:secret")
    assert (done.returncode, done.stdout) == (0, ALICE.public.pem().decode()), done.stderr


@pytest.mark.parametrize("cipher", [(), ("-aes256", "-pass", "pass:secret")])
def test_we_read_openssls_keys(tmp_path: Path, cipher: tuple[str, ...]) -> None:
    path = tmp_path / "openssl.key"
    assert openssl("genpkey", "-algorithm", "ed25519", *cipher, "-out", path).returncode == 0
    key = read_signing_key(path, lambda: b"secret")
    done = openssl("pkey", "-in", path, "-pubout", "-passin", "pass:secret")
    assert key.public.pem().decode() == done.stdout


def test_nothing_of_a_secret_is_shown() -> None:
    secret = ALICE._key.private_bytes_raw()
    for shown in (repr(ALICE), str(ALICE), f"{ALICE!r:>200}"):
        assert not any(each in shown for each in (secret.hex(), repr(secret)))
        assert "SigningKey object at" in shown
