import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.site.http import (
    Content,
    Refused,
    Request,
    choose_part,
    choose_type,
    http_date,
    parse_request,
    write_head,
)

TAG, DATE = "abc", 1_700_000_000
JSON, HTML, TEXT = "application/x+json", "application/x+html", "text/html"


def request(method: str = "GET", **fields: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return Request(method=method, target="/", query="", fields=named, minor=1)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", 400),
        (b"GET / HTTP/2.0\r\nHost: a", 400),
        (b"GET /", 400),
        (b"get / HTTP/1.1\r\nHost: a", 400),
        (b"GET  / HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/1.1 \r\nHost: a", 400),
        (b"GET /\x00 HTTP/1.1\r\nHost: a", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a", 400),
        (b"GET a HTTP/1.1\r\nHost: a", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", 400),
        (b"GET / HTTP/1.1\r\nHost : a", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded", 400),
        (b"GET / HTTP/1.1\r\nHost: a\nEvil: b", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a", 414),
        (b"GET / HTTP/1.1\r\nHost: a" + b"\r\nX: y" * 101, 431),
    ],
)
def test_what_is_refused(head: bytes, status: int) -> None:
    with pytest.raises(Refused) as caught:
        parse_request(head)
    assert caught.value.status == status


def test_a_request() -> None:
    found = parse_request(b"GET /a%2Bb/c%C3%A9/?n=1&last=x%20y HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:\t2 ")
    assert found.segments == ("a+b", "cé", "")
    assert (found.parameter("n"), found.parameter("last"), found.parameter("z")) == ("1", "x y", None)
    assert found.fields == {"host": "h", "x-a": "1, 2"}
    assert parse_request(b"GET http://h:1/a?b HTTP/1.1\r\nHost: h").target == "/a"


@pytest.mark.parametrize("path", ["/..", "/a/../b", "/%2e%2e/b", "/a%2fb", "/a%5cb", "/a%00", "/.", "/a/%2E", "/a\\b"])
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(Refused):
        _ = parse_request(f"GET {path} HTTP/1.1\r\nHost: h".encode()).segments


@pytest.mark.parametrize(
    ("line", "fields", "expected"),
    [
        (b"HTTP/1.1", b"", True),
        (b"HTTP/1.1", b"\r\nConnection: Close", False),
        (b"HTTP/1.1", b"\r\nConnection: x, close", False),
        (b"HTTP/1.0", b"", False),
        (b"HTTP/1.0", b"\r\nConnection: keep-alive", True),
        (b"HTTP/1.1", b"\r\nContent-Length: 5", False),
        (b"HTTP/1.1", b"\r\nContent-Length: 0", True),
        (b"HTTP/1.1", b"\r\nTransfer-Encoding: chunked", False),
    ],
)
def test_keep_alive(line: bytes, fields: bytes, expected: bool) -> None:
    assert parse_request(b"GET / " + line + b"\r\nHost: h" + fields).keep_alive is expected


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert all("/" not in segment for segment in parse_request(b"GET /" + data).segments)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=0-0", (206, 0, 1)),
        ("bytes=2-4", (206, 2, 3)),
        ("bytes=7-", (206, 7, 3)),
        ("bytes=-3", (206, 7, 3)),
        ("bytes=-99", (206, 0, 10)),
        ("bytes=5-99", (206, 5, 5)),
        ("bytes=9-9", (206, 9, 1)),
        ("bytes=10-", (416, 0, 0)),
        ("bytes=-0", (416, 0, 0)),
        ("bytes=10-20", (416, 0, 0)),
        ("bytes=4-2", (200, 0, 10)),
        ("bytes=-", (200, 0, 10)),
        ("bytes=0-1,3-4", (200, 0, 10)),
        ("bytes=a-b", (200, 0, 10)),
        ("items=0-1", (200, 0, 10)),
        ("bytes=" + "9" * 40 + "-", (200, 0, 10)),
    ],
)
def test_range(value: str, expected: tuple[int, int, int]) -> None:
    part = choose_part(request(range=value), Content(size=10, etag=TAG))
    assert (part.status, part.start, part.length) == expected


@given(st.integers(0, 100), st.text("0123456789-", max_size=8), st.sampled_from(["GET", "HEAD"]))
def test_a_part_lies_within_its_content(size: int, wanted: str, method: str) -> None:
    part = choose_part(request(method, range=f"bytes={wanted}"), Content(size=size))
    assert 0 <= part.start <= part.start + part.length <= size
    assert part.status in (200, 206, 416)
    assert (part.length == size) == (part.status == 200) or part.status in (206, 416)


def test_head_and_the_empty_content_have_no_ranges() -> None:
    assert choose_part(request("HEAD", range="bytes=0-1"), Content(size=10)).status == 200
    assert choose_part(request(range="bytes=0-"), Content(size=0)).status == 416


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"if_none_match": '"abc"'}, 304),
        ({"if_none_match": 'W/"abc"'}, 304),
        ({"if_none_match": '"x", "abc"'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": "abc"}, 200),
        ({"if_none_match": '"x"', "if_modified_since": http_date(DATE)}, 200),
        ({"if_modified_since": http_date(DATE)}, 304),
        ({"if_modified_since": http_date(DATE + 1)}, 200),  # a rollback's index is older, and still to be sent
        ({"if_modified_since": http_date(DATE - 1)}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"range": "bytes=0-1", "if_range": '"abc"'}, 206),
        ({"range": "bytes=0-1", "if_range": '"x"'}, 200),
        ({"range": "bytes=0-1", "if_range": 'W/"abc"'}, 200),
        ({"range": "bytes=0-1", "if_range": http_date(DATE)}, 206),
        ({"range": "bytes=0-1", "if_range": http_date(DATE + 1)}, 200),
    ],
)
def test_conditions(fields: dict[str, str], status: int) -> None:
    assert choose_part(request(**fields), Content(size=10, etag=TAG, modified=DATE)).status == status


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        (f"{JSON}, {HTML}; q=0.1, {TEXT}; q=0.01", JSON),
        (f"{JSON};q=0.2, {HTML};q=0.9", HTML),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        (f"{JSON};q=0.5, */*", TEXT),
        (f"{JSON};q=0, */*;q=0.1", TEXT),
        (JSON.upper(), JSON),
        (f"{JSON}, {TEXT}", JSON),
        ("image/png", TEXT),
        (f"{JSON};q=7", JSON),
        (f"{JSON};q=0", TEXT),
        (",;,;;q=,", TEXT),
    ],
)
def test_negotiation(accept: str, expected: str) -> None:
    assert choose_type(accept, (JSON, HTML, TEXT), TEXT) == expected


def test_a_head_never_takes_a_line_break() -> None:
    assert write_head(206, [("A", "b")]) == b"HTTP/1.1 206 Partial Content\r\nA: b\r\n\r\n"
    with pytest.raises(ValueError, match="Evil"):
        write_head(200, [("A", "b\r\nEvil: c")])
