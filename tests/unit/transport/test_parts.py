"""Parts of a body: which version they are of, sizes that nobody has to read for, and what a server may answer."""

import random
import socket
from collections.abc import Mapping

import pytest

from bundler.errors import HttpFailure, NotFound, TooLarge, Unreachable, UnsafeRedirect, WrongBytes
from bundler.transport import Changed, NoRanges, Request, Transport, Version
from tests.hostile_server import Bytes, Seen, chunked, head, ok, ranged, raw, redirect, status
from tests.upstreams import spans

BODY = random.Random(3).randbytes(3_000_000)


class Part(Bytes):
    """A sink for bytes from `first` up to `end`."""

    def __init__(self, first: int, end: int):
        super().__init__()
        self.first, self.asked = first, end

    @property
    def position(self) -> int:
        return self.first + len(self.data)

    def room(self) -> int:
        return self.asked - self.position


def receive(
    transport: Transport, url: str, part: Part, *, version: Version | None = None, patient: bool = False
) -> bytes:
    transport.receive_part(Request(url=url), size=len(BODY), sink=part, version=version, patient=patient)
    return bytes(part.data)


# --- what is asked for


@pytest.mark.parametrize(
    ("first", "end", "asked"),
    [
        (0, 1000, "bytes=0-999"),
        (1000, 2000, "bytes=1000-1999"),
        (len(BODY) - 1, len(BODY), f"bytes={len(BODY) - 1}-"),
        (0, len(BODY), None),
    ],
)
def test_a_part(server, transport, first, end, asked):
    url = server.on("/a", spans(BODY))
    patient = asked is None
    assert receive(transport, url, Part(first, end), patient=patient) == BODY[first:end]
    assert server.seen[0].headers.get("range") == asked
    assert transport.received == end - first


def test_nothing_is_asked_for_nothing(server, transport):
    assert receive(transport, server.url, Part(7, 7)) == b""
    assert server.seen == []


def test_a_whole_body_instead_of_a_part(server, transport):
    url = server.on("/a", ok(BODY))
    with pytest.raises(NoRanges):
        receive(transport, url, Part(1000, 2000))
    assert receive(transport, url, Part(1000, 2000), patient=True) == BODY[1000:2000]  # read up to there


def test_a_sink_that_stops_leaves_the_rest(server, transport):
    class Stopping(Part):
        def room(self) -> int:
            return 0 if self.data else super().room()

    part = Stopping(0, len(BODY))
    receive(transport, server.on("/a", ok(BODY)), part, patient=True)
    assert bytes(part.data) == BODY[: len(part.data)]
    assert len(part.data) < len(BODY)


def test_patience_goes_on_where_it_stopped(server, transport):
    url = server.on("/a", ranged(BODY, cut=1_200_000))
    assert receive(transport, url, Part(0, len(BODY)), patient=True) == BODY
    assert [seen.headers.get("range") for seen in server.seen] == [None, "bytes=1200000-", "bytes=2400000-"]


def test_without_patience_the_first_failure_is_told(server, transport, pauses):
    for answer, error in (
        (status(503), HttpFailure),
        (status(429, Retry_After=100), HttpFailure),
        (raw(head(206, {"Content-Range": f"bytes 0-999/{len(BODY)}", "Content-Length": 1000}), b"x"), Unreachable),
    ):
        with pytest.raises(error):
            receive(transport, server.on("/a", answer), Part(0, 1000))
    assert pauses == []
    assert len(server.seen) == 3


def test_less_than_was_asked_for_is_asked_for_again(server, transport):
    def short(seen: Seen, client: socket.socket) -> bool:
        first = int(seen.headers["range"][6:].partition("-")[0])
        end = min(first + 300, 1000)
        headers = {"Content-Range": f"bytes {first}-{end - 1}/{len(BODY)}", "Content-Length": end - first}
        client.sendall(head(206, headers) + BODY[first:end])
        return True

    assert receive(transport, server.on("/a", short), Part(0, 1000)) == BODY[:1000]
    assert len(server.seen) == 4


def test_more_than_was_asked_for_is_refused(server, transport):
    given = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}", "Content-Length": len(BODY)}
    part = Part(0, 1000)
    with pytest.raises(WrongBytes):
        receive(transport, server.on("/a", raw(head(206, given), BODY)), part)
    assert part.data == b""


# --- which version


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"etag": '"a"'}, {"etag": '"a"'}, True),
        ({"etag": '"a"'}, {"etag": '"b"'}, False),
        ({"etag": '"a"', "last-modified": "x"}, {"etag": '"a"', "last-modified": "y"}, True),
        ({"etag": '"a"', "last-modified": "x"}, {"etag": '"b"', "last-modified": "x"}, False),
        ({"etag": 'W/"a"'}, {"etag": 'W/"b"'}, True),
        ({"etag": 'W/"a"', "last-modified": "x"}, {"etag": 'W/"a"', "last-modified": "y"}, False),
        ({"last-modified": "x"}, {"last-modified": "x"}, True),
        ({"last-modified": "x"}, {"last-modified": "y"}, False),
        ({"etag": '"a"'}, {}, True),
        ({}, {"etag": '"a"'}, True),
        ({"etag": '"a"'}, {"last-modified": "x"}, True),
        ({"etag": "a"}, {"etag": "b"}, True),
        ({"etag": '"a\r"'}, {"etag": '"b"'}, True),
    ],
)
def test_version(before: Mapping[str, str], after: Mapping[str, str], same: bool) -> None:
    version = Version()
    version.check(before)
    if same:
        version.check(after)
    else:
        with pytest.raises(Changed):
            version.check(after)


def test_the_version_is_asked_for(server, transport):
    version = Version()
    url = server.on("/a", status(206, BODY[:10], Content_Range=f"bytes 0-9/{len(BODY)}", ETag='"v1"'), ok(BODY))
    assert receive(transport, url, Part(0, 10), version=version) == BODY[:10]
    with pytest.raises(NoRanges):
        receive(transport, url, Part(10, 20), version=version)
    assert [seen.headers.get("if-range") for seen in server.seen] == [None, '"v1"']
    with pytest.raises(Changed):
        receive(transport, server.on("/b", ok(BODY, ETag='"v2"')), Part(10, 20), version=version, patient=True)


# --- redirects


def test_each_part_may_come_from_another_place(server, other, transport):
    """Storage services give out a new signed URL at each redirect."""
    first = other.on("/first", ranged(BODY, cut=1_200_000))
    second = other.on("/second", ranged(BODY))
    url = server.on("/a", redirect(f"{first}?sig=1"), redirect(f"{second}?sig=2"))
    part = Part(0, len(BODY))
    assert receive(transport, url, part, patient=True) == BODY
    assert [(seen.path, seen.query, seen.headers.get("range")) for seen in other.seen] == [
        ("/first", "sig=1", None),
        ("/second", "sig=2", "bytes=1200000-"),
    ]


# --- sizes


@pytest.mark.parametrize(
    ("answers", "size", "asked"),
    [
        ([ok(BODY)], len(BODY), ["HEAD"]),
        ([status(405), spans(BODY)], len(BODY), ["HEAD", "GET"]),
        ([status(403), spans(BODY)], len(BODY), ["HEAD", "GET"]),
        ([status(404), spans(BODY)], len(BODY), ["HEAD", "GET"]),
        ([ok(b""), spans(BODY)], len(BODY), ["HEAD", "GET"]),
        ([ok(b""), ok(b"")], 0, ["HEAD", "GET"]),
        ([ok(b""), status(416, Content_Range="bytes */0")], 0, ["HEAD", "GET"]),
        ([ok(BODY, Content_Encoding="gzip"), spans(BODY)], len(BODY), ["HEAD", "GET"]),
        ([ok(BODY, Content_Length="12x"), spans(BODY)], len(BODY), ["HEAD", "GET"]),
        ([status(200, Content_Length=10**15 * 9 + 10**14), ok(BODY)], len(BODY), ["HEAD", "GET"]),
        ([status(503), status(503), spans(BODY)], len(BODY), ["HEAD", "GET", "GET"]),
        ([status(405), chunked(BODY)], None, ["HEAD", "GET"]),
        ([raw(b"HTTP/1.1 200 OK\r\n\r\n")], None, ["HEAD", "GET"]),
    ],
)
def test_size_of(server, transport, answers, size, asked):
    assert transport.size_of(Request(url=server.on("/a", *answers))) == size
    assert [seen.method for seen in server.seen] == asked
    assert transport.received < len(BODY)


def test_sizes_beyond_what_every_reader_of_json_knows(server, transport):
    for size in (2**53, 9_999_999_999_999_999):
        answer = status(200, Content_Length=size)
        with pytest.raises(TooLarge):
            transport.size_of(Request(url=server.on("/a", answer)))
    assert transport.size_of(Request(url=server.on("/a", status(200, Content_Length=2**53 - 1)))) == 2**53 - 1


def test_the_size_of_what_is_not_there(server, transport):
    with pytest.raises(NotFound):
        transport.size_of(Request(url=server.url + "/none"))
    loop = server.on("/loop", redirect("/loop"))
    with pytest.raises(UnsafeRedirect):
        transport.size_of(Request(url=loop))
