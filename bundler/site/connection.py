"""One client's connection: requests are read within bounds, answered in order, and logged."""

import contextlib
import io
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundler.site.answer import Answer, plain
from bundler.site.http import (
    MAX_HEAD,
    MAX_LINE,
    Content,
    Part,
    Refused,
    Request,
    choose_part,
    http_date,
    parse_request,
    write_head,
)
from bundler.site.routes import answer
from bundler.site.served import Generation, Missing, OpenFile
from bundler.support import clock

_PIECE = 256 << 10
_SMALL = 64 << 10  # a file up to here goes out together with its head
_LINGER = 1.0  # seconds for a client to read an answer before its unread body ends the connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """In seconds: `idle` between requests and while nothing can be sent, `head` for the whole head of a request."""

    idle: float = 60.0
    head: float = 20.0


class Connection:
    """Lives in a thread of its own; `idle_since` and `end` are for the server's."""

    def __init__(
        self, plug: socket.socket, client: str, *, root: Path, timeouts: Timeouts, log: Callable[[str], None]
    ) -> None:
        self._plug, self._client = plug, client
        self._root, self._timeouts, self._log = root, timeouts, log
        self._buffer = bytearray()
        self.idle_since: float | None = clock.monotonic()
        self.closing = False

    def run(self, tls: ssl.SSLContext | None) -> None:
        """Answer until the client goes, is too slow, or the server stops. Never raises for what a client does."""
        try:
            # A client that is gone is not an error, and an ssl.SSLError is an OSError too.
            with contextlib.suppress(OSError):
                if tls is not None:
                    self._plug.settimeout(self._timeouts.head)
                    self._plug = tls.wrap_socket(self._plug, server_side=True)
                while not self.closing and self._exchange():
                    pass
        finally:
            self._plug.close()

    def end(self) -> None:
        """From another thread: wake whatever this one waits for. Also right after it ended by itself."""
        self.closing = True
        with contextlib.suppress(OSError):
            # The plain shutdown, because an SSLSocket's takes the TLS state from under its thread.
            socket.socket.shutdown(self._plug, socket.SHUT_RDWR)

    def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        try:
            head = self._read_head()
            if head is None:
                return False
            request = parse_request(head)
        except Refused as error:
            self._send(None, plain(error.status, error.why), keep=False)
            self._linger()
            return False
        keep = request.keep_alive and not self.closing
        try:
            with Generation(self._root) as generation:
                found = self._answer(request, generation)
        except Missing:
            found = plain(503, "nothing is installed here")
        try:
            self._send(request, found, keep=keep)
        finally:
            if isinstance(found.body, OpenFile):
                found.body.close()
        if request.has_body:
            self._linger()
        return keep

    def _answer(self, request: Request, generation: Generation) -> Answer:
        try:
            return answer(request, generation, scheme="https" if isinstance(self._plug, ssl.SSLSocket) else "http")
        except Refused as error:
            return plain(error.status, error.why)
        except OSError:
            return plain(500, "the site cannot read its own files")

    def _read_head(self) -> bytes | None:
        """The bytes before the empty line, or None when the client is done. Raises Refused when there are too many."""
        self.idle_since = clock.monotonic()
        deadline = self.idle_since + self._timeouts.idle
        while True:
            if self._buffer.startswith(b"\r\n"):  # one before a request line is let pass (RFC 9112 section 2.2)
                del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                head = bytes(self._buffer[:end])
                del self._buffer[: end + 4]
                self.idle_since = None
                return head
            if self._buffer and not self._buffer[:1].isupper():
                # Mostly a client that tries TLS first: it should hear at once that there is none.
                raise Refused(400, "this is no HTTP/1 request")
            if len(self._buffer) > MAX_LINE and b"\r\n" not in self._buffer:
                raise Refused(414, "the request line is too long")
            if len(self._buffer) > MAX_HEAD:
                raise Refused(431, "the header is too long")
            if self._buffer and self.idle_since is not None:
                # The whole head has its time from its first byte on: a byte now and then does not extend it.
                self.idle_since, deadline = None, clock.monotonic() + self._timeouts.head
            self._plug.settimeout(max(deadline - clock.monotonic(), 0.001))
            data = self._plug.recv(MAX_HEAD)
            if not data:
                return None
            self._buffer += data

    def _send(self, request: Request | None, found: Answer, *, keep: bool) -> None:
        """Raises OSError when the client is gone; the request is logged all the same."""
        part, fields = _shape(request, found)
        fields = [("Date", http_date(clock.now().timestamp())), *fields]
        if not keep:
            fields.append(("Connection", "close"))
        elif request is not None and request.minor == 0:
            fields.append(("Connection", "keep-alive"))
        head = write_head(part.status, fields)
        length = part.length if request is None or request.method != "HEAD" else 0
        sent = 0
        try:
            self._plug.settimeout(self._timeouts.idle)
            sent = self._send_body(head, found.body, part.start, length)
        finally:
            what = f"{request.method} {request.target}" if request is not None else "- -"
            query = f"?{request.query}" if request is not None and request.query else ""
            self._log(f"{self._client} {what}{query} {part.status} {sent}")
        if sent != length:
            raise ConnectionError

    def _send_body(self, head: bytes, body: bytes | OpenFile, start: int, length: int) -> int:
        if isinstance(body, OpenFile) and length > _SMALL and not isinstance(self._plug, ssl.SSLSocket):
            self._plug.sendall(head, socket.MSG_MORE)
            return self._plug.sendfile(body.file, start, length)
        file = body.file if isinstance(body, OpenFile) else io.BytesIO(body)
        file.seek(start)
        sent = 0
        while True:
            piece = file.read(min(length - sent, _PIECE))
            self._plug.sendall(head + piece)
            head, sent = b"", sent + len(piece)
            if sent >= length or not piece:
                return sent

    def _linger(self) -> None:
        """Let the client read the answer: closing with unread bytes would reset the connection under it."""
        self._plug.settimeout(_LINGER)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._plug, socket.SHUT_WR)
            for _ in range(64):
                if not self._plug.recv(MAX_HEAD):
                    return


def _shape(request: Request | None, found: Answer) -> tuple[Part, list[tuple[str, str]]]:
    """What to send of an answer, and its header fields."""
    size = len(found.body) if isinstance(found.body, bytes) else found.body.size
    content = found.content
    fields = [("Server", "bundle"), ("X-Content-Type-Options", "nosniff"), *found.fields]
    if request is None or content is None:
        part = Part(status=found.status, start=0, length=size)
    else:
        part = choose_part(request, content)
        fields += [("Accept-Ranges", "bytes"), ("Cache-Control", found.cache), *_identity(content)]
    if part.status == 416:
        fields.append(("Content-Range", f"bytes */{size}"))
    elif part.status == 206:
        fields.append(("Content-Range", f"bytes {part.start}-{part.start + part.length - 1}/{size}"))
    if part.status != 304:
        fields.append(("Content-Length", str(part.length)))
        fields.append(("Content-Type", found.kind))
    return part, fields


def _identity(content: Content) -> list[tuple[str, str]]:
    fields = [("ETag", f'"{content.etag}"')] if content.etag else []
    return [*fields, ("Last-Modified", http_date(content.modified))] if content.modified else fields
