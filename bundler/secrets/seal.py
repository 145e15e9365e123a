"""The bytes of a secrets file: what opens it, what is in it (encrypted), and a digest of both. Three lines:

    {"kdf":{"n":32768,"name":"scrypt","p":1,"r":8,"salt":HEX},"type":"bundle-secrets","version":1}
    a Fernet token (AES-128-CBC, HMAC-SHA256) of the content
    sha256:HEX of the two lines above

With a key file the first line has `"key":HEX`, the SHA-256 of the key, in place of `kdf`. The digest tells damage
from a wrong passphrase; it is no protection against who changes the file on purpose, the token's own HMAC is.
"""

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bundler.errors import Malformed, SecretsDamaged, SecretsLocked, Unsupported
from bundler.model import canonical
from bundler.secrets.unlock import KeyFile, Unlock

FILE_LIMIT = 4 << 20  # bytes, of the file
_TYPE, _VERSION = "bundle-secrets", 1
_HEADER_LIMIT = 1024
_SCRYPT = {"name": "scrypt", "n": 1 << 15, "r": 8, "p": 1}  # 32 MiB and a tenth of a second (RFC 7914)
_SCRYPT_N = tuple(1 << power for power in range(14, 18))  # what a file may ask for: 128 MiB at most
_SALT = re.compile(r"[0-9a-f]{32}")
_KEY_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, repr=False)
class Seal:
    """How one file is encrypted: its first line, and the key that this line and what opened it give."""

    header: bytes
    fernet: Fernet

    def close(self, content: bytes) -> bytes:
        """The whole file."""
        body = self.header + self.fernet.encrypt(content) + b"\n"
        return body + _digest_line(body)


def new_seal(unlock: Unlock, *, path: str) -> Seal:
    """Raises SecretsLocked, NotReadable."""
    if isinstance(unlock, KeyFile):
        return seal_with(unlock.read())
    kdf = {**_SCRYPT, "salt": os.urandom(16).hex()}
    return _seal({"kdf": kdf}, _derive(kdf, _passphrase(unlock, path)))


def seal_with(key: bytes) -> Seal:
    """By the 32 bytes of a key file."""
    return _seal({"key": _key_id(key)}, key)


def open_seal(data: bytes, unlock: Unlock, *, path: str) -> tuple[Seal, bytes]:
    """The seal of a file and its content. Raises SecretsDamaged, SecretsLocked, NotReadable, Unsupported."""
    lines = data.split(b"\n")
    if len(lines) != 4 or lines[3]:
        raise SecretsDamaged(path=path, why="it is cut off, or no file of secrets")
    header, token = lines[0] + b"\n", lines[1]
    if lines[2] + b"\n" != _digest_line(header + token + b"\n"):
        raise SecretsDamaged(path=path, why="its bytes are not those that were written")
    fields = _read_header(header, path)
    seal = _seal_of(fields, unlock, path)
    try:
        return seal, seal.fernet.decrypt(token)
    except InvalidToken:
        if isinstance(unlock, KeyFile):
            raise SecretsDamaged(path=path, why="it was changed by somebody without the key") from None
        raise SecretsLocked(path=path, why="the passphrase is wrong") from None


def _read_header(line: bytes, path: str) -> Mapping[str, Any]:
    try:
        fields = canonical.load(line, limit=_HEADER_LIMIT)
    except Malformed as error:
        raise SecretsDamaged(path=path, why=f"its first line: {error.summary}") from None
    if not isinstance(fields, dict) or fields.get("type") != _TYPE or canonical.dump(fields) != line:
        raise SecretsDamaged(path=path, why=f"its first line is not that of a {_TYPE} file")
    if type(fields.get("version")) is not int or fields["version"] != _VERSION:
        why = f"This tool reads version {_VERSION}; use the tool that wrote the file, or a newer one."
        raise Unsupported(what=f"the version of {path}", why=why)
    if not (_is_kdf(fields.get("kdf")) if "kdf" in fields else _matches(_KEY_ID, fields.get("key"))):
        raise SecretsDamaged(path=path, why="its first line does not say what opens it, within the known bounds")
    if len(fields) != 3:
        raise SecretsDamaged(path=path, why="its first line says more than this version knows")
    return fields


def _is_kdf(kdf: object) -> bool:
    """Whether these are parameters that we may compute with: memory and time are bounded by them."""
    if not isinstance(kdf, dict) or kdf.keys() != {*_SCRYPT, "salt"} or not _matches(_SALT, kdf["salt"]):
        return False
    numbers = [kdf["n"], kdf["r"], kdf["p"]]
    if any(type(number) is not int for number in numbers):
        return False
    return kdf["name"] == "scrypt" and kdf["n"] in _SCRYPT_N and numbers[1:] == [8, 1]


def _matches(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _seal_of(fields: Mapping[str, Any], unlock: Unlock, path: str) -> Seal:
    if isinstance(unlock, KeyFile):
        if "key" not in fields:
            raise SecretsLocked(path=path, why="a passphrase opens it, not a key file")
        key = unlock.read()
        if _key_id(key) != fields["key"]:
            raise SecretsLocked(path=path, why=f"another key than that of {unlock.path} opens it")
    elif "key" in fields:
        raise SecretsLocked(path=path, why="a key file opens it, not a passphrase")
    else:
        key = _derive(fields["kdf"], _passphrase(unlock, path))
    opens = {name: fields[name] for name in ("kdf", "key") if name in fields}
    return _seal(opens, key)


def _seal(opens: Mapping[str, Any], key: bytes) -> Seal:
    header = canonical.dump({"type": _TYPE, "version": _VERSION, **opens})
    return Seal(header, Fernet(base64.urlsafe_b64encode(key)))


def _passphrase(unlock: Unlock, path: str) -> bytes:
    given = None if isinstance(unlock, KeyFile) else unlock.ask()
    if not given:
        raise SecretsLocked(path=path, why="it needs a passphrase, and none was given")
    return given


def _derive(kdf: Mapping[str, Any], passphrase: bytes) -> bytes:
    salt = bytes.fromhex(kdf["salt"])
    return Scrypt(salt=salt, length=32, n=kdf["n"], r=kdf["r"], p=kdf["p"]).derive(passphrase)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"bundle-secrets key\n" + key).hexdigest()


def _digest_line(body: bytes) -> bytes:
    return f"sha256:{hashlib.sha256(body).hexdigest()}\n".encode()
