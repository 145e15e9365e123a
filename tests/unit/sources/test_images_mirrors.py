"""Mirrors: who is asked, in which order, and what becomes of those that fail or lie."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.errors import AuthenticationFailed, HttpFailure, NotFound, Unreachable, WrongBytes
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.reference import Reference
from bundler.sources.images import Registry
from bundler.transport import Request, Transport, Upstreams
from bundler.transport.registry_credentials import Credentials
from tests.hostile_server import Bytes, HostileServer, needs, ok, raw, status
from tests.unit.sources.test_images import AMD64, APP, Repository, digest_of, plain
from tests.unit.transport.test_registry_auth import auths

HUB = Reference.parse("hub.example/team/other:1")


@pytest.fixture
def third() -> Iterator[HostileServer]:
    with HostileServer(host="127.0.0.3") as running:
        yield running


class Setting:
    """reg.example is `server`; its mirrors are `other`, then `third`; what is noted of them."""

    def __init__(self, transport: Transport, own: HostileServer, *mirrors: HostileServer) -> None:
        self.notes: list[str] = []
        upstreams = Upstreams.parse([f"reg.example={own.url}"], [f"reg.example={each.url}" for each in mirrors])
        self.registry = Registry(
            transport=transport, upstreams=upstreams, credentials=Credentials(), note=self.notes.append
        )
        self._transport = transport

    def receive(self, descriptor: Descriptor) -> bytes:
        """A blob, as create takes it: proved, and begun anew when it was wrong."""
        sink = Bytes()

        def take(request: Request) -> None:
            self._transport.receive(request, size=descriptor.size, sink=sink)
            if Digest.of(bytes(sink.data)) != descriptor.digest:
                sink.data.clear()
                raise WrongBytes(what="a blob", expected=str(descriptor.digest), found="another")

        self.registry.receive(APP, descriptor, take, manifest=False)
        return bytes(sink.data)


@pytest.fixture
def setting(transport, server, other, third):
    return Setting(transport, server, other, third)


def blob(data: bytes) -> tuple[Descriptor, str]:
    descriptor = Descriptor(media_type="a/b", digest=Digest.of(data), size=len(data))
    return descriptor, f"/v2/team/app/blobs/{descriptor.digest}"


def test_mirrors_are_asked_first_in_their_order(setting, server, other, third):
    first, path = blob(b"first")
    second, next_path = blob(b"second")
    other.on(path, ok(b"first"))
    third.on(next_path, ok(b"second"))
    assert (setting.receive(first), setting.receive(second)) == (b"first", b"second")
    assert [each.path for each in other.seen] == [path, next_path]  # a mirror that lacks one thing is asked for others
    assert [each.path for each in third.seen] == [next_path]
    assert (server.seen, setting.notes) == ([], [])


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ([status(503)], 2),  # one more attempt than one, not all of them
        ([status(500)], 2),
        ([raw(reset=True)], 2),
        ([status(400)], 1),
        ([ok(b"wrong")], 1),
        ([ok(b"data0 and more")], 1),
        ([status(302, Location="ftp://x/")], 1),
    ],
)
def test_a_mirror_that_fails_is_left_out(setting, server, other, third, answers, count):
    for at in range(5):
        data = b"data%d" % at
        descriptor, path = blob(data)
        other.on(path, *answers)
        (third if at % 2 else server).on(path, ok(data))
        assert setting.receive(descriptor) == data
    assert len(other.seen) == count
    assert len(setting.notes) == 1
    assert f"mirror {other.url} is left out" in setting.notes[0]


def test_a_mirror_that_is_not_there(transport, server, other):
    address = HostileServer(host="127.0.0.9")
    with address:
        gone = Setting(transport, server, address)
    descriptor, path = blob(b"data")
    server.on(path, ok(b"data"))
    assert gone.receive(descriptor) == b"data"
    assert gone.receive(descriptor) == b"data"
    assert len(gone.notes) == 1


def test_what_nobody_has_is_the_registrys_to_say(setting, server, other, third):
    descriptor, path = blob(b"data")
    with pytest.raises(NotFound) as caught:
        setting.receive(descriptor)
    assert caught.value.url == server.url + path
    server.on(path, status(503))
    with pytest.raises(HttpFailure):
        setting.receive(descriptor)
    assert setting.notes == []
    server.on(path, status(403))
    with pytest.raises(AuthenticationFailed):
        setting.receive(descriptor)
    assert not setting.registry.still_there(APP, Digest("0" * 64))


def test_a_mirror_knows_a_pin_that_the_registry_lost(setting, third):
    root = plain(Repository(third).manifest())
    assert setting.registry.still_there(APP, root.digest)


def test_tags_are_the_registrys_to_resolve(setting, server, other):
    """A mirror may be behind."""
    new = Repository(server).manifest(tag="1")
    Repository(other).manifest(platform="linux/arm64", tag="1")
    assert setting.registry.resolve(APP, [AMD64]).root == plain(new)
    assert setting.registry.current(APP) == plain(new).digest
    assert not any(each.path.endswith("/manifests/1") for each in other.seen)
    Repository(other).manifest(tag="2")
    with pytest.raises(NotFound):  # what it says is not there, is not: whatever a mirror has
        setting.registry.current(Reference.parse("reg.example/team/app:2"))


@pytest.mark.parametrize("answer", [status(503), raw(reset=True)])
def test_mirrors_resolve_tags_when_the_registry_does_not_answer(setting, server, other, answer):
    root = Repository(other).manifest(tag="1")
    server.on("/v2/team/app/manifests/1", answer)
    for _ in range(3):
        assert setting.registry.resolve(APP, [AMD64]).root == plain(root)
    assert len(server.seen) == 2
    assert len(setting.notes) == 1
    assert "reg.example does not answer" in setting.notes[0]


def test_when_nobody_answers_the_registrys_own_failure_counts(setting, server, other, third):
    for each in (server, other, third):
        each.on("/v2/team/app/manifests/1", status(503))
    with pytest.raises(HttpFailure) as caught:
        setting.registry.current(APP)
    assert caught.value.url.startswith(server.url)
    with pytest.raises(HttpFailure) as caught:
        setting.registry.current(APP)  # all are known to be down: the registry is asked again, as long as it takes
    assert caught.value.url.startswith(server.url)


def test_without_mirrors_nothing_is_noted(transport, server):
    alone = Setting(transport, server)
    server.on("/v2/team/app/manifests/1", raw(reset=True))
    with pytest.raises(Unreachable):
        alone.registry.current(APP)
    assert len(server.seen) == transport.config.attempts
    assert alone.notes == []


def test_a_mirrors_path_goes_before_the_repository(transport, server, other):
    descriptor, _ = blob(b"data")
    other.on(f"/v2/cache/hub/team/app/blobs/{descriptor.digest}", ok(b"data"))
    upstreams = Upstreams.parse([], [f"reg.example={other.url}/cache/hub/"])
    registry = Registry(transport=transport, upstreams=upstreams, credentials=Credentials())
    assert registry.small(APP, descriptor, manifest=False) == b"data"


def test_a_lying_mirror_of_manifests(setting, server, other, third):
    root = Repository(server).manifest(tag="1")
    path = f"/v2/team/app/manifests/{root['digest']}"
    other.on(path, ok(b'{"schemaVersion":2}'))
    pinned = Reference.parse(f"reg.example/team/app@{root['digest']}")
    assert setting.registry.resolve(pinned, [AMD64]).root == plain(root)
    assert "wrong bytes" in setting.notes[0]


# --- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
@pytest.mark.parametrize("kept", ["server", "other", "both", "names"])
def test_each_registry_gets_its_own_credentials(
    transport: Transport, server: HostileServer, other: HostileServer, tmp_path: Path, scheme: str, kept: str
) -> None:
    """Two registries and a mirror of each on the other: what is kept for one host is never shown to the other."""
    pairs = {"server": b"sam:one", "other": b"olga:two"}
    hosts = {"server": server, "other": other}
    found: dict[str, dict[str, str]] = {}
    for name, pair in pairs.items():
        if kept in (name, "both"):
            found |= auths(hosts[name].address, pair)
    if kept == "names":  # of what they stand for: nobody's
        found = auths("reg.example", b"sam:one") | auths("hub.example", b"olga:two")
    (tmp_path / "config.json").write_text(json.dumps({"auths": found}))
    upstreams = Upstreams.parse(
        [f"reg.example={server.url}", f"hub.example={other.url}"],
        [f"reg.example={other.url}", f"hub.example={server.url}"],
    )
    credentials = Credentials(files=(tmp_path / "config.json",))
    registry = Registry(transport=transport, upstreams=upstreams, credentials=credentials)
    basic = {name: auths("x", pair)["x"]["auth"] for name, pair in pairs.items()}
    for name, reference in (("server", APP), ("other", HUB)):
        host = hosts[name]
        data = f"of {name}".encode()
        path = f"/v2/{reference.repository}/blobs/{digest_of(data)}"
        challenge = f'Bearer realm="{host.url}/token",service="{name}"' if scheme == "Bearer" else "Basic"
        wanted = f"Bearer t-{name}" if scheme == "Bearer" else f"Basic {basic[name]}"
        token = ok(json.dumps({"token": f"t-{name}"}).encode())
        host.on("/token", needs(f"Basic {basic[name]}", token, "Basic"))
        host.on(path, needs(wanted, ok(data), challenge))
        mirror = hosts["other" if name == "server" else "server"]
        mirror.on(path, needs("nobody's", ok(data), "Basic"))
        descriptor = Descriptor(media_type="a/b", digest=Digest.of(data), size=len(data))
        if kept in (name, "both"):
            assert registry.small(reference, descriptor, manifest=False) == data
        else:
            with pytest.raises(AuthenticationFailed):
                registry.small(reference, descriptor, manifest=False)
    for name, host in hosts.items():
        shown = {each.headers["authorization"] for each in host.seen if "authorization" in each.headers}
        assert shown <= {f"Basic {basic[name]}", f"Bearer t-{name}"}
