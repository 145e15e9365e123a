"""Vendors' OpenPGP signatures: detached ones, and texts in the cleartext signature framework (RFC 9580 section 7)."""

import re
from pathlib import Path

import pysequoia

from bundler.errors import BadSignature, NotReadable
from bundler.support.files import read_file

_KEYRING = 16 << 20
_CLEAR = re.compile(
    rb"-----BEGIN PGP SIGNED MESSAGE-----\n(?:[!-~]+: [^\n]*\n)*\n(.*?)\n-----BEGIN PGP SIGNATURE-----", re.DOTALL
)


def verify_detached(data: bytes, signature: bytes, *, keyring: Path, what: str) -> None:
    """Whether a certificate in `keyring` made this signature, armored or not, over `data`.

    Raises BadSignature, and NotReadable for a keyring without certificates.
    """
    certificates = _certificates(keyring)
    try:
        made = pysequoia.Sig.from_bytes(signature)
        pysequoia.verify(bytes=data, store=lambda _: certificates, signature=made)
    except RuntimeError as error:
        raise _bad(error, keyring, what) from None


def verify_clear(data: bytes, *, keyring: Path, what: str) -> bytes:
    """The text that was signed, if a certificate in `keyring` did; nothing around it. Raises as `verify_detached`."""
    certificates = _certificates(keyring)
    try:
        return bytes(pysequoia.verify(bytes=data, store=lambda _: certificates).bytes or b"")
    except RuntimeError as error:
        raise _bad(error, keyring, what) from None


def clear_text(data: bytes) -> bytes:
    """A text without the framework that it may be in; nobody vouches for it."""
    match = _CLEAR.search(data.replace(b"\r\n", b"\n"))
    return re.sub(rb"^- ", b"", match[1], flags=re.MULTILINE) if match else data


def _certificates(keyring: Path) -> list[pysequoia.Cert]:
    data = read_file(keyring, limit=_KEYRING)
    try:
        found = list(pysequoia.Cert.split_bytes(data))
    except RuntimeError:
        found = []
    if not found:
        raise NotReadable(path=str(keyring), why="it holds no OpenPGP certificate")
    return found


def _bad(error: RuntimeError, keyring: Path, what: str) -> BadSignature:
    """pysequoia's first line; a backtrace follows it."""
    return BadSignature(keyid=f"the keys in {keyring.name}", what=what, why=str(error).partition("\n")[0])
