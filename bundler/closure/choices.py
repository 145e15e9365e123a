"""What apt chose among several that would have done: without a note of it, nobody would miss such a package."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from bundler.closure.scope import Carried, Scope, roots_of
from bundler.model.asked import LockedTarget
from bundler.model.lock import LockedDeb
from bundler.sources.relations import Relation


def choices(
    target: LockedTarget, closure: Iterable[LockedDeb], debs: Iterable[LockedDeb], *, others: Iterable[LockedTarget]
) -> tuple[tuple[str, str], ...]:
    """`LockedTarget.chosen` of a target with this closure, when `debs` are all that is carried, for all of `others`.

    These are the packages of the closure that none of the rest names, first of its alternatives, as the only one that
    will do.
    """
    scope, own = Scope(target, debs, others=others), set(closure)
    follower = _Follower(scope=scope, own=[each for each in scope.carried if each.deb in own])
    follower.follow(root.relation for root in roots_of(target, ()))
    while follower.undecided:
        follower.decide(follower.undecided.popleft())
    for each in sorted(follower.own, key=lambda each: each.deb.file):
        if each not in follower.sure:
            follower.choose(each, _stands_for(scope, each))
    return tuple(sorted((_package(scope, each), name) for each, name in follower.chosen.items()))


@dataclass(slots=True, kw_only=True)
class _Follower:
    """Follows relations to what they need for sure. `undecided` are those that several packages meet."""

    scope: Scope
    own: list[Carried]
    sure: set[Carried] = field(default_factory=set)
    chosen: dict[Carried, str] = field(default_factory=dict)
    undecided: deque[Relation] = field(default_factory=deque)

    def follow(self, relations: Iterable[Relation]) -> None:
        """What a relation names first is sure. What it gets by another name comes last: others may name it."""
        pending, otherwise = deque(relations), deque[tuple[Carried, Relation]]()
        while pending or otherwise:
            if pending:
                relation = pending.popleft()
                found = self.scope.meeting(relation)
                if self.scope.host.meeting(relation) or any(each in self.sure for each in found):
                    continue
                if len(found) != 1:
                    self.undecided.append(relation)
                    continue
                only = found[0]
                if only.name != relation.names[0]:
                    otherwise.append((only, relation))
                    continue
            else:
                only, relation = otherwise.popleft()
                if only in self.sure:
                    continue
                self.chosen[only] = relation.names[0]
            self.sure.add(only)
            pending.extend(only.relations)

    def decide(self, relation: Relation) -> None:
        """apt takes the first that it can have."""
        found = [each for each in self.scope.meeting(relation) if each in self.own]
        if found and not any(each in self.sure for each in found):
            self.choose(found[0], relation.names[0])

    def choose(self, each: Carried, name: str) -> None:
        self.chosen[each] = name
        self.sure.add(each)
        self.follow(each.relations)


def _stands_for(scope: Scope, each: Carried) -> str:
    """The name by which others ask for it, among alternatives."""
    relations = (relation for other in scope.carried if other is not each for relation in other.relations)
    return next((relation.names[0] for relation in relations if each.offer.meets(relation)), each.name)


def _package(scope: Scope, each: Carried) -> str:
    alone = sum(other.name == each.name for other in scope.carried) == 1
    return each.name if alone else f"{each.name}={each.deb.version}"
