"""A peer that cuts, stalls, lies and redirects: bounded in time, and the right bytes or the right error."""

import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from bundler.errors import (
    AuthenticationFailed,
    BundleError,
    HttpFailure,
    NotFound,
    Stalled,
    TooLarge,
    Unreachable,
    UnsafeRedirect,
    WrongBytes,
)
from bundler.transport import Request, Transport, TransportConfig
from tests.hostile_server import (
    Answer,
    Bytes,
    HostileServer,
    chunked,
    endless,
    head,
    held,
    needs,
    ok,
    ranged,
    raw,
    redirect,
    status,
)

BODY = random.Random(1).randbytes(5_000_000)
SMALL = BODY[:1000]
SIGNED = "X-Signature=c2VjcmV0"


@pytest.fixture(autouse=True)
def bounded():
    """No case here takes longer than its timeouts allow, and none waits for the test's patience."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < 5


# --- small bodies ---------------------------------------------------------------------------------------------------


def test_get_gives_status_headers_and_body(server, transport):
    url = server.on("/a", ok(b"hello", Docker_Content_Digest="x"))
    answer = transport.get(Request(url=url), limit=5)
    assert (answer.status, answer.body, answer.headers["docker-content-digest"]) == (200, b"hello", "x")
    assert transport.received == 5


def test_head_has_headers_and_no_body(server, transport):
    url = server.on("/a", ok(SMALL))
    for _ in range(2):
        answer = transport.get(Request(url=url, method="HEAD"), limit=0)
        assert (answer.headers["content-length"], answer.body) == ("1000", b"")


def test_connections_are_used_again(server, transport):
    url = server.on("/a", ok(SMALL), chunked(SMALL), ok(b""), status(404, b"no"), redirect("/a", body=b"x"), ok(SMALL))
    for _ in range(3):
        transport.get(Request(url=url), limit=1000)
    with pytest.raises(NotFound):
        transport.get(Request(url=url), limit=1000)
    transport.get(Request(url=url), limit=1000)
    assert server.connections == 1


def test_what_the_transport_asks_for(server, transport):
    url = server.on("/a", ok(b""))
    transport.get(Request(url=url, headers={"Accept": "text/x"}), limit=0)
    seen = server.seen[0].headers
    assert (seen["accept"], seen["accept-encoding"]) == ("text/x", "identity")
    assert seen["user-agent"].startswith("bundler/")
    assert "authorization" not in seen


def test_post_sends_its_body(server, transport):
    url = server.on("/a", ok(b"t"))
    assert transport.get(Request(url=url, method="POST", body=b"a=b"), limit=9).body == b"t"
    assert (server.seen[0].method, server.seen[0].body) == ("POST", b"a=b")


def test_a_body_beyond_its_bound_is_refused_at_once(server, transport):
    url = server.on("/a", raw(head(200, {"Content-Length": 10 << 30})))
    with pytest.raises(TooLarge):
        transport.get(Request(url=url), limit=4 << 20)
    assert len(server.seen) == 1


@pytest.mark.parametrize("start", [head(200, {}), head(200, {"Transfer-Encoding": "chunked"})])
def test_an_endless_manifest_is_read_up_to_its_bound(server, transport, start):
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    url = server.on("/a", endless(start, piece))
    with pytest.raises(TooLarge):
        transport.get(Request(url=url), limit=4 << 20)
    assert transport.received < 6 << 20


@pytest.mark.parametrize(
    ("code", "error"), [(404, NotFound), (410, NotFound), (401, AuthenticationFailed), (403, AuthenticationFailed)]
)
def test_statuses_with_an_error_of_their_own(server, transport, code, error):
    url = server.on("/a", status(code))
    with pytest.raises(error):
        transport.get(Request(url=url), limit=1)
    assert len(server.seen) == 1


def test_a_status_can_be_an_answer(server, transport):
    url = server.on("/a", status(404, b"no"))
    assert transport.get(Request(url=url), limit=9, accept=(200, 404)).status == 404


def test_a_failure_carries_the_servers_words(server, transport):
    url = server.on("/a", status(400, b'{"errors":[{"code":"NAME_INVALID"}]}\x1b[2J\n'))
    with pytest.raises(HttpFailure) as caught:
        transport.get(Request(url=url), limit=1)
    assert caught.value.body == '{"errors":[{"code":"NAME_INVALID"}]} [2J'


# --- trying again ---------------------------------------------------------------------------------------------------


def test_a_burst_of_503_is_waited_out(server, transport, pauses):
    url = server.on("/a", *[status(503)] * 4, ok(SMALL))
    assert transport.get(Request(url=url), limit=1000).body == SMALL
    assert pauses == [0.5, 1, 2, 4]


def test_it_ends_after_so_many_attempts(server, transport, pauses):
    url = server.on("/a", status(503, b"busy"))
    with pytest.raises(HttpFailure) as caught:
        transport.get(Request(url=url), limit=1000)
    assert (caught.value.status, caught.value.body, len(server.seen), len(pauses)) == (503, "busy", 6, 5)


@pytest.mark.parametrize("code", [400, 409, 501, 505])
def test_what_will_not_change_is_not_tried_again(server, transport, code):
    url = server.on("/a", status(code))
    with pytest.raises(HttpFailure):
        transport.get(Request(url=url), limit=1000)
    assert len(server.seen) == 1


NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7),
        ("0", 0),
        ("100000", 300),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=9), usegmt=True), 300),
    ],
)
def test_retry_after_is_respected(server, value, pause):
    pauses: list[float] = []
    config = TransportConfig(sleep=pauses.append, now=lambda: NOW, jitter=lambda low, high: 0.0)
    transport = Transport(config)
    url = server.on("/a", status(429, Retry_After=value), ok(SMALL))
    assert transport.get(Request(url=url), limit=1000).body == SMALL
    assert pauses == [pause]
    transport.close()


@pytest.mark.parametrize("value", ["soon", "-5", "١٢", "", "Mon, 99 Foo"])
def test_a_retry_after_that_makes_no_sense_is_no_retry_after(server, transport, pauses, value):
    url = server.on("/a", status(429, Retry_After=value.encode().decode("latin-1")), ok(SMALL))
    transport.get(Request(url=url), limit=1000)
    assert pauses == [0.5]


def test_a_pause_beyond_the_deadline_is_not_begun(server, transport, pauses):
    url = server.on("/a", status(429, Retry_After="60"))
    with pytest.raises(HttpFailure) as caught:
        transport.get(Request(url=url), limit=1000)
    assert (caught.value.retry_after, pauses) == (60, [])


def test_silence_near_the_deadline_is_not_given_the_idle_time(server):
    transport = Transport(TransportConfig(idle_timeout=60, total_timeout=0.3, lowest_speed=10**9))
    with pytest.raises(Stalled) as caught:
        transport.get(Request(url=server.on("/a", held(server))), limit=1)
    assert caught.value.seconds == pytest.approx(0.3)
    transport.close()


def test_nothing_is_read_after_the_deadline(server):
    class Slow(Bytes):
        def write(self, data: memoryview) -> None:
            super().write(data)
            time.sleep(0.3)

    transport = Transport(TransportConfig(total_timeout=0.25, lowest_speed=10**9))
    with pytest.raises(Stalled):
        transport.receive(Request(url=server.on("/a", ok(BODY))), size=len(BODY), sink=Slow())
    transport.close()


# --- large bodies ---------------------------------------------------------------------------------------------------


def received(transport: Transport, url: str, sink: Bytes, size: int = len(BODY)) -> None:
    transport.receive(Request(url=url, what="the blob"), size=size, sink=sink)


@pytest.mark.parametrize("answer", [ok(BODY), ranged(BODY), chunked(BODY, step=70_001), raw(head(200, {}), BODY)])
def test_receive_whole(server, transport, sink, answer):
    received(transport, server.on("/a", answer), sink)
    assert sink.data == BODY
    assert transport.received == len(BODY)


@pytest.mark.parametrize("size", [0, 1, 256 << 10, (256 << 10) + 1])
def test_receive_sizes(server, transport, sink, size):
    received(transport, server.on("/a", ok(BODY[:size])), sink, size)
    assert sink.data == BODY[:size]


def test_what_is_there_already_is_not_asked_for(server, transport, sink):
    sink.data += BODY
    received(transport, server.on("/a", status(500)), sink)
    assert server.seen == []


def test_it_goes_on_from_where_the_sink_stands(server, transport, sink):
    sink.data += BODY[:1_234_567]
    received(transport, server.on("/a", ranged(BODY)), sink)
    assert sink.data == BODY
    assert server.seen[0].headers["range"] == "bytes=1234567-"
    assert transport.received == len(BODY) - 1_234_567


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_cut_mid_body_is_resumed(server, transport, sink, reset):
    start = head(200, {"Content-Length": len(BODY)})
    url = server.on("/a", raw(start, BODY[:2_000_000], reset=reset), raw(reset=reset), status(502), ranged(BODY))
    received(transport, url, sink)
    assert sink.data == BODY
    assert transport.received == len(BODY)


def test_progress_earns_new_attempts(server, transport, sink, pauses):
    size = 5_000_000
    url = server.on("/a", *[ranged(BODY, cut=400_000)] * 5, *[ranged(BODY, cut=1 << 20)], ranged(BODY, cut=400_000))
    received(transport, url, sink, size)
    assert sink.data == BODY
    assert pauses[:5] == [0.5, 1, 2, 4, 8]
    assert pauses[5] == 0.5


def test_no_progress_ends(server, transport, sink):
    url = server.on("/a", ranged(BODY, cut=10))
    with pytest.raises(Unreachable, match="6 attempts"):
        received(transport, url, sink)
    assert sink.data == BODY[:60]


def test_progress_does_not_earn_attempts_for_ever(server, sink):
    config = TransportConfig(attempts_in_all=3, progress=1, sleep=lambda _: None)
    transport = Transport(config)
    with pytest.raises(Unreachable):
        received(transport, server.on("/a", ranged(BODY, cut=10)), sink)
    assert len(sink.data) == 30
    transport.close()


def test_a_stalled_body_is_left_and_resumed(server, transport, sink):
    start = head(200, {"Content-Length": len(BODY)}) + BODY[:300_000]
    received(transport, server.on("/a", held(server, start), ranged(BODY)), sink)
    assert sink.data == BODY
    assert server.seen[1].headers["range"] == "bytes=300000-"


def test_a_peer_that_stays_silent_is_a_stall(server, sink):
    transport = Transport(TransportConfig(idle_timeout=0.05, sleep=lambda _: None))
    with pytest.raises(Stalled) as caught:
        received(transport, server.on("/a", held(server)), sink)
    assert (caught.value.seconds, len(server.seen)) == (0.05, 6)
    transport.close()


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX: ",
        head(200, {"Transfer-Encoding": "chunked"}) + b"00000",
        head(200, {"Content-Length": 5_000_000}),
    ],
)
def test_a_peer_that_drips_meets_the_total_bound(server, sink, start):
    """Every read gets a byte within the idle timeout; only the total time ends it."""
    transport = Transport(TransportConfig(idle_timeout=0.5, total_timeout=0.6, lowest_speed=10**9))
    url = server.on("/a", held(server, start, *[b"0"] * 200, pause=0.02))
    with pytest.raises(Stalled) as caught:
        received(transport, url, sink)
    assert caught.value.seconds == pytest.approx(0.6, abs=0.1)
    transport.close()


@pytest.mark.parametrize("length", [0, 10, len(BODY) - 1, len(BODY) + 1, 10 << 30])
def test_another_length_is_wrong_at_once(server, transport, sink, length):
    url = server.on("/a", raw(head(200, {"Content-Length": length}), BODY[:100]))
    with pytest.raises(WrongBytes) as caught:
        received(transport, url, sink)
    assert (caught.value.what, caught.value.found) == ("the blob", f"{length} bytes")
    assert (len(server.seen), sink.data) == (1, b"")


@pytest.mark.parametrize("length", ["-1", "five", "5 5", "1e9", "٥"])
def test_a_length_that_is_none(server, transport, sink, length):
    url = server.on("/a", raw(head(200, {"Content-Length": length.encode().decode("latin-1")}), SMALL))
    with pytest.raises(BundleError):
        received(transport, url, sink)
    assert sink.data == b""


def test_two_lengths_are_refused(server, transport, sink):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Length: 999\r\n\r\n" + SMALL
    with pytest.raises(BundleError):
        received(transport, server.on("/a", raw(answer)), sink, 1000)
    assert sink.data == b""


def test_more_than_the_size_is_wrong_and_not_written(server, transport, sink):
    with pytest.raises(WrongBytes):
        received(transport, server.on("/a", chunked(BODY)), sink, 1_000_000)
    assert sink.data == BODY[:1_000_000]


def test_less_than_the_size_is_a_broken_connection(server, transport, sink):
    url = server.on("/a", chunked(BODY[:2_000_000]), ranged(BODY))
    received(transport, url, sink)
    assert sink.data == BODY


def test_the_last_chunk_may_be_missing_when_all_bytes_are_there(server, transport, sink):
    received(transport, server.on("/a", chunked(SMALL, end=False)), sink, 1000)
    assert sink.data == SMALL


@pytest.mark.parametrize("answer", [ok(BODY), chunked(BODY, step=100_000)])
def test_a_server_that_ignores_range(server, transport, sink, answer):
    sink.data += BODY[:3_000_000]
    received(transport, server.on("/a", answer), sink)
    assert sink.data == BODY
    assert transport.received == len(BODY)


@pytest.mark.parametrize(
    "content_range",
    [
        "bytes 0-999/1000",
        "bytes 501-999/1000",
        "bytes 500-999/2000",
        "bytes 500-1999/*",
        "bytes 500-400/1000",
        "500-999",
        "",
        "bytes */1000",
    ],
)
def test_a_wrong_range_is_refused(server, transport, sink, content_range):
    sink.data += SMALL[:500]
    url = server.on("/a", raw(head(206, {"Content-Range": content_range, "Content-Length": 500}), SMALL[500:]))
    with pytest.raises(WrongBytes):
        received(transport, url, sink, 1000)
    assert sink.data == SMALL[:500]


def test_a_range_whose_length_lies(server, transport, sink):
    sink.data += SMALL[:500]
    url = server.on("/a", raw(head(206, {"Content-Range": "bytes 500-999/1000", "Content-Length": 400}), SMALL))
    with pytest.raises(WrongBytes):
        received(transport, url, sink, 1000)


def test_a_shorter_range_is_gone_on_from(server, transport, sink):
    sink.data += SMALL[:500]
    part = raw(head(206, {"Content-Range": "bytes 500-699/*", "Content-Length": 200}), SMALL[500:700])
    received(transport, server.on("/a", part, ranged(SMALL)), sink, 1000)
    assert sink.data == SMALL


def test_nothing_after_our_position_means_another_file(server, transport, sink):
    sink.data += BODY[:900]
    with pytest.raises(WrongBytes) as caught:
        received(transport, server.on("/a", ranged(BODY[:600])), sink, 1000)
    assert caught.value.found == "600 bytes"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "br", "identity, gzip"])
def test_an_encoded_body_is_refused_by_name(server, transport, sink, encoding):
    url = server.on("/a", ok(SMALL, Content_Encoding=encoding))
    for ask in (
        lambda: received(transport, url, sink, 1000),
        lambda: transport.get(Request(url=url), limit=1000),
    ):
        with pytest.raises(WrongBytes) as caught:
            ask()
        assert encoding in caught.value.found
    assert sink.data == b""


def test_a_size_that_is_not_known_before(server, transport):
    for answer in (ok(BODY), chunked(BODY, step=99_999), raw(head(200, {}), BODY)):
        sink = Bytes()
        assert transport.receive_all(Request(url=server.on("/a", answer)), limit=1 << 30, sink=sink) == len(BODY)
        assert sink.data == BODY


def test_a_size_that_is_not_known_before_is_resumed(server, transport, sink):
    broken = chunked(BODY[:2_000_000], end=False)
    request = Request(url=server.on("/a", broken, ranged(BODY)))
    assert transport.receive_all(request, limit=1 << 30, sink=sink) == len(BODY)
    assert sink.data == BODY


@pytest.mark.parametrize("answer", [ok(BODY), chunked(BODY)])
def test_a_size_that_is_not_known_before_is_bounded(server, transport, sink, answer):
    with pytest.raises(TooLarge):
        transport.receive_all(Request(url=server.on("/a", answer)), limit=1_000_000, sink=sink)
    assert len(sink.data) <= 1_000_000


def test_an_error_of_the_sink_is_not_the_networks(server, transport):
    class Full(Bytes):
        def write(self, data: memoryview) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        received(transport, server.on("/a", ok(BODY)), Full())
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"\0" * 100_000, b"HTTP/1.1 999999\r\n\r\n"]
)
def test_no_http(server, transport, answer):
    with pytest.raises(Unreachable):
        transport.get(Request(url=server.on("/a", raw(answer))), limit=1)


def test_a_chunk_size_that_is_none(server, transport, sink):
    url = server.on("/a", raw(head(200, {"Transfer-Encoding": "chunked"}), b"zz\r\nabc"))
    with pytest.raises(Unreachable):
        received(transport, url, sink, 10)


# --- redirects ------------------------------------------------------------------------------------------------------


def test_redirects_are_followed_with_range_and_accept(server, other, transport, sink):
    sink.data += SMALL[:10]
    target = other.on("/b", ranged(SMALL))
    url = server.on("/a", redirect(f"{target}?{SIGNED}", 302))
    transport.receive(Request(url=url, headers={"Accept": "a/b"}), size=1000, sink=sink)
    assert sink.data == SMALL
    assert (other.seen[0].query, other.seen[0].headers["range"]) == (SIGNED, "bytes=10-")
    assert other.seen[0].headers["accept"] == "a/b"


@pytest.mark.parametrize("location", ["/b", "b", "?x=1#y"])
def test_relative_redirects(server, transport, location):
    server.on("/b", ok(b"b"))
    url = server.on("/a", redirect(location), ok(b"b"))
    assert transport.get(Request(url=url), limit=9).body == b"b"


def test_credentials_stay_with_their_origin(server, other, transport):
    """They are dropped at the first step to another origin, and not sent again on the way back."""
    back = server.on("/back", ok(b"done"))
    away = other.on("/away", redirect(back))
    url = server.on("/a", redirect("/same")).replace("http://", "http://user:pass%40@")
    server.on("/same", redirect(away))
    assert transport.get(Request(url=url), limit=9).body == b"done"
    assert [each.headers.get("authorization") for each in server.seen] == ["Basic dXNlcjpwYXNzQA=="] * 2 + [None]
    assert "authorization" not in other.seen[0].headers


def test_another_port_is_another_origin(server, transport):
    with HostileServer() as neighbour:
        url = server.on("/a", redirect(neighbour.on("/b", ok(b"")))).replace("http://", "http://u:p@")
        transport.get(Request(url=url), limit=9)
        assert "authorization" not in neighbour.seen[0].headers


def test_credentials_in_a_location_are_not_sent(server, other, transport):
    url = server.on("/a", redirect(other.on("/b", ok(b"")).replace("http://", "http://u:p@")))
    transport.get(Request(url=url), limit=9)
    assert "authorization" not in other.seen[0].headers


def test_a_redirect_loop_ends(server, transport):
    url = server.on("/a", redirect("/a"))
    with pytest.raises(UnsafeRedirect):
        transport.get(Request(url=url), limit=9)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://x/y", "gopher:1", "http://", "http://a:b:c/", "http://x\\@y/", "//[x/"]
)
def test_redirects_to_what_is_no_http(server, transport, location):
    with pytest.raises(UnsafeRedirect):
        transport.get(Request(url=server.on("/a", redirect(location))), limit=9)


def test_a_redirect_to_nowhere(server, transport):
    with pytest.raises(UnsafeRedirect):
        transport.get(Request(url=server.on("/a", status(302))), limit=9)


def test_a_post_is_not_redirected(server, transport):
    server.on("/b", ok(b""))
    with pytest.raises(UnsafeRedirect):
        transport.get(Request(url=server.on("/a", redirect("/b")), method="POST", body=b"secret"), limit=9)


def test_a_redirect_with_an_endless_body_is_followed(server, transport):
    server.on("/b", ok(b"b"))
    url = server.on("/a", endless(head(307, {"Location": "/b"}), bytes(65536)))
    assert transport.get(Request(url=url), limit=9).body == b"b"
    assert transport.received < 200_000


FAILURES: dict[str, Answer] = {
    "403": status(403, f"StringToSign {SIGNED}".encode()),
    "404": status(404),
    "400": status(400, f"SignatureDoesNotMatch {SIGNED}".encode()),
    "length": ok(b"x"),
    "gzip": ok(SMALL, Content_Encoding="gzip"),
    "cut": raw(head(200, {"Content-Length": 1000})),
    "nothing": raw(),
    "loop": redirect(f"/b?{SIGNED}"),
    "ftp": redirect(f"ftp://host/?{SIGNED}"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_signature_is_never_shown(server, other, transport, sink, kind, caplog, capfd):
    target = other.on("/b", FAILURES[kind])
    url = server.on("/a", redirect(f"{target}?{SIGNED}")).replace("http://", "http://me:hunter2@")
    with pytest.raises(BundleError) as caught:
        transport.receive(Request(url=f"{url}?{SIGNED}"), size=1000, sink=sink)
    texts = (str(caught.value), repr(caught.value), caught.value.hint, repr(vars(caught.value)), caplog.text)
    for text in (*texts, *capfd.readouterr()):
        assert SIGNED not in text
        assert "hunter2" not in text


def test_a_host_that_refuses_the_connection(transport):
    with HostileServer() as gone:
        url = f"{gone.url}/v2/?{SIGNED}"
    with pytest.raises(Unreachable) as caught:
        transport.get(Request(url=url), limit=1)
    assert caught.value.why == "Connection refused (6 attempts)"
    assert SIGNED not in str(caught.value)


# --- credentials ----------------------------------------------------------------------------------------------------


class Once:
    """An authorizer with one answer to a challenge."""

    def __init__(self, answer: str | None) -> None:
        self.answer = answer
        self.known: str | None = None
        self.challenges: list[tuple[str, str | None]] = []

    def header(self) -> str | None:
        return self.known

    def renew(self, challenge: str, *, refused: str | None) -> str | None:
        self.challenges.append((challenge, refused))
        self.known = self.answer
        return self.answer


def test_a_challenge_is_answered(server, transport, sink):
    url = server.on("/a", needs("Bearer good", ranged(SMALL), "Bearer realm=x"))
    authorizer = Once("Bearer good")
    for _ in range(2):
        transport.receive(Request(url=url, authorizer=authorizer), size=1000, sink=sink)
        sink.data.clear()
    assert authorizer.challenges == [("Bearer realm=x", None)]


@pytest.mark.parametrize("answer", ["Bearer bad", None])
def test_a_401_loop_ends(server, transport, answer):
    url = server.on("/a", needs("Bearer good", ok(b""), "Bearer realm=x"))
    with pytest.raises(AuthenticationFailed):
        transport.get(Request(url=url, authorizer=Once(answer)), limit=1)
    assert len(server.seen) == (2 if answer else 1)


def test_a_challenge_of_another_origin_is_not_answered(server, other, transport):
    authorizer = Once("Bearer good")
    target = other.on("/b", needs("Bearer good", ok(b""), "Bearer realm=x"))
    with pytest.raises(AuthenticationFailed):
        transport.get(Request(url=server.on("/a", redirect(target)), authorizer=authorizer), limit=1)
    assert authorizer.challenges == []


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "x", "http://", "http://x:99999/", "http://a b/", "http://x\\@y/", "http://[1/"]
)
def test_what_is_no_url(transport, url):
    with pytest.raises(BundleError):
        transport.get(Request(url=url), limit=1)
