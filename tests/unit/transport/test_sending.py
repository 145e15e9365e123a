"""Bodies that are sent: streamed, sent again when asked to log in, and bounded in time."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bundler.errors import Stalled, UnsafeRedirect
from bundler.transport import Request, Transport, TransportConfig
from tests.hostile_server import HostileServer, ok, redirect, status


class Pieces:
    """A body that notes how often it was begun."""

    def __init__(self, size: int) -> None:
        self.size, self.begun = size, 0

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[memoryview]:
        self.begun += 1
        for start in range(0, self.size, 100_000):
            yield memoryview(b"x" * min(100_000, self.size - start))


class Login:
    def __init__(self) -> None:
        self.value: str | None = None

    def header(self) -> str | None:
        return self.value

    def renew(self, challenge: str, *, refused: str | None) -> str | None:
        self.value = "Bearer t"
        return self.value


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_a_streamed_body_has_its_length(server: HostileServer, transport: Transport, size: int) -> None:
    url = server.on("/a", status(201))
    transport.get(Request(url=url, method="PUT", body=Pieces(size)), limit=0, accept=(201,))
    (seen,) = server.seen
    assert (seen.body, seen.headers["content-length"]) == (b"x" * size, str(size))
    assert "transfer-encoding" not in seen.headers


def test_it_is_sent_again_after_a_challenge(server: HostileServer, transport: Transport) -> None:
    url, body = server.on("/a", status(401), ok(b"")), Pieces(300_000)
    transport.get(Request(url=url, method="PUT", body=body, authorizer=Login()), limit=0)
    assert [len(seen.body) for seen in server.seen] == [300_000, 300_000]
    assert body.begun == 2


def test_it_is_not_redirected(server: HostileServer, other: HostileServer, transport: Transport) -> None:
    url = server.on("/a", redirect(other.on("/b", ok(b""))))
    with pytest.raises(UnsafeRedirect, match="a PUT is not sent on"):
        transport.get(Request(url=url, method="PUT", body=Pieces(10)), limit=0)
    assert other.seen == []


@contextmanager
def reading(at_once: int, pause: float) -> Iterator[str]:
    """A peer that takes so many bytes at a time, and no answer ever comes."""
    ended = threading.Event()

    def take(listener: socket.socket) -> None:
        client, _ = listener.accept()
        with client:
            while not ended.wait(pause) and (not at_once or client.recv(at_once)):
                pass

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=take, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a"
        ended.set()
        thread.join(10)


@pytest.mark.parametrize(("at_once", "pause"), [(0, 0.05), (65536, 0.002)], ids=["nothing", "slowly"])
def test_a_peer_that_does_not_take_it(at_once: int, pause: float) -> None:
    """It is given up at the deadline at the latest, however steadily it takes a little."""
    config = TransportConfig(connect_timeout=0.5, idle_timeout=0.5, total_timeout=1, lowest_speed=10**9, attempts=1)
    transport, body = Transport(config), Pieces(200_000_000)
    start = time.monotonic()
    with reading(at_once, pause) as url, pytest.raises(Stalled):
        transport.get(Request(url=url, method="PUT", body=body), limit=0)
    assert 0.4 < time.monotonic() - start < 3
    transport.close()
