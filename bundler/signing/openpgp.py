"""The site's OpenPGP key for apt: version 4, Ed25519, without an end date; what Debian 12's gpgv (2.2) takes."""

import contextlib
from collections.abc import Iterator

import pysequoia

from bundler.errors import MalformedKey

_WHAT = "the site's apt key"


def create_apt_key(name: str) -> bytes:
    """A new secret key, armored, whose user id is `name`."""
    key = pysequoia.Tsk.generate(
        user_id=name, profile=pysequoia.Profile.RFC4880, cipher_suite=pysequoia.CipherSuite.Cv25519
    )
    return str(key).encode()


def public_armored(secret: bytes) -> bytes:
    """The certificate as `Signed-By:` takes it inline, or as a file NAME.asc."""
    return str(_certificate(secret)).encode()


def public_binary(secret: bytes) -> bytes:
    """The certificate as a keyring that gpgv takes, NAME.pgp."""
    return bytes(_certificate(secret))


def fingerprint(secret: bytes) -> str:
    """40 hex digits in upper case, as gpg shows them."""
    return str(_certificate(secret).fingerprint).upper()


def clear_sign(secret: bytes, text: bytes) -> bytes:
    """The text in the cleartext signature framework (RFC 9580 section 7), as InRelease is."""
    # The newline at the end belongs to the framework and not to the text; with it there would be an empty line.
    with _malformed():
        signer = pysequoia.Tsk.from_bytes(secret).signer()
        return bytes(pysequoia.sign(signer, text.rstrip(b"\n"), mode=pysequoia.SignatureMode.CLEAR))


def _certificate(secret: bytes) -> pysequoia.Cert:
    with _malformed():
        return pysequoia.Tsk.from_bytes(secret).extract_certificate()


@contextlib.contextmanager
def _malformed() -> Iterator[None]:
    """pysequoia raises RuntimeError for everything, with a backtrace in its text."""
    try:
        yield
    except RuntimeError as error:
        raise MalformedKey(path=_WHAT, why=str(error).partition("\n")[0]) from None
