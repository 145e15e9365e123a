import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed, NotFound, NotReadable
from bundler.model.digest import Digest
from bundler.sources.index import PackageIndex, entries
from bundler.sources.pip_config import index_url
from bundler.transport import Response, Transport, Upstreams
from tests.hostile_server import HostileServer, ok, status
from tests.upstreams import JSON

HEX = "ab" * 32


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


def index_at(url: str) -> PackageIndex:
    return PackageIndex(Transport(), Upstreams.parse([f"pypi={url}"]))


def page(*files: object) -> bytes:
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "app", "files": files}).encode()


def test_a_json_page(server: HostileServer) -> None:
    full = {"filename": "a.whl", "url": "../../files/a.whl#part", "hashes": {"sha256": HEX, "md5": "x"}, "size": 7}
    full |= {"yanked": "why", "core-metadata": {"sha256": HEX}}
    bare = {"filename": "b.whl", "url": "https://files.example/b.whl", "hashes": {}, "dist-info-metadata": True}
    server.on("/simple/app/", ok(page(full, bare), Content_Type=f"{JSON}; charset=utf-8"))
    files = index_at(f"{server.url}/simple/").files("app")
    a, b = files["a.whl"], files["b.whl"]
    assert (a.url, a.digest, a.size, a.yanked) == (f"{server.url}/files/a.whl", Digest(HEX), 7, True)
    assert (a.has_metadata, a.metadata) == (True, Digest(HEX))
    assert (b.url, b.digest, b.size, b.yanked) == ("https://files.example/b.whl", None, None, False)
    assert (b.has_metadata, b.metadata) == (True, None)
    assert "vnd.pypi.simple.v1+json" in server.seen[0].headers["accept"]


def test_an_html_page(server: HostileServer) -> None:
    text = (
        f'<!DOCTYPE html><a href="/files/a%2Blocal.whl#sha256={HEX}" data-core-metadata="sha256={HEX}" data-yanked>'
        f'a</a><A HREF="b.whl#md5=00" data-dist-info-metadata="true">b</A><a name="x">no link</a>'
    )
    server.on("/simple/app/", ok(text.encode(), Content_Type="text/html"))
    files = index_at(f"{server.url}/simple").files("app")
    a, b = files["a+local.whl"], files["b.whl"]
    assert (a.url, a.digest, a.yanked, a.metadata) == (
        f"{server.url}/files/a%2Blocal.whl",
        Digest(HEX),
        True,
        Digest(HEX),
    )
    assert (b.url, b.digest, b.yanked) == (f"{server.url}/simple/app/b.whl", None, False)
    assert (b.has_metadata, b.metadata) == (True, None)


@pytest.mark.parametrize(
    ("url", "usable"),
    [("https://files.example/a.whl", True), ("http://files.example/a.whl", False), ("ftp://x/a.whl", False)],
)
def test_an_https_index_leads_to_https_only(url: str, usable: bool) -> None:
    index = index_at("https://index.example/simple")
    body = page({"filename": "a.whl", "url": url, "hashes": {}})
    answer = Response(status=200, headers={"content-type": JSON}, body=body, url="https://index.example/simple/app/")
    (entry,) = entries(answer)
    assert (index._file(answer.url, entry) is not None) == usable


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{}", "application/octet-stream"),
        (b"{}", JSON),
        (b"[]", JSON),
        (b'{"files": [1]}', JSON),
        (b'{"files": [{"filename": "a", "url": "b"}]}', JSON),
        (b'{"files": []', JSON),
        (b"", ""),
    ],
)
def test_what_is_no_page(server: HostileServer, body: bytes, kind: str) -> None:
    server.on("/simple/app/", ok(body, Content_Type=kind))
    with pytest.raises(Malformed):
        index_at(f"{server.url}/simple").files("app")


def test_an_unknown_project(server: HostileServer) -> None:
    server.on("/simple/app/", status(404))
    with pytest.raises(NotFound, match="app"):
        index_at(f"{server.url}/simple").files("app")


def test_a_page_is_read_once_by_many_threads(server: HostileServer) -> None:
    server.on("/simple/app/", ok(page(), Content_Type=JSON))
    index = index_at(f"{server.url}/simple")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(index.files, ["app"] * 32))
    assert (found, len(server.seen)) == ([{}] * 32, 1)


ANYWHERE = PackageIndex(Transport(), Upstreams.parse(["pypi=http://127.0.0.1/simple"]))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
files = st.fixed_dictionaries(
    {},
    optional={
        name: anything | st.just(HEX)
        for name in ("filename", "url", "hashes", "size", "yanked", "core-metadata", "dist-info-metadata")
    },
)


@given(st.fixed_dictionaries({}, optional={"files": st.lists(files, max_size=3) | anything}) | anything)
def test_any_json_is_a_page_or_an_error(value: object) -> None:
    answer = Response(status=200, headers={"content-type": JSON}, body=json.dumps(value).encode(), url="http://x/")
    try:
        found = entries(answer)
    except Malformed:
        return
    for entry in found:
        ANYWHERE._file("http://127.0.0.1/simple/app/", entry)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_an_html_page(body: bytes) -> None:
    entries(Response(status=200, headers={"content-type": "text/html"}, body=body, url="http://x/"))


# The address: where pip's configuration says so, in pip's order.

ENVIRONMENT = {"HOME": "{home}", "XDG_CONFIG_HOME": "{home}/xdg", "XDG_CONFIG_DIRS": "{home}/system"}


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({"system/pip/pip.conf": "[global]\nindex-url = http://system.example/s/\n"}, {}, "http://system.example/s"),
        (
            {
                "system/pip/pip.conf": "[global]\nindex-url = http://system.example\n",
                "xdg/pip/pip.conf": "[global]\nindex-url = http://user.example\n",
            },
            {},
            "http://user.example",
        ),
        ({"xdg/pip/pip.conf": "[install]\nindex-url=http://i\n[global]\nindex-url=http://g\n"}, {}, "http://i"),
        ({".pip/pip.conf": "[global]\nindex-url = http://old.example\n"}, {}, "http://old.example"),
        (
            {
                "chosen": "[global]\nindex-url = http://chosen.example\n",
                "xdg/pip/pip.conf": "[global]\nindex-url = http://user.example\n",
            },
            {"PIP_CONFIG_FILE": "{home}/chosen"},
            "http://chosen.example",
        ),
        (
            {"xdg/pip/pip.conf": "[global]\nindex-url = http://user.example\n"},
            {"PIP_INDEX_URL": "http://env.example/simple/"},
            "http://env.example/simple",
        ),
    ],
)
def test_the_address_is_pips(tmp_path: Path, files: dict[str, str], environment: dict[str, str], expected: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    known = {name: value.format(home=tmp_path) for name, value in (ENVIRONMENT | environment).items()}
    assert index_url(Upstreams(), environment=known) == expected
    assert index_url(Upstreams.parse(["pypi=http://up.example"]), environment=known) == "http://up.example"


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("index-url = http://no.section\n")
    with pytest.raises(NotReadable, match=r"pip\.conf"):
        index_url(Upstreams(), environment={"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "HOME": "/nowhere"})


def test_without_configuration_it_is_the_resolvers_own() -> None:
    found = index_url(Upstreams(), environment={"PIP_CONFIG_FILE": os.devnull})
    assert found.startswith("https://")
    assert not found.endswith("/")
