"""What went wrong on the wire, as our errors: no query, no signature, no library's wording of a URL."""

import http.client
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import urllib3.exceptions

from bundler.errors import BadCertificate, BundleError, HttpFailure, Malformed, Stalled, Unreachable
from bundler.transport.request import TransportConfig
from bundler.transport.urls import redact

# Everything that sending a request or reading an answer raises when the network or the peer is at fault.
WIRE_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    UnicodeError,
)
_TIMEOUTS = (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError)
_BAD_URLS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationParseError,
    UnicodeError,
)


def translate(error: Exception, *, url: str, config: TransportConfig, waited: float) -> BundleError:
    """A wire error as ours. `waited` is how long a silent peer was given, in seconds."""
    shown = redact(url)
    chain = list(_chain(error))
    if isinstance(error, _BAD_URLS):
        return Malformed(found=shown, expected="an http(s) URL")
    if any(isinstance(each, requests.ConnectTimeout) for each in chain):
        return Unreachable(url=shown, why=f"no connection within {config.connect_timeout:g} s")
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return BadCertificate(url=shown, why=each.verify_message or "it cannot be verified")
    if any(isinstance(each, _TIMEOUTS) for each in chain):
        return Stalled(url=shown, seconds=waited)
    return Unreachable(url=shown, why=_reason(chain))


def is_transient(error: BundleError) -> bool:
    """Whether another attempt may succeed."""
    return error.transient if isinstance(error, HttpFailure) else error.temporary


def retry_after(value: str | None, *, now: datetime, limit: float) -> float | None:
    """Seconds that a Retry-After asks for, in either form (RFC 9110 section 10.2.3); None when it makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), limit)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), limit)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, outermost first; libraries hide them in `args` and `reason`, too."""
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        related = (*each.args, getattr(each, "reason", None), each.__cause__, each.__context__)
        waiting += [other for other in related if isinstance(other, BaseException)]


def _reason(chain: list[BaseException]) -> str:
    """The system's own words where it has some; else the kind of error, never a library's text: that holds URLs."""
    through = "through the proxy: " if any(isinstance(each, requests.exceptions.ProxyError) for each in chain) else ""
    for each in chain:
        if isinstance(each, OSError) and each.strerror and each.strerror.isprintable():
            return through + each.strerror
    if any(isinstance(each, (http.client.RemoteDisconnected, http.client.IncompleteRead)) for each in chain):
        return f"{through}the peer closed the connection"
    if any(isinstance(each, http.client.HTTPException) for each in chain):
        return f"{through}the answer is not HTTP"
    return through + type(chain[-1]).__name__
