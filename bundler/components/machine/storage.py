"""The file systems of each host: what is written must find room, and what is run must be allowed to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from bundler.components.machine import kinds
from bundler.components.machine.asking import Said, each, lines, size
from bundler.components.machine.needs import needs_of, package_spaces, spaces_of
from bundler.components.machine.packages import DPKG
from bundler.errors import FactUnknown
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.facts import Ask, Fact, Facts, HostFacts
from bundler.steps.step import Check, Finding, Goal, Space

MARGIN = 256 << 20  # bytes that stay free on every file system that is written to, and a tenth of what is written
_WRITTEN = ("/etc", "/usr", "/var", "/var/lib", "/var/cache/apt")
_RUN = {
    "/usr": "Programs are there.",
    "/var/lib/dpkg": "Packages run their scripts from there.",
}
_RUN_SITE = {"/opt": "The tool's libraries are there."}
_TMP = "/tmp"  # noqa: S108 - a name to look at, nothing is written there


def storage(goal: Goal) -> Ask[Said]:
    """Of each path that matters: free KiB, free and all inodes, and where its file system is mounted; of each mount its
    options. What does not exist yet is asked for at the folder that will hold it."""
    return goal.once("machine/storage", lambda: lines("its file systems", _script(goal)))


def _script(goal: Goal) -> str:
    spaces = chain.from_iterable(spaces_of(goal, host) for host in goal.site.with_role(SITE_ROLE)[:1])
    paths = dict.fromkeys((*_WRITTEN, *_RUN, *_RUN_SITE, _TMP, *(space.path for space in spaces)))
    return f"""w="{" ".join(paths)}"
for p in $w; do q=$p; until [ -e "$q" ]; do q=${{q%/*}}; q=${{q:-/}}; done
  echo "path $p $(df -k --output=avail,iavail,itotal,target -- "$q" | tail -n 1)"
done
awk -v w="$w" 'BEGIN {{ n = split(w, p, " ") }}
  {{ for (i = 1; i <= n; i++) if ($2 == "/" || $2 == p[i] || index(p[i], $2 "/") == 1) {{
    print "mount " $2 " " $4; next }} }}
' /proc/self/mounts"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path lies: `free` bytes; `inodes` is None where the file system has no limit."""

    mount: str
    free: int
    inodes: int | None
    options: frozenset[str]


def places(said: Said) -> dict[str, Place]:
    options = {}
    for line in said.all("mount"):
        mount, _, words = line.partition(" ")
        options[mount] = frozenset(words.split(","))  # the last one mounted there is the one that is seen
    found = {}
    for line in said.all("path"):
        path, free, inodes, all_inodes, mount = line.split(maxsplit=4)
        limited = all_inodes.isdigit() and int(all_inodes) > 0
        found[path] = Place(mount, int(free) << 10, int(inodes) if limited else None, options.get(mount, frozenset()))
    return found


def judge_mounts(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    here = places(said)
    site = host.has(SITE_ROLE)
    seen = set()
    for path in (*_WRITTEN, *([space.path for space in spaces_of(goal, host)])):
        place = here[path]
        if "ro" in place.options and place.mount not in seen:
            seen.add(place.mount)
            yield kinds.READ_ONLY.at(host.name, path=path, mount=place.mount)
    for path, why in {**_RUN, **(_RUN_SITE if site else {})}.items():
        if "noexec" in here[path].options:
            yield kinds.NOEXEC.at(host.name, path=path, mount=here[path].mount, why=why)
    if "noexec" in here[_TMP].options:
        yield kinds.NOEXEC_TMP.at(host.name, path=_TMP, mount=here[_TMP].mount)


def judge_space(host: SiteHost, here: dict[str, Place], spaces: Iterable[tuple[Space, int]]) -> Iterator[Finding]:
    """`spaces` come with the bytes that are there already. What lies on one file system is added up."""
    by_mount: dict[str, list[tuple[Space, int]]] = defaultdict(list)
    for space, have in spaces:
        if (left := space.size - have) > 0:
            by_mount[here[space.path].mount].append((space, left))
    for mount, wanted in by_mount.items():
        place = here[wanted[0][0].path]
        need = sum(left for _, left in wanted)
        margin = MARGIN + need // 10
        inodes = sum(space.inodes for space, _ in wanted)
        largest = max(wanted, key=lambda each: each[1])[0].path
        if place.free < need + margin:
            parts = ", ".join(f"{size(left)} for {space.why} in {space.path}" for space, left in wanted)
            yield kinds.SPACE.at(
                host.name,
                mount=mount,
                free=size(place.free),
                need=size(need + margin),
                parts=parts,
                margin=size(margin),
                missing=size(need + margin - place.free),
                path=largest,
            )
        if place.inodes is not None and place.inodes < inodes:
            parts = ", ".join(f"{space.inodes:,} for {space.why}" for space, _ in wanted)
            yield kinds.INODES.at(
                host.name, mount=mount, free=f"{place.inodes:,}", need=f"{inodes:,}", parts=parts, path=largest
            )


def _asks(goal: Goal, host: SiteHost) -> tuple[Fact[Any], ...]:
    have = (space.have for space in spaces_of(goal, host) if space.have is not None)
    return (storage(goal), DPKG, *have)


def _spaces(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[tuple[Space, int]]:
    for space in spaces_of(goal, host):
        yield space, facts[space.have] if space.have is not None else 0
    installed = facts[DPKG].installed
    missing = [deb for name, deb in needs_of(goal, host).packages.items() if name not in installed]
    yield from ((space, 0) for space in package_spaces(missing))


def _judge_all(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for host in hosts:
        known = facts.of(host.name)
        try:
            yield from judge_space(host, places(known[storage(goal)]), _spaces(goal, host, known))
        except FactUnknown as error:
            yield kinds.UNASKED.at(host.name, fact=error.fact, why=error.why)


CHECKS: tuple[Check, ...] = (
    each("machine: mounts", storage, judge_mounts),
    Check(name="machine: space", asks=_asks, judge=_judge_all),
)
