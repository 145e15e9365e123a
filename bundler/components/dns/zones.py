"""The zones that the site's name servers answer for: its domain, and the reverse zones of its networks (RFC 1035)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network

from bundler.components.dns.settings import DnsSettings
from bundler.components.registry.endpoint import BUILDS, REGISTRY, REPOSITORIES, keeps_builds
from bundler.model.site import SITE_ROLE, Address, Site, Subnet

_SERVICES = ("ns", REGISTRY, REPOSITORIES)  # what every site host serves
_TTL = 300  # seconds that a client may keep an answer
_NEGATIVE = 30  # and one that there is no such name: a new one is soon seen
_PERIODS = "3600 600 86400"  # refresh, retry, expire: there are no secondaries


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """`name` without the last dot; `text` is the master file, with a serial that follows from its content."""

    name: str
    serial: int
    text: str


def named_addresses(site: Site, settings: DnsSettings) -> list[tuple[str, str, tuple[Address, ...]]]:
    """Every name of the domain, relative to it, with who gives it and its addresses. A name that two give is a mistake
    of site.yaml, which preflight finds."""
    servers = tuple(host.address for host in site.with_role(SITE_ROLE))
    return [
        *((name, "the site itself", servers) for name in _SERVICES),
        (BUILDS, "the site itself", tuple(host.address for host in site.hosts if keeps_builds(site, host))),
        *((host.name, "a host", (host.address,)) for host in site.hosts),
        *((name, "a VIP", (address,)) for name, address in site.vips.items()),
        *((name, "components.dns.records", addresses) for name, addresses in settings.records.items()),
    ]


def zones_of(site: Site, settings: DnsSettings) -> tuple[Zone, ...]:
    """The domain's zone, then the reverse ones by name."""
    lines = [
        f"{name} IN {'A' if address.version == 4 else 'AAAA'} {address}"
        for name, _, addresses in named_addresses(site, settings)
        for address in addresses
    ]
    reverse: dict[str, list[str]] = {reverse_zone(network.subnet): [] for network in site.networks}
    for name, address in _owners(site):
        pointer = address.reverse_pointer
        zone = max((zone for zone in reverse if pointer.endswith(f".{zone}")), key=len, default="")
        zone = zone or reverse_zone(ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))
        reverse.setdefault(zone, []).append(f"{pointer}. IN PTR {name}.{site.domain}.")
    return (_zone(site, site.domain, lines), *(_zone(site, zone, found) for zone, found in sorted(reverse.items())))


def reverse_zone(subnet: Subnet) -> str:
    """The zone at the next octet's (IPv6: hexadecimal digit's) boundary that the subnet lies in, such as
    `77.10.in-addr.arpa` for 10.77.0.0/20 (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    digits, ending = (8, "in-addr.arpa") if subnet.version == 4 else (4, "ip6.arpa")
    labels = subnet.network_address.reverse_pointer.removesuffix(f".{ending}").split(".")
    kept = subnet.prefixlen // digits
    return ".".join([*labels[len(labels) - kept :], ending])


def _owners(site: Site) -> Iterable[tuple[str, Address]]:
    """Each address with the one name that it has."""
    seen: dict[Address, str] = {}
    for name, address in (*((host.name, host.address) for host in site.hosts), *site.vips.items()):
        seen.setdefault(address, name)
    return ((name, address) for address, name in seen.items())


def _zone(site: Site, name: str, lines: Iterable[str]) -> Zone:
    servers = [f"{host.name}.{site.domain}." for host in site.with_role(SITE_ROLE)]
    body = "".join(f"{line}\n" for line in (*(f"@ IN NS {server}" for server in servers), *sorted(set(lines))))
    # No secondary compares serials by size: that it is another one for other content is enough.
    serial = int.from_bytes(sha256(body.encode()).digest()[:4]) or 1
    soa = f"@ IN SOA {servers[0]} hostmaster.{site.domain}. {serial} {_PERIODS} {_NEGATIVE}"
    return Zone(name=name, serial=serial, text=f"$ORIGIN {name}.\n$TTL {_TTL}\n{soa}\n{body}")


def clashes(site: Site, settings: DnsSettings) -> Mapping[str, tuple[str, ...]]:
    """Names that more than one gives, with those who do."""
    found: dict[str, list[str]] = {}
    for name, who, _ in named_addresses(site, settings):
        found.setdefault(name, []).append(who)
    return {name: tuple(givers) for name, givers in found.items() if len(givers) > 1}
