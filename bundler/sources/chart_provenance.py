"""Provenance files (NAME-VERSION.tgz.prov): an OpenPGP clear signature over Chart.yaml and the archive's SHA-256."""

import re
from pathlib import Path

import pysequoia

from bundler.errors import BadSignature, MalformedKey, WrongBytes
from bundler.model.digest import Digest
from bundler.support.files import read_file

LARGEST = 1 << 20  # bytes of a provenance file
_KEYRING = 16 << 20
_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_MESSAGE = re.compile(
    rb"-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:[!-~ ]+\r?\n)*\r?\n(.*?)\r?\n-----BEGIN PGP SIGNATURE-----", re.DOTALL
)
_SUM = re.compile(r" +([^\s:]+): *\"?(sha256:[0-9a-f]{64})\"?")


def is_provenance(data: bytes) -> bool:
    """Servers that have none may answer with a page of their own."""
    return data.lstrip().startswith(_BEGIN)


def check_provenance(data: bytes, *, file: str, digest: Digest, keyring: Path | None) -> None:
    """Whether the provenance is of this archive, which is named `file`; with a keyring also whether a key of it signed.

    Raises WrongBytes, BadSignature, MalformedKey, NotReadable.
    """
    signed = _verified(data, file, keyring) if keyring else _text(data, file)
    sums = dict(_SUM.findall(signed.decode("utf-8", "replace").replace("\r\n", "\n").partition("\n...\n")[2]))
    if sums.get(file) != str(digest):
        found = sums.get(file) or f"nothing about it, but {', '.join(sorted(sums)) or 'no file'}"
        raise WrongBytes(what=f"{file}.prov", expected=f"{digest}, the archive's digest", found=found)


def _text(data: bytes, file: str) -> bytes:
    match = _MESSAGE.search(data)
    if match is None:
        raise WrongBytes(what=f"{file}.prov", expected="an OpenPGP clear signature", found="something else")
    return match[1]


def _verified(data: bytes, file: str, keyring: Path) -> bytes:
    """The signed text as the verifier gives it back. Raises BadSignature."""
    certificates = _certificates(keyring)
    try:
        found = pysequoia.verify(bytes=data, store=lambda _ids: certificates)
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise BadSignature(keyid=f"the keys in {keyring.name}", what=f"{file}.prov", why=why) from None
    return bytes(found.bytes or b"")


def _certificates(keyring: Path) -> list[pysequoia.Cert]:
    data = read_file(keyring, limit=_KEYRING)
    try:
        return list(pysequoia.Cert.split_bytes(data))
    except RuntimeError as error:
        raise MalformedKey(path=str(keyring), why=str(error).partition("\n")[0]) from None
