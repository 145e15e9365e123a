"""A blob as parts: bytes that stand as they are, and runs of one compressor, with the plain bytes behind them.

All plain bytes, one part's after the other's, are the blob's plain stream: what differs between two versions of a
thing is small there, while one changed byte changes everything behind it in what a compressor makes of it.
"""

from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.document import parse_integer

RAW, DEFLATE, XZ, ZSTD = "raw", "deflate", "xz", "zstd"
KINDS = (RAW, DEFLATE, XZ, ZSTD)
# Plain bytes for one of the blob, and so many beside: more is no thing that is carried but a bomb.
MOST, SPARE = 1200, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """`size` bytes of the blob are `plain` bytes of its plain stream. `coder` says by which settings a compressor makes
    them of these (bundler.patch.coders); empty where that is not known, or nothing is compressed."""

    kind: str
    size: int
    plain: int
    coder: str = ""

    @property
    def bounded(self) -> bool:
        return self.plain <= MOST * self.size + SPARE

    def __str__(self) -> str:
        return f"{self.kind} {self.size} {self.plain} {self.coder}".rstrip()


def parse_part(text: str) -> Part:
    """Raises Malformed."""
    kind, *rest = text.split(" ")
    if kind not in KINDS or len(rest) not in (2, 3):
        raise Malformed(found=repr(text[:80]), expected="KIND SIZE PLAIN [CODER]")
    part = Part(kind=kind, size=parse_integer(rest[0]), plain=parse_integer(rest[1]), coder="".join(rest[2:]))
    wrong = part.size != part.plain or part.coder if kind == RAW else not part.bounded
    if wrong or str(part) != text:
        raise Malformed(found=repr(text[:80]), expected=f"at most {MOST} plain bytes for one, and as many of raw ones")
    return part


def raw(size: int) -> Part:
    return Part(kind=RAW, size=size, plain=size)


def joined(parts: list[Part]) -> tuple[Part, ...]:
    """Neighbours that stand as they are become one; empty ones go."""
    found: list[Part] = []
    for part in parts:
        if part.size == 0 and part.plain == 0:
            continue
        if found and part.kind == found[-1].kind == RAW:
            found[-1] = raw(found[-1].size + part.size)
        else:
            found.append(part)
    return tuple(found)


def is_raw(parts: tuple[Part, ...]) -> bool:
    return all(part.kind == RAW for part in parts)


def plain_size(parts: tuple[Part, ...]) -> int:
    return sum(part.plain for part in parts)
