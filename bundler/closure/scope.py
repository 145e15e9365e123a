"""What hosts of one target can see of a lock, and what of that can be installed, by the packages' own relations."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from bundler.closure.missing import Missing
from bundler.model.asked import Asked, LockedTarget
from bundler.model.lock import LockedDeb
from bundler.model.sitenames import site_archive
from bundler.sources.control import parse_control
from bundler.sources.installed import base_offers
from bundler.sources.relations import Offer, Offers, Relation, asked_for, depends_of, offer_of

DEB = "deb"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Carried:
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
class Root:
    """Something that is asked for by no package. `strict`: by its own name, and not by what it provides."""

    relation: Relation
    wanter: str
    strict: bool = False


class Scope:
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
        self.carried = [_read(deb) for deb in self.debs]
        self._offers = Offers(each.offer for each in self.carried)
        self.host = Offers(base_offers(target.base) if target.installed else ())
        self._by_offer: dict[Offer, list[Carried]] = defaultdict(list)
        for each in self.carried:
            self._by_offer[each.offer].append(each)

    def missing(self, asked: Sequence[Asked]) -> tuple[Missing, ...]:
        """The relations that nothing meets, below what is asked for and cannot be had."""
        roots, dead = [*roots_of(self.target, asked), *self._chosen_roots()], self._dead()
        wanted: dict[str, list[str]] = defaultdict(list)
        broken: deque[Carried] = deque()
        for root in roots:
            found = self._candidates(root)
            if not found and not self.host.meeting(root.relation):
                wanted[self._name(root.relation)].append(root.wanter)
            elif all(each in dead for each in found) and not self.host.meeting(root.relation):
                broken.extend(found)
        seen: set[Carried] = set()
        while broken:
            each = broken.popleft()
            if each in seen:
                continue
            seen.add(each)
            for relation in each.relations:
                found = self.meeting(relation)
                if not found and not self.host.meeting(relation):
                    wanted[self._name(relation)].append(f"{each.wants} ({relation.text})")
                broken.extend(other for other in found if other in dead)
        return tuple(
            Missing(kind=DEB, target=self.target.name, name=name, wanted_by=tuple(sorted(set(wanters))))
            for name, wanters in sorted(wanted.items())
        )

    def _chosen_roots(self) -> Iterator[Root]:
        for package, name in self.target.chosen:
            wanters = [
                f"{each.wants} ({relation.text})"
                for each in self.carried
                for relation in each.relations
                if name in relation.names
            ]
            for wanter in wanters or [f"the choice of apt for {name}"]:
                yield Root(relation=asked_for(package), wanter=wanter, strict=True)

    def _candidates(self, root: Root) -> tuple[Carried, ...]:
        found = self.meeting(root.relation)
        return tuple(each for each in found if not root.strict or each.name in root.relation.names)

    def meeting(self, relation: Relation) -> tuple[Carried, ...]:
        return tuple(each for offer in self._offers.meeting(relation) for each in self._by_offer[offer])

    def _dead(self) -> set[Carried]:
        """Packages that cannot be installed, because something that they depend on is not there or is dead itself."""
        dead: set[Carried] = set()
        needing: dict[Carried, list[tuple[Carried, set[Carried]]]] = defaultdict(list)
        fresh: deque[Carried] = deque()
        for each in self.carried:
            for relation in each.relations:
                if self.host.meeting(relation):
                    continue
                left = set(self.meeting(relation))
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
        """What is missing, as people call it: the package that was chosen for the name, where that one is not there."""
        for package, name in self.target.chosen:
            if name == relation.names[0] and not self._candidates(
                Root(relation=asked_for(package), wanter="", strict=True)
            ):
                return package.partition("=")[0]
        return relation.names[0]


@lru_cache(maxsize=65536)
def _read(deb: LockedDeb) -> Carried:
    stanza = parse_control(deb.control)
    return Carried(deb=deb, offer=offer_of(stanza), relations=depends_of(stanza))


def roots_of(target: LockedTarget, asked: Sequence[Asked]) -> Iterator[Root]:
    for role in target.roles:
        for name in role.names:
            yield Root(relation=asked_for(name), wanter=wanter_of(name, role.role, asked))
    if not target.installed:
        for name in target.base:
            yield Root(relation=asked_for(name), wanter="the base system (Essential)")


def wanter_of(name: str, role: str, asked: Sequence[Asked]) -> str:
    components = ", ".join(each.component for each in asked if name in each.packages)
    what = f"component {components}" if components else "the lock"
    return f"{what} (role {role})" if role else what
