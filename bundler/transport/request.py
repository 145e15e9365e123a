"""What is asked of the transport, what it gives back, and its bounds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import SystemRandom
from typing import Protocol

import bundler
from bundler.support import clock, parallel
from bundler.transport.urls import redact


class Outgoing(Protocol):
    """A body to send: `len` bytes, in pieces, from its first byte each time that it is iterated over."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """The next piece is asked for when this one is sent; a piece is only valid until then."""


class Authorizer(Protocol):
    """Knows what to put into the Authorization header of requests to one origin."""

    def header(self) -> str | None:
        """The value to send now; None before the server has asked for one."""

    def renew(self, challenge: str, *, refused: str | None) -> str | None:
        """A value that answers a 401's WWW-Authenticate, after `refused` was sent; None where there is none.

        Raises AuthenticationFailed, or what its own requests raise.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. `what` names the thing asked for in errors; without it the URL does, query left out.

    Credentials come from the authorizer, or from userinfo in the URL (Basic): both stay with the URL's origin, so
    they are no business of `headers`, which are sent to redirects' targets, too. `attempts` are those in a row without
    progress, where they are others than the transport's own: few, when there is another place to ask.
    """

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Outgoing | None = field(default=None, repr=False)
    authorizer: Authorizer | None = field(default=None, repr=False)
    what: str = ""
    attempts: int | None = None

    @property
    def name(self) -> str:
        """For errors."""
        return self.what or redact(self.url)

    def __post_init__(self) -> None:
        assert not {"authorization", "cookie"} & {name.lower() for name in self.headers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A whole small answer. Header names are in lower case; `url` is where it came from, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = field(repr=False)


class Sink(Protocol):
    """Where a body goes, in order."""

    @property
    def position(self) -> int:
        """Bytes that it has already: the next ones are asked for from there."""

    def write(self, data: memoryview) -> None:
        """Take the next bytes; they are only valid during the call."""


class BytesSink:
    """Keeps what it gets, which is no more than was asked for: for small bodies."""

    def __init__(self) -> None:
        self.data = bytearray()

    @property
    def position(self) -> int:
        return len(self.data)

    def write(self, data: memoryview) -> None:
        self.data += data


class PartSink(Sink, Protocol):
    """A sink for a part of a body."""

    @property
    def asked(self) -> int:
        """The end of what is to be asked for; the body's size where it is not known how far this sink will go."""

    def room(self) -> int:
        """How many bytes it takes now, from its position on; 0 when the rest is somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportConfig:
    """Bounds, in seconds and bytes. Clock, sleep and jitter are here so that tests need not wait."""

    connect_timeout: float = 10
    idle_timeout: float = 30  # between two reads
    total_timeout: float = 600  # for one request with all its attempts, plus its size at the lowest speed
    lowest_speed: int = 50_000  # bytes per second
    attempts: int = 6  # in a row without progress
    attempts_in_all: int = 100
    progress: int = 1 << 20  # bytes in one attempt that count as progress
    backoff: float = 0.5  # first delay at most; doubled each time, with full jitter
    backoff_limit: float = 30
    retry_after_limit: float = 300
    redirects: int = 5
    user_agent: str = f"bundler/{bundler.__version__}"
    monotonic: Callable[[], float] = clock.monotonic
    now: Callable[[], datetime] = clock.now
    sleep: Callable[[float], None] = parallel.pause
    jitter: Callable[[float, float], float] = SystemRandom().uniform

    def total_time(self, size: int) -> float:
        return self.total_timeout + size / self.lowest_speed
