"""A patch in bytes (format 1): how the exact bytes of a blob are made of blobs that are there already.

    bundle patch 1\\n
    LENGTH\\n                       of the head as it comes, decimal
    the head: canonical JSON in one zstd frame
    for each segment of the target's plain stream, in order: one zstd frame, made with the ranges of the bases' plain
    streams that the head names, one behind the other, as a raw dictionary

The head has the parts of the target and of each base (bundler.patch.parts), so that nothing is guessed while a blob is
rebuilt, and which compressors the maker had (bundler.patch.coders.probe). What a segment's frame holds is a table of
copies from the bases, then the bytes between them.

Nothing in it is believed: all that is unpacked is bounded before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import zstandard

from bundler.errors import Malformed
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields, parse_integer
from bundler.model.exact import parse_exact
from bundler.model.limits import LIMITS
from bundler.patch.bytes_at import Bytes
from bundler.patch.match import NEAR, SEGMENT, Copy, Range
from bundler.patch.parts import KINDS, Part, parse_part, plain_size

MAGIC = b"bundle patch 1\n"
_LEVEL = 12  # where it stops to pay: a level more is twice the time for a hundredth of the size
_WINDOW_LOG = 26
_RANGES = 1 << 12  # of one segment
_BASES = 16
_TABLE = 1 << 20  # bytes of a segment's table of copies


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A blob and its parts."""

    digest: Digest
    size: int
    parts: tuple[Part, ...]

    @property
    def plain(self) -> int:
        return plain_size(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """`plain` bytes of the target are in `size` bytes of the patch, made against `ranges`."""

    plain: int
    size: int
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`probes` are (kind, probe) of the compressors by which the target is put together."""

    target: Side
    bases: tuple[Side, ...]
    probes: tuple[tuple[str, str], ...]
    segments: tuple[Segment, ...]


# --- the head


def write_head(head: Head) -> bytes:
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(_write_plain(head))
    return MAGIC + f"{len(packed)}\n".encode() + packed


def _write_plain(head: Head) -> bytes:
    return canonical.dump(
        {
            "target": _side(head.target),
            "bases": [_side(base) for base in head.bases],
            "probes": [f"{kind} {probe}" for kind, probe in head.probes],
            "segments": [
                {"plain": each.plain, "size": each.size, "ranges": [f"{r.start} {r.size}" for r in each.ranges]}
                for each in head.segments
            ],
        }
    )


def _side(side: Side) -> dict[str, Any]:
    return {"digest": str(side.digest), "size": side.size, "parts": [str(part) for part in side.parts]}


def read_head(patch: Bytes) -> tuple[Head, int]:
    """The head, and where the first segment's frame begins. Raises Malformed."""
    line, _, _ = patch.read(20, len(MAGIC)).partition(b"\n")
    if patch.read(len(MAGIC), 0) != MAGIC or not line.isdigit() or int(line) > LIMITS.document:
        raise Malformed(found="another beginning", expected=MAGIC.decode().strip())
    start = len(MAGIC) + len(line) + 1
    data = unpack(patch.read(int(line), start), LIMITS.document)
    head = parse_exact(data, path="the patch", read=lambda fields: fields.document(_head), write=_write_plain)
    end = start + int(line)
    _check(head, patch.size - end)
    return head, end


def _head(fields: Fields) -> Head:
    return fields.build(
        Head,
        target=fields.nested("target", _read_side),
        bases=fields.each("bases", _read_side),
        probes=fields.values("probes", _read_probe),
        segments=fields.each("segments", _read_segment),
    )


def _read_side(fields: Fields) -> Side:
    digest, size = fields.value("digest", Digest.parse), fields.integer("size")
    return fields.build(Side, digest=digest, size=size, parts=fields.values("parts", parse_part))


def _read_segment(fields: Fields) -> Segment:
    plain, size = fields.integer("plain"), fields.integer("size")
    return fields.build(Segment, plain=plain, size=size, ranges=fields.values("ranges", _read_range))


def _read_probe(text: str) -> tuple[str, str]:
    kind, _, probe = text.partition(" ")
    if kind not in KINDS:
        raise Malformed(found=repr(text[:40]), expected="a kind and its probe")
    return kind, probe


def _read_range(text: str) -> Range:
    start, _, size = text.partition(" ")
    return Range(start=parse_integer(start), size=parse_integer(size))


def _check(head: Head, left: int) -> None:
    """What no single field shows. `left` bytes of segments follow. Raises Malformed."""
    if not 0 < len(head.bases) <= _BASES:
        raise Malformed(found=f"{len(head.bases)} bases", expected=f"1 to {_BASES}")
    for side in (head.target, *head.bases):
        if sum(part.size for part in side.parts) != side.size:
            raise Malformed(found=f"parts that are not all of {side.digest}", expected=f"{side.size} bytes")
    if sum(each.plain for each in head.segments) != head.target.plain:
        raise Malformed(found="segments that are not the whole", expected=f"{head.target.plain} plain bytes")
    if sum(each.size for each in head.segments) != left:
        raise Malformed(found=f"{left} bytes of segments", expected="what the head says")
    there = sum(base.plain for base in head.bases)
    for each in head.segments:
        if not 0 < each.plain <= SEGMENT or sum(r.size for r in each.ranges) > NEAR or len(each.ranges) > _RANGES:
            raise Malformed(found="a segment that is too large", expected=f"{SEGMENT} bytes, made against {NEAR}")
        if any(r.start + r.size > there for r in each.ranges):
            raise Malformed(found="a range beyond the bases", expected=f"at most {there}")


# --- frames


def pack(data: bytes, dictionary: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, source_size=len(data), dict_size=len(dictionary), window_log=_WINDOW_LOG
    )
    return zstandard.ZstdCompressor(compression_params=parameters, dict_data=_raw(dictionary)).compress(data)


def unpack(data: bytes, most: int, dictionary: bytes = b"") -> bytes:
    """The one frame that the data is, of `most` plain bytes at most. Raises Malformed."""
    try:
        found = zstandard.get_frame_parameters(data)
        if found.content_size > most or found.window_size > 1 << _WINDOW_LOG:  # also one that does not say
            raise Malformed(found=f"a frame of {found.content_size} bytes", expected=f"at most {most}")
        decompressor = zstandard.ZstdDecompressor(dict_data=_raw(dictionary), max_window_size=1 << _WINDOW_LOG)
        return decompressor.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Malformed(found=str(error)[:200], expected="one zstd frame") from None


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict | None:
    if not dictionary:
        return None
    return zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


# --- what a segment's frame holds


def write_segment(copies: Sequence[Copy], rest: bytes) -> bytes:
    """Each number in base 128, low digits first: how many copies; for each the bytes before it that are no copy, where
    it is from (the distance to where the one before would go on, twice; odd when it is backwards), and its size."""
    table = bytearray(_number(len(copies)))
    end = source = 0
    for copy in copies:
        away = copy.source - source - (copy.at - end)
        table += _number(copy.at - end) + _number(2 * away if away >= 0 else -2 * away - 1) + _number(copy.size)
        end, source = copy.end, copy.source + copy.size
    return bytes(table) + rest


def read_segment(data: bytes, plain: int) -> Iterator[bytes | Range]:
    """The segment's pieces in order: bytes as they are, or a range of the bases. Raises Malformed."""
    numbers = _Numbers(data)
    count = numbers.next()
    table = [(numbers.next(), numbers.next(), numbers.next()) for _ in range(min(count, _TABLE))]
    at, end, source = numbers.at, 0, 0
    if count != len(table) or len(data) - at + sum(size for _, _, size in table) != plain:
        raise Malformed(found="a segment of another size", expected=f"{plain} bytes")
    for gap, away, size in table:
        source += gap + (away // 2 if away % 2 == 0 else -(away + 1) // 2)
        yield data[at : at + gap]
        yield Range(start=source, size=size)
        at, source = at + gap, source + size
        end += gap + size
    if end > plain or at > len(data):
        raise Malformed(found="copies beyond the segment", expected=f"{plain} bytes")
    yield data[at:]


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


class _Numbers:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def next(self) -> int:
        value = shift = 0
        while True:
            if self.at >= min(len(self._data), 16 * _TABLE) or shift > 63:
                raise Malformed(found="half a table of copies", expected="a whole one")
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
