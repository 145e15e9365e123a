"""Whether apt finds everything that hosts ask for in a lock alone: by the packages' own relations first, which say what
is missing and who wants it, then by apt itself, in an empty root and without network."""

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bundler.closure.missing import Missing
from bundler.model.asked import Asked, LockedTarget
from bundler.model.lock import Lock, LockedDeb
from bundler.model.sitenames import site_archive
from bundler.sources.apt import private_apt
from bundler.sources.control import parse_control
from bundler.sources.installed import base_offers, base_status
from bundler.sources.relations import Offer, Offers, Relation, asked_for, depends_of, offer_of

_DEB = "deb"
_UNKNOWN = re.compile(
    r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate"
    r"|Version '[^']*' for '([^']+)' was not found)",
    re.MULTILINE,
)
_UNMET = re.compile(r"^ +(?:(\S+) : +)?((?:Pre)?Depends: (\S+).*?) but (it is not installable)?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Carried:
    deb: LockedDeb
    offer: Offer
    relations: tuple[Relation, ...]

    @property
    def name(self) -> str:
        return self.deb.package

    @property
    def wants(self) -> str:
        return f"{self.deb.package} {self.deb.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """Something that is asked for by no package. `strict`: by its own name, and not by what it provides."""

    relation: Relation
    wanter: str
    strict: bool = False


def prove_packages(lock: Lock) -> tuple[Missing, ...]:
    """What hosts of each target and role would not find, sorted; nothing when apt can install it all.

    Raises ToolMissing without apt.
    """
    return missing_by_relations(lock) or missing_by_apt(lock)


def missing_by_relations(lock: Lock) -> tuple[Missing, ...]:
    """What is asked for, and what that depends on, and is not there."""
    return tuple(sorted(missing for scope in _scopes(lock) for missing in scope.missing(lock.asked)))


def missing_by_apt(lock: Lock) -> tuple[Missing, ...]:
    """What apt says is not there, one run for each role of each target."""
    return tuple(sorted({missing for scope in _scopes(lock) for missing in _refused_by_apt(scope, lock.asked)}))


def choices(
    target: LockedTarget, closure: Iterable[LockedDeb], debs: Iterable[LockedDeb], *, others: Iterable[LockedTarget]
) -> tuple[tuple[str, str], ...]:
    """What `LockedTarget.chosen` is for a target with this closure, when `debs` are all that is carried."""
    return tuple(sorted(_Scope(target, debs, others=others).choices(closure)))


class _Scope:
    """The packages that hosts of one target can see."""

    def __init__(self, target: LockedTarget, debs: Iterable[LockedDeb], *, others: Iterable[LockedTarget]) -> None:
        foreign = {other.archive for other in others if other.release == target.release} - {target.archive}
        self.target = target
        self.debs = tuple(
            deb
            for deb in debs
            if deb.release == target.release
            and deb.architecture in (target.architecture, "all")
            and site_archive(deb.archive) not in foreign
        )
        self._carried = [_read(deb) for deb in self.debs]
        self._offers = Offers(each.offer for each in self._carried)
        self._host = Offers(base_offers(target.base) if target.installed else ())
        self._by_offer: dict[Offer, list[_Carried]] = defaultdict(list)
        for each in self._carried:
            self._by_offer[each.offer].append(each)

    def missing(self, asked: Sequence[Asked]) -> tuple[Missing, ...]:
        """The relations that nothing meets, below what is asked for and cannot be had."""
        roots, dead = [*_roots(self.target, asked), *self._chosen_roots()], self._dead()
        wanted: dict[str, list[str]] = defaultdict(list)
        broken: deque[_Carried] = deque()
        for root in roots:
            found = self._candidates(root)
            if not found and not self._host.meeting(root.relation):
                wanted[self._name(root.relation)].append(root.wanter)
            elif all(each in dead for each in found) and not self._host.meeting(root.relation):
                broken.extend(found)
        seen: set[_Carried] = set()
        while broken:
            each = broken.popleft()
            if each in seen:
                continue
            seen.add(each)
            for relation in each.relations:
                found = self._meeting(relation)
                if not found and not self._host.meeting(relation):
                    wanted[self._name(relation)].append(f"{each.wants} ({relation.text})")
                broken.extend(other for other in found if other in dead)
        return tuple(
            Missing(kind=_DEB, target=self.target.name, name=name, wanted_by=tuple(sorted(set(wanters))))
            for name, wanters in sorted(wanted.items())
        )

    def choices(self, closure: Iterable[LockedDeb]) -> Iterator[tuple[str, str]]:
        """What is carried and would not be missed by its name, were it away: apt chose it among others."""
        sure: set[_Carried] = set()
        named: set[_Carried] = set()
        stands: dict[_Carried, str] = {}
        for root in _roots(self.target, ()):
            self._follow(root.relation, sure, named, stands)
        of_closure = set(closure)
        own = sorted((each for each in self._carried if each.deb in of_closure), key=lambda each: each.deb.file)
        for each in own:
            if each not in sure:
                sure.add(each)
                self._follow_all(each, sure, named, stands)
        for each in own:
            if each not in named:
                alone = sum(other.name == each.name for other in self._carried) == 1
                package = each.name if alone else f"{each.name}={each.deb.version}"
                yield package, stands.get(each) or self._stands_for(each)

    def _follow(
        self, relation: Relation, sure: set[_Carried], named: set[_Carried], stands: dict[_Carried, str]
    ) -> None:
        found = self._meeting(relation)
        if len(found) != 1 or self._host.meeting(relation):
            return
        (only,) = found
        if only.name in relation.names:
            named.add(only)
        else:
            stands.setdefault(only, relation.names[0])
        if only not in sure:
            sure.add(only)
            self._follow_all(only, sure, named, stands)

    def _follow_all(
        self, each: _Carried, sure: set[_Carried], named: set[_Carried], stands: dict[_Carried, str]
    ) -> None:
        for relation in each.relations:
            self._follow(relation, sure, named, stands)

    def _stands_for(self, each: _Carried) -> str:
        """The name by which others ask for it, among alternatives."""
        relations = (relation for other in self._carried for relation in other.relations)
        found = (relation for relation in relations if each.offer.meets(relation))
        return next((relation.names[0] for relation in found), each.name)

    def _chosen_roots(self) -> Iterator[_Root]:
        for package, name in self.target.chosen:
            wanters = [
                f"{each.wants} ({relation.text})"
                for each in self._carried
                for relation in each.relations
                if name in relation.names
            ]
            for wanter in wanters or [f"the choice of apt for {name}"]:
                yield _Root(relation=asked_for(package), wanter=wanter, strict=True)

    def _candidates(self, root: _Root) -> tuple[_Carried, ...]:
        found = self._meeting(root.relation)
        return tuple(each for each in found if not root.strict or each.name in root.relation.names)

    def _meeting(self, relation: Relation) -> tuple[_Carried, ...]:
        return tuple(each for offer in self._offers.meeting(relation) for each in self._by_offer[offer])

    def _dead(self) -> set[_Carried]:
        """Packages that cannot be installed, because something that they depend on is not there or is dead itself."""
        dead: set[_Carried] = set()
        needing: dict[_Carried, list[tuple[_Carried, set[_Carried]]]] = defaultdict(list)
        fresh: deque[_Carried] = deque()
        for each in self._carried:
            for relation in each.relations:
                if self._host.meeting(relation):
                    continue
                left = set(self._meeting(relation))
                if not left:
                    fresh.append(each)
                for other in left:
                    needing[other].append((each, left))
        while fresh:
            each = fresh.popleft()
            if each not in dead:
                dead.add(each)
                for other, left in needing[each]:
                    left.discard(each)
                    if not left:
                        fresh.append(other)
        return dead

    def _name(self, relation: Relation) -> str:
        """What is missing, as people call it: the package that was chosen for the name, where one was."""
        stands = (package.partition("=")[0] for package, name in self.target.chosen if name in relation.names)
        return next(stands, relation.names[0])


@lru_cache(maxsize=65536)
def _read(deb: LockedDeb) -> _Carried:
    stanza = parse_control(deb.control)
    return _Carried(deb=deb, offer=offer_of(stanza), relations=depends_of(stanza))


def _roots(target: LockedTarget, asked: Sequence[Asked]) -> Iterator[_Root]:
    for role in target.roles:
        for name in role.names:
            yield _Root(relation=asked_for(name), wanter=_wanter(name, role.role, asked))
    if not target.installed:
        for name in target.base:
            yield _Root(relation=asked_for(name), wanter="the base system (Essential)")


def _wanter(name: str, role: str, asked: Sequence[Asked]) -> str:
    components = ", ".join(each.component for each in asked if name in each.packages)
    what = f"component {components}" if components else "the lock"
    return f"{what} (role {role})" if role else what


def _scopes(lock: Lock) -> Iterator[_Scope]:
    return (_Scope(target, lock.debs, others=lock.targets) for target in lock.targets)


def _refused_by_apt(scope: _Scope, asked: Sequence[Asked]) -> Iterator[Missing]:
    target = scope.target
    index = "\n".join(
        f"{deb.control}\nFilename: {deb.path}\nSize: {deb.size}\nSHA256: {deb.digest.hex}\n" for deb in scope.debs
    )
    with private_apt(target.architecture) as apt:
        if target.installed:
            apt.installed(base_status(target.base, target.architecture))
        for role in target.roles:
            names = (*(() if target.installed else target.base), *role.names)
            said = apt.simulate(index, names) if names else ""
            if said:
                yield from _parsed(said, target, role.role, asked)


def _parsed(said: str, target: LockedTarget, role: str, asked: Sequence[Asked]) -> Iterator[Missing]:
    """apt's words as data; what they do not tell is told by the words."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for names in _UNKNOWN.findall(said):
        name = "".join(names)
        wanted[name].add(_wanter(name, role, asked))
    who, unmet = "", []
    for package, relation, name, never in _UNMET.findall(said):
        who = package or who
        unmet.append((who, relation, name, never))
    for who, relation, name, never in unmet:
        if never or not any(each[3] for each in unmet):
            wanted[name.partition(":")[0]].add(f"{who} ({relation.partition(': ')[2]})")
    if not wanted:
        wanted["packages"].add(_wanter("", role, asked))
    for name, wanters in wanted.items():
        yield Missing(kind=_DEB, target=target.name, name=name, wanted_by=tuple(sorted(wanters)), why=said[-4000:])
