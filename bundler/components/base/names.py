"""Names: which the site has, and how a host finds them with and without DNS."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundler.components.registry.endpoint import builds_host, keeps_builds, registry_host, repositories_host
from bundler.model.site import SITE_ROLE, Site, SiteHost
from bundler.steps.actions import Action, Run, SetAside, StopUnit, WriteFile, before
from bundler.steps.facts import Ask, Fact, FileFact, HostFacts, UnitFact
from bundler.steps.resources import File

RESOLV, HOSTS = "/etc/resolv.conf", "/etc/hosts"
RESOLVED = "systemd-resolved.service"
HEADER = "# Written by bundle: what is changed here is put back by its next run.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What os-release(5) says that a host runs, and the name that it has itself."""

    release: str
    hostname: str


def _system(said: str) -> System:
    release, hostname = said.split("\n")[:2]
    if not release or not hostname:
        raise ValueError("no VERSION_CODENAME in /etc/os-release, or no host name")
    return System(release=release, hostname=hostname)


SYSTEM: Ask[System] = Ask(
    name="the system's release and name",
    script="""VERSION_CODENAME=; . /etc/os-release || exit 1
printf '%s\\n' "$VERSION_CODENAME"; cat /proc/sys/kernel/hostname""",
    reading=_system,
)


def hosts_text(site: Site) -> str:
    """hosts(5): every host, and the site's services at each site host, so that they are found while DNS is down."""
    servers = site.with_role(SITE_ROLE)
    lines = [
        "127.0.0.1 localhost",
        "::1 localhost ip6-localhost ip6-loopback",
        "ff02::1 ip6-allnodes",
        "ff02::2 ip6-allrouters",
        *(f"{host.address} {host.name}.{site.domain} {host.name}" for host in site.hosts),
        *(f"{server.address} {name}" for name in (registry_host(site), repositories_host(site)) for server in servers),
        *(f"{server.address} {builds_host(site)}" for server in servers if keeps_builds(site, server)),
    ]
    return HEADER + "".join(f"{line}\n" for line in lines)


def resolv_text(site: Site, host: SiteHost) -> str:
    """resolv.conf(5): the site hosts, each asked for a second, a site host itself first."""
    servers = sorted(site.with_role(SITE_ROLE), key=lambda server: server.name != host.name)
    lines = [f"search {site.domain}", *(f"nameserver {server.address}" for server in servers[:3])]
    return HEADER + "".join(f"{line}\n" for line in (*lines, "options timeout:1 attempts:2"))


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """/etc/hosts, the same everywhere; only a host that calls itself something else keeps that name too."""

    text: str
    names: frozenset[str]

    def asks(self) -> tuple[Fact[Any], ...]:
        return (SYSTEM, *self._file(self.text).asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        own = facts[SYSTEM].hostname
        text = self.text if own in self.names else f"{self.text}127.0.1.1 {own}\n"
        yield from self._file(text).wanted(facts)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self._file(self.text).unwanted(facts, purge=purge)

    def _file(self, text: str) -> File:
        return File(path=HOSTS, content=text, keep=True)


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """/etc/resolv.conf. A link, which belongs to a program that writes what it points to, is kept and replaced."""

    text: str

    @property
    def _file(self) -> File:
        return File(path=RESOLV, content=self.text, keep=True)

    def asks(self) -> tuple[Fact[Any], ...]:
        return self._file.asks()

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[self._file.fact]
        if have is not None and have.link:
            why = f"it is a link to {have.link}"
            yield SetAside(path=RESOLV, aside=before(RESOLV), reason=why)
            yield WriteFile(path=RESOLV, content=self.text, old=None, reason=why)
        else:
            yield from self._file.wanted(facts)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self._file.unwanted(facts, purge=purge)


@dataclass(frozen=True, kw_only=True)
class NoResolved:
    """systemd-resolved does not run: it would answer from servers that it was given elsewhere."""

    def asks(self) -> tuple[Fact[Any], ...]:
        return (UnitFact(unit=RESOLVED), FileFact(path=before(RESOLV)))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[UnitFact(unit=RESOLVED)]
        if have.load not in ("not-found", "masked") and (have.active == "active" or have.file == "enabled"):
            yield StopUnit(unit=RESOLVED, reason=f"it is {have.active}, and {RESOLV} names the site's servers")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        kept, have = facts[FileFact(path=before(RESOLV))], facts[UnitFact(unit=RESOLVED)]
        if kept is not None and "systemd/resolve" in kept.link and have.active != "active":
            text = f"systemctl enable -q --now -- {RESOLVED}\n"
            yield Run(name=f"start {RESOLVED}", text=text, reason=f"{RESOLV} was a link to its own")
