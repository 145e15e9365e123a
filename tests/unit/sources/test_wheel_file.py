import io
import random
import warnings
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed, WrongBytes
from bundler.model.limits import LIMITS
from bundler.sources.wheel_file import RemoteFile, wheel_metadata
from bundler.transport import Transport
from tests.content import make_wheel
from tests.hostile_server import HostileServer, ok, status
from tests.upstreams import spans


def archive(*members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", how) as made:
        warnings.simplefilter("ignore")  # two members of one name
        for name, data in members:
            made.writestr(name, data)
    return out.getvalue()


META = ("some_app-1.0.dist-info/METADATA", b"Name: some-app\n")


@pytest.mark.parametrize(
    "members",
    [
        [META],
        [META, ("some_app/_vendor/other-1.0.dist-info/METADATA", b"")],
        [("Some.App-1.0.dist-info/METADATA", META[1])],
    ],
)
def test_metadata_of_a_wheel(members: list[tuple[str, bytes]]) -> None:
    assert wheel_metadata(io.BytesIO(archive(*members)), project="some-app") == META[1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        archive(("x", b"")),
        archive(META, META),
        archive(META, ("other-1.0.dist-info/METADATA", b"")),
        archive(("other-1.0.dist-info/METADATA", b"")),
        archive(META)[:-1],
        archive((META[0], b"a" * (LIMITS.metadata + 1))),
    ],
    ids=["empty", "no zip", "none", "twice", "two", "other", "cut", "large"],
)
def test_what_is_no_wheel_of_the_project(data: bytes) -> None:
    with pytest.raises(Malformed):
        wheel_metadata(io.BytesIO(data), project="some-app")


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_a_damaged_wheel_is_an_error_or_still_a_wheel(place: int, byte: int) -> None:
    data = bytearray(archive(META, ("some_app.py", b"x" * 50)))
    data[place % len(data)] = byte
    try:
        wheel_metadata(io.BytesIO(bytes(data)), project="some-app")
    except Malformed:
        return


def test_a_remote_wheel_is_read_in_part() -> None:
    filler = random.Random(1).randbytes(3 << 20)
    data = archive(META, ("some_app.bin", filler), how=zipfile.ZIP_STORED)
    with HostileServer() as server:
        transport = Transport()
        remote = RemoteFile(transport, server.on("/a.whl", spans(data)), what="a.whl")
        assert wheel_metadata(io.BufferedReader(remote, 1 << 16), project="some-app") == META[1]
        assert remote.size == len(data)
        assert transport.received < 256 << 10


@pytest.mark.parametrize(
    ("code", "given_range"),
    [(206, ""), (206, "bytes 0-9/10"), (206, "bytes */10"), (206, "bytes 5-900/100"), (206, "lines 1-2/3")],
)
def test_a_range_that_was_not_asked_for(code: int, given_range: str) -> None:
    with HostileServer() as server:
        url = server.on("/a.whl", status(code, b"x" * 20, Content_Range=given_range))
        with pytest.raises(WrongBytes, match=r"a\.whl"):
            RemoteFile(Transport(), url, what="a.whl")


def test_a_server_without_ranges_gives_it_whole() -> None:
    made = make_wheel("app")
    with HostileServer() as server:
        remote = RemoteFile(Transport(), server.on("/a.whl", ok(made.data)), what="a.whl")
        assert wheel_metadata(io.BufferedReader(remote), project="app") == made.description
