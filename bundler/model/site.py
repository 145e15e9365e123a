"""A site as `site.yaml` declares it: its hosts, networks, addresses, and the settings of each component."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, TypeVar

T = TypeVar("T")
Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

SITE_ROLE = "site"  # runs the tool and owns a store: one to three hosts
GUEST_ROLE = "existing-node"  # somebody else's host: only where it pulls from is ours
ROLES = {
    SITE_ROLE: "runs the tool, keeps the store and serves it",
    "control-plane": "Kubernetes' API server, its controllers and etcd",
    "worker": "runs workloads",
    "storage": "gives its disks to the site's storage",
    "database": "runs databases and what leads to them",
    "director": "balances load at the site's virtual addresses",
    "gpu": "has GPUs: their driver and container toolkit",
    GUEST_ROLE: "is one of a cluster that is there already: it pulls from the site, and nothing else of it is changed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A whole device that a component may take, such as `/dev/nvme1n1`, and what for. `size` is what it holds, such as
    `3500Gi`, for those who have to know it beforehand."""

    device: str
    use: str
    size: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHost:
    """`local`: the machine that the tool runs on, reached without ssh. `become`: root by sudo. `jump` names another
    host or `[user@]address[:port]`. `host_key` is a public key as ssh-keyscan prints it, `TYPE BASE64`, or empty.
    `nics` are interfaces by what they are for."""

    name: str
    address: Address
    roles: tuple[str, ...]
    user: str = "root"
    port: int = 22
    local: bool = False
    become: bool = False
    jump: str = ""
    host_key: str = ""
    disks: tuple[Disk, ...] = ()
    nics: Mapping[str, str] = field(default_factory=dict)

    def has(self, role: str) -> bool:
        return role in self.roles

    def is_among(self, roles: Sequence[str]) -> bool:
        """Whether it has one of the roles; no roles stand for all hosts but those that are somebody else's."""
        return any(map(self.has, roles)) if roles else not self.has(GUEST_ROLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    name: str
    subnet: Subnet
    mtu: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`settings` holds each component's own settings value, by the component's name; `vips` are addresses by what they
    are for."""

    name: str
    domain: str
    hosts: tuple[SiteHost, ...]
    networks: tuple[Network, ...] = ()
    vips: Mapping[str, Address] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def host(self, name: str) -> SiteHost:
        return next(host for host in self.hosts if host.name == name)

    def settings_of(self, component: str, kind: type[T]) -> T:
        """A component's own settings, which its parser has made. Raises TypeError for another one's."""
        found = self.settings[component]
        if not isinstance(found, kind):
            raise TypeError(found)
        return found

    def with_role(self, role: str) -> tuple[SiteHost, ...]:
        return tuple(host for host in self.hosts if host.has(role))
