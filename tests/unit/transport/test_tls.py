"""TLS, private authorities and proxies: what the environment says holds."""

import ipaddress
import select
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bundler.errors import BadCertificate, NotReadable, Stalled, Unreachable, UnsafeRedirect
from bundler.transport import Request, Transport, TransportConfig
from tests.hostile_server import Answer, Bytes, HostileServer, Seen, head, ok, ranged, raw, redirect


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1: (its file, a server's context)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hostile")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


@pytest.fixture
def secure(certificate):
    with HostileServer(tls=certificate[1]) as running:
        yield running


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority(secure, certificate, transport, monkeypatch, variable):
    monkeypatch.setenv(variable, str(certificate[0]))
    assert transport.get(Request(url=secure.on("/a", ok(b"a"))), limit=1).body == b"a"


def test_an_unknown_authority_is_not_tried_again(secure, transport, pauses):
    with pytest.raises(BadCertificate, match="self-signed"):
        transport.get(Request(url=secure.on("/a", ok(b"a"))), limit=1)
    assert (pauses, secure.connections) == ([], 1)


def test_another_hosts_certificate(certificate, transport, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with HostileServer(host="127.0.0.2", tls=certificate[1]) as other, pytest.raises(BadCertificate):
        transport.get(Request(url=other.on("/a", ok(b"a"))), limit=1)


def test_a_missing_authority_file_is_named(secure, transport, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    with pytest.raises(NotReadable, match="no/such/file"):
        transport.get(Request(url=secure.on("/a", ok(b"a"))), limit=1)


def test_https_is_not_left_for_http(secure, server, certificate, transport, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with pytest.raises(UnsafeRedirect, match="plain http"):
        transport.get(Request(url=secure.on("/a", redirect(server.on("/b", ok(b""))))), limit=1)
    assert server.seen == []


def test_no_tls_where_it_was_promised(server):
    """Whether a plain server hangs up or waits for more depends on what it takes the handshake for."""
    transport = Transport(TransportConfig(connect_timeout=0.5, idle_timeout=0.5, attempts=1))
    with pytest.raises((Unreachable, Stalled)):
        transport.get(Request(url=server.url.replace("http:", "https:") + "/"), limit=1)
    transport.close()


def test_a_proxy_of_the_environment_is_used(server, transport, monkeypatch):
    """A proxy is asked for the absolute URL (RFC 9112 section 3.2.2)."""
    monkeypatch.setenv("http_proxy", server.url)
    server.on("http://example.invalid/a", ok(b"by proxy"))
    assert transport.get(Request(url="http://example.invalid/a"), limit=9).body == b"by proxy"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert transport.get(Request(url=server.on("/direct", ok(b"x"))), limit=9).body == b"x"


def tunnel(host: str, port: int) -> Answer:
    """A CONNECT proxy's answer: bytes both ways until one side ends (RFC 9110 section 9.3.6)."""

    def answer(_: Seen, client: socket.socket) -> bool:
        with socket.create_connection((host, port)) as target:
            client.sendall(head(200, {}))
            ways = {client: target, target: client}
            while True:
                for source in select.select(list(ways), [], [], 5)[0]:
                    data = source.recv(65536)
                    if not data:
                        return False
                    ways[source].sendall(data)

    return answer


def test_the_environment_is_asked_once_for_each_server(server, transport, monkeypatch):
    """And each server gets its own answer: one is reached by the proxy, another is not."""
    asked = []
    ask = requests.Session.merge_environment_settings

    def merge(session, url, *rest):
        asked.append(url)
        return ask(session, url, *rest)

    monkeypatch.setattr(requests.Session, "merge_environment_settings", merge)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.on("http://example.invalid/a", ok(b"by proxy"))
    straight = server.on("/b", ok(b"straight"))
    for _ in range(3):
        assert transport.get(Request(url="http://example.invalid/a"), limit=9).body == b"by proxy"
        assert transport.get(Request(url=straight), limit=9).body == b"straight"
    assert asked == ["http://example.invalid/a", straight]


def test_tls_through_a_proxy(server, secure, certificate, transport, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    monkeypatch.setenv("https_proxy", server.url)
    host, port = secure.address.split(":")
    server.on(secure.address, tunnel(host, int(port)))
    sink = Bytes()
    transport.receive(Request(url=secure.on("/a", ranged(b"x" * 100_000))), size=100_000, sink=sink)
    assert sink.data == b"x" * 100_000
    assert [each.method for each in server.seen] == ["CONNECT"]


def test_a_proxy_that_refuses(server, transport, monkeypatch):
    monkeypatch.setenv("https_proxy", server.url)
    server.on("example.invalid:443", raw(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(Unreachable, match="proxy"):
        transport.get(Request(url="https://example.invalid/a"), limit=9)
