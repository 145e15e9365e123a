"""A registry that stalls, resets, lies and redirects: bounded, and the right bytes or the right error."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from bundler.archive.reader import BundleFile
from bundler.errors import AuthenticationFailed, BundleError, DamagedContent, HttpFailure, UnsafeRedirect, WrongBytes
from bundler.model.digest import Digest
from bundler.push.look import Blobs, Need
from bundler.push.payload import Payload
from bundler.push.plan import Item
from bundler.push.push import Push
from bundler.push.registry import Registry
from bundler.push.target import Target
from bundler.push.upload import Upload
from bundler.support.progress import Silent
from bundler.transport import Transport
from bundler.transport.registry_credentials import Credentials
from tests.bundles import FILES, TinyBundle, tiny_bundle
from tests.hostile_server import Answer, HostileServer, Seen, ok, raw, redirect, status

NAME = "model.bin"
DATA = FILES[NAME]
DIGEST = Digest.of(DATA)
START = "/v2/x/blobs/uploads/"
ACCEPTED = status(202, Location="/up?state=1")
CREATED = status(201)
HEAD = f"/v2/x/blobs/{DIGEST}"


@pytest.fixture
def made(tmp_path: Path) -> TinyBundle:
    return tiny_bundle(tmp_path)


@pytest.fixture
def client(server: HostileServer, transport: Transport) -> Registry:
    return Registry(Target.parse(server.url), transport=transport, credentials=Credentials())


Send = Callable[..., int]


@pytest.fixture
def send(made: TinyBundle, client: Registry) -> Iterator[Send]:
    """Upload the file; gives the bytes that the progress was told."""
    with BundleFile(made.path) as file:
        blobs = Blobs(file, {place.member.name: place for place in made.layout.places})

        def upload(chunk: int = 1 << 20) -> int:
            told: list[int] = []
            Upload(client, "x", Payload(file, blobs.place(DIGEST), DIGEST, told.append), chunk=chunk).run()
            return sum(told)

        yield upload


def bodies(server: HostileServer, *methods: str) -> list[bytes]:
    return [seen.body for seen in server.seen if seen.method in methods]


def test_a_small_blob_is_one_put(server: HostileServer, send: Send) -> None:
    server.on(START, ACCEPTED)
    server.on("/up", CREATED)
    assert send() == len(DATA)
    put = server.seen[-1]
    assert (put.method, put.body, put.headers["content-length"]) == ("PUT", DATA, str(len(DATA)))
    assert parse_qs(put.query) == {"state": ["1"], "digest": [str(DIGEST)]}
    assert "transfer-encoding" not in put.headers


@pytest.mark.parametrize(
    "fault",
    [status(503), status(429, Retry_After="7"), raw(reset=True), raw(b"HTTP/1."), status(500)],
    ids=["503", "429", "reset", "half an answer", "500"],
)
def test_a_failed_put_is_begun_anew(server: HostileServer, send: Send, pauses: list[float], fault: Answer) -> None:
    server.on(START, ACCEPTED)
    server.on("/up", fault, CREATED)
    assert send() == len(DATA)
    assert bodies(server, "PUT") == [DATA, DATA]
    assert [seen.method for seen in server.seen] == ["POST", "PUT", "HEAD", "POST", "PUT"]
    assert len(pauses) == 1


def test_what_the_server_asks_for_is_waited(server: HostileServer, send: Send, pauses: list[float]) -> None:
    server.on(START, status(429, Retry_After="7"), ACCEPTED)
    server.on("/up", CREATED)
    send()
    assert pauses[0] >= 7


def test_a_reset_in_the_middle_of_a_body(server: HostileServer, send: Send) -> None:
    """The connection is lost before the body is read: nothing is counted twice."""
    server.on(START, ACCEPTED, status(202, Location="/again"))
    server.on("/up", raw(reset=True))
    server.on("/again", CREATED)
    assert send() == len(DATA)
    assert server.seen[-1].body == DATA


def test_a_lost_answer_is_not_sent_again(server: HostileServer, send: Send) -> None:
    server.on(START, ACCEPTED)
    server.on("/up", raw(reset=True))
    server.on(HEAD, status(200, Content_Length=len(DATA)))
    send()
    assert bodies(server, "PUT") == [DATA]


def test_attempts_end(server: HostileServer, send: Send, pauses: list[float]) -> None:
    server.on(START, ACCEPTED)
    server.on("/up", status(503))
    with pytest.raises(HttpFailure) as caught:
        send()
    assert (caught.value.status, len(pauses), len(bodies(server, "PUT"))) == (503, 5, 6)


# --- chunks ----------------------------------------------------------------------------------------------------------


class Chunks:
    """An upload session that keeps what it gets, and fails as told."""

    def __init__(self, *faults: Answer | None) -> None:
        self.data, self.faults = b"", list(faults)

    def __call__(self, seen: Seen, client: socket.socket) -> bool:
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            return fault(seen, client)
        if seen.method == "PUT":
            self.data += seen.body
            return CREATED(seen, client)
        if seen.method == "PATCH":
            first, last = seen.headers["content-range"].split("-")
            if int(first) != len(self.data) or int(last) - int(first) + 1 != len(seen.body):
                return status(416)(seen, client)
            self.data += seen.body
        code = 202 if seen.method == "PATCH" else 204
        return status(code, Location="/up", Range=f"0-{max(len(self.data) - 1, 0)}")(seen, client)


@pytest.mark.parametrize("fault", [raw(reset=True), status(502), status(429)], ids=["reset", "502", "429"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_chunks_go_on_where_they_stopped(server: HostileServer, send: Send, fault: Answer, at: int) -> None:
    session = Chunks(*[None] * at, fault)
    server.on(START, ACCEPTED)
    server.on("/up", session)
    assert send(30_000) == len(DATA)
    assert session.data == DATA
    assert len(bodies(server, "POST")) == 1
    assert len(bodies(server, "GET")) == 1
    assert len(bodies(server, "PATCH")) == 4


def test_a_lost_session_is_begun_anew(server: HostileServer, send: Send) -> None:
    session = Chunks()
    server.on(START, ACCEPTED, status(202, Location="/second"))
    server.on("/up", Chunks(None, status(502), status(404)))
    server.on("/second", session)
    assert send(30_000) == len(DATA)
    assert len(bodies(server, "POST")) == 2


def test_a_registry_without_chunks_gets_all_at_once(server: HostileServer, send: Send, client: Registry) -> None:
    server.on(START, ACCEPTED, status(202, Location="/whole"))
    server.on("/up", status(416))
    server.on("/whole", CREATED)
    assert send(30_000) == len(DATA)
    assert (client.whole, bodies(server, "PUT")) == (True, [DATA])


def test_a_least_size_of_chunks(server: HostileServer, send: Send) -> None:
    server.on(START, status(202, Location="/up", OCI_Chunk_Min_Length="50000"))
    server.on("/up", Chunks())
    send(10_000)
    assert [len(body) for body in bodies(server, "PATCH")] == [50_000, len(DATA) - 50_000]


# --- lies and leaks --------------------------------------------------------------------------------------------------


def test_another_digest_is_refused(server: HostileServer, send: Send, client: Registry) -> None:
    other = f"sha256:{'0' * 64}"
    server.on(START, ACCEPTED)
    server.on("/up", status(201, Docker_Content_Digest=other))
    with pytest.raises(WrongBytes):
        send()
    server.on(HEAD, status(200, Docker_Content_Digest=other, Content_Length=len(DATA)))
    with pytest.raises(WrongBytes):
        client.holds_blob("x", DIGEST, len(DATA))
    server.on(HEAD, status(200, Content_Length=1))
    with pytest.raises(WrongBytes):
        client.holds_blob("x", DIGEST, len(DATA))
    server.on("/v2/x/manifests/1", status(201, Docker_Content_Digest=other))
    with pytest.raises(WrongBytes):
        client.put_manifest("x", "1", b"{}")


def logged_in(folder: Path, server: HostileServer, transport: Transport) -> Registry:
    entry = {"auth": base64.b64encode(b"me:hunter2").decode()}
    (folder / "config.json").write_text(json.dumps({"auths": {server.address: entry}}))
    credentials = Credentials(files=(folder / "config.json",))
    return Registry(Target.parse(server.url), transport=transport, credentials=credentials)


def test_credentials_stay_with_the_registry(
    server: HostileServer, other: HostileServer, transport: Transport, made: TinyBundle, tmp_path: Path
) -> None:
    client = logged_in(tmp_path, server, transport)
    challenge = status(401, WWW_Authenticate='Basic realm="r"')
    server.on(START, challenge, status(202, Location=other.on("/up", CREATED)))
    with BundleFile(made.path) as file:
        place = made.layout.place(f"blobs/sha256/{DIGEST.hex}")
        Upload(client, "x", Payload(file, place, DIGEST, lambda count: None)).run()
    assert "authorization" in server.seen[-1].headers
    assert [(seen.method, "authorization" in seen.headers) for seen in other.seen] == [("PUT", False)]


def test_a_push_is_not_redirected(server: HostileServer, other: HostileServer, send: Send) -> None:
    server.on(START, redirect(other.on("/x", ACCEPTED)))
    with pytest.raises(UnsafeRedirect):
        send()
    assert other.seen == []


def test_refused_credentials_are_shown_once(server: HostileServer, transport: Transport, tmp_path: Path) -> None:
    client = logged_in(tmp_path, server, transport)
    server.on(HEAD, status(401, WWW_Authenticate='Basic realm="r"'))
    with pytest.raises(AuthenticationFailed):
        client.holds_blob("x", DIGEST, 1)
    assert len([seen for seen in server.seen if "authorization" in seen.headers]) == 1


def test_the_scope_of_tokens(server: HostileServer, transport: Transport, tmp_path: Path) -> None:
    client = logged_in(tmp_path, server, transport)
    server.on("/token", ok(b'{"token":"t"}'))
    challenge = f'Bearer realm="{server.url}/token",service="s",scope="repository:x:pull"'
    server.on(START, status(401, WWW_Authenticate=challenge), CREATED)
    assert client.mount("x", DIGEST, "y") == (True, None)
    asked = parse_qs(server.seen_at("/token")[0].query)
    assert (asked["scope"], asked["account"]) == (["repository:x:pull,push", "repository:y:pull"], ["me"])
    assert parse_qs(server.seen[-1].query) == {"mount": [str(DIGEST)], "from": ["y"]}


@pytest.mark.parametrize("answer", [status(404), status(405), status(403), status(401)])
def test_a_mount_that_is_not_allowed_is_no_failure(server: HostileServer, client: Registry, answer: Answer) -> None:
    server.on(START, answer)
    assert client.mount("x", DIGEST, "y") == (False, None)


def test_damage_never_arrives_whole(server: HostileServer, made: TinyBundle, send: Send) -> None:
    place = made.layout.place(f"blobs/sha256/{DIGEST.hex}")
    with made.path.open("r+b") as file:
        file.seek(place.body + 10)
        file.write(b"X")
    server.on(START, ACCEPTED)
    server.on("/up", CREATED)
    with pytest.raises(DamagedContent) as caught:
        send()
    assert caught.value.damaged[0][0] == f"blobs/sha256/{DIGEST.hex}"
    assert all(len(body) < len(DATA) for body in bodies(server, "PUT"))


def test_no_registry(server: HostileServer, client: Registry) -> None:
    with pytest.raises(BundleError, match="the registry API is not at"):
        client.ping()


# --- what refers to what ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stated", [True, False], ids=["OCI-Subject", "the API"])
def test_a_registry_with_the_api_gets_no_tag(
    server: HostileServer, client: Registry, made: TinyBundle, stated: bool
) -> None:
    """It says so when it takes the manifest, or it lists it when it is asked."""
    image = made.statement.images[0]
    about, subject = sorted(image.manifests)
    item = Item(
        name="x",
        repository="x",
        tag="",
        root=subject,
        manifests=(about,),
        sparse=frozenset(),
        blobs=(),
        refers=((subject, about),),
        unresolved=None,
    )
    server.on(f"/v2/x/manifests/{about}", status(201, OCI_Subject=subject) if stated else status(201))
    index = json.dumps({"schemaVersion": 2, "manifests": [{"digest": str(about)}]}).encode()
    server.on(f"/v2/x/referrers/{subject}", ok(index))
    need = Need(manifests={("x", str(about))})
    with BundleFile(made.path) as file:
        blobs = Blobs(file, {place.member.name: place for place in made.layout.places})
        done = Push(client, [item], blobs, need, jobs=1, progress=Silent()).run()
    assert (done.manifests, done.tags, done.failed) == (1, 0, {})
    assert [seen.method for seen in server.seen] == (["PUT"] if stated else ["PUT", "GET"])
