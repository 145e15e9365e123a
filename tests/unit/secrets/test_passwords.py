import re

import bcrypt
import pytest

from bundler.errors import Malformed
from bundler.model.secret import Secret
from bundler.secrets.passwords import ensure_apt_key, ensure_htpasswd, htpasswd_line, random_password
from bundler.secrets.vault import Vault
from bundler.signing import openpgp

PASSWORD = Secret("correct horse")


def test_random_passwords() -> None:
    made = {random_password() for _ in range(500)}
    assert len(made) == 500
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", each) for each in made)


def test_a_line() -> None:
    user, _, hashed = htpasswd_line("push", PASSWORD).partition(":")
    assert user == "push"
    assert re.fullmatch(r"\$2b\$05\$[./A-Za-z0-9]{53}\n", hashed)
    assert bcrypt.checkpw(b"correct horse", hashed.strip().encode())
    assert not bcrypt.checkpw(b"correct hors", hashed.strip().encode())


def test_a_line_is_kept_while_it_fits() -> None:
    vault = Vault.empty()

    def line(user: str = "push", password: Secret = PASSWORD) -> Secret:
        return ensure_htpasswd(vault, "registry.htpasswd", user, password)

    first = line()
    vault.changed = False
    assert line() == first
    assert not vault.changed
    second = line(password=Secret("other"))
    assert second != first
    assert line(user="pull", password=Secret("other")) not in (first, second)
    vault.put("registry.htpasswd", Secret("pull:damaged"))
    assert line(user="pull").reveal().startswith("pull:$2b$")


@pytest.mark.parametrize("user", ["", "a:b", "a\nb", "x" * 256])
def test_bad_users(user: str) -> None:
    with pytest.raises(Malformed):
        htpasswd_line(user, PASSWORD)


@pytest.mark.parametrize("text", ["", "a\0b", "x" * 73, "é" * 37])
def test_what_bcrypt_would_not_hash_whole(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        htpasswd_line("push", Secret(text))
    assert not text or text not in str(caught.value)


def test_one_apt_key() -> None:
    vault = Vault.empty()
    first = ensure_apt_key(vault, openpgp.create_apt_key, openpgp.public_armored)
    assert ensure_apt_key(vault, openpgp.create_apt_key, openpgp.public_armored) == first
    assert "BEGIN PGP PRIVATE KEY BLOCK" in first.secret.reveal()
    assert first.public.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert "PRIVATE" not in f"{first!r}{first.public}"
    assert openpgp.clear_sign(first.secret.reveal().encode(), b"text").startswith(b"-----BEGIN PGP SIGNED MESSAGE-----")
