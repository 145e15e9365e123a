"""The site's own certificate authority: one root, whose key never leaves the vault, and its services' certificates."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bundler.errors import SecretsDamaged
from bundler.model.secret import Secret
from bundler.model.site import Address
from bundler.secrets.certificates import Pair, certificate_facts, facts_of, is_issued_by, new_leaf, new_root
from bundler.secrets.vault import Vault

CA, CA_PREVIOUS, LEAF = "ca", "ca.previous", "certificate."  # names in the vault; LEAF is followed by the leaf's
_LIFE = timedelta(days=3652)
_RENEW_BEFORE = timedelta(days=400)  # more than a leaf's year and its month: no root's end cuts a leaf short
_PREVIOUS_LIMIT = 4
_END = "-----END CERTIFICATE-----\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ca:
    """The root in use and the `previous` ones, which signed what servers may still send; all PEM."""

    certificate: str
    previous: tuple[str, ...] = ()

    @property
    def bundle(self) -> str:
        """What hosts trust: all roots, the one in use first."""
        return "".join((self.certificate, *self.previous))


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A service's certificate, PEM: the root signs it directly, so that it is the whole chain that a server sends."""

    certificate: str
    key: Secret
    not_after: datetime


def ensure_ca(vault: Vault, site_name: str, now: datetime) -> Ca:
    """The site's root, made at the first need: ECDSA P-256, ten years.

    In its last 400 days a new one takes its place, and the old one stays trusted. Raises SecretsDamaged.
    """

    def kept_or_new(kept: Secret | None) -> Secret:
        if kept is not None and facts_of(_pair(vault, CA, kept).certificate).not_after - _RENEW_BEFORE > now:
            return kept
        _keep_certificate(vault)
        return new_root(site_name, now, _LIFE).text

    vault.update(CA, kept_or_new)
    return known_ca(vault)


def ensure_root(vault: Vault, name: str, title: str, now: datetime) -> Pair:
    """A further root that the vault keeps under `name`, made at the first need: what it signs is no business of hosts
    that trust the site's own. Raises SecretsDamaged."""

    def make() -> str:
        return new_root(title, now, _LIFE).text.reveal()

    return _pair(vault, name, vault.made(name, make))


def known_ca(vault: Vault) -> Ca:
    """The root that `ensure_ca` made before. Raises SecretsDamaged when there is none."""
    return Ca(certificate=_pair(vault, CA, vault.get(CA)).certificate, previous=_previous(vault))


def retire_ca(vault: Vault) -> None:
    """Take the root out of use: `ensure_ca` makes the next, and this one stays trusted. Raises SecretsDamaged."""
    _keep_certificate(vault)
    vault.forget(CA)


def ensure_leaf(
    vault: Vault,
    name: str,
    dns_names: Sequence[str],
    addresses: Sequence[Address],
    now: datetime,
    *,
    root: str = CA,
    days: int = 365,
    renew_before: timedelta = timedelta(days=30),
) -> Leaf:
    """The certificate that the vault keeps under `name`, for a server with these names and addresses, by the root of
    that name: `ensure_ca` or `ensure_root` comes before.

    A new one is made when there is none, its end is nearer than `renew_before` (or a third of its life), or the names
    or the root are others. Raises SecretsDamaged, Malformed.
    """
    life = timedelta(days=days)
    issuer = _pair(vault, root, vault.get(root))

    def kept_or_new(kept: Secret | None) -> Secret:
        pair = Pair.parse(kept) if kept is not None else None
        if pair and _serves(pair, issuer, set(dns_names), set(addresses), now=now, due=min(renew_before, life / 3)):
            return pair.text
        return new_leaf(issuer, name, dns_names, addresses, now=now, life=life).text

    leaf = _pair(vault, LEAF + name, vault.update(LEAF + name, kept_or_new))
    return Leaf(certificate=leaf.certificate, key=leaf.key, not_after=facts_of(leaf.certificate).not_after)


def _serves(
    leaf: Pair, root: Pair, dns_names: set[str], addresses: set[Address], *, now: datetime, due: timedelta
) -> bool:
    facts = facts_of(leaf.certificate)
    if (set(facts.dns_names), set(facts.addresses)) != (dns_names, addresses):
        return False
    # What ends with its root is renewed by a new root, not by another certificate with the same end.
    lasts = facts.not_after - due > now or facts.not_after == facts_of(root.certificate).not_after
    return lasts and facts.not_before <= now and is_issued_by(leaf.certificate, root.certificate)


def _keep_certificate(vault: Vault) -> None:
    """Put the certificate of the root in use, if any, before those of the roots before it."""
    secret = vault.get(CA)
    if secret is not None:
        known = (_pair(vault, CA, secret).certificate, *_previous(vault))
        vault.put(CA_PREVIOUS, Secret("".join(known[:_PREVIOUS_LIMIT])))


def _previous(vault: Vault) -> tuple[str, ...]:
    kept = vault.get(CA_PREVIOUS)
    found = tuple(part + _END for part in kept.reveal().split(_END) if part) if kept else ()
    if not all(map(certificate_facts, found)):
        raise SecretsDamaged(path=vault.path, why=f"{CA_PREVIOUS} in it is no list of certificates")
    return found


def _pair(vault: Vault, name: str, secret: Secret | None) -> Pair:
    pair = Pair.parse(secret) if secret is not None else None
    if pair is None:
        raise SecretsDamaged(path=vault.path, why=f"{name} in it is no certificate with its key")
    return pair
