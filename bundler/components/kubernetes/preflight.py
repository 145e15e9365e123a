"""Before the first change: what in site.yaml makes no cluster. preflight_hosts judges the hosts."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Network

from bundler.components.kubernetes.existing import existing
from bundler.components.kubernetes.kubeadm import minor_of
from bundler.components.kubernetes.nodes import NODE
from bundler.components.kubernetes.pki import API_VIP, CONTROL_PLANE, NODES, WORKER, control_planes
from bundler.components.kubernetes.runtime import version_of
from bundler.components.kubernetes.settings import API_PORT, KubernetesSettings, settings_of
from bundler.errors import FactUnknown
from bundler.model.site import SiteHost
from bundler.steps.facts import Facts
from bundler.steps.step import Check, Finding, Goal

_HOST_BITS = {4: 24, 6: 64}  # each host's part of the pods' subnet, as kube-controller-manager cuts it by itself
_GIVES_UP_IPVS = 35  # the first 1.N that says so (KEP-5495)
_CUTS = 16  # it cuts no deeper than that

Wrong = tuple[str, str, bool]  # what is found, its fix, and whether it is only a warning


def _judge_site(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    if existing(goal):
        return
    for found, fix, warning in (*_members(goal, facts), *_addresses(goal), *_proxy(goal)):
        yield Finding(host="", check=_SITE, found=found, fix=fix, warning=warning)


def _members(goal: Goal, facts: Facts) -> Iterator[Wrong]:
    servers = control_planes(goal)
    if not servers:
        yield "no host has the role control-plane", "Give it to one or three of them.", False
        return
    if len(servers) > 1 and API_VIP not in goal.site.vips:
        fix = "Add `vips: {api: ADDRESS}`, an address of their network that nobody has."
        yield f"{len(servers)} control planes have no address in common", fix, False
    if len(servers) % 2 == 0:
        fix = f"Have {len(servers) - 1} or {len(servers) + 1}: an even one bears the loss of no more hosts (etcd)."
        # In a cluster that is there one may have been lost, or the next be on its way.
        yield f"the number of control planes is even: {len(servers)}", fix, _may_exist(goal, facts)
    if not any(host.has(WORKER) for host in goal.site.hosts):
        fix = "Give the role worker to those that run workloads; a control plane may have it too."
        yield "no host has the role worker", fix, True


def _proxy(goal: Goal) -> Iterator[Wrong]:
    version = version_of(goal, "kubernetes")
    if settings_of(goal).proxy == "ipvs" and minor_of(version) >= _GIVES_UP_IPVS:
        found = f"components.kubernetes.proxy is ipvs, which Kubernetes {version} still has and will give up"
        yield found, "Take `proxy: nftables`.", True


def _may_exist(goal: Goal, facts: Facts) -> bool:
    """Whether one of the control planes has the cluster, or did not say."""
    for host in control_planes(goal):
        try:
            if facts.of(host.name)[NODE].joined:
                return True
        except FactUnknown:
            return True
    return False


def _addresses(goal: Goal) -> Iterator[Wrong]:
    settings = settings_of(goal)
    if settings.entry_port == API_PORT:
        fix = f"Choose another port than {API_PORT}, where the API servers themselves are."
        yield f"components.kubernetes.entry_port is {API_PORT}", fix, False
    yield from _entry(goal)
    yield from _room(goal, settings)
    taken = [(f"the network {network.name}, {network.subnet}", network.subnet) for network in goal.site.networks]
    for key, subnet in (("pods", settings.pods), ("services", settings.services)):
        for name, other in taken:
            if other.version == subnet.version and other.overlaps(subnet):
                fix = f"Choose another subnet for components.kubernetes.{key}."
                yield f"{key} are in {subnet}, which overlaps {name}", fix, False
        for name, address in goal.site.vips.items():
            if address in subnet:
                fix = f"Choose another subnet for components.kubernetes.{key}, or another address."
                yield f"{key} are in {subnet}, and so is the virtual address {name}, {address}", fix, False


def _entry(goal: Goal) -> Iterator[Wrong]:
    """Whoever has the API's address says so on the link: all that may have it must be on one with it."""
    if API_VIP not in goal.site.vips:
        return
    vip = goal.site.vips[API_VIP]
    for network in goal.site.networks:
        away = [host.name for host in control_planes(goal) if host.address not in network.subnet]
        if vip in network.subnet and away:
            fix = f"Choose an address of the network that all control planes are in for `vips: {{{API_VIP}: …}}`."
            found = f"the virtual address {API_VIP}, {vip}, is in the network {network.name}, and {', '.join(away)} not"
            yield found, fix, False


def _room(goal: Goal, settings: KubernetesSettings) -> Iterator[Wrong]:
    nodes = [host for host in goal.site.hosts if host.is_among(NODES)]
    pods, bits = settings.pods, _HOST_BITS[settings.pods.version]
    room = 1 << max(0, bits - pods.prefixlen) if pods.prefixlen <= bits else 0
    if room < len(nodes):
        fix = f"Choose a larger subnet: each host takes a /{bits} of it."
        yield f"pods are in {pods}, which has room for {room} hosts, and there are {len(nodes)}", fix, False
    if isinstance(pods, IPv6Network) and bits - pods.prefixlen > _CUTS:
        fix = f"Choose a /{bits - _CUTS} or a smaller one: Kubernetes cuts no deeper."
        yield f"pods are in {pods}, which is too large", fix, False
    families = {pods.version, settings.services.version, *(host.address.version for host in nodes)}
    if len(families) > 1:
        fix = "Take subnets of the hosts' own family."
        yield "hosts, pods and services are not all IPv4, nor all IPv6", fix, False


_SITE = "kubernetes: the site"
SITE = Check(name=_SITE, asks=lambda goal, host: (NODE,) if host.has(CONTROL_PLANE) else (), judge=_judge_site)
