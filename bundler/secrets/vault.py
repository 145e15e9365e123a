"""The vault: a site's secrets by name, in memory and in one encrypted file."""

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from bundler.errors import Busy, Malformed, NotReadable, SecretsDamaged
from bundler.model import canonical
from bundler.model.limits import LIMITS
from bundler.model.names import check_segment
from bundler.model.secret import Secret
from bundler.secrets.seal import FILE_LIMIT, Seal, new_seal, open_seal, seal_with
from bundler.secrets.unlock import Unlock, parse_key
from bundler.support import files

_TEXT_LIMIT = 64 << 10  # characters of one secret
_CONTENT_LIMIT = LIMITS.nodes  # bytes of all as JSON: fewer than the values that may be in a document


class Vault:
    """Secrets by name, `[A-Za-z0-9][A-Za-z0-9._+~-]*`. Threads may share it; nothing is written before `save`."""

    def __init__(
        self, *, path: Path | None, seal: Seal | None, found: bytes | None, secrets: dict[str, Secret]
    ) -> None:
        self._path, self._seal = path, seal
        self._found = None if found is None else hashlib.sha256(found).digest()
        self._secrets = secrets
        self._lock = threading.RLock()
        self.changed = False

    @classmethod
    def empty(cls) -> "Vault":
        """A vault without a file, for plans that nobody will apply: it cannot be saved."""
        return cls(path=None, seal=None, found=None, secrets={})

    @classmethod
    def create(cls, path: Path, unlock: Unlock) -> "Vault":
        """A new vault; `save` writes the file, and refuses to replace one. Raises SecretsLocked, NotReadable."""
        made = cls(path=path, seal=new_seal(unlock, path=str(path)), found=None, secrets={})
        made.changed = True
        return made

    @classmethod
    def open(cls, path: Path, unlock: Unlock) -> "Vault":
        """Raises NotReadable, SecretsLocked, SecretsDamaged, Unsupported."""
        data = files.read_file(path, limit=FILE_LIMIT)
        seal, content = open_seal(data, unlock, path=str(path))
        return cls(path=path, seal=seal, found=data, secrets=_parse(content, str(path)))

    @property
    def path(self) -> str:
        """The file's name, for messages."""
        return str(self._path or "the vault in memory")

    def names(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(sorted(self._secrets))

    def get(self, name: str) -> Secret | None:
        with self._lock:
            return self._secrets.get(name)

    def put(self, name: str, secret: Secret) -> Secret:
        """Keep a secret, in place of what had the name. Raises Malformed for a bad name or too long a text."""
        check_segment(name)
        if len(secret.reveal()) > _TEXT_LIMIT:
            raise Malformed(found=f"a secret {name!r} longer than {_TEXT_LIMIT} characters", expected="less")
        with self._lock:
            if self._secrets.get(name) != secret:
                self._secrets[name] = secret
                self.changed = True
        return secret

    def made(self, name: str, make: Callable[[], str]) -> Secret:
        """The secret of this name; the first who asks makes it."""
        with self._lock:
            found = self._secrets.get(name)
            return found if found is not None else self.put(name, Secret(make()))

    def update(self, name: str, change: Callable[[Secret | None], Secret]) -> Secret:
        """Let `change` judge what is kept and give back the same or another; other threads wait meanwhile."""
        with self._lock:
            return self.put(name, change(self._secrets.get(name)))

    def forget(self, name: str) -> None:
        with self._lock:
            if self._secrets.pop(name, None) is not None:
                self.changed = True

    def rekey(self, unlock: Unlock) -> None:
        """From the next `save` on, this opens the vault and nothing else. Raises SecretsLocked, NotReadable."""
        seal = new_seal(unlock, path=self.path)
        with self._lock:
            self._seal, self.changed = seal, True

    def sealed(self, key: Secret) -> bytes:
        """A file with the same secrets, which the key file with this text opens."""
        raw = parse_key(key.reveal().encode())
        if raw is None:
            raise ValueError("this is no key file's text")
        with self._lock:
            return seal_with(raw).close(self._content())

    def digest(self) -> str:
        """Another one when any secret is: 64 hex digits, which say nothing of the secrets."""
        with self._lock:
            return hashlib.sha256(self._content()).hexdigest()

    def save(self) -> None:
        """Write the file, mode 0600: after a power cut it is the old one or the new one. Without a change: nothing.

        Raises Busy when the file is not the one that was opened any more, CannotWrite, DiskFull, Malformed.
        """
        with self._lock:
            if not self.changed:
                return
            if self._path is None or self._seal is None:
                raise ValueError("a vault without a file is not saved")
            data = self._seal.close(self._content())
            with files.exclusive(self._path.with_name(f".{self._path.name}.lock"), what=self.path):
                if _digest_of(self._path) != self._found:
                    raise Busy(path=self.path, holder="another run, which has changed it meanwhile")
                files.write_file(self._path, data, mode=0o600)
            self._found, self.changed = hashlib.sha256(data).digest(), False

    def _content(self) -> bytes:
        content = canonical.dump({name: secret.reveal() for name, secret in self._secrets.items()})
        if len(content) > _CONTENT_LIMIT:
            raise Malformed(found=f"{len(content)} bytes of secrets", expected=f"at most {_CONTENT_LIMIT}")
        return content


def _digest_of(path: Path) -> bytes | None:
    try:
        path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    return hashlib.sha256(files.read_file(path, limit=FILE_LIMIT)).digest()


def _parse(content: bytes, path: str) -> dict[str, Secret]:
    """The content was authenticated, so that only another tool's would fail here. The error quotes nothing of it."""
    try:
        texts = canonical.load(content, limit=_CONTENT_LIMIT)
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise Malformed(found="something else", expected="texts by their names")
        return {check_segment(name): Secret(text) for name, text in texts.items()}
    except Malformed:
        raise SecretsDamaged(path=path, why="what is encrypted in it is no list of secrets") from None
