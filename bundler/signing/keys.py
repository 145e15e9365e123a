"""Ed25519 keys: made, read, and used. Private keys are PKCS#8 PEM, public keys SubjectPublicKeyInfo PEM."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bundler.errors import Malformed, MalformedKey, WrongPassphrase
from bundler.support.files import read_file

_PEM_LIMIT = 16 << 10
_PASSPHRASE_LIMIT = 1023  # OpenSSL's PEM_BUFSIZE
_RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A raw Ed25519 public key, 32 bytes (RFC 8032)."""

    raw: bytes

    @property
    def keyid(self) -> str:
        return f"ed25519-{hashlib.sha256(self.raw).hexdigest()}"

    def verifies(self, signature: bytes, data: bytes | memoryview) -> bool:
        """Whether `signature` (64 bytes) over exactly these bytes is this key's; never raises."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except (InvalidSignature, ValueError):
            return False
        return True

    def pem(self) -> bytes:
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class SigningKey:
    """A private key in memory. Its repr says nothing."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes(*_RAW))

    def sign(self, data: bytes) -> bytes:
        """A raw 64-byte signature."""
        return self._key.sign(data)

    def pem(self, passphrase: bytes | None) -> bytes:
        """PKCS#8 PEM, encrypted when there is a passphrase (PBES2 with scrypt or PBKDF2, as OpenSSL reads it).

        Raises Malformed for a passphrase that is empty or too long.
        """
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase is not None:
            if not 0 < len(passphrase) <= _PASSPHRASE_LIMIT:
                raise Malformed(
                    found=f"a passphrase of {len(passphrase)} bytes", expected=f"1 to {_PASSPHRASE_LIMIT} bytes"
                )
            protection = serialization.BestAvailableEncryption(passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


def generate() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.generate())


def read_public_key(path: Path) -> PublicKey:
    """Raises NotReadable or MalformedKey."""
    try:
        key = serialization.load_pem_public_key(read_file(path, limit=_PEM_LIMIT))
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedKey(path=str(path), why="no public key in PEM form") from None
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedKey(path=str(path), why="another kind of public key")
    return PublicKey(key.public_bytes(*_RAW))


def read_signing_key(path: Path, passphrase: Callable[[], bytes | None]) -> SigningKey:
    """Read a private key; `passphrase` is asked only when the key is encrypted.

    Raises NotReadable, MalformedKey or WrongPassphrase.
    """
    data = read_file(path, limit=_PEM_LIMIT)
    secret = passphrase() if b"ENCRYPTED" in data else None
    if b"ENCRYPTED" in data and not secret:
        raise WrongPassphrase(path=str(path), why="it is encrypted and no passphrase was given")
    try:
        key = serialization.load_pem_private_key(data, secret)
    except ValueError as error:
        if secret:
            raise WrongPassphrase(path=str(path), why="the passphrase is wrong") from None
        raise MalformedKey(path=str(path), why=str(error)[:200] or "no private key in PEM form") from None
    except (TypeError, UnsupportedAlgorithm) as error:
        raise MalformedKey(path=str(path), why=str(error)[:200]) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedKey(path=str(path), why="another kind of private key")
    return SigningKey(key)
