"""What a wheel is for: an interpreter on Linux with a glibc, and which files suit it best (PEP 425, PEP 600)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, NormalizedName, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from bundler.errors import Malformed, Unsupported
from bundler.model.names import check_segment

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The oldest glibc 2.x that wheels are made for, and what some levels were called before PEP 600.
_OLDEST = {"x86_64": 5, "aarch64": 17}
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# The levels that uv knows by name; for one between or above them the next lower is asked.
_UV_LEVELS = (17, 28, *range(31, 41))

Rank = tuple[int, tuple[int, str] | tuple[()]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelTarget:
    """CPython `python` on `machine` with glibc 2.`glibc`; `places` orders the tags, the best first."""

    python: str
    glibc: int
    machine: str
    places: Mapping[Tag, int]

    @classmethod
    def of(cls, *, python: str, glibc: str, architecture: str) -> "WheelTarget":
        """A profile's words: `3.11`, `manylinux_2_36`, and `amd64` as OCI and Debian write it. Raises Unsupported."""
        machine = _MACHINES.get(architecture)
        level = 17 if glibc == "manylinux2014" else int(glibc.rpartition("_")[2])
        if machine is None or level < _UV_LEVELS[0]:
            raise Unsupported(what=f"{glibc} on {architecture}", why="Wheels are for glibc ≥ 2.17 on amd64 or arm64.")
        tags = _tags(python, tuple(_platforms(level, machine)))
        places = {tag: place for place, tag in reversed(list(enumerate(tags)))}
        return cls(python=python, glibc=level, machine=machine, places=places)

    @property
    def uv_platform(self) -> str:
        level = max(level for level in _UV_LEVELS if level <= self.glibc)
        return f"{self.machine}-manylinux_2_{level}"

    def rank(self, file: str, project: NormalizedName, version: Version) -> Rank | None:
        """How well a file suits as pip sees it, higher is better: by tag, then by build number. None: not at all."""
        try:
            its_project, its_version, build, tags = parse_wheel_filename(check_segment(file))
        except (InvalidWheelFilename, InvalidVersion, Malformed):
            return None
        places = [self.places[tag] for tag in tags if tag in self.places]
        return (-min(places), build) if places and (its_project, its_version) == (project, version) else None

    def __str__(self) -> str:
        return f"Python {self.python} on {self.machine} with glibc 2.{self.glibc}"


def _tags(python: str, platforms: tuple[str, ...]) -> Iterator[Tag]:
    version, interpreter = tuple(map(int, python.split("."))), f"cp{python.replace('.', '')}"
    yield from cpython_tags(version, [interpreter], platforms)
    yield from compatible_tags(version, interpreter, platforms)


def _platforms(glibc: int, machine: str) -> Iterator[str]:
    yield f"linux_{machine}"
    for level in range(glibc, _OLDEST[machine] - 1, -1):
        yield f"manylinux_2_{level}_{machine}"
        if level in _LEGACY:
            yield f"{_LEGACY[level]}_{machine}"
