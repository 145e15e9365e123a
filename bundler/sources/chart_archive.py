"""Chart archives (.tgz): what is in one, read within Helm's own bounds, and one made of files.

Others' archives are read by the rules of Helm's loader (pkg/chart/loader/archive.go), and more narrowly where two
readers could take one archive for two charts: one Chart.yaml, no path twice, regular files and folders only.
"""

import gzip
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from bundler.archive import tar
from bundler.errors import InvalidDocument, Malformed, Problem
from bundler.model.chart import ChartMeta, Dependency, chart_meta, dependencies_of
from bundler.model.nodes import Node
from bundler.sources.chart_yaml import read_yaml

LARGEST = 100 << 20  # bytes of all files of a chart, and of an archive: what Helm loads
LARGEST_FILE = 5 << 20
_HEADERS = 32 << 20  # bytes of tar headers and padding in an unpacked archive
_UNPACKED = 4 * LARGEST  # bytes, with all charts that are packed into a chart
_ENTRIES = 20_000
_NESTING = 8  # of charts in charts
_STORED = 0xFFFF  # bytes of one stored block (RFC 1951 section 3.2.4)
_BROKEN = (EOFError, OSError, OverflowError, RecursionError, ValueError, struct.error, tarfile.TarError, zlib.error)
_DRIVE = re.compile(r"[A-Za-z]:/")

Files = Mapping[str, bytes]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart as it is: `dependencies` are those of Chart.yaml, or of requirements.yaml in an old chart; `locked` are
    those of its lock file; `vendored` are the names of the charts in `charts/`."""

    meta: ChartMeta
    dependencies: tuple[Dependency, ...]
    locked: tuple[Dependency, ...]
    vendored: frozenset[str]

    @property
    def missing(self) -> tuple[Dependency, ...]:
        """Helm renders no chart of which these are not in `charts/`."""
        return tuple(each for each in self.dependencies if each.name not in self.vendored)


def read_archive(data: bytes, *, name: str) -> Chart:
    """The chart in an archive. `name` is for errors. Raises InvalidDocument."""
    reader = _Reader()
    return reader.chart(reader.unpack(data, name), name)


def read_chart(files: Files, *, name: str) -> Chart:
    """The chart that these files are. Raises InvalidDocument."""
    return _Reader().chart(files, name)


class _Reader:
    """Reads one chart with all that is packed into it, within one bound for everything that it unpacks."""

    def __init__(self) -> None:
        self._left = _UNPACKED

    def unpack(self, data: bytes, name: str) -> dict[str, bytes]:
        """The files of an archive by their paths below its top folder."""
        limit = min(self._left, LARGEST + _HEADERS)
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
                plain = stream.read(limit + 1)
            self._left -= len(plain)
            if len(plain) > limit:
                raise Malformed(found=f"more than {limit} bytes when unpacked", expected="less")
            with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
                found = _files(archive)
            # Python's reader ends in silence where Go's stops at what is no header.
            if any(plain[archive.offset : archive.offset + tar.BLOCK]):
                raise Malformed(found=f"no tar header at byte {archive.offset}", expected="a header, or the end")
            return found
        except Malformed as error:
            raise _invalid(name, error) from None
        except _BROKEN as error:
            broken = Malformed(found=f"{type(error).__name__}: {error}"[:200], expected="a tar with gzip")
            raise _invalid(name, broken) from None

    def chart(self, files: Files, name: str, depth: int = 0) -> Chart:
        if depth > _NESTING:
            raise _invalid(name, Malformed(found=f"charts nested deeper than {_NESTING}", expected="less"))
        if "Chart.yaml" not in files:
            raise _invalid(name, Malformed(found="no Chart.yaml", expected="a chart"))
        meta = _parsed(files, "Chart.yaml", name, chart_meta)
        required = meta.api == "v1" and "requirements.yaml" in files
        lock = next((each for each in ("Chart.lock", "requirements.lock") if each in files), "")
        return Chart(
            meta=meta,
            dependencies=_parsed(files, "requirements.yaml", name, dependencies_of) if required else meta.dependencies,
            locked=_parsed(files, lock, name, dependencies_of) if lock else (),
            vendored=frozenset(self._vendored(files, name, depth)),
        )

    def _vendored(self, files: Files, name: str, depth: int) -> Iterator[str]:
        """The names of the charts in `charts/`: folders with a Chart.yaml, and archives."""
        below: dict[str, dict[str, bytes]] = {}
        for path, data in files.items():
            top, _, inner = path.removeprefix("charts/").partition("/")
            if path.startswith("charts/") and top[:1] not in ("_", "."):
                below.setdefault(top, {})[inner] = data
        for top, inside in below.items():
            place = f"{name}: charts/{top}"
            if "" in inside and top.endswith(".tgz"):
                inside = self.unpack(inside[""], place)
            if "Chart.yaml" in inside:
                yield self.chart(inside, place, depth + 1).meta.name


def _files(archive: tarfile.TarFile) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    whole = 0
    for count, member in enumerate(archive):
        if count >= _ENTRIES:
            raise Malformed(found=f"more than {_ENTRIES} entries", expected="fewer")
        path = _path(member)
        if member.isdir():
            continue
        whole += member.size
        if member.size > LARGEST_FILE or whole > LARGEST:
            raise Malformed(
                found=f"{path[:160]!r} of {member.size} bytes, {whole} bytes so far",
                expected=f"at most {LARGEST_FILE} bytes a file, {LARGEST} in all: Helm loads no more",
            )
        if path in found:
            raise Malformed(found=f"{path[:160]!r} twice", expected="each file once")
        body = archive.extractfile(member)
        found[path] = body.read() if body else b""
        if len(found[path]) != member.size:
            raise Malformed(found="an archive that ends early", expected="the whole of it")
    return found


def _path(member: tarfile.TarInfo) -> str:
    """The path below the top folder, `""` for that folder; archives made on Windows have backslashes."""
    name = member.name.replace("\\", "/")
    top, _, below = name.rstrip("/").partition("/")
    parts = below.split("/") if below else []
    odd = top in ("", "..") or any(part in ("", ".", "..") for part in parts)
    if odd or _DRIVE.match(below) or not name.isprintable():
        raise Malformed(found=f"the path {name[:160]!r}", expected="one below the chart's folder")
    if not member.isdir() and (not member.isreg() or member.issparse() or not below):
        raise Malformed(found=f"{name[:160]!r}, which is no regular file in it", expected="files and folders")
    return below


def _parsed(files: Files, path: str, name: str, parse: Callable[[Node], T]) -> T:
    place = f"{name}: {path}"
    node = read_yaml(files[path], file=place)
    assert node is not None  # the whole document was asked for
    try:
        return parse(node)
    except Malformed as error:
        raise _invalid(place, error) from None


def pack(files: Files, *, chart: str) -> bytes:
    """An archive of these files below a folder named like the chart: the same bytes everywhere.

    A sorted ustar in gzip with stored blocks (RFC 1951, RFC 1952): compressors differ between machines. Modes are 0644;
    owners and times, gzip's own too, are zero.
    """
    parts = []
    for path in sorted(files):
        data = files[path]
        parts += [tar.header(name=f"{chart}/{path}", size=len(data)), data, tar.padding(len(data))]
    return stored_gzip(b"".join([*parts, tar.END]))


def stored_gzip(plain: bytes) -> bytes:
    head = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"
    blocks = []
    for at in range(0, max(len(plain), 1), _STORED):
        piece = plain[at : at + _STORED]
        last = at + _STORED >= len(plain)
        blocks += [struct.pack("<BHH", last, len(piece), len(piece) ^ 0xFFFF), piece]
    return b"".join([head, *blocks, struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)])


def _invalid(name: str, error: Malformed) -> InvalidDocument:
    return InvalidDocument(problems=(Problem(file=name, line=1, found=error.found, expected=error.expected),))
