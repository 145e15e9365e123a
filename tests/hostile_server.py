"""A small HTTP server that misbehaves as told: each path has a list of answers, the last one for all later requests.

An answer is a function that writes raw bytes to the client. It returns True when the connection may be used again.
"""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Self


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as it came in; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Seen, socket.socket], bool]


@dataclass(kw_only=True)
class HostileServer:
    """Listens on a loopback address until its `with` block ends."""

    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    _answers: dict[str, list[Answer]] = field(default_factory=dict)
    _open: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self._ended = threading.Event()
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    @property
    def address(self) -> str:
        return f"{self.host}:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.address}"

    def on(self, path: str, *answers: Answer) -> str:
        """Answer requests for `path`; returns its URL."""
        self._answers[path] = list(answers)
        return self.url + path

    def seen_at(self, path: str) -> list[Seen]:
        return [each for each in self.seen if each.path == path]

    def wait(self, seconds: float) -> None:
        """Hold a connection, until the server ends at the latest."""
        self._ended.wait(seconds)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                connection, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            self._open.add(connection)
            with connection.makefile("rb") as reader:
                while (seen := _read_request(reader)) is not None:
                    self.seen.append(seen)
                    if not self._answer(seen)(seen, connection):
                        break
        self._open.discard(connection)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()

    def _answer(self, seen: Seen) -> Answer:
        answers = self._answers.get(seen.path, [status(404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]


def _read_request(reader: BinaryIO) -> Seen | None:
    line = reader.readline(65536).decode("latin-1").split()
    if len(line) != 3:
        return None
    headers = {}
    while text := reader.readline(65536).decode("latin-1").strip():
        name, _, value = text.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    path, _, query = line[1].partition("?")
    return Seen(method=line[0], path=path, query=query, headers=headers, body=body)


def head(code: int, headers: Mapping[str, object]) -> bytes:
    lines = [f"HTTP/1.1 {code} Answer", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def ok(body: bytes, **headers: object) -> Answer:
    """The whole body with its length. Underscores in header names stand for dashes; given ones win."""
    return status(200, body, **headers)


def status(code: int, body: bytes = b"", **headers: object) -> Answer:
    def answer(seen: Seen, client: socket.socket) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        lengths = {} if any(name.lower() == "content-length" for name in named) else {"Content-Length": len(body)}
        client.sendall(head(code, {**lengths, **named}) + (b"" if seen.method == "HEAD" else body))
        return True

    return answer


def ranged(body: bytes, *, cut: int | None = None) -> Answer:
    """A server that knows Range; with `cut` it closes the connection after so many body bytes."""

    def answer(seen: Seen, client: socket.socket) -> bool:
        match = re.fullmatch(r"bytes=(\d+)-", seen.headers.get("range", ""))
        start = int(match[1]) if match else 0
        if start >= len(body):
            client.sendall(head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0}))
            return True
        headers: dict[str, object] = {"Content-Length": len(body) - start}
        if match:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        part = body[start:] if cut is None else body[start : start + cut]
        client.sendall(head(206 if match else 200, headers) + part)
        return cut is None

    return answer


def raw(*pieces: bytes, reset: bool = False) -> Answer:
    """These bytes, then the end of the connection: closed in order, or reset."""

    def answer(_: Seen, client: socket.socket) -> bool:
        for piece in pieces:
            client.sendall(piece)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        return False

    return answer


def chunked(body: bytes, *, step: int = 1000, end: bool = True, **headers: object) -> Answer:
    """Chunked transfer coding, without a length; with `end` false the last chunk never comes."""

    def answer(_: Seen, client: socket.socket) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client.sendall(head(200, {"Transfer-Encoding": "chunked", **named}))
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.sendall(b"0\r\n\r\n" if end else b"")
        return end

    return answer


def held(server: HostileServer, *pieces: bytes, pause: float = 60) -> Answer:
    """Each piece followed by a pause, then silence on an open connection."""

    def answer(_: Seen, client: socket.socket) -> bool:
        for piece in pieces:
            client.sendall(piece)
            server.wait(pause)
        server.wait(60)
        return False

    return answer


def endless(start: bytes, piece: bytes) -> Answer:
    """`start`, then `piece` for ever."""

    def answer(_: Seen, client: socket.socket) -> bool:
        client.sendall(start)
        while True:
            client.sendall(piece)

    return answer


def redirect(location: str, code: int = 307, body: bytes = b"") -> Answer:
    return status(code, body, Location=location)


def needs(authorization: str, then: Answer, challenge: str) -> Answer:
    """`then` for requests with this Authorization, 401 with the challenge for others."""
    refuse = status(401, b'{"errors":[]}', WWW_Authenticate=challenge)

    def answer(seen: Seen, client: socket.socket) -> bool:
        return (then if seen.headers.get("authorization") == authorization else refuse)(seen, client)

    return answer


@dataclass
class Bytes:
    """A sink that keeps what it gets."""

    data: bytearray = field(default_factory=bytearray)

    @property
    def position(self) -> int:
        return len(self.data)

    def write(self, data: memoryview) -> None:
        self.data += data
