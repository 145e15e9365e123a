"""What the site's components need of a host: read from their own steps, so that none says it twice."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bundler.errors import NotCarried
from bundler.model.lock import LockedDeb
from bundler.model.site import SiteHost
from bundler.steps.resources import Packages, Resource, Service
from bundler.steps.step import Component, Goal, Space

_RELATION = re.compile(r"^(?:Pre-)?Depends:\s*(.*)$", re.MULTILINE)
_UNPACKED = re.compile(r"^Installed-Size:\s*(\d+)$", re.MULTILINE)
_FILE = 16 << 10  # bytes of an unpacked package for each file in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """`ports` are (protocol, port) with the component; `units` are the site's own; `packages` come with all that they
    depend on, by name."""

    ports: Mapping[tuple[str, int], str]
    units: frozenset[str]
    packages: Mapping[str, LockedDeb]


def needs_of(goal: Goal, host: SiteHost) -> Needs:
    """The same for all hosts of the same roles."""
    return goal.once(f"machine/needs {' '.join(sorted(host.roles))}", lambda: _needs(goal, host))


def _needs(goal: Goal, host: SiteHost) -> Needs:
    ports: dict[tuple[str, int], str] = {}
    asked: set[str] = set()
    for component in goal.components:
        for resource in _resources(component, goal, host):
            if isinstance(resource, Service):
                ports.update({("TCP", port): component.name for port in resource.ports})
            elif isinstance(resource, Packages):
                asked.update(fact.package for fact in resource.packages)
        if host.is_among(component.roles):
            ports.update(dict.fromkeys(component.listens(goal, host), component.name))
    carried = goal.once("machine/carried", lambda: {deb.package: deb for deb in goal.lock.debs})
    units = frozenset(unit for component in goal.components for unit in component.units)
    return Needs(ports=ports, units=units, packages=_closure(asked, carried))


def _resources(component: Component, goal: Goal, host: SiteHost) -> Iterator[Resource]:
    for step in component.steps:
        if step.on(host):
            try:
                yield from step.resources(goal, host)
            except NotCarried:
                continue  # the plan says so


def _closure(asked: Iterable[str], carried: Mapping[str, LockedDeb]) -> dict[str, LockedDeb]:
    """The packages and what they depend on, as far as it is carried: the rest is on the host."""
    found: dict[str, LockedDeb] = {}
    waiting = [name for name in asked if name in carried]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = carried[name]
            waiting += [other for other in _depends(carried[name].control) if other in carried]
    return found


def _depends(control: str) -> Iterator[str]:
    for relations in _RELATION.findall(control):
        for relation in relations.split(","):
            for alternative in relation.split("|"):
                yield re.split(r"[\s:(\[]", alternative.strip(), maxsplit=1)[0]


def spaces_of(goal: Goal, host: SiteHost) -> tuple[Space, ...]:
    """What the components write, without packages."""
    return tuple(space for component in goal.components for space in component.space(goal, host))


def package_spaces(debs: Iterable[LockedDeb]) -> tuple[Space, ...]:
    """What packages take that are not installed: unpacked, and as archives before that."""
    debs = tuple(debs)
    unpacked = sum(int(size[1]) << 10 for deb in debs if (size := _UNPACKED.search(deb.control)))
    why = f"{len(debs)} packages"
    return (
        Space(path="/usr", size=unpacked, inodes=unpacked // _FILE, why=why),
        Space(path="/var/cache/apt", size=sum(deb.size for deb in debs), inodes=len(debs), why=f"{why} as they come"),
    )
