"""The lab's own OpenPGP key: made once a machine, it signs charts and archives as vendors sign theirs."""

from pathlib import Path

from pysequoia import Cert, SignatureMode, sign

from scripts.lab.common import CACHE, digest_of, filled, locked

OWNER = "Lab upstream <lab@example.com>"


def _folder() -> Path:
    found = CACHE / "lab/key"
    with locked("key"):
        if not found.is_dir():
            key = Cert.generate(OWNER)
            with filled(found) as scratch:
                (scratch / "secret.asc").write_text(str(key.secrets))
                (scratch / "secret.asc").chmod(0o600)
                (scratch / "public.asc").write_text(str(key))
    return found


def public_key() -> Path:
    return _folder() / "public.asc"


def key_id() -> str:
    """What changes with the key."""
    return digest_of(public_key())


def signed_detached(data: bytes) -> bytes:
    """An ASCII-armoured signature to lie beside what it signs."""
    return _signed(data, SignatureMode.DETACHED)


def signed_text(text: str) -> bytes:
    """The text in an OpenPGP cleartext signature, as Helm's provenance files are."""
    return _signed(text.encode(), SignatureMode.CLEAR)


def _signed(data: bytes, mode: SignatureMode) -> bytes:
    secret = Cert.from_file(str(_folder() / "secret.asc")).secrets
    assert secret
    return sign(secret.signer(), data, mode=mode)
