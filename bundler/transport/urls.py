"""URLs: what of them may be shown, and which redirects are followed."""

import base64
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from bundler.errors import UnsafeRedirect

_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


def redact(url: str) -> str:
    """scheme://host[:port]/path: no userinfo, no query (signatures live there), no fragment."""
    try:
        parts = urlsplit(url)
        host = _host(parts)
    except ValueError:
        return "a malformed URL"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))[:512]


def origin_of(url: str) -> Origin:
    """Scheme, host and port (RFC 6454). Raises ValueError for what is no http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError(redact(url))
    return parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme]


def split_userinfo(url: str) -> tuple[str, str | None]:
    """The URL without userinfo and fragment, and the userinfo as a Basic header value (RFC 7617). Raises ValueError."""
    # What two parsers might read differently: the one that decides here and the one that connects.
    if "\\" in url or not url.isprintable() or " " in url:
        raise ValueError(redact(url))
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, _host(parts), parts.path, parts.query, ""))
    if parts.username is None:
        return bare, None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return bare, "Basic " + base64.b64encode(pair.encode()).decode("ascii")


def follow(url: str, location: str | None) -> str:
    """The target of a redirect from `url`. Raises UnsafeRedirect for no URL, another scheme, or https to http."""
    source = redact(url)
    if not location:
        raise UnsafeRedirect(url=source, target="nowhere", why="it has no Location")
    try:
        target, _ = split_userinfo(urljoin(url, location))
        scheme, _, _ = origin_of(target)
    except ValueError:
        raise UnsafeRedirect(url=source, target=redact(location), why="that is no http(s) URL") from None
    if scheme == "http" and origin_of(url)[0] == "https":
        raise UnsafeRedirect(url=source, target=redact(target), why="it leaves https for plain http")
    return target


def _host(parts: SplitResult) -> str:
    """Host and port as written, without userinfo. Raises ValueError for a port that is none."""
    _ = parts.port
    return parts.netloc.rpartition("@")[2]
