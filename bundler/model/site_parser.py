"""Reading `site.yaml`: a site, or every problem with its line."""

from collections.abc import Callable, Mapping
from typing import Any

from bundler.model.document import Fields, Reader
from bundler.model.names import check_label
from bundler.model.nodes import Table
from bundler.model.site import GUEST_ROLE, Disk, Network, Site, SiteHost
from bundler.model.site_rules import FoundHost, FoundNetwork, FoundVip, judge
from bundler.model.site_scalars import (
    check_device,
    check_domain,
    check_host_name,
    check_interface,
    check_jump,
    check_role,
    check_size,
    check_user,
    parse_address,
    parse_host_key,
    parse_mtu,
    parse_port,
    parse_subnet,
)

SettingsParser = Callable[[Fields], Any]
"""Reads the settings of one component, `components.NAME`, into its own value; from no keys it reads the defaults."""


def parse_site(text: str, *, file: str, components: Mapping[str, SettingsParser]) -> Site:
    """Read a site. Every component in the table gets settings, named in the file or not.

    Raises InvalidDocument with every problem.
    """
    reader = Reader(file=file)
    return reader.yaml(text).document(lambda fields: _site(fields, components))


def _site(fields: Fields, components: Mapping[str, SettingsParser]) -> Site:
    name, domain = fields.value("site", check_host_name), fields.value("domain", check_domain)
    hosts = fields.each("hosts", _host)
    networks = fields.each("networks", _network, optional=True)
    vips = tuple(vip for _, vip in fields.named("vips", _vip, check=check_label))
    judge(fields, hosts=hosts, networks=networks, vips=vips)
    settings = _settings(fields, components)
    return fields.build(
        lambda: Site(
            name=name,
            domain=domain,
            hosts=tuple(found.host for found in hosts),
            networks=tuple(found.network for found in networks),
            vips={vip.name: vip.address for vip in vips if vip.address is not None},
            settings=settings,
        )
    )


def _host(fields: Fields) -> FoundHost:
    roles = fields.values("roles", check_role)
    if fields.ok and len(set(roles)) < len(roles):
        fields.fail_at("roles", found="a role twice", expected="each role once")
    if fields.ok and GUEST_ROLE in roles and len(roles) > 1:
        fields.fail_at("roles", found=f"a role beside {GUEST_ROLE}", expected=f"{GUEST_ROLE} alone, or other roles")
    readable = roles if fields.ok else None
    name, address = fields.value("name", check_host_name), fields.value("address", parse_address)
    jump, local = fields.value("jump", check_jump, default=""), fields.flag("local", default=False)
    user, become = fields.value("user", check_user, default="root"), fields.flag("become", default=False)
    if user not in (None, "root") and become is False:
        expected = "`become: true` beside it (root by sudo), or the user root"
        fields.fail_at("user", found=f"the user {user} without become", expected=expected)
    if local and jump:
        fields.fail_at("jump", found="a jump to the local host", expected="`local` or `jump`, not both")
    host = fields.build(
        SiteHost,
        name=name,
        address=address,
        roles=roles,
        user=user,
        port=fields.value("port", parse_port, default=22),
        local=local,
        become=become,
        jump=jump,
        host_key=fields.value("host_key", parse_host_key, default=""),
        disks=fields.each("disks", _disk, optional=True, name=lambda disk: disk.device),
        nics=dict(fields.named("nics", lambda inner, nic: inner.value(nic, check_interface), check=check_label)),
    )
    return FoundHost(fields=fields, name=name, address=address, roles=readable, jump=jump, local=local, host=host)


def _disk(fields: Fields) -> Disk:
    return fields.build(
        Disk,
        device=fields.value("device", check_device),
        use=fields.value("use", check_label),
        size=fields.value("size", check_size, default=""),
    )


def _network(fields: Fields) -> FoundNetwork:
    name, subnet = fields.value("name", check_label), fields.value("subnet", parse_subnet)
    mtu = fields.value("mtu", parse_mtu) if fields.has("mtu") else None
    network = fields.build(Network, name=name, subnet=subnet, mtu=mtu)
    return FoundNetwork(fields=fields, name=name, subnet=subnet, network=network)


def _vip(fields: Fields, name: str) -> FoundVip:
    return FoundVip(fields=fields, name=name, address=fields.value(name, parse_address))


def _settings(site: Fields, components: Mapping[str, SettingsParser]) -> Mapping[str, Any]:
    """Each component's settings by its own parser; a component that the file does not name gets its defaults."""

    def build(given: Fields) -> dict[str, Any]:
        return {name: _component(given, name, parse) for name, parse in sorted(components.items())}

    if site.has("components"):
        return site.nested("components", build)
    return build(_nothing(site, "components"))


def _component(given: Fields, name: str, parse: SettingsParser) -> Any:
    if given.has(name):
        return given.nested(name, parse)
    return _nothing(given, f"components.{name}").whole(parse)


def _nothing(beside: Fields, path: str) -> Fields:
    """A mapping that the file leaves out; what it must have is missed at the line of the one around it."""
    return Fields(reader=beside.reader, table=Table({}, beside.line), path=path)
