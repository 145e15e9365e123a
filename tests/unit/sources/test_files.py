"""Plain files, from servers and from a declared folder."""

import os

import pytest

from bundler.errors import Malformed, NotReadable, WrongBytes
from bundler.model.digest import Digest
from bundler.sources.files import file_source, measure, receive_local
from bundler.transport import Request
from tests.hostile_server import Bytes, chunked, ok, raw

DATA = bytes(range(256)) * 5000


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(DATA)
    (tmp_path / "outside").write_bytes(DATA)
    return folder


def test_a_url_is_a_request(files):
    found = file_source("https://example.com/a?b=c", files=files)
    assert isinstance(found, Request)
    assert found.url == "https://example.com/a?b=c"


def test_a_name_is_a_path_below_the_folder(files):
    (files / "link").symlink_to("a.bin")
    (files / "sub/up").symlink_to("../a.bin")
    for name in ("a.bin", "sub/../a.bin", "./a.bin", "link", "sub/up"):
        assert file_source(f"file:{name}", files=files) == files / "a.bin"


def test_the_folder_itself_may_be_a_link(files, tmp_path):
    (tmp_path / "alias").symlink_to("files")
    assert file_source("file:a.bin", files=tmp_path / "alias") == files / "a.bin"


@pytest.mark.parametrize(
    "name", ["../outside", "sub/../../outside", "/etc/passwd", "///etc/passwd", "", ".", "sub/..", "out", "dir/outside"]
)
def test_no_way_out_of_the_folder(files, name):
    (files / "out").symlink_to("../outside")
    (files / "dir").symlink_to("..")
    with pytest.raises(Malformed):
        file_source(f"file:{name}", files=files)


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


def test_measure(files, server, transport):
    digest = Digest.of(DATA)
    for source in (
        files / "a.bin",
        *(
            Request(url=server.on("/a", answer))
            for answer in (ok(DATA), chunked(DATA), raw(b"HTTP/1.1 200 OK\r\n\r\n", DATA))
        ),
    ):
        assert measure(source, transport=transport, digest=digest, name="a.bin") == len(DATA)


def test_measure_refuses_other_bytes(files, server, transport):
    for source in (files / "a.bin", Request(url=server.on("/a", ok(DATA)))):
        with pytest.raises(WrongBytes) as caught:
            measure(source, transport=transport, digest=Digest.of(b"x"), name="a.bin")
        assert (caught.value.what, caught.value.found) == ("a.bin", str(Digest.of(DATA)))
