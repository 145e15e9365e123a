"""What refers to an image, asked of registries with the API, without it, and of those that lie."""

import json

import pytest

from bundler.errors import HttpFailure, InvalidDocument, NotFound, Unsupported, WrongBytes
from bundler.model.digest import Digest
from bundler.model.reference import Reference
from bundler.sources import referrers as module
from bundler.sources.images import Registry
from bundler.sources.referrers import attached_images, registry_referrers
from bundler.transport import Upstreams
from bundler.transport.registry_credentials import Credentials
from tests.hostile_server import Seen, ok, status
from tests.unit.sources.test_images import AMD64, APP, OCI, Described, Repository, on, plain

SBOM = "application/spdx+json"
EMPTY = "application/vnd.oci.empty.v1+json"


@pytest.fixture
def app(server):
    return Repository(server)


@pytest.fixture
def registry(server, transport):
    upstreams = Upstreams.parse([f"reg.example={server.url}"])
    return Registry(transport=transport, upstreams=upstreams, credentials=Credentials())


def referrer(app: Repository, subject: Described | None, data: bytes = b"sbom", /, **more: object) -> Described:
    value = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "artifactType": SBOM,
        "config": app.blob(b"{}", EMPTY),
        "layers": [app.blob(data, SBOM)],
        **({"subject": subject} if subject else {}),
        **more,
    }
    return app.document(value)


def listing(*descriptors: object) -> bytes:
    value = {"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": descriptors}
    return json.dumps(value).encode()


def listed(app: Repository, subject: Described, *descriptors: Described) -> str:
    path = f"{app.path}/referrers/{subject['digest']}"
    app.server.on(path, ok(listing(*descriptors), Content_Type=f"{OCI}.index.v1+json"))
    return path


def test_by_the_api_for_the_root_and_each_manifest(app, registry, server):
    amd, arm = app.manifest("linux/amd64"), app.manifest("linux/arm64")
    root = app.index([on(amd, "linux/amd64"), on(arm, "linux/arm64")])
    about = [referrer(app, root, b"1"), referrer(app, amd, b"2"), referrer(app, arm, b"3")]
    for subject, each in zip((root, amd, arm), about, strict=True):
        listed(app, subject, each)
    bare = registry.resolve(APP, [AMD64])
    image = registry_referrers(registry, bare)
    assert set(image.referrers) == {plain(about[0]), plain(about[1])}  # arm64 is not carried
    assert len(image.blobs) == len(bare.blobs) + 3  # a layer each, one empty configuration
    assert not any("manifests/sha256-" in each.path for each in server.seen)


def test_pages_follow_each_other(app, registry, server):
    root = app.manifest(tag="1")
    about = [referrer(app, root, b"%d" % at) for at in range(3)]
    path = f"{app.path}/referrers/{root['digest']}"

    def answer(seen: Seen, client: object) -> bool:
        at = int(seen.query.removeprefix("page=") or 0)
        # Another host and another path: only the query of a link is taken.
        link = {"Link": f'<http://127.0.0.2:1/elsewhere?page={at + 1}>; rel="next"'} if at < 2 else {}
        return ok(listing(about[at]), **link)(seen, client)  # type: ignore[arg-type]

    server.on(path, answer)
    image = registry_referrers(registry, registry.resolve(APP, [AMD64]))
    assert set(image.referrers) == {plain(each) for each in about}
    assert [each.query for each in server.seen_at(path)] == ["", "page=1", "page=2"]


@pytest.mark.parametrize("code", [400, 404, 405])
def test_by_the_fallback_tag(app, registry, server, code):
    root = app.manifest(tag="1")
    about = referrer(app, root)
    server.on(f"{app.path}/referrers/{root['digest']}", status(code))
    app.index([about], tag=root["digest"].replace(":", "-"))
    assert registry_referrers(registry, registry.resolve(APP, [AMD64])).referrers == (plain(about),)


def test_nothing_refers_to_it(app, registry):
    app.manifest(tag="1")
    image = registry.resolve(APP, [AMD64])
    assert registry_referrers(registry, image) == image
    assert list(attached_images(registry, image)) == []


def test_a_server_that_fails_is_not_one_without_referrers(app, registry, server):
    root = app.manifest(tag="1")
    server.on(f"{app.path}/referrers/{root['digest']}", status(403), status(501))
    image = registry.resolve(APP, [AMD64])
    with pytest.raises(Exception, match="403"):
        registry_referrers(registry, image)
    with pytest.raises(HttpFailure):
        registry_referrers(registry, image)


@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({"subject": {"mediaType": "a/b", "digest": "sha256:" + "0" * 64, "size": 1}}, InvalidDocument),
        ({"subject": None}, InvalidDocument),
        ({"config": None}, InvalidDocument),
        ({"layers": [{"digest": "x"}]}, InvalidDocument),
        ({"manifests": []}, InvalidDocument),
        ({"layers": [{"mediaType": "a/b", "digest": "sha256:" + "0" * 64, "size": 0}] * 128}, InvalidDocument),
        ({"mediaType": f"{OCI}.index.v1+json"}, Unsupported),
        ({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}, Unsupported),
    ],
)
def test_what_is_no_referrer_of_it(app, registry, about, error):
    root = app.manifest(tag="1")
    listed(app, root, referrer(app, root, **about))
    with pytest.raises(error):
        registry_referrers(registry, registry.resolve(APP, [AMD64]))


def test_lists_that_lie(app, registry, server, monkeypatch):
    root = app.manifest(tag="1")
    image = registry.resolve(APP, [AMD64])
    true = referrer(app, root)
    listed(app, root, {**true, "size": true["size"] + 1})
    with pytest.raises(WrongBytes):
        registry_referrers(registry, image)
    listed(app, root, {**true, "digest": "sha256:" + "0" * 64})
    with pytest.raises(NotFound):
        registry_referrers(registry, image)
    monkeypatch.setattr(module, "_MOST", 3)
    path = listed(app, root, *[true] * 4)
    with pytest.raises(InvalidDocument, match="more than 3 referrers"):
        registry_referrers(registry, image)
    monkeypatch.setattr(module, "_PAGES", 5)
    server.on(path, ok(listing(), Link='</v2/?n=1>; rel="next"'))
    with pytest.raises(InvalidDocument, match="more than 5 pages"):
        registry_referrers(registry, image)
    server.on(path, ok(b"<html>"))
    with pytest.raises(InvalidDocument):
        registry_referrers(registry, image)


def test_cosigns_tags(app, registry):
    root = app.manifest(tag="1")
    image = registry.resolve(APP, [AMD64])
    tag = root["digest"].replace(":", "-")
    value = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json"}
    for ending in ("sig", "sbom", "other"):
        layer = app.blob(ending.encode(), "application/vnd.dev.cosign.simplesigning.v1+json")
        app.document(
            {**value, "config": app.blob(b"{}", f"{OCI}.config.v1+json"), "layers": [layer]}, f"{tag}.{ending}"
        )
    found = list(attached_images(registry, image))
    assert [each.reference.tag for each in found] == [f"{tag}.sig", f"{tag}.sbom"]
    assert all((each.reference.about, len(each.blobs)) == (Digest.parse(root["digest"]), 2) for each in found)


@pytest.mark.parametrize(
    ("tag", "about"),
    [
        ("sha256-" + "a" * 64 + ".sig", True),
        ("sha256-" + "a" * 64 + ".att", True),
        ("sha256-" + "a" * 64, False),
        ("sha256-" + "A" * 64 + ".sig", False),
        ("sha256-" + "a" * 63 + ".sig", False),
        ("1.sig", False),
    ],
)
def test_what_a_tag_is_about(tag, about):
    assert Reference.parse(f"a.example/b:{tag}").about == (Digest("a" * 64) if about else None)


def test_the_server_is_told_what_is_understood(app, registry, server):
    root = app.manifest(tag="1")
    listed(app, root)
    registry_referrers(registry, registry.resolve(APP, [AMD64]))
    assert server.seen[-1].headers["accept"] == f"{OCI}.index.v1+json"
