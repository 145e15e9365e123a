"""Volumes: a bundle cut into raw slices, `NAME.001` and on, of which one signed document says what they are.

All slices but the last have one size; put together in their order they are the bundle file, bit for bit. The document,
`NAME.volumes.json`, is canonical JSON with a type of its own: a signature over it never means a statement. Names of
files are not in it, so that a set may be renamed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bundler.errors import Malformed, MalformedStatement, Usage
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields
from bundler.model.exact import check_kind, parse_exact
from bundler.model.limits import LIMITS
from bundler.model.profile import Release, parse_release

TYPE = "bundle-volumes"
FORMAT = 1
SUFFIX = ".volumes.json"
MOST = 999  # slices: three digits sort, and `cat NAME.???` takes them in order
# What a file may have at most there. Discs: less than their nominal size, for the file system's own blocks.
SIZES = {
    "fat32": (4 << 30) - 1,
    "cd": 690 << 20,
    "dvd": 4470 << 20,
    "dvd-dl": 8130 << 20,
    "bd25": 23800 << 20,
    "bd50": 47600 << 20,
    "bd100": 95300 << 20,
}
_UNITS: dict[str, int] = {"": 1, **{unit: 1000**power for power, unit in enumerate("kMGT", 1)}}
_UNITS |= {f"{unit}B": count for unit, count in _UNITS.items()}
_UNITS |= {f"{unit}iB": 1024**power for power, unit in enumerate("KMGT", 1)}
_SIZE = re.compile(r"([1-9][0-9]{0,15})([A-Za-z]*)")
_NUMBERED = re.compile(r"(.+)\.([0-9]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """`statement` is the SHA-256 of the bundle's own bundle.json: of no other bundle are these slices."""

    release: Release
    content: Digest
    statement: Digest
    slices: tuple[Slice, ...]

    @property
    def size(self) -> int:
        return sum(each.size for each in self.slices)

    @property
    def each(self) -> int:
        """The size of all slices but the last one, which may have less."""
        return self.slices[0].size


def parse_size(text: str) -> int:
    """`fat32`, `dvd`, `bd25`; `4GB`, `700M` are decimal, `4GiB` binary; a bare number is bytes. Raises Malformed."""
    if text in SIZES:
        return SIZES[text]
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _UNITS:
        raise Malformed(found=repr(text[:40]), expected=f"a size such as 4GB or 650MiB, or {', '.join(SIZES)}")
    return int(match[1]) * _UNITS[match[2]]


def cut(size: int, each: int) -> tuple[int, ...]:
    """The sizes of the slices of a bundle of `size` bytes. Raises Usage for too many."""
    count = -(-size // each)
    if count > MOST:
        smallest = -(-size // MOST)
        raise Usage(message=f"{count} slices of {each} bytes", advice=f"{MOST} at most: give {smallest} bytes or more.")
    return (each,) * (count - 1) + (size - each * (count - 1),)


def pieces(offset: int, count: int, each: int) -> Iterator[tuple[int, int, int]]:
    """Where `count` bytes from `offset` of the whole lie: (index of the slice, offset in it, bytes)."""
    end = offset + count
    while offset < end:
        index, at = divmod(offset, each)
        length = min(each - at, end - offset)
        yield index, at, length
        offset += length


def slice_name(name: str, number: int) -> str:
    """The file name of a slice; numbers begin with 1."""
    return f"{name}.{number:03d}"


def numbered(file: str) -> tuple[str, int] | None:
    """The bundle's name and the number of a slice, by its file name."""
    match = _NUMBERED.fullmatch(file)
    return (match[1], int(match[2])) if match and int(match[2]) else None


def write_volumes(volumes: Volumes) -> bytes:
    """The canonical bytes: what is signed."""
    return canonical.dump(
        {
            "type": TYPE,
            "format": FORMAT,
            "requires": [],
            "release": {"line": volumes.release.line, "number": volumes.release.number},
            "content": str(volumes.content),
            "statement": str(volumes.statement),
            "slices": [{"digest": str(each.digest), "size": each.size} for each in volumes.slices],
        }
    )


def parse_volumes(data: bytes, *, path: str) -> Volumes:
    """Raises MalformedStatement, or NewerToolNeeded for a type, format or feature not known here."""

    def read(fields: Fields) -> Volumes:
        check_kind(fields, path=path, types=(TYPE,), form=FORMAT)
        volumes = fields.document(_volumes)
        _check_sizes(volumes.slices)
        return volumes

    try:
        return parse_exact(data, path=path, read=read, write=write_volumes)
    except Malformed as error:
        raise MalformedStatement(path=path, where="its slices", found=error.found, expected=error.expected) from None


def _volumes(fields: Fields) -> Volumes:
    return fields.build(
        Volumes,
        release=fields.nested("release", parse_release),
        content=fields.value("content", Digest.parse),
        statement=fields.value("statement", Digest.parse),
        slices=fields.each("slices", _slice),
    )


def _slice(fields: Fields) -> Slice:
    return fields.build(Slice, digest=fields.value("digest", Digest.parse), size=fields.integer("size"))


def _check_sizes(slices: tuple[Slice, ...]) -> None:
    sizes = [each.size for each in slices]
    if not 1 <= len(sizes) <= MOST or sum(sizes) > LIMITS.integer:
        raise Malformed(found=f"{len(sizes)} slices", expected=f"1 to {MOST}, less than 2^53 bytes in all")
    if any(size != sizes[0] for size in sizes[:-1]) or not 1 <= sizes[-1] <= sizes[0]:
        raise Malformed(found="slices of several sizes", expected="one size, only the last one with less")
