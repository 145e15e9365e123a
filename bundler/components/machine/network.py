"""The network between the hosts: interfaces, MTU, addresses that are taken, and who reaches whom."""

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from bundler.components.machine import kinds
from bundler.components.machine.asking import Row, Said, always, each, lines, over_all
from bundler.components.machine.names import IDENTITY, addresses, nics
from bundler.components.machine.needs import needs_of
from bundler.errors import FactUnknown
from bundler.model.site import SITE_ROLE, Address, Network, SiteHost
from bundler.steps.facts import Ask, Facts
from bundler.steps.step import Check, Finding, Goal

_SECONDS = 2  # for one connection

FIREWALL = lines(
    "its firewall",
    """nft list ruleset 2>/dev/null | grep -E 'hook input|dport' | head -n 400 | sed 's/^[ \\t]*/nft /'
if [ -s /proc/net/ip_tables_names ] && ! iptables -V | grep -q nf_tables; then
  iptables -S INPUT 2>/dev/null | head -n 400 | sed 's/^/iptables /'
fi""",
)


def reach(goal: Goal) -> Ask[Said]:
    """From each host to sshd of each site host, which listens now."""
    return goal.once("machine/reach", lambda: lines("which site hosts it reaches", _reach_script(goal)))


def _reach_script(goal: Goal) -> str:
    tries = (f"t {host.name} {host.address} {host.port} &\n" for host in goal.site.with_role(SITE_ROLE))
    return f"""t() {{
  if command -v bash >/dev/null; then timeout {_SECONDS} bash -c ": </dev/tcp/$2/$3"
  elif command -v nc >/dev/null; then nc -z -w {_SECONDS} "$2" "$3"
  elif command -v ping >/dev/null; then ping -c 1 -W {_SECONDS} "$2"; fi >/dev/null 2>&1 || echo "unreached $1"
}}
{"".join(tries)}wait"""


def virtual(goal: Goal) -> Ask[Said]:
    name = "who has the virtual addresses"
    return goal.once("machine/virtual", lambda: lines(name, holders_script(goal.site.vips.items())))


def holders_script(addresses: Iterable[tuple[str, Address]]) -> str:
    """Who answers for those that are on a link of the host: by ARP, so that a firewall hides nobody."""
    tries = (f"v {name} {address} &\n" for name, address in addresses)
    return f"""v() {{
  case $(ip route get "$2" 2>/dev/null) in "" | *" via "* | local*) return ;; esac
  if command -v ping >/dev/null; then timeout 0.6 ping -c 1 "$2"
  else timeout 0.6 bash -c ": </dev/tcp/$2/9"; fi >/dev/null 2>&1
  m=$(ip neigh show "$2" | sed -n 's/.* lladdr \\([0-9a-f:]*\\) .*/\\1/p' | head -n 1)
  [ -z "$m" ] || echo "vip $1 $m"
}}
{"".join(tries)}wait"""


def judge_interfaces(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    have = {name: state for name, _, state, _ in nics(said)}
    for use, nic in host.nics.items():
        if nic not in have:
            shown = ", ".join(name for name in have if name != "lo")
            yield kinds.NIC.at(host.name, nic=nic, use=use, has=shown or "no interface at all")
        elif have[nic] == "DOWN":
            yield kinds.NIC_DOWN.at(host.name, nic=nic, use=use)
    for network in goal.site.networks:
        for nic, mtu in _on(network, said):
            if network.mtu is not None and mtu != network.mtu:
                yield kinds.MTU.at(host.name, nic=nic, mtu=mtu, network=network.name, declared=network.mtu)


def _on(network: Network, said: Said) -> list[tuple[str, int]]:
    """The interfaces with an address of the network, and their MTU."""
    mtus = {name: mtu for name, mtu, _, _ in nics(said)}
    names = dict.fromkeys(nic for nic, address in addresses(said) if address.ip in network.subnet)
    return [(nic, mtus[nic]) for nic in names if nic in mtus and nic != "lo"]


def judge_mtus(goal: Goal, rows: Sequence[Row]) -> Iterator[Finding]:
    """Networks whose MTU is not declared: what most hosts have."""
    for network in goal.site.networks:
        found = [(host, nic, mtu) for host, said in rows for nic, mtu in _on(network, said)]
        if network.mtu is not None or not found:
            continue
        usual = Counter(mtu for _, _, mtu in found).most_common(1)[0][0]
        for host, nic, mtu in found:
            if mtu != usual:
                yield kinds.MTU_DIFFERS.at(host.name, nic=nic, mtu=mtu, network=network.name, usual=usual)


def judge_reach(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    for name in said.all("unreached"):
        peer = goal.site.host(name)
        yield kinds.UNREACHED.at(host.name, peer=name, port=peer.port, address=peer.address)


def judge_virtual(goal: Goal, rows: Sequence[Row], ours: frozenset[str]) -> Iterator[Finding]:
    """One finding for each address, from the first host that sees it. `ours` are the hardware addresses of the site's
    hosts: a virtual address that one of them has is in use."""
    seen: set[str] = set()
    for host, said in rows:
        for line in said.all("vip"):
            name, mac = line.split(" ")
            if name not in seen and mac not in ours:
                seen.add(name)
                yield kinds.VIP.at(host.name, name=name, address=goal.site.vips[name], mac=mac)


def _virtual(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    rows: list[Row] = []
    for host in hosts:
        try:
            rows.append((host, facts.of(host.name)[virtual(goal)]))
        except FactUnknown as error:
            yield kinds.UNASKED.at(host.name, fact=error.fact, why=error.why)
    yield from judge_virtual(goal, rows, own_macs(facts))


def own_macs(facts: Facts) -> frozenset[str]:
    """The hardware addresses of the site's hosts."""
    ours: set[str] = set()
    for name in facts.hosts:
        with contextlib.suppress(FactUnknown):  # another check says so
            ours.update(mac for _, _, _, mac in nics(facts.of(name)[IDENTITY]))
    return frozenset(ours)


def judge_firewall(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    """A guess, and so a warning: an input that drops, and ports that stand in no rule at all."""
    rules = [*said.all("nft"), *said.all("iptables")]
    drops = any(re.search(r"hook input.*policy drop|^-P INPUT DROP", rule) for rule in rules)
    numbers = {number for rule in rules if "dport" in rule for number in re.findall(r"\d+", rule.partition("dport")[2])}
    closed = [f"{protocol} {port}" for protocol, port in needs_of(goal, host).ports if str(port) not in numbers]
    if drops and closed:
        yield kinds.FIREWALL.at(host.name, ports=", ".join(sorted(closed)))


CHECKS: tuple[Check, ...] = (
    each("machine: interfaces", always(IDENTITY), judge_interfaces),
    over_all("machine: MTU", always(IDENTITY), judge_mtus),
    each("machine: reach", reach, judge_reach),
    Check(
        name="machine: virtual addresses",
        asks=lambda goal, host: (virtual(goal),),
        judge=_virtual,
        roles=(SITE_ROLE, "control-plane", "director"),  # those that may be on an address's network
    ),
    each("machine: firewall", always(FIREWALL), judge_firewall),
)
