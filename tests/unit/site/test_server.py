"""The server's manners: many clients, slow clients, rude clients, TLS, an end."""

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.errors import CannotListen, NotASite, NotReadable
from bundler.site.connection import Timeouts
from bundler.site.server import Server
from tests.content import TestSite
from tests.serving import Running, exchange, running
from tests.waiting import eventually

BIG = os.urandom(8 << 20)
QUICK = Timeouts(idle=0.3, head=0.5)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> TestSite:
    site = TestSite(tmp_path_factory.mktemp("site"))
    site.file("big.bin", BIG)
    site.file("small.txt", b"small")
    site.publish("one")
    return site


@pytest.fixture(scope="module")
def server(site: TestSite) -> Iterator[Running]:
    with running(site.root) as found:
        yield found


def test_two_hundred_clients_at_once(site: TestSite) -> None:
    gate = threading.Barrier(200)
    with running(site.root) as server, ThreadPoolExecutor(200) as pool:

        def client(_: int) -> bool:
            connection = server.connect()
            connection.connect()
            gate.wait(20)  # all are connected before the first asks
            small = exchange(connection, "/files/small.txt").body
            part = exchange(connection, "/files/big.bin", range="bytes=1000000-1200000").body
            connection.close()
            return (small, part) == (b"small", BIG[1_000_000:1_200_001])

        assert all(pool.map(client, range(200)))


def test_more_clients_than_places_are_all_served(site: TestSite) -> None:
    with running(site.root, connections=4) as server, ThreadPoolExecutor(24) as pool:
        found = pool.map(lambda _: server.ask("/files/big.bin", range="bytes=0-99999").body, range(48))
        assert all(body == BIG[:100_000] for body in found)


def test_an_idle_client_gives_its_place_to_a_waiting_one(site: TestSite) -> None:
    with running(site.root, connections=2) as server:
        idle = [server.connect() for _ in range(2)]
        for connection in idle:
            exchange(connection, "/healthz")
        began = time.monotonic()
        assert server.ask("/healthz").status == 200
        assert time.monotonic() - began < 10  # far from the 60 s of an idle client
        for connection in idle:
            connection.close()


def test_a_connection_is_kept_and_requests_may_come_together(server: Running) -> None:
    connection = server.connect()
    connection.connect()
    plug = connection.sock
    for _ in range(3):
        assert exchange(connection, "/files/small.txt").body == b"small"
    assert connection.sock is plug
    connection.close()
    ask = b"GET /files/small.txt HTTP/1.1\r\nHost: h\r\n"
    found = server.raw(ask + b"\r\n\r\n" + ask + b"Connection: close\r\n\r\n")
    assert found.count(b"\r\n\r\nsmall") == 2
    assert b"Connection: close" in server.raw(b"GET /healthz HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01", b"400"),  # a ClientHello: skopeo tries TLS first
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 60_000, b"431"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + b"z" * 100_000, b"405"),
        (b"GET /healthz HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"200"),
    ],
)
def test_rude_requests_are_answered_and_closed(server: Running, data: bytes, status: bytes) -> None:
    found = server.raw(data)
    assert found.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in found
    assert found.count(b"HTTP/1.1 ") == 1  # nothing of a body is taken for a request


def test_a_head_that_trickles_is_cut(site: TestSite) -> None:
    with running(site.root, timeouts=QUICK) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plug:
            began = time.monotonic()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(100):
                    plug.sendall(b"G")
                    time.sleep(0.05)
            assert 0.4 < time.monotonic() - began < 3
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plug:
            began = time.monotonic()
            assert plug.recv(10) == b""
            assert 0.2 < time.monotonic() - began < 2


def test_a_client_that_reads_nothing_is_cut(site: TestSite) -> None:
    with (
        running(site.root, timeouts=QUICK, connections=1) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as plug,
    ):
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.sendall(b"GET /files/big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        assert server.ask("/healthz").status == 200  # in the one place there is: the other lost it


def test_clients_that_leave_are_silent(site: TestSite, capfd: pytest.CaptureFixture[str]) -> None:
    with running(site.root) as server:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as plug:
                plug.sendall(b"GET /files/big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
                plug.recv(10)
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        assert server.ask("/healthz").status == 200
    assert capfd.readouterr().err == ""


def test_the_log_has_one_clean_line_a_request(site: TestSite) -> None:
    with running(site.root) as server:
        requests: tuple[Callable[[], object], ...] = (
            lambda: server.ask("/files/small.txt?x=1"),
            lambda: server.ask("/files/big.bin", "HEAD"),
            lambda: server.ask("/files/%0aevil"),
            lambda: server.raw(b"BAD\r\n\r\n"),
            lambda: server.raw("GET /é HTTP/1.1\r\n\r\n".encode()),
        )
        for number, request in enumerate(requests, 1):
            request()
            eventually(lambda: len(server.lines) == number)  # noqa: B023 - it comes after the answer; asked at once
    assert server.lines == [
        "127.0.0.1 GET /files/small.txt?x=1 200 5",
        "127.0.0.1 HEAD /files/big.bin 200 0",
        "127.0.0.1 GET /files/%0aevil 404 13",
        "127.0.0.1 - - 400 26",
        "127.0.0.1 - - 400 26",
    ]


def test_a_stop_lets_an_answer_in_flight_end(site: TestSite) -> None:
    with running(site.root) as server:
        connection = server.connect()
        connection.request("GET", "/files/big.bin")
        answer = connection.getresponse()
        begin = answer.read(10)
        idle = server.connect()
        exchange(idle, "/healthz")
        server.server.stop()
        time.sleep(0.2)
        assert begin + answer.read() == BIG
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", connection.port))
        connection.close()
        idle.close()


def test_what_cannot_be_listened_on(site: TestSite, server: Running) -> None:
    for host, port in (("127.0.0.1", server.port), ("192.0.2.1", 0), ("127.0.0.1", 70_000), ("not a host", 0)):
        with pytest.raises(CannotListen) as caught:
            Server(site.root, listen=(host, port), log=print)
        assert caught.value.address == f"{host}:{port}"
        assert caught.value.why


def test_version_six(site: TestSite) -> None:
    if not socket.has_ipv6:
        pytest.skip("impossible here: IPv6: the kernel has none")
    server = Server(site.root, listen=("::1", 0), log=print)
    assert server.port
    server.stop()
    server.serve()


def test_a_stop_before_the_start_ends_it_at_once_and_may_come_twice(site: TestSite) -> None:
    server = Server(site.root, listen=("127.0.0.1", 0), log=print)
    server.stop()
    server.serve()
    server.stop()
    with pytest.raises(OSError, match="Bad file descriptor"):
        _ = server.port


def test_no_site(tmp_path: Path) -> None:
    with pytest.raises(NotASite):
        Server(tmp_path, listen=("127.0.0.1", 0), log=print)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "site.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    (folder / "tls.crt").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "tls.crt", folder / "tls.key"


def insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_tls(site: TestSite, certificate: tuple[Path, Path]) -> None:
    with running(site.root, tls=certificate, context=insecure(), timeouts=QUICK) as server:
        connection = server.connect()
        assert exchange(connection, "/files/big.bin").body == BIG
        assert exchange(connection, "/files/big.bin", range="bytes=300000-").body == BIG[300_000:]
        assert b"https://h" in exchange(connection, "/", host="h").body
        connection.close()
        with contextlib.suppress(ConnectionResetError):  # no TLS: closed, and the server lives
            assert b"200 OK" not in server.raw(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert server.ask("/healthz").status == 200


def test_old_tls_is_refused(site: TestSite, certificate: tuple[Path, Path]) -> None:
    context = insecure()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with running(site.root, tls=certificate, context=context) as server, pytest.raises((ssl.SSLError, OSError)):
        server.ask("/healthz")


def test_a_key_that_is_missing_or_another(site: TestSite, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "other").write_text("no key")
    for pair in ((certificate[0], tmp_path / "absent"), (certificate[0], tmp_path / "other")):
        with pytest.raises(NotReadable):
            Server(site.root, listen=("127.0.0.1", 0), log=print, tls=pair)
