"""Passwords, their htpasswd lines, and the key that signs the site's package archives."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import bcrypt

from bundler.errors import Malformed
from bundler.model.secret import Secret
from bundler.secrets.vault import Vault

APT_KEY = "apt.key"
_COST = 5  # as htpasswd's own; a server works it out at each request, and a random password needs no more


@dataclass(frozen=True, slots=True, kw_only=True)
class AptKey:
    """An OpenPGP key, armored: the secret one, and the certificate that clients get."""

    secret: Secret
    public: str


def random_password() -> str:
    """32 characters of [A-Za-z0-9_-]: 192 random bits."""
    return secrets.token_urlsafe(24)


def htpasswd_line(user: str, password: Secret) -> str:
    """`USER:HASH` with a new line at its end, by bcrypt: the one hash that `distribution` takes, and nginx too.

    Another text at each call: `ensure_htpasswd` keeps it. Raises Malformed.
    """
    text = password.reveal().encode()
    if not user or not user.isprintable() or ":" in user or len(user) > 255:
        raise Malformed(found=repr(user[:80]), expected="a user's name, without a colon")
    if not 0 < len(text) <= 72 or b"\0" in text:
        raise Malformed(found=f"a password of {len(text)} bytes", expected="1 to 72 bytes without NUL, as bcrypt takes")
    return f"{user}:{bcrypt.hashpw(text, bcrypt.gensalt(_COST)).decode()}\n"


def ensure_htpasswd(vault: Vault, name: str, user: str, password: Secret) -> Secret:
    """The line that the vault keeps under `name`, made anew when it is not one of this user and password."""

    def kept_or_new(kept: Secret | None) -> Secret:
        return kept if kept and _fits(kept.reveal(), user, password) else Secret(htpasswd_line(user, password))

    return vault.update(name, kept_or_new)


def ensure_apt_key(vault: Vault, create: Callable[[str], bytes], public: Callable[[bytes], bytes]) -> AptKey:
    """The site's one key for its archives, by `bundler.signing.openpgp`'s create_apt_key and public_armored."""
    secret = vault.made(APT_KEY, lambda: create("Package archives of this site").decode())
    return AptKey(secret=secret, public=public(secret.reveal().encode()).decode())


def _fits(line: str, user: str, password: Secret) -> bool:
    known, _, hashed = line.rstrip("\n").partition(":")
    try:
        return known == user and bcrypt.checkpw(password.reveal().encode(), hashed.encode())
    except ValueError:
        return False
