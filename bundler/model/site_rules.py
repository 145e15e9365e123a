"""What must hold between the parts of a site: names, addresses, subnets and jumps, each fault at its own line.

The parts are judged as far as they could be read: a host whose port is wrong still has a name that no other may have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from bundler.model.document import Fields
from bundler.model.nodes import Sequence as Items
from bundler.model.site import SITE_ROLE, Address, Network, SiteHost, Subnet
from bundler.model.site_scalars import is_host_name

MOST = {"hosts": 5000, "networks": 256, "vips": 256}
SITE_HOSTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundHost:
    """None is a value that could not be read; `host` is whole only when all could."""

    fields: Fields
    name: str | None
    address: Address | None
    roles: tuple[str, ...] | None
    jump: str | None
    local: bool | None
    host: SiteHost


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNetwork:
    """As FoundHost."""

    fields: Fields
    name: str | None
    subnet: Subnet | None
    network: Network


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundVip:
    """As FoundHost; `fields` are those of all VIPs."""

    fields: Fields
    name: str
    address: Address | None


def judge(
    site: Fields, *, hosts: Sequence[FoundHost], networks: Sequence[FoundNetwork], vips: Sequence[FoundVip]
) -> None:
    """Note everything that does not hold."""
    for key, count in (("hosts", len(hosts)), ("networks", len(networks)), ("vips", len(vips))):
        if count > MOST[key]:
            site.fail_at(key, found=f"{count} {key}", expected=f"{MOST[key]} at most")
            return
    _once("name", ((host.fields, host.name) for host in hosts))
    _once("address", ((host.fields, host.address) for host in hosts))
    _once("name", ((network.fields, network.name) for network in networks))
    _roles(site, hosts)
    _one_local(hosts)
    _jumps(hosts)
    _overlaps(networks)
    subnets = _Subnets.of(site, networks)
    _places(hosts, subnets)
    _vips(hosts, subnets, vips)


def _once(key: str, values: Iterable[tuple[Fields, object]]) -> None:
    seen: dict[object, int] = {}
    for fields, value in values:
        if value is not None and value in seen:
            expected = f"each {key} once (line {seen[value]} has it)"
            fields.fail_at(key, found=f"{value} a second time", expected=expected)
        elif value is not None:
            seen[value] = fields.line_of(key)


def _roles(site: Fields, hosts: Sequence[FoundHost]) -> None:
    # What could not be read may have been it.
    unsure = any(host.roles is None for host in hosts) or not _all_read(site, "hosts", hosts)
    having = [host for host in hosts if SITE_ROLE in (host.roles or ())]
    if not having and not unsure:
        site.fail_at("hosts", found=f"no host with the role {SITE_ROLE}", expected=f"one to {SITE_HOSTS} of them")
    for host in having[SITE_HOSTS:]:
        found = f"one more host with the role {SITE_ROLE}"
        host.fields.fail_at("roles", found=found, expected=f"{SITE_HOSTS} of them at most")


def _one_local(hosts: Sequence[FoundHost]) -> None:
    local = [host.fields for host in hosts if host.local]
    for fields in local[1:]:
        expected = f"one, where the tool runs (line {local[0].line_of('local')} has it)"
        fields.fail_at("local", found="a second local host", expected=expected)


def _jumps(hosts: Sequence[FoundHost]) -> None:
    """Each leads to a host of the site or to a written address, and never back to where it came from."""
    by_name = {host.name: host for host in hosts if host.name is not None}
    nameless = any(host.name is None for host in hosts)
    after = {}
    for host in hosts:
        if not host.jump or not is_host_name(host.jump):
            continue
        if host.jump not in by_name:
            if not nameless:  # else it may be the one
                expected = f"{_some(name for name in by_name if name != host.name)}, or [user@]ADDRESS[:PORT]"
                host.fields.fail_at("jump", found=f"{host.jump!r}, which is no host here,", expected=expected)
        elif by_name[host.jump].local:
            expected = "no jump: the tool runs there"
            host.fields.fail_at("jump", found=f"a jump through the local host {host.jump}", expected=expected)
        elif host.name is not None:
            after[host.name] = host.jump
    for cycle in _cycles(after):
        found = f"a jump in a circle ({' -> '.join((*cycle, cycle[0]))})"
        by_name[cycle[0]].fields.fail_at("jump", found=found, expected="a way that ends")


def _cycles(after: Mapping[str, str]) -> list[list[str]]:
    found: list[list[str]] = []
    done: set[str] = set()
    for start in after:
        path: dict[str, None] = {}  # a set that keeps its order
        name = start
        while name in after and name not in done and name not in path:
            path[name] = None
            name = after[name]
        if name in path:
            way = list(path)
            found.append(way[way.index(name) :])
        done |= path.keys()
    return found


def _overlaps(networks: Sequence[FoundNetwork]) -> None:
    """Subnets are nested or apart, so that in the order of their addresses each is held against the last wide one."""
    known = [(at, network, network.subnet) for at, network in enumerate(networks) if network.subnet is not None]
    known.sort(key=lambda each: (each[2].version, int(each[2].network_address), each[2].prefixlen))
    wide = known[0] if known else None
    for each in known[1:]:
        if wide is None or each[2].network_address not in wide[2]:
            wide = each
            continue
        (_, first, subnet), (_, second, other) = sorted((wide, each), key=lambda pair: pair[0])
        found = f"{other}, which overlaps the network {first.name} ({subnet}),"
        second.fields.fail_at("subnet", found=found, expected="subnets that are apart")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subnets:
    """What hosts and VIPs must be in. `all_known`: none is there that could not be read."""

    known: tuple[Subnet, ...]
    all_known: bool

    @classmethod
    def of(cls, site: Fields, networks: Sequence[FoundNetwork]) -> "_Subnets":
        known = tuple(network.subnet for network in networks if network.subnet is not None)
        read = not site.has("networks") or _all_read(site, "networks", networks)
        return cls(known=known, all_known=read and len(known) == len(networks))

    def judge(self, fields: Fields, key: str, address: Address) -> None:
        inside = next((subnet for subnet in self.known if address in subnet), None)
        if inside is None and self.all_known:
            expected = (
                f"one in {_some(map(str, self.known))}" if self.known else "`networks` with the one that it is in"
            )
            fields.fail_at(key, found=f"{address}, which is in no network,", expected=expected)
        elif inside is not None and address in _edges(inside):
            expected = "the address of one machine"
            fields.fail_at(key, found=f"{address}, which stands for the whole of {inside},", expected=expected)


def _places(hosts: Sequence[FoundHost], subnets: _Subnets) -> None:
    for host in hosts:
        if host.address is None:
            continue
        if host.address.is_loopback and len(hosts) > 1:
            expected = "one that the other hosts reach"
            host.fields.fail_at("address", found=f"the loopback address {host.address}", expected=expected)
        elif subnets.known:
            subnets.judge(host.fields, "address", host.address)


def _vips(hosts: Sequence[FoundHost], subnets: _Subnets, vips: Sequence[FoundVip]) -> None:
    """Each is an address of its own, which a network has room for."""
    owners = {host.address: f"the host {host.name}" for host in hosts if host.address is not None}
    for vip in sorted(vips, key=lambda each: each.fields.line_of(each.name)):
        if vip.address is None:
            continue
        if vip.address in owners:
            found = f"{vip.address}, which is {owners[vip.address]},"
            vip.fields.fail_at(vip.name, found=found, expected="an address of its own")
        else:
            subnets.judge(vip.fields, vip.name, vip.address)
        owners[vip.address] = f"the VIP {vip.name}"


def _all_read(site: Fields, key: str, found: Sequence[object]) -> bool:
    """Whether there is a list, and nothing in it that is no mapping at all."""
    node = site.table.pairs.get(key)
    return isinstance(node, Items) and len(node.items) == len(found)


def _edges(subnet: Subnet) -> tuple[Address, ...]:
    """What no machine can have: the network and broadcast addresses; of IPv6, that of any router (RFC 4291, 2.6.1)."""
    if subnet.prefixlen >= subnet.max_prefixlen - 1:  # a link between two (RFC 3021, RFC 6164), or one address
        return ()
    if isinstance(subnet, IPv4Network):
        return (subnet.network_address, subnet.broadcast_address)
    return (subnet.network_address,)


def _some(names: Iterable[str]) -> str:
    """The first ten, for a message."""
    known = list(names)
    return ", ".join((*known[:10], *(("...",) if len(known) > 10 else ())))
