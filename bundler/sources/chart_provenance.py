"""Provenance files (NAME-VERSION.tgz.prov): an OpenPGP clear signature over Chart.yaml and the archive's SHA-256."""

import re
from pathlib import Path

from bundler.errors import WrongBytes
from bundler.model.digest import Digest
from bundler.signing.openpgp_verify import clear_text, verify_clear

LARGEST = 1 << 20  # bytes of a provenance file
_PARTS = (b"-----BEGIN PGP SIGNED MESSAGE-----", b"-----BEGIN PGP SIGNATURE-----")
_SUM = re.compile(r" +([^\s:]+): *\"?(sha256:[0-9a-f]{64})\"?")


def is_provenance(data: bytes) -> bool:
    """Servers that have none may answer with a page of their own."""
    return all(part in data for part in _PARTS)


def check_provenance(data: bytes, *, file: str, digest: Digest, keyring: Path | None) -> None:
    """Whether the provenance is of this archive, which is named `file`; with a keyring also whether a key of it signed.

    Raises WrongBytes, BadSignature, NotReadable.
    """
    if not is_provenance(data):
        raise WrongBytes(what=f"{file}.prov", expected="an OpenPGP clear signature", found="something else")
    signed = verify_clear(data, keyring=keyring, what=f"{file}.prov") if keyring else clear_text(data)
    # Helm's message: Chart.yaml, the mark that ends a YAML document, and the digests (pkg/provenance/sign.go).
    sums = dict(_SUM.findall(signed.decode("utf-8", "replace").replace("\r\n", "\n").partition("\n...\n")[2]))
    if sums.get(file) != str(digest):
        found = sums.get(file) or f"nothing about it, but {', '.join(sorted(sums)) or 'no file'}"
        raise WrongBytes(what=f"{file}.prov", expected=f"{digest}, the archive's digest", found=found)
