"""What opens a site's secrets: a key file or a passphrase."""

import base64
import binascii
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import NotReadable, SecretsLocked
from bundler.support.files import create_file, read_file

_KEY_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A file with 32 random bytes in base64, which nobody but its owner may read."""

    path: Path

    def read(self) -> bytes:
        """The 32 bytes. Raises NotReadable; SecretsLocked when it holds no key or others can read it."""
        try:
            mode = stat.S_IMODE(self.path.stat().st_mode)
        except OSError as error:
            raise NotReadable(path=str(self.path), why=error.strerror or str(error)) from None
        if mode & 0o077:
            why = f"other users can read or write it (mode {mode:04o})"
            advice = f"`chmod 600 {self.path}`; if others may have read it, use a new one: `bundle site secrets rekey`."
            raise SecretsLocked(path=str(self.path), why=why, advice=advice)
        key = parse_key(read_file(self.path, limit=1024))
        if key is None:
            advice = "Give the file that `bundle site secrets create --key-file FILE` made."
            raise SecretsLocked(path=str(self.path), why="it holds no key for secrets", advice=advice)
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Passphrase:
    """`ask` gives the passphrase, or None where there is nobody to ask."""

    ask: Callable[[], bytes | None]


Unlock = KeyFile | Passphrase


def random_key() -> str:
    """The text of a key file."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_SIZE)).decode() + "\n"


def parse_key(text: bytes) -> bytes | None:
    """The 32 bytes of a key file's text, or None for anything else."""
    try:
        key = base64.b64decode(text.strip(), altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return key if len(key) == _KEY_SIZE else None


def create_key_file(path: Path) -> KeyFile:
    """A new key, mode 0600. Raises CannotWrite when the file exists."""
    create_file(path, random_key().encode(), mode=0o600)
    return KeyFile(path=path)
