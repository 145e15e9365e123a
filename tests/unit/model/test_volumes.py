import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed, MalformedStatement, NewerToolNeeded, Usage
from bundler.model.digest import Digest
from bundler.model.profile import Release
from bundler.model.volumes import (
    MOST,
    SIZES,
    Slice,
    Volumes,
    cut,
    numbered,
    parse_size,
    parse_volumes,
    pieces,
    slice_name,
    write_volumes,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("4GB", 4_000_000_000),
        ("4G", 4_000_000_000),
        ("4GiB", 1 << 32),
        ("650MiB", 650 << 20),
        ("700M", 700_000_000),
        ("8kB", 8000),
        ("8KiB", 8192),
        ("2TB", 2 * 10**12),
        ("fat32", (1 << 32) - 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5G", "4 GB", "4gb", "4K", "GB", "floppy", "9" * 17, "1PiB", "٣"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(Malformed):
        parse_size(text)


def test_named_sizes_fit_their_media() -> None:
    """What a medium has (blocks of 2048), less a thousandth or more for its file system."""
    sectors = {"cd": 360_000, "dvd": 2_295_104, "dvd-dl": 4_173_824, "bd25": 12_219_392, "bd50": 24_438_784}
    for name, count in {**sectors, "bd100": 48_878_592}.items():
        assert 0.98 < SIZES[name] / (2048 * count) < 0.999, name


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_cutting(size: int, each: int) -> None:
    if -(-size // each) > MOST:
        with pytest.raises(Usage):
            cut(size, each)
        return
    sizes = cut(size, each)
    assert sum(sizes) == size
    assert set(sizes[:-1]) <= {each}
    assert 1 <= sizes[-1] <= each


@given(st.binary(min_size=1, max_size=300), st.integers(1, 40), st.data())
def test_pieces_are_the_bytes(data: bytes, each: int, draw: st.DataObject) -> None:
    slices = [data[at : at + each] for at in range(0, len(data), each)]
    offset = draw.draw(st.integers(0, len(data)))
    count = draw.draw(st.integers(0, len(data) - offset))
    found = b"".join(slices[index][at : at + length] for index, at, length in pieces(offset, count, each))
    assert found == data[offset : offset + count]


def test_names() -> None:
    assert slice_name("a.bundle", 7) == "a.bundle.007"
    assert numbered("a.bundle.007") == ("a.bundle", 7)
    for file in ("a.bundle", "a.000", ".001", "a.0001", "a.12", "a.001.sig"):
        assert numbered(file) is None or file == "a.0001"


SOME = Volumes(
    release=Release(line="tiny", number=3),
    content=Digest.of(b"content"),
    statement=Digest.of(b"statement"),
    slices=(Slice(digest=Digest.of(b"1"), size=10), Slice(digest=Digest.of(b"2"), size=4)),
)


def test_the_document_comes_back() -> None:
    assert parse_volumes(write_volumes(SOME), path="x") == SOME
    assert (SOME.size, SOME.each) == (14, 10)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"type":"bundle-volumes"', b'"type":"bundle-statement"', MalformedStatement),
        (b'"format":1', b'"format":2', NewerToolNeeded),
        (b'"requires":[]', b'"requires":["x"]', NewerToolNeeded),
        (b'"number":3', b'"number":-3', MalformedStatement),
        (b'"size":4', b'"size":0', MalformedStatement),
        (b'"size":4', b'"size":11', MalformedStatement),
        (b'"size":10', b'"size":9007199254740992', MalformedStatement),
        (b'"type"', b' "type"', MalformedStatement),
        (b'"number":3', b'"more":1,"number":3', MalformedStatement),
        (b"sha256:", b"sha512:", MalformedStatement),
        (b"}\n", b"}", MalformedStatement),
    ],
)
def test_refused(old: bytes, new: bytes, error: type[Exception]) -> None:
    data = write_volumes(SOME)
    assert old in data
    with pytest.raises(error):
        parse_volumes(data.replace(old, new, 1), path="x")


@given(st.binary(max_size=200))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises((MalformedStatement, NewerToolNeeded)):
        parse_volumes(data, path="x")
