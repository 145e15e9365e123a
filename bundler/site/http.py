"""HTTP/1.1 as the embedded server speaks it (RFC 9110, 9112): requests in, decisions out, no socket.

Only GET and HEAD are answered with content, so a request's body is never read and its connection is closed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote_to_bytes

MAX_LINE = 8 << 10
MAX_HEAD = 32 << 10
MAX_FIELDS = 100
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_ABSOLUTE = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_RANGE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")


class Refused(Exception):
    """A request that gets this status and a plain text, and nothing else."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`target` is the path as it was sent, `fields` have lower-case names; `minor` is the x of HTTP/1.x."""

    method: str
    target: str
    query: str
    fields: dict[str, str]
    minor: int

    @property
    def keep_alive(self) -> bool:
        options = {option.strip().lower() for option in self.fields.get("connection", "").split(",")}
        return not self.has_body and ("keep-alive" in options if self.minor == 0 else "close" not in options)

    @property
    def has_body(self) -> bool:
        return self.fields.get("content-length", "0") != "0" or "transfer-encoding" in self.fields

    @property
    def segments(self) -> tuple[str, ...]:
        """The decoded path; a slash at the end gives an empty last segment. Raises Refused."""
        return tuple(_segment(part) for part in self.target[1:].split("/"))

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter. Raises Refused when there are too many."""
        try:
            pairs = parse_qsl(self.query, keep_blank_values=True, max_num_fields=16)
        except ValueError:
            raise Refused(400, "too many query parameters") from None
        return next((value for key, value in pairs if key == name), None)


def _segment(part: str) -> str:
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "the path is not UTF-8") from None
    if any(mark in text for mark in "/\\\0") or text in (".", ".."):
        raise Refused(404, "no such path")
    return text


def parse_request(head: bytes) -> Request:
    """Read a request up to its empty line, which is not part of `head`. Raises Refused."""
    first, *rest = head.split(b"\r\n")
    if len(first) > MAX_LINE:
        raise Refused(414, "the request line is too long")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise Refused(400, "this is no HTTP/1 request")
    fields = _fields(rest)
    minor = int(line[3])
    if minor == 1 and "host" not in fields:
        raise Refused(400, "there is no Host field")
    path, _, query = _ABSOLUTE.sub("", line[2].decode("ascii"), count=1).partition("?")
    if not path.startswith("/") and line[1] != b"OPTIONS":
        raise Refused(400, "the target is not a path")
    return Request(method=line[1].decode("ascii"), target=path, query=query, fields=fields, minor=minor)


def _fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_FIELDS:
        raise Refused(431, "too many header fields")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise Refused(400, "a header field is malformed")
        key, text = name.decode("ascii").lower(), value.strip(b" \t").decode("latin-1")
        if key in fields and key in ("host", "content-length"):
            raise Refused(400, f"the field {key} comes twice")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What identifies a representation: `size` in bytes, `etag` without quotes, `modified` in seconds (0: unknown)."""

    size: int
    etag: str = ""
    modified: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to send of a content: a status, and `length` bytes from `start`."""

    status: int
    start: int
    length: int


def choose_part(request: Request, content: Content) -> Part:
    """Preconditions, then Range (RFC 9110 sections 13.2.2 and 14): 200, 206, 304 or 416."""
    whole = Part(status=200, start=0, length=content.size)
    if _is_known(request, content):
        return Part(status=304, start=0, length=0)
    wanted = _RANGE.fullmatch(request.fields.get("range", "").strip())
    if request.method != "GET" or wanted is None or not any(wanted.groups()) or not _range_holds(request, content):
        return whole
    first, last = wanted.groups()
    if not first:
        start, end = max(content.size - int(last), 0), content.size
    else:
        start, end = int(first), min(int(last) + 1, content.size) if last else content.size
        if last and int(last) < start:
            return whole  # an invalid range is as if there were none
    if start >= content.size or start >= end:
        return Part(status=416, start=0, length=0)
    return Part(status=206, start=start, length=end - start)


def _is_known(request: Request, content: Content) -> bool:
    known = request.fields.get("if-none-match")
    if known is not None:
        tags = {tag.strip().removeprefix("W/") for tag in known.split(",")}
        return known.strip() == "*" or (bool(content.etag) and f'"{content.etag}"' in tags)
    since = request.fields.get("if-modified-since")
    # Equal, not earlier: after a rollback an index may be older than the client's, and must still be sent.
    return since is not None and content.modified > 0 and since == http_date(content.modified)


def _range_holds(request: Request, content: Content) -> bool:
    condition = request.fields.get("if-range")
    if condition is None:
        return True
    if condition.startswith('"'):
        return bool(content.etag) and condition == f'"{content.etag}"'
    return content.modified > 0 and condition == http_date(content.modified)


def http_date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def choose_type(accept: str, offers: tuple[str, ...], default: str) -> str:
    """The offered media type that an Accept field likes best; a wildcard means `default`, and so does no match.

    Equal weights are decided by the order of `offers`.
    """
    weights: dict[str, float] = {}
    for item in accept.split(",")[:64]:
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weights[name] = _weight(parameters)
    wildcard = weights.get("*/*", weights.get(f"{default.partition('/')[0]}/*", 0.0))
    weights.setdefault(default, wildcard)
    best = max(offers, key=lambda offer: weights.get(offer, 0.0))
    return best if weights.get(best, 0.0) > 0 else default


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if re.fullmatch(r"q=(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", parameter):
            return float(parameter[2:])
    return 1.0


def write_head(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    """The status line, the fields, the empty line. Raises ValueError for a value with a line break."""
    phrase = HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields)]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError(lines)
    return "\r\n".join((*lines, "", "")).encode("latin-1")
