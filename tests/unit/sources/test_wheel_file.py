import contextlib
import io
import random
import warnings
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed, WrongBytes
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.sources.wheel_file import fetched_metadata, remote_metadata, requires_of, wheel_metadata
from bundler.transport import Request, Transport
from tests.content import make_wheel
from tests.hostile_server import Answer, HostileServer, ok, ranged


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


FILLER = random.Random(1).randbytes(3 << 20)
BULK = ("some_app.bin", FILLER)


@pytest.mark.parametrize(
    ("members", "most"),
    [([BULK, META], 65 << 10), ([META, BULK], 4 << 20)],
    ids=["at its end", "at its start"],
)
def test_of_a_remote_wheel_the_end_is_read(members: list[tuple[str, bytes]], most: int) -> None:
    data = archive(*members, how=zipfile.ZIP_STORED)
    with HostileServer() as server:
        transport = Transport()
        request = Request(url=server.on("/a.whl", ranged(data)))
        assert remote_metadata(transport, request, size=len(data), project="some-app") == META[1]
        assert transport.received <= most


def test_a_remote_wheel_with_metadata_far_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.sources.wheel_file._ENDS", (1 << 10, 1 << 20))
    data = archive(META, BULK, how=zipfile.ZIP_STORED)
    with HostileServer() as server:
        request = Request(url=server.on("/a.whl", ranged(data)))
        with pytest.raises(Malformed, match="far from its end"):
            remote_metadata(Transport(), request, size=len(data), project="some-app")


@pytest.mark.parametrize("answer", [ok, ranged], ids=["whole", "ranges"])
def test_a_remote_wheel_of_unknown_size_is_fetched_and_checked(answer: Callable[[bytes], Answer]) -> None:
    data = archive(META, BULK)
    with HostileServer() as server:
        request = Request(url=server.on("/a.whl", answer(data)), what="a.whl")
        found = fetched_metadata(Transport(), request, digest=Digest.of(data), project="some-app")
        assert found == (META[1], len(data))
        with pytest.raises(WrongBytes, match=r"a\.whl"):
            fetched_metadata(Transport(), request, digest=Digest.of(b""), project="some-app")


def test_a_server_without_ranges_is_read_to_the_end() -> None:
    made = make_wheel("app", body="#" * 300_000)
    with HostileServer() as server:
        request = Request(url=server.on("/a.whl", ok(made.data)))
        assert remote_metadata(Transport(), request, size=len(made.data), project="app") == made.description


def test_what_a_resolver_reads_of_metadata() -> None:
    text = (
        b"Metadata-Version: 2.4\nName: app\nrequires-dist: lib >=1,\n        <2\nClassifier: x\n"
        b"Requires-Python: >=3.9\r\nProvides-Extra: fast\nRequires-Dist: \xc3\xa9 ; extra == 'fast'\nRequires-Dist:\n"
        b"\nRequires-Dist: of-the-description\n"
    )
    assert requires_of(text) == (
        "Requires-Dist: lib >=1, <2",
        "Requires-Python: >=3.9",
        "Provides-Extra: fast",
        "Requires-Dist: \u00e9 ; extra == 'fast'",
    )
    with pytest.raises(Malformed):
        requires_of(b"Requires-Dist: " + b"x" * 2000)


@given(data=st.binary(max_size=200))
def test_any_metadata_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert all(": " in line for line in requires_of(data))
