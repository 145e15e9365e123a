"""HTTP connections under requests that keep a total deadline and read into a caller's buffer.

urllib3's timeouts bound single socket reads; a peer that drips headers or chunk sizes would never meet them. So the
reader below every response looks at the deadline before each read of the socket.
"""

import http.client
import io
import select
import socket
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from bundler.support import parallel

_READ_AHEAD = 64 << 10  # headers and chunk sizes; bodies go past it
_LOOK_UP = 0.5  # seconds of silence after which to see whether the work is still wanted


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request and its answer: the bounds in, the answer's body out."""

    deadline: float
    total: float  # seconds that led to the deadline
    idle: float
    monotonic: Callable[[], float]
    body: "Body | None" = None

    @property
    def waited(self) -> float:
        """The bound that a silent peer met, in seconds."""
        return self.idle if self.monotonic() < self.deadline else self.total


CURRENT: ContextVar[Exchange] = ContextVar("exchange")  # of this thread: urllib3 makes the response objects for us


class _Reader(io.RawIOBase):
    """The socket's own reader with a time limit for each read: the idle timeout, or less near the deadline."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, exchange: Exchange) -> None:
        self._sock, self._raw, self._exchange = sock, raw, exchange

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._exchange.deadline - self._exchange.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(min(left, self._exchange.idle))
        self._wait(min(left, self._exchange.idle))
        return cast("int | None", self._raw.readinto(buffer))

    def _wait(self, seconds: float) -> None:
        """Until something has arrived, but not until a silent peer speaks when the work is given up."""
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return
        readable = select.poll()
        readable.register(self._sock, select.POLLIN)
        while not readable.poll(1000 * min(seconds, _LOOK_UP)):
            parallel.check_stopping()
            seconds -= _LOOK_UP
            if seconds <= 0:
                raise TimeoutError

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _Socket:
    """What http.client asks of a socket: a file to read from."""

    def __init__(self, sock: socket.socket, exchange: Exchange) -> None:
        self._sock, self._exchange = sock, exchange

    def makefile(self, mode: str) -> io.BufferedReader:
        raw = cast(io.RawIOBase, self._sock.makefile("rb", buffering=0))
        return io.BufferedReader(_Reader(self._sock, raw, self._exchange), _READ_AHEAD)


class Body(http.client.HTTPResponse):
    """http.client's response, with a readinto1 that does not copy."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        exchange = CURRENT.get()
        super().__init__(cast(socket.socket, _Socket(sock, exchange)), *arguments, **options)
        exchange.body = self

    def readinto1(self, buffer: Any) -> int:
        """At most one read of the socket. 0 at the end, after which the connection may be used again."""
        if self.isclosed():
            return 0
        if self.chunked:
            data = self.read1(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        view = memoryview(buffer)[: self.length]
        count = self.fp.readinto1(view) if len(view) else 0
        if self.length is not None:
            self.length -= count
        if self.length == 0 or (self.length is None and not count):
            self.close()
        return count


class _HTTPConnection(HTTPConnection):
    response_class = Body


class _HTTPSConnection(HTTPSConnection):
    response_class = Body


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class Adapter(HTTPAdapter):
    """requests' adapter over the connections above; to be used with CURRENT set."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if isinstance(manager, ProxyManager):
            manager.pool_classes_by_scheme = _POOLS
        return manager
