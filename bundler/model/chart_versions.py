"""Versions and ranges of charts, as Helm reads them (Masterminds/semver v3; Semantic Versioning 2.0.0 section 11).

No other reader of ranges will do: npm's joins by spaces alone and has other rules for prereleases, Cargo's has no `||`.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from bundler.errors import Malformed

_LONGEST = 256  # characters; more is refused by Helm, too
_LARGEST = (1 << 64) - 1
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-({_IDENTIFIERS}))?(?:\+({_IDENTIFIERS}))?")
_PART = r"(?:[0-9]+|[xX*])"
_PARTIAL = rf"v?({_PART})(?:\.({_PART}))?(?:\.({_PART}))?(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?"
_OPERATORS = r"!=|>=|=>|<=|=<|~>|[=<>~^]"
_TERM = re.compile(rf"\s*({_OPERATORS})?\s*({_PARTIAL})(?:\s*,\s*|\s+|$)")
_HYPHEN = re.compile(rf"({_PARTIAL})\s+-\s+({_PARTIAL})")
_EXPECTED = "a version or a range such as >=1.2 <2, ~1.2, ^1, 1.x, 1.2 - 2.3, joined by ||"


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """Equal and ordered by precedence: build metadata counts for nothing. `text` is the version as it was written."""

    numbers: tuple[int, int, int]
    prerelease: str
    build: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Missing parts are 0, and a leading v is allowed. Raises Malformed."""
        match = _VERSION.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None or any(int(part or 0) > _LARGEST for part in match.groups()[:3]):
            raise Malformed(found=repr(text[:80]), expected="a semantic version")
        major, minor, patch = (int(part or 0) for part in match.groups()[:3])
        prerelease = match[4] or ""
        if any(part.isdigit() and part != str(int(part)) for part in prerelease.split(".")):
            raise Malformed(found=repr(text[:80]), expected="a prerelease without leading zeros")
        return cls(numbers=(major, minor, patch), prerelease=prerelease, build=match[5] or "", text=text)

    @property
    def key(self) -> tuple[Any, ...]:
        """By this versions are ordered: a release comes after its prereleases, numbers before words."""
        parts = tuple((0, int(each), "") if each.isdigit() else (1, 0, each) for each in self.prerelease.split("."))
        return self.numbers, not self.prerelease, parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.key == other.key

    def __lt__(self, other: "Version") -> bool:
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """An operator and a version, of which `given` parts (0 to 3) were written out."""

    operator: str
    version: Version
    given: int

    def admits(self, found: Version) -> bool:
        return _OPERATIONS[self.operator](self, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Alternatives, each a list of terms that hold together."""

    text: str
    alternatives: tuple[tuple[_Term, ...], ...]

    @classmethod
    def parse(cls, text: str) -> "Range":
        """No text at all means any release. Raises Malformed."""
        if len(text) > _LONGEST:
            raise Malformed(found=f"a range of {len(text)} characters", expected=f"{_LONGEST} at most")
        spelled = _HYPHEN.sub(lambda match: f">= {match[1]}, <= {match[6]} ", text) or "*"
        return cls(text=text, alternatives=tuple(_terms(part, text) for part in spelled.split("||")))

    def admits(self, version: Version) -> bool:
        """A prerelease only where a term of the same alternative names one."""
        return any(
            (not version.prerelease or any(term.version.prerelease for term in terms))
            and all(term.admits(version) for term in terms)
            for terms in self.alternatives
        )


def _terms(part: str, whole: str) -> tuple[_Term, ...]:
    found, at = [], 0
    while at < len(part):
        match = _TERM.match(part, at)
        if match is None or match.end() == at:
            raise Malformed(found=repr(whole[:160]), expected=_EXPECTED)
        found.append(_term(match[1] or "", match.groups()[2:6]))
        at = match.end()
    if not found or part.rstrip().endswith(","):
        raise Malformed(found=repr(whole[:160]), expected=_EXPECTED)
    return tuple(found)


def _term(operator: str, parts: tuple[str | None, ...]) -> _Term:
    """Parts after the first that is left open count for nothing: 1.x.3 is 1.x."""
    given = next((at for at, part in enumerate(parts[:3]) if part is None or part in "xX*"), 3)
    numbers = ".".join([*(part or "0" for part in parts[:given]), *("0" for _ in range(3 - given))])
    version = Version.parse(f"{numbers}-{parts[3]}" if parts[3] else numbers)
    if given == 0:  # with an operator that needs a number, `*` stands for 0.0.0, or for 0.0
        given = {"!=": 3, ">": 3, "^": 3, "<=": 2, "=<": 2}.get(operator, 0)
    return _Term(operator=operator, version=version, given=given)


def _at_least(term: _Term, found: Version) -> bool:
    return found >= term.version


def _below(term: _Term, found: Version) -> bool:
    return found < term.version


def _above(term: _Term, found: Version) -> bool:
    """`>1` is 2 and later, `>1.2` is 1.3 and later."""
    if term.given == 3:
        return found > term.version
    return found.numbers[: term.given] > term.version.numbers[: term.given]


def _at_most(term: _Term, found: Version) -> bool:
    """`<=1` is all of 1, `<=1.2` is all of 1.2."""
    if term.given == 3:
        return found <= term.version
    return found.numbers[: term.given] <= term.version.numbers[: term.given]


def _near(term: _Term, found: Version) -> bool:
    """`~1.2.3`: later patches; `~1`: all of 1; `~0.0.0`, like `*`: everything."""
    if found < term.version:
        return False
    if term.version.numbers == (0, 0, 0) and term.given in (0, 3):
        return True
    given = 1 if term.given == 1 else 2
    return found.numbers[:given] == term.version.numbers[:given]


def _same(term: _Term, found: Version) -> bool:
    return found == term.version if term.given == 3 else _near(term, found)


def _other(term: _Term, found: Version) -> bool:
    if term.given == 3:
        return found != term.version
    if found.numbers[: term.given] != term.version.numbers[: term.given]:
        return True
    return term.given == 2 and found.prerelease != term.version.prerelease


def _compatible(term: _Term, found: Version) -> bool:
    """`^1.2.3`: the same first number that is not 0, and those before it; `^0.0`: all of 0.0."""
    if found < term.version:
        return False
    numbers = term.version.numbers
    same = next((at + 1 for at, number in enumerate(numbers[: term.given]) if number), term.given)
    return found.numbers[:same] == numbers[:same]


_OPERATIONS: dict[str, Callable[[_Term, Version], bool]] = {
    "": _same,
    "=": _same,
    "!=": _other,
    ">": _above,
    "<": _below,
    ">=": _at_least,
    "=>": _at_least,
    "<=": _at_most,
    "=<": _at_most,
    "~": _near,
    "~>": _near,
    "^": _compatible,
}


def best_version(versions: Iterable[str], wanted: str) -> str:
    """The version that is written so, else the highest that the range admits, else nothing. Raises Malformed."""
    admitted = Range.parse(wanted)
    known = {text: version for text in versions if (version := version_of(text))}
    fits = (version for version in known.values() if admitted.admits(version))
    return wanted if wanted in known else str(max(fits, key=lambda version: (version.key, version.text), default=""))


def version_of(text: str) -> Version | None:
    """None for what is no version: such tags and entries are passed over, as Helm does."""
    try:
        return Version.parse(text)
    except Malformed:
        return None
