"""Compressors by their settings, such that the same plain bytes give the same compressed ones again.

That holds for one version of a library only as far as its makers keep it so: `probe` tells whether two machines have
the same one, and every blob that is made anew is hashed before it counts.
"""

import hashlib
import lzma
import random
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Protocol

import zstandard

from bundler.errors import Malformed
from bundler.patch.parts import DEFLATE, XZ, ZSTD
from bundler.patch.programs import gnu_gzip, go_gzip, missing

_BLOCK = 128 << 10  # of pigz, which gives each of its threads that much
_WINDOW = 32 << 10


class Encoder(Protocol):
    """A compressor at work."""

    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


def encoder(kind: str, coder: str, plain: int) -> Encoder:
    """The compressor that makes a part of `plain` bytes. Raises Malformed for settings that are none of ours, and for
    those that this machine has no program for."""
    if coder not in candidates(kind):
        raise Malformed(found=f"the settings {coder[:40]!r} of {kind[:40]!r}", expected="known ones")
    return _ENCODERS[kind](coder, plain)


def candidates(kind: str) -> tuple[str, ...]:
    """Settings in the order in which they are found in the world."""
    return _CANDIDATES.get(kind, ())


def usable(kind: str) -> tuple[str, ...]:
    """Those that this machine can work with."""
    return tuple(each for each in candidates(kind) if each.partition("-")[0] not in missing())


class _Pigz:
    """Blocks of their own, each with the end of the one before as its dictionary, so that several threads may work;
    between them a flush to whole bytes. Of pigz 2.8, pigz.c: `deflate_engine` and `parallel_compress`."""

    def __init__(self, level: int) -> None:
        self._level, self._held, self._before = level, b"", b""

    def compress(self, data: bytes) -> bytes:
        self._held += data
        out = []
        # The last block is made otherwise, so one is held back.
        while len(self._held) > _BLOCK:
            block, self._held = self._held[:_BLOCK], self._held[_BLOCK:]
            out.append(self._block(block, zlib.Z_SYNC_FLUSH))
        return b"".join(out)

    def flush(self) -> bytes:
        return self._block(self._held, zlib.Z_FINISH)

    def _block(self, data: bytes, mode: int) -> bytes:
        extra = (self._before,) if self._before else ()
        one = zlib.compressobj(self._level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, *extra)
        self._before = data[-_WINDOW:]
        return one.compress(data) + one.flush(mode)


class _Zstd:
    """`thread`: in jobs for threads of their own, which is how the program `zstd` works, also with one."""

    def __init__(self, level: int, plain: int, *, checksum: bool, sized: bool, thread: bool) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            source_size=plain if sized else 0,
            write_checksum=checksum,
            write_content_size=sized,
            threads=1 if thread else 0,
        )
        made = zstandard.ZstdCompressor(compression_params=parameters)
        self._one = made.compressobj(size=plain) if sized else made.compressobj()

    def compress(self, data: bytes) -> bytes:
        return self._one.compress(data)

    def flush(self) -> bytes:
        return self._one.flush()


def _deflate(coder: str, plain: int) -> Encoder:
    library, level, *memory = coder.split("-")
    if library in _LIBRARIES:
        return _LIBRARIES[library](int(level))
    return zlib.compressobj(int(level), zlib.DEFLATED, -15, int(memory[0]))


def _lzma2(coder: str, plain: int) -> Encoder:
    """The inside of an xz block: its head and the index behind all blocks stand as they are."""
    preset = coder.removeprefix("lzma2-")
    extreme = lzma.PRESET_EXTREME if preset.endswith("e") else 0
    filters = [{"id": lzma.FILTER_LZMA2, "preset": int(preset.rstrip("e")) | extreme}]
    return lzma.LZMACompressor(format=lzma.FORMAT_RAW, filters=filters)


def _zstd(coder: str, plain: int) -> Encoder:
    _, level, *flags = coder.split("-")
    checksum, sized, thread = (flag in flags for flag in ("check", "sized", "thread"))
    return _Zstd(int(level), plain, checksum=checksum, sized=sized, thread=thread)


_LIBRARIES: dict[str, Callable[[int], Encoder]] = {"pigz": _Pigz, "go": go_gzip, "gnu": gnu_gzip}
_ENCODERS: dict[str, Callable[[str, int], Encoder]] = {DEFLATE: _deflate, XZ: _lzma2, ZSTD: _zstd}
_CANDIDATES = {
    DEFLATE: (
        *("zlib-6-8", "zlib-9-8", "pigz-6", "zlib-1-8", "go-6", "gnu-6", "gnu-9", "pigz-9", "pigz-1", "go-9", "go-1"),
        *(f"zlib-{level}-8" for level in (5, 4, 3, 2, 7, 8)),
        *(f"zlib-{level}-9" for level in (6, 9, 1)),
        "gnu-1",
    ),
    # Those above 7 take more memory than a site may have for it; below 8 MiB of plain bytes they do what 6 does.
    XZ: ("lzma2-6", "lzma2-6e", *(f"lzma2-{level}" for level in (3, 2, 1, 0, 4, 5, 7)), "lzma2-7e"),
    ZSTD: tuple(
        f"zstd-{level}{check}{sized}{thread}"
        for level in (3, 19, 1, 9, 6, 15, 2, 4, 5, 7, 8)
        for thread in ("-thread", "")
        for check in ("-check", "")
        for sized in ("-sized", "")
    ),
}


@lru_cache
def probe(kind: str) -> str:
    """What this machine's library makes of some bytes, as a hash: the same on machines with the same library."""
    found = hashlib.sha256()
    for coder in candidates(kind)[:4]:
        for data in _texts():
            one = encoder(kind, coder, len(data))
            found.update(one.compress(data) + one.flush())
    return found.hexdigest()[:16]


def _texts() -> Iterator[bytes]:
    """Neither noise nor all alike: what makes a compressor choose."""
    dice = random.Random(1)  # noqa: S311 (the same everywhere)
    words = [bytes(dice.randrange(256) for _ in range(dice.randrange(2, 12))) for _ in range(700)]
    for count in (200, 30_000):
        yield b"".join(dice.choice(words) for _ in range(count))
