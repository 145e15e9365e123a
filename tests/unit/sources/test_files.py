"""Plain files, from servers and from a declared folder."""

import os
from pathlib import Path

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import Malformed, NotReadable, TooLarge, WrongBytes
from bundler.model.digest import Digest
from bundler.sources import files as module
from bundler.sources.files import file_source, read_whole, receive_local, size_of
from bundler.transport import Request, Upstreams
from tests.hostile_server import Bytes, HostileServer, chunked, ok, raw

DATA = bytes(range(256)) * 5000
NONE = Upstreams()


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(DATA)
    (tmp_path / "outside").write_bytes(DATA)
    return folder


def test_a_url_is_a_request(files):
    found = file_source("https://example.com/a?b=c", manifests=Manifests(folders=(files.parent,)), upstreams=NONE)
    assert isinstance(found, Request)
    assert found.url == "https://example.com/a?b=c"


def test_a_name_is_a_path_below_the_folder(files):
    (files / "link").symlink_to("a.bin")
    (files / "sub/up").symlink_to("../a.bin")
    for name in ("a.bin", "sub/../a.bin", "./a.bin", "link", "sub/up"):
        assert (
            file_source(f"file:{name}", manifests=Manifests(folders=(files.parent,)), upstreams=NONE) == files / "a.bin"
        )


def test_the_folder_itself_may_be_a_link(files, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/files").symlink_to("../files")
    manifests = Manifests(folders=(tmp_path / "other",))
    assert file_source("file:a.bin", manifests=manifests, upstreams=NONE) == files / "a.bin"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://dl.example/v1/a", "http://127.0.0.1:8080/mirror/v1/a"),
        ("https://dl.example/v1/a?b=c&d", "http://127.0.0.1:8080/mirror/v1/a?b=c&d"),
        ("https://dl.example:443/v1/a", "https://dl.example:443/v1/a"),
        ("https://example.com/v1/a", "https://example.com/v1/a"),
    ],
)
def test_a_file_from_an_upstream(url, expected):
    upstreams = Upstreams.parse(["dl.example=http://127.0.0.1:8080/mirror"])
    found = file_source(url, manifests=Manifests(folders=()), upstreams=upstreams)
    assert isinstance(found, Request)
    assert (found.url, found.what) == (expected, url)


@pytest.mark.parametrize(
    "name", ["../outside", "sub/../../outside", "/etc/passwd", "///etc/passwd", "", ".", "sub/..", "out", "dir/outside"]
)
def test_no_way_out_of_the_folder(files, name):
    (files / "out").symlink_to("../outside")
    (files / "dir").symlink_to("..")
    with pytest.raises(Malformed):
        file_source(f"file:{name}", manifests=Manifests(folders=(files.parent,)), upstreams=NONE)


@pytest.mark.parametrize("there", [0, 1, 1_000_000, len(DATA)])
def test_receive_local_goes_on_where_the_sink_stands(files, there):
    sink = Bytes(bytearray(DATA[:there]))
    receive_local(files / "a.bin", size=len(DATA), sink=sink)
    assert sink.data == DATA


@pytest.mark.parametrize("size", [0, len(DATA) - 1, len(DATA) + 1])
def test_another_size_is_wrong_and_nothing_is_written(files, size):
    sink = Bytes()
    with pytest.raises(WrongBytes):
        receive_local(files / "a.bin", size=size, sink=sink)
    assert sink.data == b""


def test_a_file_that_shrinks_meanwhile(files):
    class Cutting(Bytes):
        def write(self, data: memoryview) -> None:
            super().write(data)
            os.truncate(files / "a.bin", 10)

    with pytest.raises(WrongBytes):
        receive_local(files / "a.bin", size=len(DATA), sink=Cutting())


def test_what_is_no_regular_file(files):
    os.mkfifo(files / "pipe")
    for name in ("pipe", "sub", "none"):
        with pytest.raises(NotReadable):
            receive_local(files / name, size=1, sink=Bytes())


def sources(files: Path, server: HostileServer) -> list[Request | Path]:
    """The same bytes from a folder, and from servers that say their size, or do not."""
    answers = (ok(DATA), chunked(DATA), raw(b"HTTP/1.1 200 OK\r\n\r\n", DATA))
    return [files / "a.bin", *(Request(url=server.on(f"/{at}", each)) for at, each in enumerate(answers))]


def test_read_whole(files, server, transport):
    for source in sources(files, server):
        assert read_whole(source, transport=transport, tell=lambda count: None) == (Digest.of(DATA), len(DATA))


def test_the_size_is_known_without_reading(files, server, transport):
    found = [size_of(source, transport=transport) for source in sources(files, server)]
    assert found == [len(DATA), len(DATA), None, None]
    assert transport.received < len(DATA)


def test_what_is_too_large_for_a_file(server, transport):
    huge = server.on("/huge", raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ((1 << 40) + 1)))
    with pytest.raises(TooLarge):
        size_of(Request(url=huge), transport=transport)


def test_a_reader_hears_of_a_long_reading(files, monkeypatch, transport):
    monkeypatch.setattr(module, "_TOLD", 1 << 20)
    heard: list[int] = []
    read_whole(files / "a.bin", transport=transport, tell=heard.append)
    assert heard == [1 << 20]
    with pytest.raises(NotReadable):
        read_whole(files / "none", transport=transport, tell=heard.append)
