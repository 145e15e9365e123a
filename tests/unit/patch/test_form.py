"""A patch, its head and its segments: what is made is read back, and nothing hostile gets further than Malformed."""

import lzma
import random
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.patch.bytes_at import of_bytes
from bundler.patch.form import (
    MAGIC,
    Head,
    Segment,
    Side,
    pack,
    read_head,
    read_segment,
    unpack,
    write_head,
    write_segment,
)
from bundler.patch.match import NEAR, SEGMENT, Copy, Matcher, Range, rest_of
from bundler.patch.parts import Part, raw
from tests.lab import ROOT
from tests.patched import contents, patch_of, rebuilt_of, text

OLD, NEW = contents(b"old"), contents(b"newer")


@pytest.mark.parametrize("name", OLD)
def test_every_kind(name: str, tmp_path: Path) -> None:
    patch = patch_of(NEW[name], OLD[name], folder=tmp_path)
    assert len(patch) < len(NEW[name]) / 20
    assert rebuilt_of(patch, OLD[name], folder=tmp_path) == NEW[name]
    assert not list(tmp_path.iterdir())


def test_across_kinds(tmp_path: Path) -> None:
    """The same content, compressed by another program; and from several bases."""
    for target, *bases in (("layer.tar.gz", "layer.tar.xz"), ("layer.tar.zst", "model.bin", "driver.run")):
        old = [OLD[base] for base in bases]
        patch = patch_of(NEW[target], *old, folder=tmp_path)
        assert len(patch) < len(NEW[target]) / 20
        assert rebuilt_of(patch, *old, folder=tmp_path) == NEW[target]


@settings(max_examples=40, deadline=None)
@given(new=st.binary(max_size=3000), old=st.binary(max_size=3000), seed=st.integers(0, 9), cut=st.integers(0, 20_000))
def test_anything(new: bytes, old: bytes, seed: int, cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    base = old + text(seed, 20_000)
    target = new + base[cut:] + new + base[:cut]
    assert rebuilt_of(patch_of(target, base, folder=folder), base, folder=folder) == target


def test_several_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that has moved far, and changes in every segment."""
    from bundler.patch import make as module

    monkeypatch.setattr(module, "SEGMENT", 100_000)
    old = b"".join(text(n, 90_000) for n in range(8))
    dice = random.Random(3)
    new = bytearray(old[400_000:] + old[:400_000])
    for _ in range(40):
        new[dice.randrange(len(new))] ^= 1
    patch = patch_of(bytes(new), old, folder=tmp_path)
    assert len(patch) < 12_000
    assert rebuilt_of(patch, old, folder=tmp_path) == new


@settings(max_examples=60, deadline=None)
@given(moves=st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 5000)), max_size=8))
def test_copies_are_what_they_say(moves: list[tuple[int, int]]) -> None:
    pool = text(4, 35_000)
    segment = b"".join(pool[start : start + size] + b"?" for start, size in moves)
    copies = Matcher(of_bytes(pool)).copies(segment, 0)
    end = 0
    for copy in copies:
        assert copy.at >= end
        end = copy.end
        assert segment[copy.at : end] == pool[copy.source : copy.source + copy.size]
    data = write_segment(copies, rest_of(segment, copies))
    pieces = [p if isinstance(p, bytes) else pool[p.start : p.start + p.size] for p in read_segment(data, len(segment))]
    assert b"".join(pieces) == segment


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60), plain=st.integers(0, 200))
def test_tables_of_copies_from_strangers(data: bytes, plain: int) -> None:
    try:
        pieces = list(read_segment(data, plain))
    except Malformed:
        return
    assert sum(len(p) if isinstance(p, bytes) else p.size for p in pieces) == plain


def head_of(**facts: object) -> Head:
    base = Side(digest=Digest("1" * 64), size=10, parts=(raw(4), Part(kind="deflate", size=6, plain=90)))
    target = Side(digest=Digest("2" * 64), size=7, parts=(Part(kind="deflate", size=7, plain=50, coder="zlib-6-8"),))
    segment = Segment(plain=50, size=5, ranges=(Range(start=0, size=94),))
    head = Head(target=target, bases=(base,), probes=(("deflate", "0123"),), segments=(segment,))
    return replace(head, **facts)  # type: ignore[arg-type]


def test_a_head_there_and_back() -> None:
    data = write_head(head_of())
    assert read_head(of_bytes(data + b"12345")) == (head_of(), len(data))


HEAD = head_of()
SEG = HEAD.segments[0]
HOSTILE: dict[str, Head] = {
    "no base": head_of(bases=()),
    "many bases": head_of(bases=HEAD.bases * 17),
    "parts that are short": head_of(target=replace(HEAD.target, size=8)),
    "a base's parts that are long": head_of(bases=(replace(HEAD.bases[0], size=9),)),
    "a part that expands too far": head_of(
        bases=(replace(HEAD.bases[0], parts=(Part(kind="xz", size=10, plain=1 << 40),)),)
    ),
    "segments that are short": head_of(segments=(replace(SEG, plain=49),)),
    "an empty segment": head_of(segments=(SEG, replace(SEG, plain=0, size=0))),
    "a huge segment": head_of(
        target=replace(HEAD.target, size=1 << 30, parts=(raw(1 << 30),)), segments=(replace(SEG, plain=1 << 30),)
    ),
    "a frame that is short": head_of(segments=(replace(SEG, size=4),)),
    "a range beyond": head_of(segments=(replace(SEG, ranges=(Range(start=1, size=94),)),)),
    "too much of the bases": head_of(segments=(replace(SEG, ranges=(Range(start=0, size=1),) * 5000),)),
    "a kind of nothing": head_of(probes=(("lz4", "0"),)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_heads_from_strangers(name: str) -> None:
    with pytest.raises(Malformed):
        read_head(of_bytes(write_head(HOSTILE[name]) + b"12345"))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"size":10', b'"size":10,"more":1', 1),
        lambda data: data.replace(b'"size":10', b'"size": 10', 1),
        lambda data: data.replace(b'"size":10', b'"size":-10', 1),
        lambda data: data.replace(b'"target"', b'"tarpit"', 1),
        lambda data: data[:-1],
        lambda data: b"[]\n",
        lambda data: b"",
    ],
)
def test_heads_in_other_bytes(change: Callable[[bytes], bytes]) -> None:
    packed = write_head(HEAD)[len(MAGIC) :].partition(b"\n")[2]
    data = zstandard.ZstdCompressor().compress(change(zstandard.ZstdDecompressor().decompress(packed)))
    with pytest.raises(Malformed):
        read_head(of_bytes(MAGIC + f"{len(data)}\n".encode() + data + b"12345"))


def test_every_byte_of_a_patch(tmp_path: Path) -> None:
    """Whichever is changed: refused, or other bytes, which the digest tells; never more than the target has."""
    old, new = text(5, 3000), text(5, 1500) + b"changed" + text(5, 3000)[1500:]
    patch = patch_of(new, old, folder=tmp_path)
    for at in range(len(patch)):
        for bit in (1, 128):
            wrong = bytearray(patch)
            wrong[at] ^= bit
            try:
                found = rebuilt_of(bytes(wrong), old, folder=tmp_path)
            except (Malformed, KeyError):  # KeyError: the base of another digest, which nobody has
                continue
            assert len(found) <= len(new)
    for count in range(len(patch)):
        with pytest.raises(Malformed):
            rebuilt_of(patch[:count], old, folder=tmp_path)


# --- bombs


def test_frames_that_expand() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    assert len(bomb) < 1 << 17
    for frame in (bomb, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))):
        with pytest.raises(Malformed):
            unpack(frame, 2 * SEGMENT)
    liar = bytearray(pack(bytes(1000), b""))
    at = liar.index((1000 - 256).to_bytes(2, "little"))
    liar[at : at + 2] = (100).to_bytes(2, "little")  # says 356
    with pytest.raises(Malformed):
        unpack(bytes(liar), 400)


def test_a_base_that_takes_more_scratch_than_was_said(tmp_path: Path) -> None:
    patch = patch_of(NEW["layer.tar.gz"], OLD["layer.tar.gz"], folder=tmp_path)
    head, _ = read_head(of_bytes(patch))
    plain = head.bases[0].plain
    assert rebuilt_of(patch, OLD["layer.tar.gz"], folder=tmp_path, room=plain) == NEW["layer.tar.gz"]
    with pytest.raises(Malformed, match="scratch"):
        rebuilt_of(patch, OLD["layer.tar.gz"], folder=tmp_path, room=plain - 1)


@pytest.mark.parametrize("other", [b"", OLD["model.bin"], OLD["layer.tar.gz"][:-500]])
def test_a_base_that_is_another(other: bytes, tmp_path: Path) -> None:
    """It cannot be, where bases are proved; it does no harm where they are not."""
    patch = patch_of(NEW["layer.tar.gz"], OLD["layer.tar.gz"], folder=tmp_path)
    with pytest.raises(Malformed):
        rebuilt_of(patch, other, folder=tmp_path, anyway=other)


def test_what_is_near_is_bounded() -> None:
    pool = text(6, 1_000_000) * 40
    matcher = Matcher(of_bytes(pool))
    ranges = matcher.near(text(7, 1 << 20), 0, [Copy(at=500_000, source=30_000_000, size=1000)])
    assert sum(each.size for each in ranges) <= NEAR
    assert all(each.start + each.size <= len(pool) for each in ranges)


# Its own peak in KiB is the last that it says; what wait4() tells of a child has its parent's in it.
MEASURED = """
import runpy, sys
try:
    runpy.run_module("scripts.lab.bench_delta", run_name="__main__", alter_sys=True)
finally:
    print(*(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line), file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("pack", ["gzip", pytest.param("xz", marks=pytest.mark.long)])
def test_memory_is_bounded(pack: str, tmp_path: Path) -> None:
    """256 MB on both sides, whatever the blob; here its plain stream is larger than that."""
    for number in (1, 2):
        with (tmp_path / f"{number}.plain").open("wb") as out:
            for at in range(24):
                out.write(random.Random(at).randbytes(9 << 20) + text(at, 3 << 20))
                out.write(f"version {number}\n".encode() * 1000 if at == 12 else b"")
        with (tmp_path / f"{number}.plain").open("rb") as plain, (tmp_path / str(number)).open("wb") as packed:
            if pack == "gzip":
                one = zlib.compressobj(1, zlib.DEFLATED, 31)
                for data in iter(lambda: plain.read(1 << 20), b""):
                    packed.write(one.compress(data))
                packed.write(one.flush())
            else:
                packed.write(lzma.compress(plain.read(), preset=0))
    old, new, patch = tmp_path / "1", tmp_path / "2", tmp_path / "patch"
    for what in (("make", new, old, patch), ("rebuild", patch, old)):
        line = [sys.executable, "-c", MEASURED, "--child", *map(str, what), str(tmp_path)]
        said = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
        assert int(said.stderr.split()[-1]) << 10 <= 256 << 20
    assert patch.stat().st_size < new.stat().st_size / 100
