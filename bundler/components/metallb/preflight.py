"""Before the first change: addresses of pools that somebody has, or that nobody could reach."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from itertools import chain, combinations, islice
from typing import Any

from bundler.components.kubernetes.kubeadm import minor_of
from bundler.components.kubernetes.nodes import NODE
from bundler.components.kubernetes.pki import CONTROL_PLANE
from bundler.components.kubernetes.preflight_hosts import host_fact
from bundler.components.kubernetes.runtime import version_of
from bundler.components.kubernetes.settings import settings_of as kubernetes_settings
from bundler.components.machine.asking import Said, lines
from bundler.components.machine.network import holders_script, own_macs
from bundler.components.metallb.settings import NAME, MetallbSettings, Pool, Range, ranges_of
from bundler.errors import FactUnknown
from bundler.model.site import SITE_ROLE, Address, SiteHost
from bundler.steps.facts import Ask, Fact, Facts
from bundler.steps.step import Check, Finding, Goal

_REFUSES_PEERS, _PEERS_AGAIN = 36, (0, 16)  # Kubernetes 1.N; MetalLB
_ASKED = 64  # addresses of all pools that are asked for who has them

Place = tuple[Pool, Range]


def _places(goal: Goal) -> list[Place]:
    return [(pool, each) for pool in _settings(goal).pools for each in ranges_of(pool)]


def _settings(goal: Goal) -> MetallbSettings:
    return goal.site.settings_of(NAME, MetallbSettings)


def _judge_site(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for found, fix in (
        *_taken(goal),
        *_out_of_reach(goal),
        *_twice(goal),
        *_gateways(goal, hosts, facts),
        *_peers(goal),
    ):
        yield Finding(host="", check=_SITE, found=found, fix=fix)


def _taken(goal: Goal) -> Iterator[tuple[str, str]]:
    fix = "Choose addresses that nobody has for components.metallb.pools."
    known = [
        *((f"the host {host.name}", host.address) for host in goal.site.hosts),
        *((f"the virtual address {name}", vip) for name, vip in goal.site.vips.items() if name != "ingress"),
    ]
    settings = kubernetes_settings(goal)
    for pool, each in _places(goal):
        for name, address in known:
            if address in each:
                yield f"the pool {pool.name} has {address}, which is {name}", fix
        for name, subnet in (("pods", settings.pods), ("services", settings.services)):
            if each.overlaps(Range(subnet[0], subnet[-1])):
                yield f"the pool {pool.name} has {each}, and {name} are in {subnet}", fix


def _out_of_reach(goal: Goal) -> Iterator[tuple[str, str]]:
    """Who has an address says so on the link (L2): it must be one of a network of the site."""
    if _settings(goal).bgp is not None:
        return
    networks = [network.subnet for network in goal.site.networks]
    for pool, each in _places(goal):
        if networks and not any(each.first in subnet and each.last in subnet for subnet in networks):
            fix = "Choose addresses of a network of the site: nobody asks for others on its links."
            yield f"the pool {pool.name} has {each}, which is in no network of the site", fix


def _peers(goal: Goal) -> Iterator[tuple[str, str]]:
    """Kubernetes 1.36 refuses whatever BGPPeer of MetalLB's definitions until then: a bound of theirs is no int32
    (metallb/metallb#3034)."""
    if _settings(goal).bgp is None:
        return
    kubernetes, metallb = version_of(goal, "kubernetes"), version_of(goal, NAME)
    older = tuple(map(int, metallb.split(".")[:2])) < _PEERS_AGAIN
    if minor_of(kubernetes) >= _REFUSES_PEERS and older:
        fix = "Leave components.metallb.bgp out (one host answers for each address), or carry a later MetalLB."
        yield f"Kubernetes {kubernetes} takes no BGP peers of MetalLB {metallb}", fix


def _twice(goal: Goal) -> Iterator[tuple[str, str]]:
    for (pool, one), (other, two) in combinations(_places(goal), 2):
        if one.overlaps(two):
            yield f"the pools {pool.name} and {other.name} overlap: {one}, {two}", "Give each address to one of them."


def _gateways(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for host in hosts:
        try:
            routes = facts.of(host.name)[host_fact(goal)].routes
        except FactUnknown:  # another check says so
            continue
        for gateway in (route.gateway for route in routes if route.gateway):
            for pool, each in _places(goal):
                if ip_address(gateway) in each and gateway not in seen:
                    seen.add(gateway)
                    found = f"the pool {pool.name} has {gateway}, by which {host.name} reaches others"
                    yield found, "Leave the gateway out of the pool."


def holders(goal: Goal) -> Ask[Said]:
    """Who has the first addresses of the pools."""

    def make() -> Ask[Said]:
        known = {host.address for host in goal.site.hosts}
        every = chain.from_iterable(each for _, each in _places(goal))
        asked = islice((address for address in every if address not in known), _ASKED)
        return lines("who has the pools' addresses", holders_script((str(each), each) for each in asked))

    return goal.once("metallb/holders", make)


def _asks_holders(goal: Goal, host: SiteHost) -> Iterator[Fact[Any]]:
    if host.has(SITE_ROLE):
        yield holders(goal)
    if host.has(CONTROL_PLANE):
        yield NODE


def _judge_holders(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    """Where a cluster of ours serves, it may be the speaker of a host that leaves it now, or has just left."""
    ours, seen = own_macs(facts), set()
    serves = any(facts.of(host.name)[NODE].joined for host in hosts if host.has(CONTROL_PLANE))
    for host in hosts:
        for line in facts.of(host.name)[holders(goal)].all("vip") if host.has(SITE_ROLE) else ():
            address, mac = line.split(" ")
            if mac not in ours and address not in seen:
                seen.add(address)
                found = f"somebody has {address}, which is in a pool of MetalLB: {mac} answers for it"
                fix = "Find that machine and take the address from it, or leave it out of components.metallb.pools."
                yield Finding(host=host.name, check=_HOLDERS, found=found, fix=fix, warning=serves)


def has_address(goal: Goal, address: Address) -> bool:
    """Whether a pool has it."""
    return any(address in each for _, each in _places(goal))


_SITE, _HOLDERS = "metallb: the site", "metallb: pools"
CHECKS = (
    Check(name=_SITE, asks=lambda goal, host: (host_fact(goal),), judge=_judge_site, roles=("control-plane", "worker")),
    Check(name=_HOLDERS, asks=_asks_holders, judge=_judge_holders, roles=(SITE_ROLE, CONTROL_PLANE)),
)
