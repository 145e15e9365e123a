"""The registry API, pull side, through a real socket."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.model.digest import Digest
from bundler.views.referrers import media_type
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


def test_without_referrers_there_is_an_empty_index(server: Running) -> None:
    for digest in (ROOT, f"sha256:{'0' * 64}"):
        reply = server.ask(f"/v2/{APP}/referrers/{digest}")
        assert (reply.status, reply.fields["content-type"]) == (200, INDEX)
        assert json.loads(reply.body)["manifests"] == []
    assert code(server, f"/v2/{APP}/referrers/latest") == (400, "DIGEST_INVALID")
    assert code(server, f"/v2/absent/referrers/{ROOT}") == (404, "NAME_UNKNOWN")


def referrer(kind: str, subject: bytes, **more: object) -> bytes:
    about = {"mediaType": MANIFEST, "digest": str(Digest.of(subject)), "size": len(subject)}
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "subject": about, **more}
    return compact({key: each for key, each in value.items() if each})


def test_referrers_by_the_api_and_by_the_tag(tmp_path: Path) -> None:
    typed = referrer("a/b", OTHER.root, annotations={"note": "text"})
    untyped = referrer("", OTHER.root, config={"mediaType": "c/d", "digest": "x", "size": 1})
    stray = referrer("a/b", IMAGE.root)
    site = TestSite(tmp_path)
    for tag, referrers in (("1", [typed, stray]), ("2", [untyped, typed]), ("3", [b"[]", b"no JSON"])):
        image = site.image(OTHER, f"{APP}:{tag}")
        digests = tuple(site.put(each) for each in referrers)
        site.artifacts[-1] = replace(image, referrers=digests, manifests=(*image.manifests, *digests))
    site.publish("one")
    subject = Digest.of(OTHER.root)
    with running(site.root) as server:
        reply = server.ask(f"/v2/{APP}/referrers/{subject}")
        found = json.loads(reply.body)["manifests"]
        assert found == sorted(found, key=lambda each: each["digest"])
        assert {each["digest"]: each.get("artifactType") for each in found} == {
            str(Digest.of(typed)): "a/b",
            str(Digest.of(untyped)): "c/d",
        }
        assert next(each for each in found if each["artifactType"] == "a/b")["annotations"] == {"note": "text"}
        assert "oci-filters-applied" not in reply.fields
        assert server.ask(f"/v2/{APP}/manifests/sha256-{subject.hex}").body == reply.body
        some = server.ask(f"/v2/{APP}/referrers/{subject}?artifactType=c%2Fd")
        assert [each["artifactType"] for each in json.loads(some.body)["manifests"]] == ["c/d"]
        assert some.fields["oci-filters-applied"] == "artifactType"
        assert json.loads(server.ask(f"/v2/{APP}/referrers/{ROOT}").body)["manifests"] == []


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
