"""A running server and a client that sees everything."""

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundler.site.server import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    fields: dict[str, str]
    body: bytes


@dataclass
class Running:
    server: Server
    lines: list[str] = field(default_factory=list)
    context: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return self.server.port

    def connect(self) -> http.client.HTTPConnection:
        if self.context is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, path: str, method: str = "GET", **fields: str) -> Reply:
        connection = self.connect()
        try:
            return exchange(connection, path, method, **fields)
        finally:
            connection.close()

    def raw(self, data: bytes, *, timeout: float = 10) -> bytes:
        """What comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as plug:
            plug.sendall(data)
            return read_all(plug)


def read_all(plug: socket.socket) -> bytes:
    found = b""
    while piece := plug.recv(65536):
        found += piece
    return found


def exchange(connection: http.client.HTTPConnection, path: str, method: str = "GET", **fields: str) -> Reply:
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
    answer = connection.getresponse()
    body = answer.read()
    return Reply(status=answer.status, fields={name.lower(): value for name, value in answer.getheaders()}, body=body)


@contextmanager
def running(root: Path, *, context: ssl.SSLContext | None = None, **options: Any) -> Iterator[Running]:
    lines: list[str] = []
    server = Server(root, listen=("127.0.0.1", 0), log=lines.append, **options)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield Running(server=server, lines=lines, context=context)
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()
