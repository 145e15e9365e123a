"""apt and dpkg on each host: whether packages can be installed, and stay as the release has them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bundler.components.machine import kinds
from bundler.components.machine.asking import Said, always, each, lines
from bundler.components.machine.needs import needs_of
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask
from bundler.steps.step import Check, Finding, Goal

_SHOWN = 6  # packages named in a finding
_UPGRADING = ("unattended-upgrades.service", "packagekit.service")
# What listens on a port of the site's services wherever it is installed.
_RIVALS = (
    "apache2.service",
    "bind9.service",
    "caddy.service",
    "dnsmasq.service",
    "docker-registry.service",
    "haproxy.service",
    "lighttpd.service",
    "named.service",
    "nginx.service",
    "unbound.service",
)


@dataclass(frozen=True, slots=True)
class Dpkg:
    """`installed` and `held` map names to versions; `broken` are names with dpkg's word for their state."""

    installed: Mapping[str, str]
    held: Mapping[str, str]
    broken: Mapping[str, str]


_STATES = {"H": "half installed", "U": "unpacked only", "F": "half configured", "W": "waiting for a trigger"}


def read_dpkg(said: str) -> Dpkg:
    installed, held, broken = {}, {}, {}
    for line in said.splitlines():
        status, name, version = line.split("|")
        if status[1:2] in ("i", "t"):
            installed[name] = version
            if status[0] == "h":
                held[name] = version
        elif status[1:2] in _STATES:
            broken[name] = _STATES[status[1]]
    return Dpkg(installed, held, broken)


DPKG: Ask[Dpkg] = Ask(
    name="its packages",
    script="dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Version}\\n' 2>/dev/null",
    reading=read_dpkg,
    bare=Dpkg({}, {}, {}),
)
# Once an installation began here, what it left half done is what the next one goes on from.
APT = lines(
    "what stands in apt's way",
    f"""if [ -e /var/lib/bundle/epoch ]; then echo "begun yes"; fi
for f in /var/lib/dpkg/updates/[0-9]*; do if [ -e "$f" ]; then echo "interrupted yes"; break; fi; done
grep -lsE '^ *Pin-Priority' /etc/apt/preferences /etc/apt/preferences.d/* | sed 's/^/pins /'
systemctl show -p Id -p ActiveState -p UnitFileState -- {" ".join(_UPGRADING + _RIVALS)} 2>/dev/null | awk -F= '
  /^Id=/ {{ u = $2 }} $0 == "ActiveState=active" {{ print "active " u }}
  $0 == "UnitFileState=enabled" {{ print "enabled " u }}'
""",
)


def judge_held(goal: Goal, host: SiteHost, dpkg: Dpkg) -> Iterator[Finding]:
    wanted = needs_of(goal, host).packages
    held = [name for name, version in dpkg.held.items() if name in wanted and version != wanted[name].version]
    if held:
        shown = ", ".join(f"{name} {dpkg.held[name]} (release: {wanted[name].version})" for name in held[:_SHOWN])
        yield kinds.HELD.at(host.name, packages=shown, names=" ".join(held[:_SHOWN]))


def judge_broken(goal: Goal, host: SiteHost, dpkg: Dpkg) -> Iterator[Finding]:
    if dpkg.broken:
        shown = ", ".join(f"{name} is {state}" for name, state in list(dpkg.broken.items())[:_SHOWN])
        yield kinds.BROKEN.at(host.name, packages=shown)


def judge_apt(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    if said.one("interrupted") and not said.one("begun"):
        yield kinds.DPKG_INTERRUPTED.at(host.name)
    for path in said.all("pins"):
        yield kinds.PINNED.at(host.name, path=path)
    for unit in said.all("active"):
        if unit in _UPGRADING:
            yield kinds.UPGRADES.at(host.name, unit=unit)
    needs = needs_of(goal, host)
    for unit in said.all("enabled"):
        if unit in _RIVALS and needs.ports and unit not in needs.units:
            yield kinds.RIVAL.at(host.name, unit=unit)


CHECKS: tuple[Check, ...] = (
    each("machine: held packages", always(DPKG), judge_held),
    each("machine: broken packages", always(DPKG), judge_broken),
    each("machine: apt", always(APT), judge_apt),
)
