"""The registry API, pull side, through a real socket."""

import json
from collections.abc import Iterator

import pytest

from bundler.model.digest import Digest
from bundler.site.registry import media_type
from tests.content import INDEX, MANIFEST, TestSite, compact, make_image
from tests.serving import Running, running

IMAGE = make_image({"./hello": b"hi"}, index=True)
OTHER = make_image({"./hello": b"other"})
ROOT = Digest.of(IMAGE.root)
APP = "docker.io/library/app"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    site = TestSite(tmp_path_factory.mktemp("site"))
    for tag in ("1", "2", "3", "10", "latest"):
        site.image(IMAGE, f"{APP}:{tag}")
    site.image(OTHER, "quay.io:5000/x/y/z:v1")
    site.image(OTHER, "quay.io:5000/x:v1")
    site.file("note", b"note")
    site.publish("one")
    with running(site.root) as found:
        yield found


def code(server: Running, path: str, method: str = "GET") -> tuple[int, str]:
    reply = server.ask(path, method)
    return reply.status, json.loads(reply.body)["errors"][0]["code"]


def test_the_version_check(server: Running) -> None:
    for path in ("/v2/", "/v2"):
        reply = server.ask(path)
        assert reply.status == 200
        assert reply.fields["docker-distribution-api-version"] == "registry/2.0"


def test_a_manifest_by_tag_and_by_digest(server: Running) -> None:
    for reference in ("latest", str(ROOT)):
        reply = server.ask(f"/v2/{APP}/manifests/{reference}")
        assert reply.body == IMAGE.root
        assert reply.fields["content-type"] == INDEX
        assert reply.fields["docker-content-digest"] == str(ROOT)
        assert reply.fields["etag"] == f'"{ROOT}"'
        assert ("immutable" in reply.fields["cache-control"]) == (reference != "latest")
        head = server.ask(f"/v2/{APP}/manifests/{reference}", "HEAD")
        assert (head.body, head.fields["content-length"]) == (b"", str(len(IMAGE.root)))
        assert server.ask(f"/v2/{APP}/manifests/{reference}", if_none_match=f'"{ROOT}"').status == 304


def test_blobs_belong_to_their_repository(server: Running) -> None:
    layer = Digest.of(IMAGE.blobs[1])
    reply = server.ask(f"/v2/{APP}/blobs/{layer}")
    assert (reply.body, reply.fields["docker-content-digest"]) == (IMAGE.blobs[1], str(layer))
    part = server.ask(f"/v2/{APP}/blobs/{layer}", range="bytes=5-9")
    assert (part.status, part.body) == (206, IMAGE.blobs[1][5:10])
    assert code(server, f"/v2/quay.io_5000/x/blobs/{layer}") == (404, "BLOB_UNKNOWN")
    assert code(server, f"/v2/quay.io_5000/x/manifests/{ROOT}") == (404, "MANIFEST_UNKNOWN")
    assert code(server, f"/v2/{APP}/blobs/{ROOT}") == (404, "BLOB_UNKNOWN")


def test_the_namespace_of_containerd(server: Running) -> None:
    assert server.ask("/v2/library/app/manifests/1?ns=docker.io").body == IMAGE.root
    assert server.ask("/v2/x/manifests/v1?ns=quay.io:5000").body == OTHER.root
    assert server.ask("/v2/x/manifests/v1?ns=QUAY.io:5000").body == OTHER.root
    assert code(server, "/v2/library/app/manifests/1?ns=quay.io") == (404, "NAME_UNKNOWN")
    assert code(server, "/v2/library/app/manifests/1?ns=../docker.io") == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    ("path", "method", "expected"),
    [
        (f"/v2/{APP}/manifests/absent", "GET", (404, "MANIFEST_UNKNOWN")),
        (f"/v2/{APP}/manifests/.hidden", "GET", (404, "MANIFEST_UNKNOWN")),
        (f"/v2/{APP}/manifests/sha256:{'0' * 64}", "GET", (404, "MANIFEST_UNKNOWN")),
        (f"/v2/{APP}/manifests/sha256:abc", "GET", (400, "DIGEST_INVALID")),
        (f"/v2/{APP}/manifests/sha512:{'0' * 128}", "GET", (400, "DIGEST_INVALID")),
        (f"/v2/{APP}/blobs/sha256:{'0' * 64}", "GET", (404, "BLOB_UNKNOWN")),
        (f"/v2/{APP}/blobs/latest", "GET", (400, "DIGEST_INVALID")),
        ("/v2/absent/tags/list", "GET", (404, "NAME_UNKNOWN")),
        ("/v2/docker.io/library/manifests/1", "GET", (404, "NAME_UNKNOWN")),
        ("/v2/UPPER/manifests/1", "GET", (400, "NAME_INVALID")),
        ("/v2/a//b/manifests/1", "GET", (400, "NAME_INVALID")),
        (f"/v2/{APP}/_manifests/manifests/1", "GET", (400, "NAME_INVALID")),
        (f"/v2/{APP}/manifests/", "GET", (404, "UNSUPPORTED")),
        (f"/v2/{APP}/other/1", "GET", (404, "UNSUPPORTED")),
        (f"/v2/{APP}/tags/list?n=x", "GET", (400, "PAGINATION_NUMBER_INVALID")),
        (f"/v2/{APP}/tags/list?n=-1", "GET", (400, "PAGINATION_NUMBER_INVALID")),
        (f"/v2/{APP}/tags/list?" + "&".join("ab"[at % 2] for at in range(99)), "GET", (400, "UNSUPPORTED")),
        (f"/v2/{APP}/manifests/1", "PUT", (405, "UNSUPPORTED")),
        (f"/v2/{APP}/manifests/1", "DELETE", (405, "UNSUPPORTED")),
        (f"/v2/{APP}/blobs/uploads/", "POST", (405, "UNSUPPORTED")),
    ],
)
def test_errors(server: Running, path: str, method: str, expected: tuple[int, str]) -> None:
    assert code(server, path, method) == expected


@pytest.mark.parametrize("count", [1, 2, 4, 5, 1000])
def test_pages_follow_each_other(server: Running, count: int) -> None:
    for path, key, expected in (
        ("/v2/_catalog", "repositories", ["bundle/file", APP, "quay.io_5000/x", "quay.io_5000/x/y/z"]),
        (f"/v2/{APP}/tags/list", "tags", ["1", "10", "2", "3", "latest"]),
    ):
        found: list[str] = []
        link = f"<{path}?n={count}>"
        while link:
            reply = server.ask(link.partition(">")[0][1:])
            page = json.loads(reply.body)[key]
            assert 0 < len(page) <= count
            found += page
            link = reply.fields.get("link", "")
            assert link.endswith('; rel="next"') or not link
        assert found == expected


def test_an_empty_page(server: Running) -> None:
    assert json.loads(server.ask(f"/v2/{APP}/tags/list?n=0").body) == {"name": APP, "tags": []}
    assert json.loads(server.ask(f"/v2/{APP}/tags/list?last=zzz").body)["tags"] == []


def test_referrers_are_an_empty_index(server: Running) -> None:
    reply = server.ask(f"/v2/{APP}/referrers/{ROOT}")
    assert (reply.status, reply.fields["content-type"]) == (200, INDEX)
    assert json.loads(reply.body)["manifests"] == []


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (IMAGE.root, INDEX),
        (OTHER.root, MANIFEST),
        (compact({"schemaVersion": 2, "manifests": []}), INDEX),
        (compact({"schemaVersion": 2, "layers": []}), MANIFEST),
        (compact({"mediaType": "a/b\r\nEvil: c"}), MANIFEST),
        (compact({"mediaType": 7}), MANIFEST),
        (b"[]", MANIFEST),
        (b"not json", MANIFEST),
    ],
)
def test_media_type(manifest: bytes, expected: str) -> None:
    assert media_type(manifest) == expected
