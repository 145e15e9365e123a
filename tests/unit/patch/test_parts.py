"""Blobs taken apart and put together again: nothing fails, and what is explained comes out the same."""

import gzip
import io
import lzma
import subprocess
import zipfile
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.patch.bytes_at import of_bytes, one_behind_the_other
from bundler.patch.coders import candidates, encoder
from bundler.patch.dissect import dissect
from bundler.patch.explain import explained
from bundler.patch.parts import DEFLATE, RAW, XZ, ZSTD, Part, is_raw, parse_part, plain_size
from bundler.patch.plain import encoded, plain_of
from tests.content import make_deb
from tests.lab import require_program
from tests.patched import contents, layer, text, zipped

PLAIN = text(1, 300_000)


def pigz(data: bytes, level: int) -> bytes:
    """As pigz -n writes it: its deflate is tested against the program's own by scripts/bench, where it is at hand."""
    one = encoder(DEFLATE, f"pigz-{level}", len(data))
    body = one.compress(data) + one.flush()
    foot = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + body + foot


def gnu(data: bytes, level: int) -> bytes:
    """By this machine's gzip."""
    line = [require_program("gzip"), f"-{level}", "-cn"]
    return subprocess.run(line, input=data, stdout=subprocess.PIPE, check=True).stdout


def ar(*members: bytes) -> bytes:
    out = b"!<arch>\n"
    for data in members:
        out += (
            f"{'data':<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
        )
    return out


def zst(data: bytes, level: int = 3, **facts: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(level, **facts)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def flagged() -> bytes:
    """A gzip member with everything that its head may have."""
    body = gzip.compress(PLAIN, 6, mtime=0)
    return body[:3] + b"\x1e" + body[4:10] + b"\x04\0extr" + b"name\0" + b"comment\0" + b"hc" + body[10:]


def streamed_zip() -> bytes:
    """Sizes behind the bodies, as from a pipe."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    out = Pipe()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", text(2, 9000))
        archive.writestr("two", text(3, 9000))
    return out.getvalue()


WHOLE = {
    **{f"gzip {level}": gzip.compress(PLAIN, level, mtime=0) for level in (1, 3, 6, 9)},
    "gzip with a full head": flagged(),
    "several members": gzip.compress(PLAIN, 6) + gzip.compress(PLAIN[:9], 9) + gzip.compress(b"", 6),
    **{f"pigz {level}": pigz(PLAIN, level) for level in (1, 6, 9)},
    **{f"GNU gzip {level}": gnu(PLAIN, level) for level in (1, 6, 9)},
    "pigz of whole blocks": pigz(PLAIN[: 2 << 17], 6),
    **{f"xz {preset}": lzma.compress(PLAIN, preset=preset) for preset in (0, 1, 6)},
    "xz with a hash": lzma.compress(PLAIN, check=lzma.CHECK_SHA256),
    **{f"zstd {level}": zst(PLAIN, level) for level in (1, 3, 9, 19)},
    "zstd with a checksum": zst(PLAIN, write_checksum=1),
    "zstd with a thread": zst(PLAIN, threads=1, write_checksum=1),
    "zstd frames": zst(PLAIN) + zst(b"") + zst(PLAIN[:1000]),
    "zip": zipped(),
    "zip from a pipe": streamed_zip(),
    "ar": ar(b"2.0\n", lzma.compress(PLAIN), gzip.compress(PLAIN, 9), zst(PLAIN), b"odd"),
    "deb": make_deb("hello").data,
    "script": contents(b"x")["driver.run"],
}
ODD = {
    "nothing": b"",
    "plain": PLAIN,
    "noise behind": gzip.compress(PLAIN) + b"noise",
    "xz with a filter": lzma.compress(PLAIN, filters=[{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6}]),
    "zstd that is skipped": b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zst(PLAIN),
    "half a zip": zipped()[:5000],
    "script of nothing": b"#!/bin/sh\nexit\n",
    "a bomb": gzip.compress(bytes(64 << 20), 9),
}


@pytest.mark.parametrize("name", [*WHOLE, *ODD])
def test_there_and_back(name: str) -> None:
    data = (WHOLE | ODD)[name]
    parts = explained(of_bytes(data))
    assert sum(part.size for part in parts) == len(data)
    assert b"".join(encoded(parts, plain_of(of_bytes(data), parts))) == data
    if name in WHOLE:
        left = sum(part.size for part in parts if part.kind == RAW)
        assert left < 1500 or name == "deb", parts


@pytest.mark.parametrize("name", ODD)
def test_what_stands_as_it_is(name: str) -> None:
    assert is_raw(explained(of_bytes(ODD[name]))) or name in ("noise behind", "half a zip", "a bomb")


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(WHOLE)), cut=st.integers(0, 400_000), at=st.integers(0, 400_000), to=st.integers(0, 255)
)
def test_damaged_anywhere(name: str, cut: int, at: int, to: int) -> None:
    data = bytearray(WHOLE[name])
    data[at % len(data)] = to
    short = bytes(data[: cut % len(data) + 1])
    parts = dissect(of_bytes(short))
    assert sum(part.size for part in parts) == len(short)
    try:
        assert len(b"".join(plain_of(of_bytes(short), parts))) == plain_size(parts)
    except Malformed:  # of xz only the index is read before
        assert any(part.kind == XZ for part in parts)


MAGICS = [b"\x1f\x8b\x08", b"PK\x03\x04", b"!<arch>\n", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"#!"]


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=400),
    magic=st.sampled_from([b"\x1f\x8b\x08", b"PK\x03\x04", b"!<arch>\n", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"#!"]),
)
def test_noise_behind_a_magic(data: bytes, magic: bytes) -> None:
    parts = dissect(of_bytes(magic + data))
    assert sum(part.size for part in parts) == len(magic) + len(data)


@pytest.mark.parametrize("kind", [DEFLATE, XZ, ZSTD])
@pytest.mark.parametrize("size", [0, 1, 1 << 17, (1 << 17) + 1])
def test_the_cut_of_the_input_does_not_matter(kind: str, size: int) -> None:
    for coder in candidates(kind)[:6]:
        whole, pieces = encoder(kind, coder, size), encoder(kind, coder, size)
        expected = whole.compress(PLAIN[:size]) + whole.flush()
        found = b"".join(pieces.compress(PLAIN[at : min(at + 7919, size)]) for at in range(0, size, 7919))
        assert found + pieces.flush() == expected, coder


@pytest.mark.parametrize(
    "text",
    [
        "raw 1 2",
        "raw 1 1 zlib-6-8",
        "lz4 1 1",
        "deflate 1",
        "deflate 1 2000000",
        "deflate 01 1",
        "deflate 1 1 ",
        "raw -1 -1",
    ],
)
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(Malformed):
        parse_part(text)


def test_parts_as_text() -> None:
    for part in (Part(kind=RAW, size=3, plain=3), Part(kind=XZ, size=3, plain=9, coder="lzma2-6e")):
        assert parse_part(str(part)) == part


@pytest.mark.parametrize("coder", ["", "zlib-6-8-9", "zlib-99-8", "lzma2-9", "cat"])
def test_settings_that_are_none_of_ours(coder: str) -> None:
    with pytest.raises(Malformed):
        encoder(DEFLATE, coder, 3)


@pytest.mark.parametrize("change", [-1, 1])
def test_another_number_of_plain_bytes(change: int) -> None:
    data = gzip.compress(PLAIN)
    head, body, foot = dissect(of_bytes(data))
    wrong = Part(kind=body.kind, size=body.size, plain=body.plain + change)
    with pytest.raises(Malformed):
        b"".join(plain_of(of_bytes(data), (head, wrong, foot)))
    parts = explained(of_bytes(data))
    with pytest.raises(Malformed):
        b"".join(encoded(parts, iter([layer()])))


def test_several_as_one() -> None:
    parts = [b"abc", b"", b"defg", b"h"]
    pool, whole = one_behind_the_other([of_bytes(each) for each in parts]), b"".join(parts)
    for at in range(-1, 10):
        for count in range(10):
            assert pool.read(count, at) == (whole[at : at + count] if at >= 0 else b"")
