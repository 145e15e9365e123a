"""The site's secrets as a whole: opened or made, listed, taken out of use."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bundler.errors import CannotWrite, Usage
from bundler.secrets.ca import CA, CA_PREVIOUS, LEAF, known_ca, retire_ca
from bundler.secrets.certificates import certificate_facts, facts_of
from bundler.secrets.unlock import KeyFile, Unlock, create_key_file
from bundler.secrets.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A secret's name, and when a certificate ends."""

    name: str
    ends: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A root that hosts trust: its certificate, PEM, and the SHA-256 fingerprint of that."""

    certificate: str
    fingerprint: str
    ends: datetime


def key_beside(secrets: Path) -> Path:
    """Where the key of a secrets file is looked for when nothing is said."""
    return secrets.with_name(f"{secrets.name}.key")


def ensure_key(path: Path) -> KeyFile:
    """The key file; made when there is none."""
    return KeyFile(path=path) if path.exists() else create_key_file(path)


def create_vault(path: Path, unlock: Unlock) -> Vault:
    """A new and empty vault, written. Raises CannotWrite when the file exists, SecretsLocked."""
    if path.exists():
        raise CannotWrite(path=str(path), why="it exists, and a new one would forget what it holds")
    vault = Vault.create(path, unlock)
    vault.save()
    return vault


def list_secrets(vault: Vault) -> tuple[Listed, ...]:
    return tuple(Listed(name=name, ends=_end(vault, name)) for name in vault.names())


def rotate(vault: Vault, names: Iterable[str]) -> tuple[str, ...]:
    """Take secrets out of use, and save: the next run makes new ones and brings them to the hosts.

    The root of the site's CA stays trusted until `drop_previous_roots`. Raises Usage for a name that is not there,
    before anything is changed.
    """
    wanted = tuple(dict.fromkeys(names))
    known = [name for name in vault.names() if name != CA_PREVIOUS]
    missing = [name for name in wanted if name not in known]
    if missing:
        advice = f"It holds: {', '.join(known)}." if known else "It holds none yet: the first installation makes them."
        raise Usage(message=f"{vault.path} has no secret {', '.join(missing)} to rotate", advice=advice)
    for name in wanted:
        if name == CA:
            retire_ca(vault)
        else:
            vault.forget(name)
    vault.save()
    return wanted


def rekey(vault: Vault, unlock: Unlock) -> None:
    """Encrypt the file anew: killed at any point, it opens in the old way or in the new. Raises SecretsLocked."""
    vault.rekey(unlock)
    vault.save()


def trusted_roots(vault: Vault) -> tuple[Root, ...]:
    """The root in use, then those before it. Raises Usage when there is none yet."""
    if vault.get(CA) is None:
        raise Usage(
            message=f"{vault.path} has no CA in use", advice="The next installation or `bundle apply` makes it."
        )
    ca = known_ca(vault)
    return tuple(_root(certificate) for certificate in (ca.certificate, *ca.previous))


def drop_previous_roots(vault: Vault) -> bool:
    """End the trust in roots that are out of use; whether there were any."""
    there = vault.get(CA_PREVIOUS) is not None
    vault.forget(CA_PREVIOUS)
    vault.save()
    return there


def _root(certificate: str) -> Root:
    facts = facts_of(certificate)
    return Root(certificate=certificate, fingerprint=facts.fingerprint, ends=facts.not_after)


def _end(vault: Vault, name: str) -> datetime | None:
    secret = vault.get(name) if name == CA or name.startswith(LEAF) else None
    facts = certificate_facts(secret.reveal()) if secret else None
    return facts.not_after if facts else None
