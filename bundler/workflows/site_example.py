"""The site.yaml that `bundle site init` writes: few lines that count, and all that may be added as `#key: value`."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_address, ip_network

from bundler.model.site import ROLES, SITE_ROLE, Address, Subnet

EXAMPLE_HOSTS: tuple[tuple[str, Address], ...] = tuple(
    (f"node{at}", IPv4Address(f"10.77.0.{10 + at}")) for at in (1, 2, 3)
)

_HEAD = """\
# A site. `bundle site check` says what is wrong with this file, without touching a host.
# Lines that begin with # and no space are options: take the # away where they fit.
# For editors: `bundle site schema > site.schema.json`, and `# yaml-language-server: $schema=site.schema.json` on top.

# The site's name, and the DNS domain of its own names: registry.DOMAIN, NODE.DOMAIN.
site: lab
domain: lab.example

# The machines. The tool runs on those with the role site, one to three; the others need sshd, a shell and coreutils.
# Roles, several of them if need be:
"""

_LOCAL = """\
  # The machine that you run the tool on: no ssh. One host at most.
  #local: true
"""

_LOGIN = """\
  # Who logs in by ssh: root at port 22 where nothing is said. Any other user must be able to become root by sudo.
  #user: admin
  #become: true
  #port: 22
  # Its public key, from /etc/ssh/ssh_host_ed25519_key.pub. Without it, `bundle site trust-hosts` asks you once.
  #host_key: ssh-ed25519 AAAA...
"""

_JUMP = """\
  # What it is reached through: another host's name, or [user@]ADDRESS[:PORT].
  #jump: admin@bastion.example:22
"""

_HARDWARE = """\
  # Whole devices that a component may take, AND ERASE; network interfaces by what they are for.
  #disks:
  #- {device: /dev/nvme1n1, use: ceph}
  #nics: {storage: ens2f0}
"""

_NETWORKS = """
# The subnets. With them here, every address in this file must be in one of them.
#networks:
"""

_VIPS = """
# Virtual addresses, by what they are for: free addresses in one of the networks.
#vips:
"""

_COMPONENTS = """
# Settings by component, each of which has defaults. `bundle site schema` says which there are.
"""


def write_example(hosts: Sequence[tuple[str, Address]], *, components: Sequence[str]) -> str:
    """The text for these hosts; the first gets the role site."""
    return "".join(_pieces(hosts, components))


def _pieces(hosts: Sequence[tuple[str, Address]], components: Sequence[str]) -> Iterator[str]:
    yield _HEAD
    yield from (f"#   {role:<14} {about}\n" for role, about in ROLES.items())
    yield "hosts:\n"
    for at, (name, address) in enumerate(hosts):
        yield f"- name: {name}\n  address: {address}\n  roles: [{'worker' if at else SITE_ROLE}]\n"
        yield _LOCAL if at == 0 else ""
        yield _LOGIN if at == len(hosts) - 1 else ""
        yield _JUMP if at and at == len(hosts) - 1 else ""
        yield _HARDWARE if at == len(hosts) - 1 else ""
    subnets = list(dict.fromkeys(_around(address) for _, address in hosts))
    yield _NETWORKS
    yield from (f"#- {{name: net{at}, subnet: {subnet}, mtu: 1500}}\n" for at, subnet in enumerate(subnets, start=1))
    yield f"{_VIPS}#  api: {_free(subnets[0], {address for _, address in hosts})}\n"
    yield _COMPONENTS
    yield "#components:\n" if components else ""
    yield from (f"#  {name}: {{}}\n" for name in sorted(components))


def _around(address: Address) -> Subnet:
    """A likely subnet: the /24 or the /64."""
    return ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False)


def _free(subnet: Subnet, taken: set[Address]) -> Address:
    first = int(subnet.network_address) + 100
    return next(address for at in range(150) if (address := _address(subnet, first + at)) not in taken)


def _address(subnet: Subnet, value: int) -> Address:
    return ip_address(value.to_bytes(subnet.max_prefixlen // 8))
