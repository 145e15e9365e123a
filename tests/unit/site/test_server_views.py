"""The views through a real socket."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.model.digest import Digest
from bundler.signing.openpgp import create_apt_key
from tests.charts import make_chart
from tests.content import TestSite, make_deb, make_image, make_wheel
from tests.serving import Running, running

BIG = os.urandom(300_000)
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> TestSite:
    site = TestSite(tmp_path_factory.mktemp("site"))
    site.wheel(make_wheel("My_Tool", "1.0+x"), "my-tool", "1.0+x")
    site.deb(make_deb("hello", "1.0~rc1+b1", "amd64"))
    site.chart(make_chart("web", "1.0+x"), "web", "1.0+x", provenance=b"proof")
    site.image(make_image({"./hello": b"hi"}), "docker.io/library/app:1")
    site.file("big.bin", BIG)
    site.file("empty.bin", b"")
    site.publish("one", key=create_apt_key("t"))
    return site


@pytest.fixture(scope="module")
def server(site: TestSite) -> Iterator[Running]:
    with running(site.root) as found:
        yield found


def test_front_page_and_health(server: Running) -> None:
    page = server.ask("/", host="site.example.com:99")
    assert page.fields["content-type"] == "text/html; charset=utf-8"
    for text in (
        "--index-url http://site.example.com:99/pypi/simple/ --trusted-host site.example.com:99",
        "URIs: http://site.example.com:99/apt/debian\nSuites: bookworm",
        "prefix = &quot;docker.io&quot;",
        "helm repo add bundle http://site.example.com:99/charts\n",
        "helm pull oci://site.example.com:99/bundle/chart/web --version 1.0+x --plain-http\n",
        "/files/big.bin",
    ):
        assert text in page.body.decode()
    assert "script" not in server.ask("/", host="<script>").body.decode()
    assert server.ask("/healthz").status == 200


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/pypi/simple/", "", "text/html; charset=utf-8"),
        ("/pypi/simple/", JSON, JSON),
        ("/pypi/simple/my-tool/", f"{JSON}, text/html;q=0.1", JSON),
        ("/pypi/simple/my-tool/", "application/vnd.pypi.simple.latest+json", JSON),
        ("/pypi/simple/my-tool/", HTML, f"{HTML}; charset=utf-8"),
        ("/pypi/simple/my-tool/", "*/*", "text/html; charset=utf-8"),
    ],
)
def test_simple_pages(server: Running, path: str, accept: str, kind: str) -> None:
    reply = server.ask(path, accept=accept)
    assert (reply.status, reply.fields["content-type"], reply.fields["vary"]) == (200, kind, "Accept")
    assert (b"api-version" in reply.body) == (kind == JSON)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/pypi/simple", "simple/"),
        ("/pypi/simple/my-tool", "my-tool/"),
        ("/pypi/simple/My.Tool", "my-tool/"),
        ("/pypi/simple/My__Tool/", "../my-tool/"),
    ],
)
def test_redirects_are_relative(server: Running, path: str, place: str) -> None:
    reply = server.ask(path)
    assert (reply.status, reply.fields["location"]) == (308, place)


def test_a_wheel_by_the_url_of_its_page(server: Running) -> None:
    page = json.loads(server.ask("/pypi/simple/my-tool/", accept=JSON).body)
    path = page["files"][0]["url"].removeprefix("../..")
    assert "%2B" in path
    reply = server.ask(f"/pypi{path}")
    assert Digest.of(reply.body).hex == page["files"][0]["hashes"]["sha256"]
    assert reply.fields["etag"] == f'"{Digest.of(reply.body).hex}"'
    assert "immutable" in reply.fields["cache-control"]
    metadata = server.ask(f"/pypi{path}.metadata")
    assert b"Metadata-Version" in metadata.body
    assert metadata.fields["etag"] != reply.fields["etag"]


def test_apt_paths(server: Running) -> None:
    signed = server.ask("/apt/debian/dists/bookworm/InRelease")
    assert signed.fields["content-type"].startswith("text/plain")
    assert signed.fields["cache-control"] == "no-cache"
    assert signed.fields["last-modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    since = {"if_modified_since": signed.fields["last-modified"]}
    assert server.ask("/apt/debian/dists/bookworm/InRelease", **since).status == 304
    packages = server.ask("/apt/debian/dists/bookworm/main/binary-amd64/Packages").body.decode()
    place = next(line for line in packages.splitlines() if line.startswith("Filename: ")).removeprefix("Filename: ")
    deb = server.ask(f"/apt/debian/{place}")
    assert deb.fields["etag"].strip('"') in packages
    assert server.ask(f"/apt/debian/{place}".replace("+", "%2b")).body == deb.body


def test_ranges_conditions_and_head(server: Running) -> None:
    whole = server.ask("/files/big.bin")
    assert (whole.status, whole.body) == (200, BIG)
    tag = whole.fields["etag"]
    part = server.ask("/files/big.bin", range="bytes=100-199999", if_range=tag)
    assert (part.status, part.body) == (206, BIG[100:200_000])
    assert part.fields["content-range"] == f"bytes 100-199999/{len(BIG)}"
    assert server.ask("/files/big.bin", range="bytes=-5").body == BIG[-5:]
    beyond = server.ask("/files/big.bin", range=f"bytes={len(BIG)}-")
    assert (beyond.status, beyond.fields["content-range"]) == (416, f"bytes */{len(BIG)}")
    known = server.ask("/files/big.bin", if_none_match=tag)
    assert (known.status, known.body, known.fields["etag"]) == (304, b"", tag)
    head = server.ask("/files/big.bin", "HEAD")
    assert (head.status, head.body, head.fields["content-length"]) == (200, b"", str(len(BIG)))
    assert server.ask("/files/empty.bin").body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/files/../../../store",
        "/files/%2e%2e/statement",
        "/files/..%2f..%2fcurrent",
        "/files/%00",
        "/files/.hidden",
        "/files",
        "/files/",
        "/files//big.bin",
        "/pypi/simple/../../files/big.bin",
        "/pypi/simple/index.html",
        "/pypi/simple/absent/",
        "/registry/docker/registry/v2/blobs",
        "/apt/debian/pool",
        "/carried",
        "/files/" + "a" * 300,
        "/v2/../healthz",
        "//healthz",
    ],
)
def test_nothing_else_is_there(server: Running, path: str) -> None:
    assert server.ask(path).status == 404


def test_links_and_other_kinds_of_files_are_not_followed(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    target = site.publish("one")
    (tmp_path / "secret").write_text("secret")
    (target / "files/link").symlink_to(tmp_path / "secret")
    (target / "apt").symlink_to(tmp_path)
    os.mkfifo(target / "files/pipe")
    with running(tmp_path) as server:
        for path in ("/files/link", "/apt/secret", "/files/pipe"):
            assert server.ask(path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading(server: Running, method: str) -> None:
    reply = server.ask("/files/big.bin", method)
    assert (reply.status, reply.fields["allow"]) == (405, "GET, HEAD")


def test_a_switch_shows_at_the_next_request_and_cuts_no_answer(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    site.file("a", b"1" * 3_000_000)
    one = site.publish("one")
    site.artifacts.clear()
    site.file("a", b"2" * 3_000_000)
    with running(tmp_path) as server:
        connection = server.connect()
        connection.request("GET", "/files/a")
        answer = connection.getresponse()
        begin = answer.read(10)
        site.publish("two")
        assert server.ask("/files/a").body == b"2" * 3_000_000
        assert begin + answer.read() == b"1" * 3_000_000
        connection.close()
        site.switch(one)
        assert server.ask("/files/a").body == b"1" * 3_000_000


def test_a_site_that_is_taken_away_is_unavailable(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    site.publish("one")
    with running(tmp_path) as server:
        (tmp_path / "current").unlink()
        assert server.ask("/healthz").status == 503


def test_charts(server: Running) -> None:
    index = server.ask("/charts/index.yaml")
    assert (index.fields["content-type"], index.fields["cache-control"]) == ("application/yaml", "no-cache")
    (url,) = json.loads(index.body)["entries"]["web"][0]["urls"]
    archive = server.ask(f"/charts/{url}")
    assert (archive.body, archive.fields["content-type"]) == (make_chart("web", "1.0+x"), "application/gzip")
    assert archive.fields["etag"] == f'"{Digest.of(archive.body).hex}"'
    assert "immutable" in archive.fields["cache-control"]
    assert server.ask(f"/charts/{url}.prov").body == b"proof"
    assert server.ask("/charts/").status == 404
