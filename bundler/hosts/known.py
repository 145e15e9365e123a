"""The keys by which a site's hosts are known: `known_hosts` in the site's state folder, in OpenSSH's form (sshd(8))."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path

from bundler.model.site import Site, SiteHost
from bundler.support import files

FILE = "known_hosts"
_LIMIT = 4 << 20


def place(host: SiteHost) -> str:
    """How ssh writes a host there."""
    return str(host.address) if host.port == 22 else f"[{host.address}]:{host.port}"


def fingerprint(key: str) -> str:
    """SHA256:… of a public key `TYPE BASE64`, as ssh-keygen -l prints it; empty for what is no key."""
    try:
        data = base64.b64decode(key.split()[1], validate=True)
    except (binascii.Error, IndexError, ValueError):
        return ""
    return "SHA256:" + base64.b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def keys_of(state: Path, host: SiteHost) -> tuple[str, ...]:
    """The keys, `TYPE BASE64`, that the state folder has for a host."""
    return tuple(key for name, key in _lines(state) if name == place(host))


def declare(state: Path, site: Site) -> None:
    """What site.yaml declares as `host_key` is the key of its host from now on."""
    write(state, {place(host): (host.host_key,) for host in site.hosts if host.host_key})


def write(state: Path, keys: Mapping[str, tuple[str, ...]]) -> None:
    """Replace the keys of these places, keep the others. The file is written only if that changes it."""
    before = _lines(state)
    lines = [line for line in before if line[0] not in keys]
    lines += [(name, key) for name, each in keys.items() for key in each]
    if sorted(lines) != sorted(before) or not (state / FILE).exists():
        state.mkdir(parents=True, exist_ok=True)
        files.write_file(state / FILE, "".join(f"{name} {key}\n" for name, key in sorted(lines)).encode(), mode=0o644)


def _lines(state: Path) -> list[tuple[str, str]]:
    path = state / FILE
    if not path.exists():
        return []
    pairs = (line.partition(" ") for line in files.read_text(path, limit=_LIMIT).splitlines())
    return [(name, " ".join(key.split()[:2])) for name, _, key in pairs if key and not name.startswith(("#", "@", "|"))]
