"""The site's CA and its certificates, judged by openssl and by Python's TLS, over the years."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed, SecretsDamaged
from bundler.model.secret import Secret
from bundler.secrets.ca import CA, CA_PREVIOUS, LEAF, Ca, Leaf, ensure_ca, ensure_leaf, known_ca, retire_ca
from bundler.secrets.certificates import certificate_facts, is_issued_by, new_root
from bundler.secrets.vault import Vault
from tests.lab import require_program

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
DAY = timedelta(days=1)
NAMES = ("registry.site.example", "*.apps.site.example")
ADDRESSES = (ip_address("127.0.0.1"), ip_address("fd00::7"))


def leaf_of(vault: Vault, now: datetime = NOW, names: tuple[str, ...] = NAMES) -> Leaf:
    return ensure_leaf(vault, "registry", names, ADDRESSES, now)


@pytest.fixture
def vault() -> Vault:
    made = Vault.empty()
    ensure_ca(made, "demo", NOW)
    return made


def verify(tmp_path: Path, leaf: Leaf, trusted: str, *options: str, at: datetime = NOW) -> str:
    """What `openssl verify` answers: `OK`, or its error."""
    require_program("openssl")
    (tmp_path / "leaf.pem").write_text(leaf.certificate)
    (tmp_path / "roots.pem").write_text(trusted)
    time = ["-attime", str(int(at.timestamp()))]
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-no-CApath", "-no-CAstore", *time]
    command += ["-CAfile", str(tmp_path / "roots.pem"), *options, str(tmp_path / "leaf.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == done.stdout.endswith(": OK\n")
    return "OK" if done.returncode == 0 else done.stderr


def test_openssl_takes_the_chain(tmp_path: Path, vault: Vault) -> None:
    roots, leaf = known_ca(vault).bundle, leaf_of(vault)
    for good in (
        ("-verify_hostname", "registry.site.example"),
        ("-verify_hostname", "grafana.apps.site.example"),
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "fd00::7"),
    ):
        assert verify(tmp_path, leaf, roots, *good) == "OK"
    assert "hostname mismatch" in verify(tmp_path, leaf, roots, "-verify_hostname", "docker.io")
    assert "IP address mismatch" in verify(tmp_path, leaf, roots, "-verify_ip", "127.0.0.2")
    assert verify(tmp_path, leaf, roots, at=NOW - DAY / 2) == "OK"  # a host whose clock is behind
    assert "not yet valid" in verify(tmp_path, leaf, roots, at=NOW - 2 * DAY)
    assert verify(tmp_path, leaf, roots, at=leaf.not_after - DAY) == "OK"
    assert "has expired" in verify(tmp_path, leaf, roots, at=leaf.not_after + DAY)
    assert verify(tmp_path, leaf, new_root("demo", NOW, 10 * DAY).certificate) != "OK"


def test_the_root_signs_nothing_that_signs(vault: Vault) -> None:
    root = x509.load_pem_x509_certificate(known_ca(vault).certificate.encode())
    assert root.subject == root.issuer
    assert root.subject.rfc4514_string().endswith("CN=bundle site demo")
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (True, 0, True)
    assert root.not_valid_after_utc - NOW > 3650 * DAY
    leaf = x509.load_pem_x509_certificate(leaf_of(vault).certificate.encode())
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.critical) == (False, True)
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize(("connect", "name"), [("127.0.0.1", "registry.site.example"), ("127.0.0.1", "127.0.0.1")])
def test_a_tls_connection(tmp_path: Path, vault: Vault, connect: str, name: str) -> None:
    leaf = leaf_of(vault, datetime.now(UTC))
    (tmp_path / "cert").write_text(leaf.certificate)
    (tmp_path / "key").write_text(leaf.key.reveal())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    client = ssl.create_default_context(cadata=known_ca(vault).bundle)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    with socket.create_server((connect, 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with server.wrap_socket(connection, server_side=True) as wrapped:
                wrapped.sendall(b"hello")

        thread = threading.Thread(target=serve)
        thread.start()
        with (
            socket.create_connection(listening.getsockname()[:2], timeout=10) as raw,
            client.wrap_socket(raw, server_hostname=name) as wrapped,
        ):
            assert wrapped.recv(5) == b"hello"
        thread.join()


def test_the_same_question_has_the_same_answer(vault: Vault) -> None:
    ca, leaf = known_ca(vault), leaf_of(vault)
    vault.changed = False
    assert ensure_ca(vault, "demo", NOW + 300 * DAY) == ca
    assert leaf_of(vault, NOW + 300 * DAY) == leaf
    assert ensure_leaf(vault, "registry", NAMES[::-1], ADDRESSES[::-1], NOW) == leaf  # the order says nothing
    assert not vault.changed


def with_new_root(vault: Vault) -> Vault:
    retire_ca(vault)
    ensure_ca(vault, "demo", NOW)
    return vault


@pytest.mark.parametrize(
    "change",
    [
        lambda vault: leaf_of(vault, names=("registry.site.example",)),
        lambda vault: leaf_of(vault, names=(*NAMES, "other.site.example")),
        lambda vault: ensure_leaf(vault, "registry", NAMES, ADDRESSES[:1], NOW),
        lambda vault: leaf_of(vault, NOW + 336 * DAY),
        lambda vault: leaf_of(vault, NOW + 400 * DAY),
        lambda vault: leaf_of(vault, NOW - 2 * DAY),
        lambda vault: ensure_leaf(vault, "registry", NAMES, ADDRESSES, NOW, renew_before=380 * DAY, days=1200),
        lambda vault: (vault.put(LEAF + "registry", Secret("damaged")), leaf_of(vault))[1],
        lambda vault: leaf_of(with_new_root(vault)),
    ],
    ids=["fewer", "more", "address", "near", "ended", "clock", "earlier", "damaged", "root"],
)
def test_what_makes_another(vault: Vault, change: Callable[[Vault], Leaf]) -> None:
    before = leaf_of(vault)
    after = change(vault)
    assert after.certificate != before.certificate
    assert after.key != before.key
    assert is_issued_by(after.certificate, known_ca(vault).certificate)


def test_a_short_life_is_not_renewed_at_once(vault: Vault) -> None:
    def at(hours: int) -> Leaf:
        return ensure_leaf(vault, "x", ("x",), (), NOW + timedelta(hours=hours), days=1)

    first = at(0)
    assert at(1) == at(15) == first
    assert at(17) != first


def test_a_new_root_beside_the_old(tmp_path: Path, vault: Vault) -> None:
    old, before = known_ca(vault), leaf_of(vault)
    retire_ca(vault)
    with pytest.raises(SecretsDamaged):
        known_ca(vault)
    new = ensure_ca(vault, "demo", NOW)
    after = leaf_of(vault)
    assert new.bundle == new.certificate + old.certificate
    for leaf in (before, after):
        assert verify(tmp_path, leaf, new.bundle, "-verify_hostname", NAMES[0]) == "OK"
    assert verify(tmp_path, before, new.certificate) != "OK"
    assert verify(tmp_path, after, old.certificate) != "OK"
    vault.forget(CA_PREVIOUS)
    assert ensure_ca(vault, "demo", NOW) == Ca(certificate=new.certificate)


def test_thirty_years(vault: Vault) -> None:
    """What a host trusted at the last look vouches for what its server sends then; nothing ends unnoticed."""
    roots: list[str] = []
    ca, served, now = known_ca(vault), leaf_of(vault), NOW
    for day in range(0, 30 * 365, 20):
        now = NOW + day * DAY
        ca = ensure_ca(vault, "demo", now)
        if ca.certificate not in roots:
            roots.append(ca.certificate)
        assert any(is_issued_by(served.certificate, root) for root in (ca.certificate, *ca.previous))
        assert served.not_after > now
        served = leaf_of(vault, now)
        assert served.not_after - now > 29 * DAY
        for facts in map(certificate_facts, (served.certificate, ca.certificate)):
            assert facts
            assert facts.not_before < now < facts.not_after
        vault.changed = False
        assert (ensure_ca(vault, "demo", now), leaf_of(vault, now)) == (ca, served)
        assert not vault.changed
    assert len(roots) == 4
    assert len(ca.previous) == 3
    for _ in range(5):
        retire_ca(vault)
        ca = ensure_ca(vault, "demo", now)
    assert len(ca.previous) == 4


def test_a_root_that_ends_first(vault: Vault) -> None:
    """The certificate ends with it and is not made anew at each look."""
    long = ensure_leaf(vault, "x", ("x",), (), NOW, days=36500)
    facts = certificate_facts(known_ca(vault).certificate)
    assert facts
    assert long.not_after == facts.not_after
    assert ensure_leaf(vault, "x", ("x",), (), long.not_after - DAY, days=36500) == long


def test_the_key_of_the_root_stays_in_the_vault(vault: Vault) -> None:
    leaf = leaf_of(vault)
    kept = vault.get(CA)
    assert kept
    key = kept.reveal().partition("-----BEGIN PRIVATE KEY-----")[2]
    assert key
    ca = known_ca(vault)
    assert key not in ca.bundle + leaf.certificate + leaf.key.reveal()
    assert "PRIVATE" not in f"{ca!r}{leaf!r}{ca.bundle}{leaf.certificate}"
    retire_ca(vault)
    previous = vault.get(CA_PREVIOUS)
    assert previous
    assert "PRIVATE" not in previous.reveal()


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_root_is_not_replaced(vault: Vault, text: str) -> None:
    vault.put(CA, Secret(text))
    for call in (lambda: ensure_ca(vault, "demo", NOW), lambda: leaf_of(vault), lambda: retire_ca(vault)):
        with pytest.raises(SecretsDamaged):
            call()
    assert vault.get(CA) == Secret(text)
    vault.put(CA, new_root("demo", NOW, 1000 * DAY).text)
    vault.put(CA_PREVIOUS, Secret(text or "y"))
    with pytest.raises(SecretsDamaged):
        known_ca(vault)


def test_a_certificate_with_another_key_is_damage(vault: Vault) -> None:
    other = new_root("demo", NOW, DAY)
    vault.put(CA, Secret.of(known_ca(vault).certificate, other.key))
    with pytest.raises(SecretsDamaged):
        leaf_of(vault)


@pytest.mark.parametrize(("names", "count"), [((), 0), (("bücher.example",), 0), (("a", "ü"), 2)])
def test_bad_names(vault: Vault, names: tuple[str, ...], count: int) -> None:
    with pytest.raises(Malformed):
        ensure_leaf(vault, "x", names, ADDRESSES[:count], NOW)
    assert vault.get(LEAF + "x") is None


def test_long_names(tmp_path: Path) -> None:
    """A common name has 64 characters at most; a site's may have more."""
    vault = Vault.empty()
    ca = ensure_ca(vault, "s" * 63, NOW)
    name = ".".join(["n" * 60] * 4)
    assert (
        verify(tmp_path, ensure_leaf(vault, "l" * 200, (name,), (), NOW), ca.bundle, "-verify_hostname", name) == "OK"
    )


def test_facts(vault: Vault) -> None:
    leaf, root = certificate_facts(leaf_of(vault).certificate), certificate_facts(known_ca(vault).bundle)
    assert leaf
    assert root
    assert (leaf.dns_names, leaf.addresses) == (NAMES, ADDRESSES)
    assert leaf.issuer_key_id == root.key_id != ""
    assert (root.dns_names, root.addresses, root.issuer_key_id) == ((), (), "")
    assert leaf.not_after == NOW + 365 * DAY
    assert certificate_facts("words before\n" + leaf_of(vault).certificate + "and after") == leaf


@given(st.text(), st.integers(0, 2000), st.integers(0, 255))
def test_facts_of_what_is_none(text: str, at: int, byte: int) -> None:
    assert certificate_facts(text) is None
    pem = bytearray(PEM.encode())
    pem[at % len(pem)] = byte
    certificate_facts(pem.decode("latin-1"))  # facts or None, never an exception


PEM = new_root("demo", NOW, DAY).certificate
