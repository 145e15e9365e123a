"""What `components.metallb` in site.yaml may say."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from bundler.errors import Malformed
from bundler.model.document import Fields, parse_integer
from bundler.model.json_schema import flag, label, listing, number, record, word
from bundler.model.names import check_label
from bundler.model.site import Address
from bundler.model.site_scalars import parse_address, parse_subnet

NAME = "metallb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """`addresses` are subnets and ranges FIRST-LAST; without `assign` a Service has to ask for one by name."""

    name: str
    addresses: tuple[str, ...]
    assign: bool = True


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses of one family, with both ends."""

    first: Address
    last: Address

    def __contains__(self, address: object) -> bool:
        return (
            isinstance(address, IPv4Address | IPv6Address)
            and address.version == self.first.version
            and int(self.first) <= int(address) <= int(self.last)
        )

    def __iter__(self) -> Iterator[Address]:
        return (self.first + at for at in range(int(self.last) - int(self.first) + 1))

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"

    def overlaps(self, other: "Range") -> bool:
        return self.first in other or other.first in self


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A router that learns from every host which addresses it has: its `address` and number."""

    name: str
    address: Address
    asn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bgp:
    asn: int
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetallbSettings:
    """Without `bgp` one host at a time answers for an address (L2)."""

    pools: tuple[Pool, ...] = ()
    bgp: Bgp | None = None


def parse_settings(fields: Fields) -> MetallbSettings:
    return fields.build(
        MetallbSettings,
        pools=fields.each("pools", _pool, optional=True, name=lambda pool: pool.name),
        bgp=fields.nested("bgp", _bgp) if fields.has("bgp") else None,
    )


def _bgp(fields: Fields) -> Bgp:
    peers = fields.each("peers", _peer, name=lambda peer: peer.name)
    return fields.build(Bgp, asn=fields.value("asn", _parse_asn), peers=peers)


def _peer(fields: Fields) -> Peer:
    return fields.build(
        Peer,
        name=fields.value("name", check_label),
        address=fields.value("address", parse_address),
        asn=fields.value("asn", _parse_asn),
    )


def _parse_asn(found: str) -> int:
    """The number of an autonomous system, of 32 bits (RFC 6793)."""
    if not 1 <= parse_integer(found) < 1 << 32:
        raise Malformed(found=repr(found[:80]), expected=f"a number from 1 to {(1 << 32) - 1}")
    return int(found)


def _pool(fields: Fields) -> Pool:
    return fields.build(
        Pool,
        name=fields.value("name", check_label),
        addresses=fields.values("addresses", _parse_addresses),
        assign=fields.flag("assign", default=True),
    )


def ranges_of(pool: Pool) -> Iterator[Range]:
    for text in pool.addresses:
        first, dash, last = text.partition("-")
        if dash:
            yield Range(ip_address(first), ip_address(last))
        else:
            subnet = ip_network(text)
            yield Range(subnet[0], subnet[-1])


def _parse_addresses(found: str) -> str:
    """A subnet, or a range FIRST-LAST of one family. Raises Malformed."""
    if "-" not in found:
        return str(parse_subnet(found))
    expected = "ADDRESS/LENGTH, or FIRST-LAST"
    try:
        first, last = map(ip_address, re.split(r"\s*-\s*", found))
    except ValueError:
        raise Malformed(found=repr(found[:80]), expected=expected) from None
    if first.version != last.version or int(first) > int(last):
        raise Malformed(found=repr(found[:80]), expected=f"{expected}, of one family and in order")
    return f"{first}-{last}"


_ASN = (1, (1 << 32) - 1)
SCHEMA: Mapping[str, Any] = record(
    "Addresses of the site for Services of type LoadBalancer.",
    {
        "pools": listing(
            "Where they come from: addresses that no host has.",
            record(
                "A pool.",
                {
                    "name": label("Its name, by which a Service may ask for it."),
                    "addresses": listing("Subnets, or FIRST-LAST.", word("Addresses.", r"[0-9a-fA-F.:/ -]+")),
                    "assign": flag("Whether Services get one of these without asking for this pool."),
                },
                ("name", "addresses"),
            ),
        ),
        "bgp": record(
            "Routers that learn the addresses by BGP; without it one host answers for each on its link.",
            {
                "asn": number("Our own number.", *_ASN),
                "peers": listing(
                    "The routers.",
                    record(
                        "A router.",
                        {
                            "name": label("Its name."),
                            "address": word("Its address.", r"[0-9a-fA-F.:]+"),
                            "asn": number("Its number.", *_ASN),
                        },
                        ("name", "address", "asn"),
                    ),
                ),
            },
            ("asn", "peers"),
        ),
    },
)
