"""Base: what every host of a site needs before anything else, and nothing on it that points outside.

The order: every host can name the others (`base/hosts`); site hosts take packages from their own disk
(`base/sources`), and serve them; all others take them from there (`base/archives`); then the rest.
"""

from collections.abc import Sequence
from dataclasses import replace

from bundler.components.base import clients, clock, kernel, names, sources
from bundler.components.base.health import HEALTH
from bundler.components.base.preflight import (
    KERNEL,
    OUTSIDE,
    RELEASE,
    archives_by_release,
    live_sysctls,
    wanted_sysctls,
)
from bundler.components.base.settings import SCHEMA, parse_settings, settings_of
from bundler.components.base.trust import Trust, certificate_files
from bundler.components.registry import hosts_token
from bundler.components.registry.endpoint import repositories_host, site_ca
from bundler.components.store import ROOT, apt_key
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.resources import File, Resource, Service
from bundler.steps.step import Component, Goal, Step

NEEDED = ("ca-certificates", "chrony", "kmod", "procps")
# For people and for what comes later; a small release may go without.
TOOLS = (
    "conntrack",
    "curl",
    "ebtables",
    "ethtool",
    "iproute2",
    "ipset",
    "iptables",
    "jq",
    "nftables",
    "pciutils",
    "socat",
)
STORAGE_TOOLS = ("lvm2", "nvme-cli", "smartmontools")


def _hosts(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    known = frozenset(each.name for each in goal.site.hosts)
    return goal.once("base/hosts", lambda: (names.Hosts(text=names.hosts_text(goal.site), names=known),))


def _sources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return goal.once("base/sources", lambda: _apt(goal, f"file:{ROOT}/current/apt"))


def _archives(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    if host.has(SITE_ROLE):
        return ()
    return goal.once("base/archives", lambda: _apt(goal, f"https://{repositories_host(goal.site)}/apt"))


def _apt(goal: Goal, base: str) -> Sequence[Resource]:
    public = apt_key(goal).public
    return (
        File(path=sources.CA, content=site_ca(goal).bundle),
        File(path=sources.KEYRING, content=public),
        File(path=sources.OPTIONS, content=sources.options_text(goal.site)),
        sources.Sources(site=goal.site, base=base, archives=archives_by_release(goal)),
    )


def _packages(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    carried = goal.once("base/carried", lambda: {deb.package for deb in goal.lock.debs})
    asked = [*NEEDED, *TOOLS, *(STORAGE_TOOLS if host.has("storage") else ())]
    here = [name for name in asked if name in NEEDED or name in carried]
    # Before the package, so that its own servers are never asked; it leaves a file that is there alone.
    return (_chrony(goal, host), goal.packages("base", *sorted(here), masked=(clock.UNIT,)))


def _chrony(goal: Goal, host: SiteHost) -> File:
    text = clock.chrony_text(goal.site, host, settings_of(goal.site))
    return File(path=clock.PATH, content=text, keep=True, units=(clock.UNIT,))


def _time(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    drop_in = File(path=clock.DROP_IN, content=clock.DROP_IN_TEXT)
    return (Service(unit=clock.UNIT, files=(drop_in,), uses=(replace(_chrony(goal, host), keep=False),)),)


def _kernel(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    wanted = wanted_sysctls(goal)
    text = goal.once("base/sysctl text", lambda: kernel.sysctl_text(wanted))
    return (
        kernel.Modules(),
        kernel.Sysctls(wants=wanted, fact=live_sysctls(goal), file=File(path=kernel.SYSCTL_PATH, content=text)),
        kernel.Limits(file=File(path=kernel.MANAGER_PATH, content=kernel.manager_text(host))),
        File(path=kernel.LIMITS_PATH, content=kernel.limits_text(host)),
    )


def _trust(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return goal.once("base/trust", lambda: (Trust(files=certificate_files(site_ca(goal).bundle)),))


def _names(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (names.Resolver(text=names.resolv_text(goal.site, host)), names.NoResolved())


def _clients(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    mirrors = clients.mirrors_of(goal.site, host)
    key = f"base/clients {' '.join(server.name for server in mirrors)}"
    ca = site_ca(goal).bundle
    return goal.once(key, lambda: clients.resources(goal.site, goal.lock, ca, mirrors, hosts_token(goal)))


_PACKAGES = ("base/packages",)
COMPONENT = Component(
    name="base",
    about="Time, kernel, trust, names, and where each host's programs get their software from.",
    steps=(
        Step(name="base/hosts", resources=_hosts),
        Step(name="base/sources", resources=_sources, roles=(SITE_ROLE,), after=("base/hosts", "store/release")),
        Step(name="base/archives", resources=_archives, after=("base/hosts",), needs=("repositories", "dns")),
        Step(name="base/packages", resources=_packages, after=("base/sources", "base/archives")),
        Step(name="base/time", resources=_time, after=_PACKAGES),
        Step(name="base/kernel", resources=_kernel, after=_PACKAGES),
        Step(name="base/trust", resources=_trust, after=_PACKAGES),
        Step(name="base/names", resources=_names, after=_PACKAGES, needs=("dns",)),
        Step(name="base/clients", resources=_clients, after=_PACKAGES),
    ),
    settings=parse_settings,
    schema=SCHEMA,
    preflight=(RELEASE, KERNEL, OUTSIDE),
    health=HEALTH,
    units=(clock.UNIT,),
)
