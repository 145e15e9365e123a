"""Relations between Debian packages (Debian Policy, chapter 7): who depends on whom, and what meets it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from bundler.sources.control import Stanza

_ATOM = re.compile(r"([a-z0-9][a-z0-9+.-]*)(?::[a-z0-9-]+)?\s*(?:\(\s*(<<|<=|=|>=|>>|<|>)\s*([^\s)]+)\s*\))?")
_PARTS = re.compile(r"(\D*)(\d*)")
_HARD = ("Pre-Depends", "Depends")


@dataclass(frozen=True, slots=True, kw_only=True)
class Atom:
    """One package name with a bound on its version, or without (both empty)."""

    name: str
    operator: str = ""
    version: str = ""

    def admits(self, version: str) -> bool:
        order = compare(version, self.version) if self.operator else 0
        return {
            "": True,
            "<<": order < 0,
            "<": order <= 0,  # an old spelling of <= (Policy 7.1)
            "<=": order <= 0,
            "=": order == 0,
            ">=": order >= 0,
            ">": order >= 0,
            ">>": order > 0,
        }[self.operator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Alternatives, any of which will do; `text` is as the package has it."""

    text: str
    atoms: tuple[Atom, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(atom.name for atom in self.atoms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a package meets: its own name at its version, and names that it provides (at a version, or at none)."""

    package: str
    version: str
    provides: tuple[tuple[str, str], ...] = ()

    def meets(self, relation: Relation) -> bool:
        return any(self._meets(atom) for atom in relation.atoms)

    def _meets(self, atom: Atom) -> bool:
        if atom.name == self.package and self.version and atom.admits(self.version):
            return True
        # Without a version, a provided name meets only a relation without one (Policy 7.5).
        provided = (version for name, version in self.provides if name == atom.name)
        return any(atom.admits(version) if version else not atom.operator for version in provided)


class Offers:
    """Offers by the names that they meet."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._named: dict[str, list[Offer]] = defaultdict(list)
        for offer in offers:
            for name in dict.fromkeys((offer.package, *(name for name, _ in offer.provides))):
                self._named[name].append(offer)

    def meeting(self, relation: Relation) -> tuple[Offer, ...]:
        found = (offer for name in relation.names for offer in self._named.get(name, ()) if offer.meets(relation))
        return tuple(dict.fromkeys(found))


def offer_of(stanza: Stanza) -> Offer:
    provided = (atom for relation in parse_relations(stanza.get("Provides", "")) for atom in relation.atoms)
    return Offer(
        package=stanza.get("Package", ""),
        version=stanza.get("Version", ""),
        provides=tuple((atom.name, atom.version) for atom in provided),
    )


def depends_of(stanza: Stanza) -> tuple[Relation, ...]:
    return tuple(relation for name in _HARD for relation in parse_relations(stanza.get(name, "")))


def asked_for(name: str) -> Relation:
    """`NAME`, `NAME:ARCHITECTURE` or `NAME=VERSION`, as apt is asked."""
    package, equals, version = name.partition("=")
    atom = Atom(name=package.partition(":")[0], operator=equals, version=version)
    return Relation(text=name, atoms=(atom,))


def parse_relations(text: str) -> Iterator[Relation]:
    """A field's relations; what is no relation is left to apt's judgement."""
    for part in " ".join(text.split()).split(","):
        atoms = []
        for alternative in part.split("|"):
            match = _ATOM.match(alternative.strip())
            if match is not None:
                atoms.append(Atom(name=match[1], operator=match[2] or "", version=match[3] or ""))
        if atoms:
            yield Relation(text=part.strip(), atoms=tuple(atoms))


def compare(one: str, other: str) -> int:
    """Below, at or above zero, as dpkg orders versions (deb-version(7))."""
    first, second = _split(one), _split(other)
    return (first > second) - (first < second)


@lru_cache(maxsize=65536)
def _split(version: str) -> tuple[object, ...]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch) if epoch.isdigit() else 0, _key(upstream), _key(revision)


def _key(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Parts of no digits, in dpkg's order of characters, each with the number that follows."""
    return tuple(
        ((*(_order(mark) for mark in letters), 0), int(digits or 0)) for letters, digits in _PARTS.findall(text)
    )


def _order(mark: str) -> int:
    """`~` sorts before the end of a part (0), letters after it, and all else after letters."""
    return -1 if mark == "~" else ord(mark) if mark.isalpha() else ord(mark) + 256
