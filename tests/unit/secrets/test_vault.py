"""The vault and its file: what opens it, what is damage, and what a killed run leaves."""

import base64
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import (
    BundleError,
    Busy,
    CannotWrite,
    Malformed,
    NotReadable,
    SecretsDamaged,
    SecretsLocked,
    Unsupported,
)
from bundler.model import canonical
from bundler.model.secret import Secret
from bundler.secrets import seal
from bundler.secrets.unlock import KeyFile, Passphrase, Unlock, create_key_file
from bundler.secrets.vault import Vault

TEXT = "correct-horse-battery"
PHRASE = Passphrase(ask=lambda: b"open sesame")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def filled(path: Path, unlock: Unlock) -> Vault:
    vault = Vault.create(path, unlock)
    vault.put("db.password", Secret(TEXT))
    vault.save()
    return vault


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    return create_key_file(tmp_path / "key")


@pytest.fixture
def path(tmp_path: Path, key: KeyFile) -> Path:
    """A file of secrets that `key` opens."""
    filled(tmp_path / "secrets", key)
    return tmp_path / "secrets"


def with_digest(first: bytes, second: bytes) -> bytes:
    """The file as somebody would write it who knows the format but not the key."""
    body = first + b"\n" + second + b"\n"
    return body + f"sha256:{hashlib.sha256(body).hexdigest()}\n".encode()


def refused(path: Path, unlock: Unlock) -> BundleError:
    """The error at opening, which shows nothing of what is inside."""
    with pytest.raises((SecretsDamaged, SecretsLocked)) as caught:
        Vault.open(path, unlock)
    assert TEXT not in f"{caught.value} {caught.value.hint}"
    assert str(path.parent) in caught.value.summary
    return caught.value


@pytest.mark.parametrize("by", ["key", "passphrase"])
def test_what_is_kept_comes_back(tmp_path: Path, key: KeyFile, by: str) -> None:
    unlock = key if by == "key" else PHRASE
    filled(tmp_path / "secrets", unlock)
    again = Vault.open(tmp_path / "secrets", unlock)
    assert again.names() == ("db.password",)
    assert again.get("db.password") == Secret(TEXT)
    assert again.get("other") is None
    assert not again.changed
    data = (tmp_path / "secrets").read_bytes()
    assert TEXT.encode() not in data
    assert b"db.password" not in data
    assert base64.b64encode(TEXT.encode())[:20] not in data


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,40}", fullmatch=True), st.text(st.characters())))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    vault = Vault.create(folder / "secrets", create_key_file(folder / "key"))
    for name, text in texts.items():
        vault.put(name, Secret(text))
    vault.save()
    again = Vault.open(folder / "secrets", KeyFile(path=folder / "key"))
    assert {name: again.get(name) for name in again.names()} == {name: Secret(text) for name, text in texts.items()}


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_modes(tmp_path: Path) -> None:
    key = create_key_file(tmp_path / "key")
    filled(tmp_path / "secrets", key).rekey(key)
    assert (mode(tmp_path / "key"), mode(tmp_path / "secrets")) == (0o600, 0o600)
    (tmp_path / "secrets").chmod(0o666)
    vault = Vault.open(tmp_path / "secrets", key)
    vault.put("x", Secret("y"))
    vault.save()
    assert mode(tmp_path / "secrets") == 0o600


def test_a_secret_is_made_once(path: Path, key: KeyFile) -> None:
    made = []

    def make() -> str:
        made.append(1)
        time.sleep(0.01)
        return f"new-{len(made)}"

    vault = Vault.open(path, key)
    threads = [threading.Thread(target=vault.made, args=("shared", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert vault.changed
    vault.save()
    assert Vault.open(path, key).made("shared", make).reveal() == "new-1"
    assert made == [1]


def test_without_a_change_nothing_is_written(path: Path, key: KeyFile) -> None:
    before = path.stat().st_ino, path.stat().st_mtime_ns
    vault = Vault.open(path, key)
    vault.made("db.password", lambda: "other")
    vault.put("db.password", Secret(TEXT))
    vault.forget("not there")
    vault.save()
    assert not vault.changed
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    vault.forget("db.password")
    assert vault.changed
    vault.save()
    assert Vault.open(path, key).names() == ()


def test_a_vault_without_a_file() -> None:
    vault = Vault.empty()
    assert vault.made("a", lambda: "b") == Secret("b")
    with pytest.raises(ValueError, match="without a file"):
        vault.save()


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".x", "a b", "a\n", "x" * 256])
def test_bad_names(name: str) -> None:
    with pytest.raises(Malformed):
        Vault.empty().made(name, lambda: TEXT)


def test_sizes_are_bounded(tmp_path: Path, key: KeyFile) -> None:
    vault = Vault.create(tmp_path / "secrets", key)
    with pytest.raises(Malformed) as caught:
        vault.put("long", Secret(TEXT * 10_000))
    assert TEXT not in str(caught.value)
    for number in range(40):
        vault.put(f"secret-{number}", Secret("," * 60_000))
    with pytest.raises(Malformed):
        vault.save()
    for number in range(8):
        vault.forget(f"secret-{number}")
    vault.save()
    assert len(Vault.open(tmp_path / "secrets", key).names()) == 32
    (tmp_path / "secrets").write_bytes(b"x" * (seal.FILE_LIMIT + 1))
    with pytest.raises(NotReadable):
        Vault.open(tmp_path / "secrets", key)


# -- what opens it


def test_the_wrong_key_or_passphrase(path: Path, key: KeyFile, tmp_path: Path) -> None:
    other = create_key_file(tmp_path / "other")
    assert "another key" in str(refused(path, other))
    assert "a key file opens it" in str(refused(path, PHRASE))
    closed = tmp_path / "by-phrase"
    filled(closed, PHRASE)
    assert "a passphrase opens it" in str(refused(closed, key))
    assert "wrong" in str(refused(closed, Passphrase(ask=lambda: b"open sesam")))
    assert "none was given" in str(refused(closed, Passphrase(ask=lambda: None)))
    assert "none was given" in str(refused(closed, Passphrase(ask=lambda: b"")))
    with pytest.raises(SecretsLocked):
        Vault.create(tmp_path / "new", Passphrase(ask=lambda: None))


@pytest.mark.parametrize("bits", [0o604, 0o640, 0o620, 0o602, 0o610, 0o777])
def test_a_key_that_others_can_use_is_refused(path: Path, key: KeyFile, bits: int) -> None:
    key.path.chmod(bits)
    error = refused(path, key)
    assert isinstance(error, SecretsLocked)
    assert f"chmod 600 {key.path}" in error.hint
    key.path.chmod(0o400)
    assert Vault.open(path, key).names()


@pytest.mark.parametrize("text", ["", "\n", "x", "é" * 30, "A" * 43, base64.b64encode(b"x" * 31).decode(), "\0" * 32])
def test_a_file_that_is_no_key(path: Path, key: KeyFile, text: str) -> None:
    key.path.write_text(text)
    assert "no key for secrets" in str(refused(path, key))


def test_a_key_that_is_not_there(path: Path, tmp_path: Path) -> None:
    for unlock in (KeyFile(path=tmp_path / "none"), KeyFile(path=tmp_path)):
        with pytest.raises((NotReadable, SecretsLocked)):
            Vault.open(path, unlock)
    with pytest.raises(NotReadable):
        Vault.open(tmp_path / "none", PHRASE)


def test_a_key_is_never_replaced(key: KeyFile) -> None:
    before = key.path.read_bytes()
    with pytest.raises(CannotWrite):
        create_key_file(key.path)
    assert key.path.read_bytes() == before


def test_two_files_of_one_passphrase_have_different_keys(tmp_path: Path) -> None:
    filled(tmp_path / "a", PHRASE)
    filled(tmp_path / "b", PHRASE)
    salts = [json.loads((tmp_path / name).read_text().splitlines()[0])["kdf"]["salt"] for name in "ab"]
    assert salts[0] != salts[1]


# -- damage


def test_every_flipped_byte_is_damage(path: Path, key: KeyFile) -> None:
    data = path.read_bytes()
    for at in range(len(data)):
        for bit in (0x01, 0x20, 0x80):
            path.write_bytes(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            assert isinstance(refused(path, key), SecretsDamaged), (at, bit)


def test_every_flipped_byte_by_who_can_make_the_digest(path: Path, key: KeyFile) -> None:
    first, second, *_ = path.read_bytes().split(b"\n")
    for at in range(len(first) + len(second)):
        changed = bytearray(first + second)
        changed[at] ^= 0x01
        path.write_bytes(with_digest(bytes(changed[: len(first)]), bytes(changed[len(first) :])))
        try:
            opened = Vault.open(path, key)
        except (SecretsDamaged, SecretsLocked, Unsupported):
            continue
        # Bits of the last base64 character that no byte comes from: the token is the same.
        assert base64.urlsafe_b64decode(bytes(changed[len(first) :])) == base64.urlsafe_b64decode(second)
        assert opened.get("db.password") == Secret(TEXT)


def test_every_cut_is_damage(path: Path, key: KeyFile) -> None:
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert isinstance(refused(path, key), SecretsDamaged), size
    for more in (b"\n", b"x", data):
        path.write_bytes(data + more)
        assert isinstance(refused(path, key), SecretsDamaged)


@given(st.binary(max_size=200) | st.tuples(st.binary(max_size=99), st.binary()).map(lambda pair: with_digest(*pair)))
def test_any_bytes_are_damage(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    file = tmp_path_factory.mktemp("any") / "secrets"
    file.write_bytes(data)
    assert isinstance(refused(file, PHRASE), SecretsDamaged)


SALT = "00" * 16
SCRYPT = {"name": "scrypt", "n": 1 << 15, "r": 8, "p": 1, "salt": SALT}
HEADER = {"type": "bundle-secrets", "version": 1, "kdf": SCRYPT}
HOSTILE: dict[str, object] = {
    "memory": {**HEADER, "kdf": {**SCRYPT, "n": 1 << 40}},
    "n of nearly": {**HEADER, "kdf": {**SCRYPT, "n": 1 << 18}},
    "n of 2": {**HEADER, "kdf": {**SCRYPT, "n": 2}},
    "n no power": {**HEADER, "kdf": {**SCRYPT, "n": (1 << 15) + 1}},
    "n negative": {**HEADER, "kdf": {**SCRYPT, "n": -(1 << 15)}},
    "n text": {**HEADER, "kdf": {**SCRYPT, "n": "32768"}},
    "r": {**HEADER, "kdf": {**SCRYPT, "r": 1 << 20}},
    "p": {**HEADER, "kdf": {**SCRYPT, "p": 1 << 20}},
    "p flag": {**HEADER, "kdf": {**SCRYPT, "p": True}},
    "salt short": {**HEADER, "kdf": {**SCRYPT, "salt": ""}},
    "salt number": {**HEADER, "kdf": {**SCRYPT, "salt": 1}},
    "salt upper": {**HEADER, "kdf": {**SCRYPT, "salt": "AB" * 16}},
    "other kdf": {**HEADER, "kdf": {**SCRYPT, "name": "none"}},
    "more in kdf": {**HEADER, "kdf": {**SCRYPT, "x": 1}},
    "kdf list": {**HEADER, "kdf": [1]},
    "kdf null": {**HEADER, "kdf": None},
    "key number": {"type": "bundle-secrets", "version": 1, "key": 1},
    "key short": {"type": "bundle-secrets", "version": 1, "key": "00"},
    "both": {**HEADER, "key": "0" * 64},
    "neither": {"type": "bundle-secrets", "version": 1},
    "more": {**HEADER, "x": 1},
    "type": {**HEADER, "type": "bundle-receipt"},
    "type list": {**HEADER, "type": ["bundle-secrets"]},
    "list": [HEADER],
    "null": None,
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE)
def test_hostile_first_lines(tmp_path: Path, header: object) -> None:
    """Refused before the passphrase is asked for, and so before anything is computed from them."""

    def ask() -> bytes:
        raise AssertionError("asked")

    file = tmp_path / "secrets"
    line = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    file.write_bytes(with_digest(line, Fernet(Fernet.generate_key()).encrypt(b"{}")))
    assert isinstance(refused(file, Passphrase(ask=ask)), SecretsDamaged)


@pytest.mark.parametrize(
    "line",
    [
        json.dumps(HEADER, sort_keys=True).encode(),  # with spaces
        json.dumps(HEADER, separators=(",", ":")).encode(),  # not sorted
        canonical.dump(HEADER)[:-1].replace(b'"version":1', b'"version":1,"version":1'),
        canonical.dump(HEADER)[:-1].replace(b'"version":1', b'"version":1.0'),
        canonical.dump(HEADER)[:-1] + b" " * 2000,
        b"[" * 1000,
        b"\xff\xfe",
    ],
)
def test_first_lines_of_another_form(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "secrets").write_bytes(with_digest(line, b"token"))
    assert isinstance(refused(tmp_path / "secrets", PHRASE), SecretsDamaged)


@pytest.mark.parametrize("version", [0, 2, 10**6])
def test_another_version(tmp_path: Path, version: int) -> None:
    line = canonical.dump({**HEADER, "version": version})[:-1]
    (tmp_path / "secrets").write_bytes(with_digest(line, b"token"))
    with pytest.raises(Unsupported):
        Vault.open(tmp_path / "secrets", PHRASE)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a":1}', b'{"a":null}', b'{"a/b":"x"}', b'{"a":"","a":""}'])
def test_well_encrypted_nonsense(path: Path, key: KeyFile, content: bytes) -> None:
    made = seal.new_seal(key, path=str(path))
    path.write_bytes(made.close(content))
    assert isinstance(refused(path, key), SecretsDamaged)


# -- two runs, killed runs


def test_a_change_by_another_run_is_not_overwritten(path: Path, key: KeyFile) -> None:
    one, other = Vault.open(path, key), Vault.open(path, key)
    one.put("a", Secret("1"))
    other.put("b", Secret("2"))
    one.save()
    with pytest.raises(Busy):
        other.save()
    assert Vault.open(path, key).names() == ("a", "db.password")
    one.put("c", Secret("3"))
    one.save()
    path.unlink()
    one.put("d", Secret("4"))
    with pytest.raises(Busy):
        one.save()
    assert not path.exists()


def test_a_new_vault_does_not_replace_one(path: Path, key: KeyFile) -> None:
    before = path.read_bytes()
    with pytest.raises(Busy):
        Vault.create(path, key).save()
    assert path.read_bytes() == before


CHILD = """
import os, sys
from pathlib import Path
from bundler.model.secret import Secret
from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault

secrets, old, new, call, count = sys.argv[1:]
vault = Vault.open(Path(secrets), KeyFile(path=Path(old)))
vault.put("added", Secret("x"))
if new:
    vault.rekey(KeyFile(path=Path(new)))

class Killed:
    left = int(count)

def killing(name):
    real = getattr(os, name)
    def killed(*arguments, **options):
        if name == call:
            Killed.left -= 1
            if Killed.left == 0:
                os._exit(9)
        return real(*arguments, **options)
    return killed

for name in ("open", "write", "fsync", "rename", "fchmod"):
    setattr(os, name, killing(name))
vault.save()
"""
POINTS = [("open", 1), ("open", 2), ("fchmod", 1), ("write", 1), ("fsync", 1), ("rename", 1), ("fsync", 2), ("none", 1)]


@pytest.mark.parametrize(("call", "count"), POINTS)
@pytest.mark.parametrize("rekeyed", [False, True])
def test_killed_while_it_saves(path: Path, key: KeyFile, tmp_path: Path, call: str, count: int, rekeyed: bool) -> None:
    """The old file or the new one, whole; and what was left behind is not in the way of the next run."""
    new = create_key_file(tmp_path / "new-key") if rekeyed else key
    arguments = [path, key.path, new.path if rekeyed else "", call, str(count)]
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, arguments)], check=False, timeout=60)
    assert done.returncode == (0 if call == "none" else 9)
    saved = (call, count) in (("fsync", 2), ("none", 1))
    vault = Vault.open(path, new if saved else key)
    assert vault.names() == (("added", "db.password") if saved else ("db.password",))
    if rekeyed:
        assert "another key" in str(refused(path, key if saved else new))
    vault.put("next", Secret("y"))
    vault.save()
    assert "next" in Vault.open(path, new if saved else key).names()
    for left in tmp_path.glob(".secrets.*.new"):
        assert mode(left) == 0o600


def test_rekeyed(path: Path, key: KeyFile, tmp_path: Path) -> None:
    changes: list[Callable[[], Unlock]] = [lambda: PHRASE, lambda: create_key_file(tmp_path / "second"), lambda: PHRASE]
    before: Unlock = key
    for change in changes:
        after = change()
        vault = Vault.open(path, before)
        vault.rekey(after)
        vault.save()
        assert Vault.open(path, after).get("db.password") == Secret(TEXT)
        refused(path, before)
        before = after


def test_nothing_shows_a_secret(path: Path, key: KeyFile) -> None:
    vault = Vault.open(path, key)
    shown = f"{vault!r} {vault} {vars(vault)!r} {vault.get('db.password')} {vault._seal!r}"
    assert TEXT not in shown
    assert base64.urlsafe_b64encode(key.read()).decode() not in shown
    assert re.search(r"\(secret\)", shown)
