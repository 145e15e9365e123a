import html.parser
import json
import os
from pathlib import Path

import pytest

from bundler.errors import StaleLink
from bundler.model.digest import Digest
from bundler.model.statement import WheelArtifact
from bundler.views.pypi import build_pypi, normalised, requires_python
from tests.content import TestSite, make_wheel


class Anchors(html.parser.HTMLParser):
    """Every anchor's attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.found.append(dict(attrs))

    def handle_data(self, data):
        if self.found and data.strip():
            self.found[-1].setdefault("text", data)


@pytest.fixture
def site(tmp_path: Path) -> TestSite:
    site = TestSite(tmp_path)
    site.wheel(make_wheel("My_Tool", requires_python=">=3.8,<4"), "my-tool")
    site.wheel(make_wheel("zeta"), "zeta")
    site.wheel(make_wheel("my_tool", "2.0+gpu"), "My.Tool", "2.0+gpu")
    return site


def test_the_page_and_its_twin_say_the_same(site: TestSite) -> None:
    target = site.publish("one")
    folder = target / "pypi/simple/my-tool"
    page, twin = Anchors((folder / "index.html").read_text()).found, json.loads((folder / "index.json").read_bytes())
    assert [each["text"] for each in page] == [each["filename"] for each in twin["files"]]
    assert len(page) == 2
    for anchor, file in zip(page, twin["files"], strict=True):
        assert anchor["href"] == f"{file['url']}#sha256={file['hashes']['sha256']}"
        assert anchor["data-core-metadata"] == f"sha256={file['core-metadata']['sha256']}"
        assert anchor["data-core-metadata"] == anchor["data-dist-info-metadata"]
        assert anchor.get("data-requires-python") == file.get("requires-python")
        wheel = (folder / file["url"].replace("%2B", "+")).resolve()
        assert Digest.of(wheel.read_bytes()).hex == file["hashes"]["sha256"]
        assert wheel.stat().st_size == file["size"]
        beside = wheel.with_name(f"{wheel.name}.metadata")
        assert Digest.of(beside.read_bytes()).hex == file["core-metadata"]["sha256"]
    assert twin["meta"] == {"api-version": "1.1"}
    assert twin["versions"] == ["1.0", "2.0+gpu"]
    assert twin["files"][0]["requires-python"] == ">=3.8,<4"


def test_the_root_lists_projects_by_their_normalised_names(site: TestSite) -> None:
    target = site.publish("one")
    page = Anchors((target / "pypi/simple/index.html").read_text()).found
    assert [each["href"] for each in page] == ["my-tool/", "zeta/"]
    twin = json.loads((target / "pypi/simple/index.json").read_bytes())
    assert [each["name"] for each in twin["projects"]] == ["my-tool", "zeta"]


def test_bytes_are_hard_links_and_modes_do_not_follow_the_umask(site: TestSite) -> None:
    before = os.umask(0o077)
    try:
        target = site.publish("one")
    finally:
        os.umask(before)
    wheel = site.artifacts[0]
    assert isinstance(wheel, WheelArtifact)
    assert (target / f"pypi/files/{wheel.digest.hex}/{wheel.name}").samefile(site.store.path(wheel.digest))
    assert (target / "pypi/simple/index.html").stat().st_mode & 0o777 == 0o644
    assert (target / "pypi/simple/zeta").stat().st_mode & 0o777 == 0o755
    assert (target / "pypi").stat().st_mode & 0o777 == 0o755


def test_the_same_wheels_in_any_order_make_the_same_pages(site: TestSite) -> None:
    one = site.publish("one")
    site.artifacts.reverse()
    two = site.publish("two")
    for page in one.glob("pypi/simple/**/*.*"):
        assert page.read_bytes() == (two / page.relative_to(one)).read_bytes()


def test_a_blob_that_the_store_lacks_is_named(site: TestSite, tmp_path: Path) -> None:
    wheel = site.artifacts[0]
    assert isinstance(wheel, WheelArtifact)
    site.store.path(wheel.digest).unlink()
    with pytest.raises(StaleLink) as caught:
        build_pypi(tmp_path, [wheel], site.store)
    assert caught.value.digest == str(wheel.digest)


def test_what_metadata_says_is_escaped(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    site.wheel(make_wheel("evil", requires_python='"><script>&'), "evil")
    page = (site.publish("one") / "pypi/simple/evil/index.html").read_text()
    assert "<script>" not in page
    assert Anchors(page).found[0]["data-requires-python"] == '"><script>&'


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (b"Name: x\nRequires-Python: >=3.9\n\nbody", ">=3.9"),
        (b"Name: x\r\nRequires-Python: >=3.9,\r\n <4\r\n\r\nbody", ">=3.9, <4"),
        (b"Name: x\n\nRequires-Python: >=3.9\n", ""),
        (b"", ""),
        (b"\xff\xfe\x00", ""),
    ],
)
def test_requires_python(metadata: bytes, expected: str) -> None:
    assert requires_python(metadata) == expected


@pytest.mark.parametrize(("name", "expected"), [("A.B-_c", "a-b-c"), ("x", "x"), ("Foo__Bar", "foo-bar")])
def test_normalised(name: str, expected: str) -> None:
    assert normalised(name) == expected
