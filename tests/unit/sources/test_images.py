"""Resolving images against a registry that may lie."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from bundler.errors import InvalidDocument, NotFound, ResolutionFailed, TooLarge, Unsupported, WrongBytes
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.sources.images import Registry
from bundler.transport import Upstreams
from bundler.transport.registry_credentials import Credentials
from tests.hostile_server import Bytes, HostileServer, endless, head, needs, ok, redirect, status

AMD64, ARM64, ARMV7 = (Platform.parse(f"linux/{name}") for name in ("amd64", "arm64", "arm/v7"))
OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
LAYER_TYPE = f"{OCI}.layer.v1.tar+gzip"
Described = dict[str, Any]  # a descriptor as JSON
APP = Reference.parse("reg.example/team/app:1")


def digest_of(data: bytes | bytearray) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    """team/app on a hostile server, put together piece by piece."""

    server: HostileServer
    path: str = "/v2/team/app"
    blobs: dict[str, bytes] = field(default_factory=dict)

    def blob(self, data: bytes, media_type: str) -> Described:
        self.server.on(f"{self.path}/blobs/{digest_of(data)}", ok(data))
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def document(self, document: object, tag: str = "", **headers: object) -> Described:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        media_type = document["mediaType"] if isinstance(document, dict) and "mediaType" in document else ""
        names = {"Docker_Content_Digest": digest_of(data), **({"Content_Type": media_type} if media_type else {})}
        for name in (digest_of(data), tag):
            if name:
                self.server.on(f"{self.path}/manifests/{name}", ok(data, **{**names, **headers}))
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def manifest(
        self, platform: str = "linux/amd64", layers: Sequence[object] = (), tag: str = "", docker: bool = False
    ) -> Described:
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        config_type = f"{DOCKER}.container.image.v1+json" if docker else f"{OCI}.config.v1+json"
        config = self.blob(json.dumps({**names, "rootfs": {}}).encode(), config_type)
        media_type = f"{DOCKER}.distribution.manifest.v2+json" if docker else f"{OCI}.manifest.v1+json"
        layers = layers or [self.blob(b"layer of " + platform.encode(), LAYER_TYPE)]
        document = {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers}
        return self.document(document, tag)

    def index(
        self, entries: Sequence[object], tag: str = "1", media_type: str = f"{OCI}.index.v1+json", **headers: object
    ) -> Described:
        return self.document({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}, tag, **headers)


def on(descriptor: Described, platform: str) -> Described:
    return {**descriptor, "platform": dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))}


def plain(descriptor: Described) -> Descriptor:
    return Descriptor(
        media_type=descriptor["mediaType"], digest=Digest.parse(descriptor["digest"]), size=descriptor["size"]
    )


@pytest.fixture
def app(server):
    return Repository(server)


@pytest.fixture
def registry(server, transport):
    upstreams = Upstreams.parse([f"reg.example={server.url}"])
    return Registry(transport=transport, upstreams=upstreams, credentials=Credentials())


# --- what is there --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True])
def test_a_manifest(app, registry, docker):
    layers = [app.blob(b"one", LAYER_TYPE), app.blob(b"two", f"{DOCKER}.image.rootfs.diff.tar.gzip")]
    root = app.manifest(layers=[*layers, layers[0]], tag="1", docker=docker)
    image = registry.resolve(APP, [AMD64])
    assert (image.reference, image.root, image.manifests) == (APP, plain(root), ())
    assert {plain(layer) for layer in layers} < set(image.blobs)
    assert len(image.blobs) == 3  # with the configuration; a layer that is there twice counts once


@pytest.mark.parametrize("media_type", [f"{OCI}.index.v1+json", f"{DOCKER}.distribution.manifest.list.v2+json"])
def test_an_index_keeps_its_bytes_and_carries_what_is_asked_for(app, registry, media_type):
    amd, arm, old = (app.manifest(each) for each in ("linux/amd64", "linux/arm64", "linux/arm/v7"))
    entries = [
        on(arm, "linux/arm64/v8"),
        on(amd, "linux/amd64"),
        on(old, "linux/arm/v7"),
        on({**amd, "digest": "sha256:" + "0" * 64}, "unknown/unknown"),
        on({**amd, "digest": "sha256:" + "1" * 64}, "linux/amd64"),
    ]
    root = app.index(entries, media_type=media_type)
    image = registry.resolve(APP, [AMD64, ARM64])
    assert image.root == plain(root)
    assert set(image.manifests) == {plain(amd), plain(arm)}
    assert len(image.blobs) == 4
    assert list(image.blobs) == sorted(image.blobs)
    assert registry.resolve(APP, [ARMV7]).manifests == (plain(old),)


def test_an_index_that_does_not_say_platforms(app, registry):
    amd, arm = app.manifest("linux/amd64"), app.manifest("linux/arm64")
    app.index([amd, arm])
    assert registry.resolve(APP, [ARM64]).manifests == (plain(arm),)


def test_by_digest(app, registry, server):
    root = app.manifest()
    reference = Reference.parse(f"reg.example/team/app:9@{root['digest']}")
    image = registry.resolve(reference, [AMD64])
    assert (image.name, image.root) == (str(reference), plain(root))
    assert not server.seen_at("/v2/team/app/manifests/9")


def test_the_requests(app, registry, transport, server):
    root = app.manifest(tag="1")
    image = registry.resolve(APP, [AMD64])
    accept = server.seen[0].headers["accept"]
    assert all(
        kind in accept for kind in ("image.index.v1", "image.manifest.v1", "manifest.list.v2", "manifest.v2+json")
    )
    for request, descriptor in (
        (registry.manifest_request(APP, image.root), image.root),
        *((registry.blob_request(APP, blob), blob) for blob in image.blobs),
    ):
        sink = Bytes()
        transport.receive(request, size=descriptor.size, sink=sink)
        assert digest_of(sink.data) == str(descriptor.digest)
    assert plain(root) == image.root


@pytest.mark.parametrize(
    ("upstream", "reference", "url"),
    [
        ("", "debian", "https://registry-1.docker.io/v2/library/debian/manifests/sha256:"),
        ("", "quay.io/a/b:1", "https://quay.io/v2/a/b/manifests/sha256:"),
        ("", "localhost:5000/a:1", "https://localhost:5000/v2/a/manifests/sha256:"),
        ("docker.io=http://127.0.0.1:5055", "debian", "http://127.0.0.1:5055/v2/library/debian/manifests/sha256:"),
        ("docker.io=https://h/hub/", "debian", "https://h/v2/hub/library/debian/manifests/sha256:"),
        ("quay.io=http://h", "Quay.io/a", "http://h/v2/a/manifests/sha256:"),
    ],
)
def test_where_a_registry_is(transport, upstream, reference, url):
    registry = Registry(
        transport=transport, upstreams=Upstreams.parse(filter(None, [upstream])), credentials=Credentials()
    )
    descriptor = Descriptor(media_type="a/b", digest=Digest("0" * 64), size=1)
    assert registry.manifest_request(Reference.parse(reference), descriptor).url == url + "0" * 64


def test_credentials_are_those_of_the_upstream(app, server, transport, tmp_path):
    """Not those of the registry that it stands for."""
    (tmp_path / "c").write_text(json.dumps({"auths": {"reg.example": {"auth": "bWU6aHVudGVyMg=="}}}))
    server.on("/v2/team/app/manifests/1", status(401, WWW_Authenticate=f'Bearer realm="{server.url}/t"'))
    server.on("/t", ok(b'{"token":"x"}'))
    upstreams = Upstreams.parse([f"reg.example={server.url}"])
    registry = Registry(transport=transport, upstreams=upstreams, credentials=Credentials(files=(tmp_path / "c",)))
    with pytest.raises(Exception, match="credentials"):
        registry.resolve(APP, [AMD64])
    assert "authorization" not in server.seen_at("/t")[0].headers


def test_blobs_may_be_kept_by_another_host(app, registry, server, other, transport):
    layer = app.blob(b"layer", LAYER_TYPE)
    path = f"/v2/team/app/blobs/{layer['digest']}"
    away = redirect(other.on("/bucket/x", ok(b"layer")) + "?sig=1")
    server.on(path, needs("Bearer t", away, f'Bearer realm="{server.url}/t"'))
    server.on("/t", ok(b'{"token":"t"}'))
    sink = Bytes()
    transport.receive(registry.blob_request(APP, plain(layer)), size=5, sink=sink)
    assert sink.data == b"layer"
    assert "authorization" not in other.seen[0].headers


# --- keeping pins ---------------------------------------------------------------------------------------------------


def test_still_there(app, registry):
    root = plain(app.manifest())
    assert registry.still_there(APP, root.digest)
    assert not registry.still_there(APP, Digest("0" * 64))


def test_current(app, registry, server):
    root = plain(app.manifest(tag="1"))
    assert registry.current(APP) == root.digest
    assert [each.method for each in server.seen] == ["HEAD"]
    assert registry.current(Reference.parse(f"reg.example/team/app@{root.digest}")) == root.digest
    with pytest.raises(NotFound):
        registry.current(Reference.parse("reg.example/team/app:2"))


def test_current_where_the_header_is_missing(registry, server):
    server.on("/v2/team/app/manifests/1", ok(b"{}"))
    assert registry.current(APP) == Digest.of(b"{}")


# --- lies -----------------------------------------------------------------------------------------------------------


def test_a_wrong_digest_header(app, registry):
    app.index([on(app.manifest(), "linux/amd64")], Docker_Content_Digest="sha256:" + "0" * 64)
    with pytest.raises(WrongBytes):
        registry.resolve(APP, [AMD64])


def test_other_bytes_than_the_references_digest(app, registry, server):
    server.on(f"/v2/team/app/manifests/sha256:{'0' * 64}", ok(b"{}"))
    with pytest.raises(WrongBytes):
        registry.resolve(Reference.parse(f"reg.example/team/app@sha256:{'0' * 64}"), [AMD64])


@pytest.mark.parametrize("data", [b"{}", b""])
def test_other_bytes_than_an_entrys_digest(app, registry, server, data):
    amd = app.manifest()
    app.index([on(amd, "linux/amd64")])
    server.on(f"/v2/team/app/manifests/{amd['digest']}", ok(data))
    with pytest.raises(WrongBytes):
        registry.resolve(APP, [AMD64])


def test_other_size_than_an_entrys(app, registry):
    amd = app.manifest()
    for size in (amd["size"] + 1, 5 << 20):
        app.index([on({**amd, "size": size}, "linux/amd64")])
        with pytest.raises(WrongBytes):
            registry.resolve(APP, [AMD64])


def test_another_configuration(app, registry, server):
    app.manifest(tag="1")
    config = next(path for path in server._answers if "/blobs/" in path)
    server.on(config, ok(b'{"os":"linux","architecture":"amd64"}'))
    with pytest.raises(WrongBytes):
        registry.resolve(APP, [AMD64])


def test_one_digest_with_two_sizes(app, registry):
    layer = app.blob(b"layer", LAYER_TYPE)
    app.manifest(layers=[layer, {**layer, "size": 6}], tag="1")
    with pytest.raises(InvalidDocument, match="one size"):
        registry.resolve(APP, [AMD64])


def test_an_endless_manifest(registry, server):
    server.on("/v2/team/app/manifests/1", endless(head(200, {}), b" " * 65536))
    with pytest.raises(TooLarge):
        registry.resolve(APP, [AMD64])


# --- what is not there ----------------------------------------------------------------------------------------------


def test_a_platform_that_is_missing(app, registry):
    app.index([on(app.manifest("linux/arm64"), "linux/arm64"), on(app.manifest("linux/386"), "linux/386")])
    with pytest.raises(ResolutionFailed) as caught:
        registry.resolve(APP, [ARM64, AMD64, ARMV7])
    assert "linux/amd64, linux/arm/v7" in caught.value.what
    assert caught.value.output == "it is made for: linux/386, linux/arm64"


def test_a_manifest_for_another_platform(app, registry):
    app.manifest("linux/arm64", tag="1")
    assert registry.resolve(APP, [ARM64]).manifests == ()
    for platforms in ([AMD64], [ARM64, AMD64]):
        with pytest.raises(ResolutionFailed):
            registry.resolve(APP, platforms)


def test_an_index_of_nothing(app, registry):
    app.index([])
    with pytest.raises(ResolutionFailed):
        registry.resolve(APP, [AMD64])


def test_an_image_that_is_not_there(registry):
    with pytest.raises(NotFound) as caught:
        registry.resolve(APP, [AMD64])
    assert caught.value.what == "reg.example/team/app:1"


def test_an_index_in_an_index(app, registry):
    inner = app.index([on(app.manifest(), "linux/amd64")], tag="")
    app.index([on(inner, "linux/amd64")])
    with pytest.raises(Unsupported, match="in an index"):
        registry.resolve(APP, [AMD64])


def test_schema_1_is_refused_by_name(app, registry):
    app.document({"schemaVersion": 1, "mediaType": f"{DOCKER}.distribution.manifest.v1+prettyjws"}, tag="1")
    with pytest.raises(Unsupported, match="schema 1") as caught:
        registry.resolve(APP, [AMD64])
    assert str(APP) in str(caught.value)


def test_a_foreign_layer_is_taken_from_the_registry_or_refused(app, registry, server, other):
    layer = app.blob(b"foreign", f"{DOCKER}.image.rootfs.foreign.diff.tar.gzip")
    url = other.on("/layer", ok(b"foreign"))
    app.manifest(layers=[{**layer, "urls": [url]}], tag="1")
    assert plain(layer) in registry.resolve(APP, [AMD64]).blobs
    server.on(f"/v2/team/app/blobs/{layer['digest']}", status(404))
    with pytest.raises(Unsupported, match="foreign layer") as caught:
        registry.resolve(APP, [AMD64])
    assert str(layer["digest"]) in caught.value.why
    assert other.seen == []


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"schemaVersion": 2}'])
def test_what_is_no_manifest_is_named(app, registry, data):
    app.document(data, tag="1")
    with pytest.raises(InvalidDocument) as caught:
        registry.resolve(APP, [AMD64])
    assert caught.value.problems[0].file == str(APP)
