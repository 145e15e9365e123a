"""Secrets in every form that programs write them in: nothing of them is left, and what is no secret stays."""

import base64
import json
from datetime import timedelta
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.model.secret import Secret
from bundler.secrets.ca import ensure_ca, ensure_leaf
from bundler.secrets.passwords import htpasswd_line, random_password
from bundler.secrets.redact import Redactor
from bundler.secrets.vault import Vault
from bundler.support import clock

PASSWORD = 's3cr/t+"wörd&more'


@pytest.mark.parametrize(
    "form",
    [
        PASSWORD,
        quote(PASSWORD),
        quote(PASSWORD, safe=""),
        quote_plus(PASSWORD),
        json.dumps(PASSWORD),
        json.dumps(PASSWORD, ensure_ascii=False),
        PASSWORD.encode().hex(),
        PASSWORD.encode().hex().upper(),
    ],
)
def test_a_password_in_any_form(form: str) -> None:
    redactor = Redactor([PASSWORD])
    assert redactor.clean(f"start {form} end".encode()).replace(b'"', b"") == b"start (secret) end"
    assert redactor.removed == 1


@given(st.binary(max_size=12), st.binary(max_size=12), st.booleans())
def test_a_password_in_base64_with_anything_around_it(before: bytes, after: bytes, url: bool) -> None:
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    coded = encode(before + PASSWORD.encode() + after)
    clean = Redactor([PASSWORD]).clean(coded)
    assert b"(secret)" in clean
    left = clean.replace(b"(secret)", b"")
    assert len(left) <= len(coded) - len(PASSWORD.encode()) * 8 // 6 + 2
    for at in range(len(coded) - 12):  # no longer piece of the part that is the password's own
        inner = coded[at : at + 12]
        if inner in clean:
            assert at < -(-len(before) * 8 // 6) or at + 12 > (len(before) + len(PASSWORD.encode())) * 8 // 6


def test_what_is_no_secret_stays() -> None:
    text = (
        b"2026-11-22T12:00:00 n1 nginx[7]: GET /v2/library/debian/blobs/sha256:" + b"0af1" * 16 + b" 200 Basic things\n"
        b'{"kind": "bring /etc/bundle/site.secrets", "reason": "a secret is another one", "keys": 3}\n'
        b"http://10.0.0.1:5000/v2/ https://repo.lab.example:443/apt Basic realm=lab passwords are made on the site\n"
        b"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUZm9vYmFy\n-----END CERTIFICATE-----\n"
    )
    redactor = Redactor([random_password(), "zq"])
    assert redactor.clean(text) == text
    assert redactor.guessed == 0
    assert redactor.clean(b"zq zqz azq '" + b"zq'") == b"(secret) zqz azq '(secret)'"


def test_certificates_stay_and_their_keys_go() -> None:
    vault, now = Vault.empty(), clock.now()
    ca = ensure_ca(vault, "lab", now)
    leaf = ensure_leaf(vault, "web", ["a.example"], [], now, renew_before=timedelta(days=1))
    redactor = Redactor([secret.reveal() for name in vault.names() if (secret := vault.get(name))])
    assert redactor.clean(ca.bundle.encode()) == ca.bundle.encode()
    key = leaf.key.reveal().splitlines()
    for line in key[1:-1]:
        assert redactor.clean(f"read: {line}\n".encode()) == b"read: (secret)\n"
    escaped = json.dumps({"key": leaf.key.reveal()}).encode()
    for line in key[1:-1]:
        assert line.encode() not in redactor.clean(escaped)


def test_htpasswd_hashes_go() -> None:
    line = htpasswd_line("builder", Secret(PASSWORD)).strip()
    hashed = line.partition(":")[2]
    assert hashed.encode() not in Redactor([line]).clean(f"the hash {hashed}".encode())
    assert hashed.encode() not in Redactor().clean(f"builder:{hashed}".encode())  # by its look alone


_BODY = "\n".join("MHcCAQEEIB" + letter * 54 for letter in "abcdef")
_JOURNAL = "2026-11-22T12:00:00 n1 sim[1]: "


@pytest.mark.parametrize(
    "text",
    [
        f"-----BEGIN EC PRIVATE KEY-----\n{_BODY}\nabc=\n-----END EC PRIVATE KEY-----\n",
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{_BODY}\n-----END OPENSSH PRIVATE KEY-----\n",
        f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{_BODY}\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n",
        "".join(
            f"{_JOURNAL}{line}\n"
            for line in ["-----BEGIN PRIVATE KEY-----", *_BODY.splitlines(), "-----END PRIVATE KEY-----"]
        ),
        json.dumps(f"-----BEGIN PRIVATE KEY-----\n{_BODY}\n-----END PRIVATE KEY-----\n"),
        f"-----BEGIN PRIVATE KEY-----\n{_BODY}",  # cut off at its end
        f"{_BODY}\n-----END PRIVATE KEY-----\n",  # and at its beginning
    ],
)
def test_unknown_private_keys_go(text: str) -> None:
    redactor = Redactor()
    clean = redactor.clean(f"before\n{text}\n".encode())
    assert clean.startswith(b"before\n")
    assert redactor.guessed == 1
    assert not [line for line in _BODY.splitlines() if line[:20].encode() in clean]


@pytest.mark.parametrize(
    "text",
    [
        "password=UNKNOWN",
        "db_password: UNKNOWN",
        'PASSWORD="UNKNOWN with words"',
        '{"secretKey": "UNKNOWN"}',
        '{\\"token\\":\\"UNKNOWN\\"}',
        "--password UNKNOWN --other",
        "--pass=UNKNOWN",
        "Authorization: Bearer UNKNOWN",
        'authorization: Digest username="x", response="UNKNOWN"',
        '"Authorization": "Basic UNKNOWN"',
        "Set-Cookie: session=UNKNOWN",
        "X-Auth-Token: UNKNOWN",
        "https://user:UNKNOWN@host.example/path",
        "aws_secret_access_key = UNKNOWN",
        f"curl Basic {base64.b64encode(b'user:UNKNOWN').decode()}",
        "Bearer UNKNOWNUNKNOWNUNKNOWN",
        "eyJhbGciOi.eyJVTktOT1dOIjox.UNKNOWN",
        "root:$6$saltsalt$UNKNOWNUNKNOWNUNKNOWN:19000",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    redactor = Redactor()
    clean = redactor.clean(f"before {text}\nafter\n".encode()).decode()
    assert "UNKNOWN" not in clean
    assert "VTktOT1dO" not in clean
    assert clean.startswith("before ")
    assert clean.endswith("after\n")
    assert redactor.guessed >= 1


def test_many_secrets_and_much_text_take_seconds() -> None:
    redactor = Redactor([random_password() for _ in range(500)])
    text = b"2026-11-22T12:00:00 n1 nginx[7]: GET /v2/library/debian/manifests/bookworm 200 in 7 ms\n" * 10_000
    started = clock.monotonic()
    assert redactor.clean(text) == text
    assert clock.monotonic() - started < 20
