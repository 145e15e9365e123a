"""Whether apt finds everything that hosts ask for in a lock alone: by the packages' own relations first, which say what
is missing and who wants it, then by apt itself, in an empty root and without network."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from bundler.closure.missing import Missing
from bundler.closure.scope import DEB, Scope, wanter_of
from bundler.model.asked import Asked, LockedTarget
from bundler.model.lock import Lock
from bundler.sources.apt import private_apt
from bundler.sources.installed import base_status

_UNKNOWN = re.compile(
    r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate"
    r"|Version '[^']*' for '([^']+)' was not found)",
    re.MULTILINE,
)
_UNMET = re.compile(r"^ +(?:(\S+) : +)?((?:Pre)?Depends: (\S+).*?) but (it is not installable)?", re.MULTILINE)


def prove_packages(lock: Lock) -> tuple[Missing, ...]:
    """What hosts of each target and role would not find, sorted; nothing when apt can install it all.

    Raises ToolMissing without apt.
    """
    return missing_by_relations(lock) or missing_by_apt(lock)


def missing_by_relations(lock: Lock) -> tuple[Missing, ...]:
    """What is asked for, and what that depends on, and is not there."""
    found = (missing for scope in _scopes(lock) for missing in scope.missing(lock.asked))
    return tuple(sorted((*_without_hosts(lock), *found)))


def missing_by_apt(lock: Lock) -> tuple[Missing, ...]:
    """What apt says is not there, one run for each role of each target."""
    return tuple(sorted({missing for scope in _scopes(lock) for missing in _refused_by_apt(scope, lock.asked)}))


def _without_hosts(lock: Lock) -> Iterator[Missing]:
    """What a component asks for and no host of any target does."""
    known = {name for target in lock.targets for role in target.roles for name in role.names}
    for asked in lock.asked:
        for name in asked.packages:
            if name not in known:
                yield Missing(kind=DEB, target=lock.profile, name=name, wanted_by=(f"component {asked.component}",))


def _scopes(lock: Lock) -> Iterator[Scope]:
    return (Scope(target, lock.debs, others=lock.targets) for target in lock.targets)


def _refused_by_apt(scope: Scope, asked: Sequence[Asked]) -> Iterator[Missing]:
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
        wanted[name].add(wanter_of(name, role, asked))
    who, unmet = "", []
    for package, relation, name, never in _UNMET.findall(said):
        who = package or who
        unmet.append((who, relation, name, never))
    for who, relation, name, never in unmet:
        if never or not any(each[3] for each in unmet):
            wanted[name.partition(":")[0]].add(f"{who} ({relation.partition(': ')[2]})")
    if not wanted:
        wanted["packages"].add(wanter_of("", role, asked))
    for name, wanters in wanted.items():
        yield Missing(kind=DEB, target=target.name, name=name, wanted_by=tuple(sorted(wanters)), why=said[-4000:])
