"""An HTTP answer whose body is still on the wire."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import requests

from bundler.errors import AuthenticationFailed, BundleError, HttpFailure, NotFound, TooLarge, WrongBytes
from bundler.model.limits import LIMITS
from bundler.transport.connection import Body, Exchange
from bundler.transport.failures import WIRE_ERRORS, retry_after, translate
from bundler.transport.request import Request, TransportConfig
from bundler.transport.urls import redact

_REST = 64 << 10  # what is read of a body that nobody wants, to keep its connection
_SHOWN = 500  # characters of an error's body
_RANGE = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16}|\*)")
_TOTAL = re.compile(r"bytes \*/([0-9]{1,16})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where a body lies: its first byte, the byte after its last, the size of the whole. None: not known yet."""

    first: int
    end: int | None
    whole: int | None


class Answer:
    """Status, headers (names in lower case) and a body to be read; a context that gives the connection back."""

    def __init__(
        self,
        *,
        request: Request,
        url: str,
        response: requests.Response,
        exchange: Exchange,
        config: TransportConfig,
        count: Callable[[int], None],
    ) -> None:
        self.request, self.url, self.status = request, url, response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._response, self._exchange, self._config, self._count = response, exchange, config, count
        assert exchange.body is not None
        self._body: Body = exchange.body

    @property
    def what(self) -> str:
        return self.request.name

    @property
    def length(self) -> int | None:
        """The body's size by Content-Length; None where its end is found by reading. Raises WrongBytes for nonsense."""
        if self._body.chunked:
            return None
        text = self.headers.get("content-length")
        if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise WrongBytes(what=self.what, expected="one Content-Length", found=repr(text[:80]))
        return int(text) if text is not None else None

    def check_encoding(self) -> None:
        """Refuse a transformed body: its bytes are not those that the digest is about."""
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise WrongBytes(
                what=self.what, expected="the bytes as they are", found=f"Content-Encoding: {encoding[:40]}"
            )

    def read(self, buffer: memoryview) -> int:
        """What has arrived of the body, at most len(buffer) bytes; 0 at its end."""
        try:
            count = self._body.readinto1(buffer)
        except WIRE_ERRORS as error:
            raise translate(error, url=self.url, config=self._config, waited=self._exchange.waited) from None
        self._count(count)
        return count

    def goes_on(self) -> bool:
        """Whether there is more of a body that should be at its end; silence is an end, too."""
        if self.length is not None:
            return False
        try:
            return self.read(memoryview(bytearray(1))) > 0
        except BundleError:
            return False

    def rest(self) -> bytes:
        """The body of an answer that is not wanted, so far as it is small and arrives."""
        buffer = memoryview(bytearray(_REST))
        filled = 0
        with contextlib.suppress(BundleError):
            while filled < _REST and (count := self.read(buffer[filled:])):
                filled += count
        return bytes(buffer[:filled])

    def failure(self) -> BundleError:
        """The error that this answer is."""
        url, message = redact(self.url), self._message()
        if self.status in (401, 403, 407):
            why = {401: "it asks for credentials (401)", 403: "forbidden (403)", 407: "the proxy asks for credentials"}
            return AuthenticationFailed(url=url, why=why[self.status])
        if self.status in (404, 410):
            return NotFound(url=redact(self.request.url), what=self.request.what or "the file")
        wait = retry_after(
            self.headers.get("retry-after"), now=self._config.now(), limit=self._config.retry_after_limit
        )
        return HttpFailure(url=url, status=self.status, body=message, retry_after=wait)

    def span(self, start: int, size: int | None) -> Span:
        """Where this body lies in a whole of `size` bytes (None: not known), when it was asked for from `start`.

        Raises WrongBytes for another size or range, or the failure that the answer is.
        """
        if self.status == 416:
            match = _TOTAL.fullmatch(self.headers.get("content-range", ""))
            found = f"{match[1]} bytes" if match else f"nothing after byte {start} (416)"
            raise WrongBytes(what=self.what, expected=f"{size} bytes" if size is not None else "more", found=found)
        if self.status not in (200, 206):
            raise self.failure()
        self.check_encoding()
        span = self._partial(start) if self.status == 206 else Span(first=0, end=self.length, whole=self.length)
        if size is not None and (span.whole not in (None, size) or (span.end or 0) > size):
            raise WrongBytes(what=self.what, expected=f"{size} bytes", found=f"{span.whole or span.end} bytes")
        return replace(span, end=size) if span.end is None else span

    def whole_size(self) -> int | None:
        """The size of the whole of which this answer has a part, or to whose HEAD it answers; None: not said.

        Raises WrongBytes for nonsense, or the failure that the answer is.
        """
        if self.status == 416 and (match := _TOTAL.fullmatch(self.headers.get("content-range", ""))):
            return _bounded(int(match[1]), self.what)
        span = self.span(0, None)
        return None if span.whole is None else _bounded(span.whole, self.what)

    def _partial(self, start: int) -> Span:
        text = self.headers.get("content-range", "")
        match = _RANGE.fullmatch(text)
        if match is None or int(match[1]) != start or int(match[2]) < start:
            raise WrongBytes(what=self.what, expected=f"a range from byte {start}", found=repr(text[:80]))
        end, whole = int(match[2]) + 1, None if match[3] == "*" else int(match[3])
        if self.length not in (None, end - start):
            raise WrongBytes(what=self.what, expected=text[:80], found=f"Content-Length {self.length}")
        return Span(first=start, end=end, whole=whole)

    def _message(self) -> str:
        """The server's own words; not after a redirect: storage services repeat signatures in theirs."""
        text = self.rest().decode("utf-8", "replace")
        if self.url != self.request.url:
            return ""
        return "".join(mark if mark.isprintable() else " " for mark in text)[:_SHOWN].strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """A body read to its end leaves a connection to use again; any other is cut."""
        if self._body.isclosed():
            self._response.raw.release_conn()
        else:
            self._response.close()


def _bounded(size: int, what: str) -> int:
    if size > LIMITS.integer:
        raise TooLarge(what=what, limit=LIMITS.integer)
    return size
