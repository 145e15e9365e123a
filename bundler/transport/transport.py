"""The transport: one request loop for everything that is fetched or sent."""

import contextlib
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests

from bundler.errors import BundleError, Malformed, NotReadable, TooLarge, Unreachable, UnsafeRedirect, WrongBytes
from bundler.support.buffers import page_buffer
from bundler.transport.answer import Answer, Span
from bundler.transport.attempts import Attempts
from bundler.transport.connection import CURRENT, Adapter, Exchange
from bundler.transport.failures import WIRE_ERRORS, translate
from bundler.transport.request import Outgoing, PartSink, Request, Response, Sink, TransportConfig
from bundler.transport.urls import Origin, follow, origin_of, redact, split_userinfo
from bundler.transport.version import NoRanges, Version

_BUFFER = 512 << 10  # one read; a cut loses at most this, a larger one saves little CPU (64 KiB costs a quarter more)
_REDIRECTS = (301, 302, 303, 307, 308)


class Transport:
    """Fetches and sends over HTTP. Safe for use by many threads; each has its own connections.

    Proxies come from the environment; authorities from REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE.
    Everything raised is a BundleError: Unreachable, BadCertificate, Stalled, HttpFailure, AuthenticationFailed,
    UnsafeRedirect, WrongBytes, TooLarge, NotFound, Malformed for what is no URL, NotReadable for a CA file.
    What a later attempt may cure is tried again first.
    """

    def __init__(self, config: TransportConfig | None = None) -> None:
        self.config = config or TransportConfig()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        self._environments: dict[Origin, Mapping[str, Any]] = {}
        self._received = 0

    @property
    def received(self) -> int:
        """Body bytes read from the network so far, those thrown away included."""
        return self._received

    def get(self, request: Request, *, limit: int, accept: Collection[int] = (200,)) -> Response:
        """A small body, whole, at most `limit` bytes; the statuses in `accept` are answers, others are errors."""
        attempts = Attempts(self.config, size=limit + len(request.body or b""), fruitless=request.attempts)
        while True:
            try:
                with self._open(request, {}, attempts) as answer:
                    if answer.status not in accept:
                        raise answer.failure()
                    body = _read_whole(answer, limit)
                    return Response(status=answer.status, headers=answer.headers, body=body, url=answer.url)
            except BundleError as error:
                attempts.failed(error)

    def receive(self, request: Request, *, size: int, sink: Sink) -> None:
        """Stream a body of exactly `size` bytes into `sink`, from where it stands, resuming as needed.

        Nothing beyond `size` is ever written. Whether they are the right bytes is for the sink to say.
        """
        attempts = Attempts(self.config, size=size, fruitless=request.attempts)
        while sink.position < size:
            self._attempt(request, sink, attempts, size=size, limit=size)

    def receive_all(self, request: Request, *, limit: int, sink: Sink) -> int:
        """Stream a body of a size not known before, at most `limit` bytes, and return its size."""
        attempts = Attempts(self.config, size=limit, fruitless=request.attempts)
        size = None
        while size is None or sink.position < size:
            size = self._attempt(request, sink, attempts, size=size, limit=limit)
        return size

    def receive_part(
        self, request: Request, *, size: int, sink: PartSink, version: Version | None, patient: bool
    ) -> None:
        """Stream what `sink` has room for of a body of exactly `size` bytes; other threads may fetch other parts.

        `version` is shared by all of them; None where the bytes are proved in another way. Without patience the first
        failure is raised: others make progress. Raises Changed, and without patience NoRanges.
        """
        attempts = Attempts(self.config, size=size, fruitless=request.attempts)
        while sink.room() > 0:
            before = sink.position
            asked = sink.asked
            try:
                with self._open(request, _part_headers(before, asked, size, version), attempts) as answer:
                    span = answer.span(before, size)
                    if answer.status == 200 and not patient:
                        raise NoRanges
                    if answer.status == 206 and (span.end or 0) > asked:
                        raise WrongBytes(what=answer.what, expected=f"a range up to byte {asked}", found=f"{span.end}")
                    if version is not None:
                        version.check(answer.headers)
                    _pump_part(answer, span, sink)
            except BundleError as error:
                if not patient:
                    raise
                attempts.failed(error, progress=sink.position - before)

    def size_of(self, request: Request) -> int | None:
        """The size of a body that is not read; None where the server does not say. Raises what `get` raises.

        A HEAD first; many a server knows better when a GET asks for one byte.
        """
        with contextlib.suppress(BundleError):
            attempts = Attempts(self.config, size=0, fruitless=request.attempts)
            with self._open(replace(request, method="HEAD"), {}, attempts) as answer:
                answer.rest()
                if size := answer.whole_size():
                    return size
        attempts = Attempts(self.config, size=0, fruitless=request.attempts)
        while True:
            try:
                with self._open(request, {"Range": "bytes=0-0"}, attempts) as answer:
                    return answer.whole_size()
            except BundleError as error:
                attempts.failed(error)

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self._local = threading.local()
        for session in sessions:
            session.close()

    def _attempt(self, request: Request, sink: Sink, attempts: Attempts, *, size: int | None, limit: int) -> int | None:
        """Receive what one answer has, then wait if it broke; returns the size as soon as it is known."""
        before = sink.position
        try:
            headers = {"Range": f"bytes={before}-"} if before else {}
            with self._open(request, headers, attempts) as answer:
                span = answer.span(before, size)
                size = span.whole if size is None else size
                if size is not None and size > limit:
                    raise TooLarge(what=answer.what, limit=limit)
                _pump(answer, span, sink, limit=limit)
                size = sink.position if size is None else size
                if sink.position < size:
                    raise Unreachable(url=redact(answer.url), why=f"the answer ended at byte {sink.position} of {size}")
        except BundleError as error:
            attempts.failed(error, progress=sink.position - before)
        return size

    def _open(self, request: Request, headers: Mapping[str, str], attempts: Attempts) -> Answer:
        """Send, follow redirects, and answer one demand for credentials from the server that was asked."""
        try:
            url, authorization = split_userinfo(request.url)
            origin = origin_of(url)
        except ValueError:
            raise Malformed(found=redact(request.url), expected="an http(s) URL") from None
        if request.authorizer is not None:
            authorization = request.authorizer.header()
        answer = self._follow(request, url, headers, authorization, attempts)
        if answer.status != 401 or request.authorizer is None or origin_of(answer.url) != origin:
            return answer
        with answer:
            answer.rest()
        try:
            renewed = request.authorizer.renew(answer.headers.get("www-authenticate", ""), refused=authorization)
        except BundleError:
            attempts.exhaust()  # the authorizer's own requests have had theirs
            raise
        return self._follow(request, url, headers, renewed, attempts) if renewed is not None else answer

    def _follow(
        self, request: Request, url: str, headers: Mapping[str, str], authorization: str | None, attempts: Attempts
    ) -> Answer:
        """Send and follow redirects; credentials stay with the first origin, and are not taken up again."""
        for _ in range(self.config.redirects + 1):
            credentials = {"Authorization": authorization} if authorization is not None else {}
            answer = self._send(request, url, {**request.headers, **headers, **credentials}, attempts)
            if answer.status not in _REDIRECTS:
                return answer
            with answer:
                target = follow(url, answer.headers.get("location"))
                if request.method not in ("GET", "HEAD"):
                    why = f"a {request.method} is not sent on"
                    raise UnsafeRedirect(url=redact(url), target=redact(target), why=why)
                answer.rest()
            if origin_of(target) != origin_of(url):
                authorization = None
            url = target
        raise UnsafeRedirect(
            url=redact(request.url), target=redact(url), why=f"more than {self.config.redirects} redirects"
        )

    def _send(self, request: Request, url: str, headers: Mapping[str, str], attempts: Attempts) -> Answer:
        """One request on the wire, up to the headers of its answer."""
        config, session = self.config, self._session()
        exchange = Exchange(
            deadline=attempts.deadline, total=attempts.seconds, idle=config.idle_timeout, monotonic=config.monotonic
        )
        fixed = {"User-Agent": config.user_agent, "Accept-Encoding": "identity", "Accept": "*/*"}
        token = CURRENT.set(exchange)
        try:
            body = _body(request.body, exchange)
            prepared = requests.Request(request.method, url, headers={**fixed, **headers}, data=body).prepare()
            settings = self._environment(session, url)
            authorities = _authorities(settings["verify"])
            response = session.get_adapter(url).send(
                prepared,
                stream=True,
                timeout=(config.connect_timeout, config.idle_timeout),
                verify=authorities,
                cert=settings["cert"],
                proxies=settings["proxies"],
            )
        except WIRE_ERRORS as error:
            raise translate(error, url=url, config=config, waited=exchange.waited) from None
        finally:
            CURRENT.reset(token)
        return Answer(request=request, url=url, response=response, exchange=exchange, config=config, count=self._count)

    def _environment(self, session: requests.Session, url: str) -> Mapping[str, Any]:
        """What the environment says of a server's proxies and authorities. Asked once for each: the answer takes longer
        than sending a request."""
        origin = origin_of(url)
        if origin not in self._environments:
            self._environments[origin] = session.merge_environment_settings(url, {}, True, None, None)
        return self._environments[origin]

    def _session(self) -> requests.Session:
        """This thread's session. Only its adapter and its reading of the environment are used: its own `send` follows
        netrc and reads whole bodies of redirects."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.mount("http://", Adapter())
            session.mount("https://", Adapter())
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session

    def _count(self, count: int) -> None:
        with self._lock:
            self._received += count


class _Timed:
    """A body on its way out, up to the deadline; requests takes its length for the Content-Length."""

    def __init__(self, body: Outgoing, exchange: Exchange) -> None:
        self._body, self._exchange = body, exchange

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for piece in self._body:
            if self._exchange.monotonic() >= self._exchange.deadline:
                raise TimeoutError
            yield piece


def _body(body: bytes | Outgoing | None, exchange: Exchange) -> bytes | _Timed | None:
    """What requests is given: of no bytes it would not know the length."""
    return body if body is None or isinstance(body, bytes) else _Timed(body, exchange) if len(body) else b""


def _authorities(found: bool | str | None) -> bool | str:
    """The file or folder of CA certificates to trust; True for the library's own. Raises NotReadable."""
    named = found if isinstance(found, str) else os.environ.get("SSL_CERT_FILE", "")
    if named and not Path(named).exists():
        raise NotReadable(path=named, why="there is no such file of CA certificates")
    return named or True


def _read_whole(answer: Answer, limit: int) -> bytes:
    """A small body. Raises TooLarge at the first byte too many, by its header if it says so."""
    if answer.request.method == "HEAD":
        answer.rest()
        return b""
    answer.check_encoding()
    if (answer.length or 0) > limit:
        raise TooLarge(what=answer.what, limit=limit)
    body, buffer = bytearray(), page_buffer(_BUFFER)
    while count := answer.read(buffer):
        if len(body) + count > limit:
            raise TooLarge(what=answer.what, limit=limit)
        body += buffer[:count]
    if answer.length not in (None, len(body)):
        raise Unreachable(url=redact(answer.url), why=f"the answer ended at byte {len(body)} of {answer.length}")
    return bytes(body)


def _part_headers(first: int, end: int, size: int, version: Version | None) -> dict[str, str]:
    """A range, unless all is asked for; only the version that earlier parts came from, if they did."""
    if (first, end) == (0, size):
        return {}
    last = "" if end == size else str(end - 1)
    return {"Range": f"bytes={first}-{last}", **(version.condition() if version is not None else {})}


def _pump_part(answer: Answer, span: Span, sink: PartSink) -> None:
    """Write what the sink has room for, as it arrives, and leave the rest. Raises Unreachable for an early end."""
    buffer = page_buffer(_BUFFER)
    at, end = span.first, span.end or 0
    while room := sink.room():
        most = min(end, sink.position + room) - at
        if most <= 0:
            return  # an answer shorter than what was asked for
        count = answer.read(buffer[:most])
        if not count:
            raise Unreachable(url=redact(answer.url), why=f"the answer ended at byte {at} of {end}")
        fresh = max(sink.position - at, 0)
        if fresh < count:
            sink.write(buffer[fresh:count])
        at += count
    if at == end and answer.goes_on():
        raise WrongBytes(what=answer.what, expected=f"{end} bytes", found="more")


def _pump(answer: Answer, span: Span, sink: Sink, *, limit: int) -> None:
    """Write what the sink does not have yet, as it arrives. What comes after the end is refused and not written."""
    buffer = page_buffer(_BUFFER)
    at, end = span.first, limit if span.end is None else span.end
    while at < end and (count := answer.read(buffer[: end - at])):
        fresh = max(sink.position - at, 0)
        if fresh < count:
            sink.write(buffer[fresh:count])
        at += count
    if at == end and answer.goes_on():
        if span.end is None:
            raise TooLarge(what=answer.what, limit=limit)
        raise WrongBytes(what=answer.what, expected=f"{end} bytes", found="more")
