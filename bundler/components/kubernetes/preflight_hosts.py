"""Before the first change: hosts that Kubernetes would refuse, or that somebody else's cluster has."""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from bundler.components.kubernetes.entry import ADDRESS_UNIT
from bundler.components.kubernetes.kubeadm import minor_of
from bundler.components.kubernetes.nodes import NODE
from bundler.components.kubernetes.pki import API_VIP, CONTROL_PLANE, FOLDER, KUBE_CA, NODES, root
from bundler.components.kubernetes.runtime import version_of
from bundler.components.kubernetes.settings import API_PORT, settings_of
from bundler.components.machine.needs import needs_of
from bundler.components.machine.packages import DPKG
from bundler.model.site import SiteHost, Subnet
from bundler.secrets.certificates import certificate_facts
from bundler.steps.actions import OURS
from bundler.steps.facts import STAMPS, Ask, Fact, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Goal

_REFUSES_V1 = 35  # the first 1.N whose kubelet does not start on cgroup v1 by itself (KEP-5573)
_CPUS = 2  # kubeadm's own bound for a control plane
# What else makes a host one of a cluster, or runs containers: packages, and units that come without one.
_PACKAGES = (
    "containerd",
    "containerd.io",
    "cri-o",
    "docker-ce",
    "docker.io",
    "kubeadm",
    "kubelet",
    "microk8s",
    "moby-containerd",
    "moby-engine",
)
_UNITS = (
    "containerd",
    "crio",
    "docker",
    "k0scontroller",
    "k0sworker",
    "k3s",
    "k3s-agent",
    "kubelet",
    "rke2-agent",
    "rke2-server",
    "snap.k8s.kubelet",
    "snap.microk8s.daemon-kubelite",
)
# What kube-proxy wants of the kernel, by its mode: modules, and the oldest version that it takes.
_OF_PROXY = {"ipvs": ("ip_vs", "ip_vs_rr", "ip_set", "xt_set"), "nftables": ("nf_tables",)}
_NFTABLES = (5, 13)
# Interfaces and routes of Kubernetes' own networks.
_OURS = ("cni", "flannel", "kube-ipvs", "nodelocaldns", "veth")
# A certificate, which is no secret, whoever may read its file.
AUTHORITY: Ask[str] = Ask(
    name="whose cluster it is in", script=f"cat {FOLDER}/ca.crt 2>/dev/null || :", reading=str, bare=""
)

CGROUP: Ask[str] = Ask(
    name="its cgroups", script="stat -fc %T /sys/fs/cgroup", reading=str.strip, bare="cgroup2fs"
)  # cgroup2fs, or tmpfs below which v1's controllers are mounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    subnet: Subnet
    gateway: str
    nic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """`routes` with the default one's; `addresses` are its own, which we may give out (`announces`) since an earlier
    try; `units` run and were not started by us; `modules` of those that were asked for are in the kernel, or could be.
    """

    routes: tuple[Route, ...] = ()
    addresses: tuple[str, ...] = ()
    announces: bool = False
    swaps: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    modules: frozenset[str] = frozenset()
    cpus: int = _CPUS
    kernel: tuple[int, ...] = _NFTABLES


def _modules(goal: Goal) -> Mapping[str, str]:
    """Beside base's own, by what they are for. The programs for them are in kube-proxy's image."""
    proxy = settings_of(goal).proxy
    return dict.fromkeys(_OF_PROXY.get(proxy, ()), f"components.kubernetes.proxy is {proxy}")


def host_fact(goal: Goal) -> Ask[Host]:
    return goal.once("kubernetes/host", lambda: Ask(name="what Kubernetes finds", script=_script(goal), reading=_host))


def _script(goal: Goal) -> str:
    modules = " ".join(_modules(goal))
    units = " ".join(f"{unit}.service" for unit in _UNITS)
    return f"""{{ ip route show table main; ip -6 route show table main; }} 2>/dev/null | sed 's/^/route /'
ip -o addr show 2>/dev/null | awk '{{ sub("/.*", "", $4); print "address " $2 " " $4 }}'
is_ours() {{ head -n 1 "/etc/systemd/system/$1" 2>/dev/null | grep -q '^{OURS}'; }}
if is_ours {ADDRESS_UNIT}; then echo announces; fi
awk 'NR > 1 {{ print "swap " $1 }}' /proc/swaps
for u in {units}; do
  # One of ours whose start was cut off has no stamp, but our file.
  if [ ! -f {STAMPS}/$u ] && systemctl is-active -q -- $u 2>/dev/null && ! is_ours $u; then echo "unit $u"; fi
done
for m in {modules}; do
  # What is built in and has no settings shows by the names of its functions alone.
  if [ -e /sys/module/$m ] || modprobe -n -q -- $m 2>/dev/null || grep -qs " ${{m}}_" /proc/kallsyms
  then echo "module $m"; fi
done
echo "kernel $(uname -r)"
echo "cpus $(nproc)"
"""


def _host(said: str) -> Host:
    lines = [line.split(" ") for line in said.splitlines()]

    def all_of(key: str) -> tuple[str, ...]:
        return tuple(line[1] for line in lines if line[0] == key)

    return Host(
        routes=tuple(_routes(line[1:] for line in lines if line[0] == "route")),
        addresses=tuple(line[2] for line in lines if line[0] == "address"),
        announces=["announces"] in lines,
        swaps=all_of("swap"),
        units=all_of("unit"),
        modules=frozenset(all_of("module")),
        cpus=int(all_of("cpus")[0]),
        kernel=tuple(int(part) for part in re.findall("[0-9]+", "".join(all_of("kernel")))[:2]) or _NFTABLES,
    )


def _routes(lines: Iterable[list[str]]) -> Iterator[Route]:
    """What leads somewhere, of `ip route`: `10.0.0.0/8 via 192.0.2.1 dev eth0`, also `blackhole 10.0.0.0/8`."""
    for words in lines:
        if words[0].islower() and words[0].isalpha() and words[0] != "default":
            words = words[1:]  # its type
        after = dict(itertools.pairwise(words))
        every = "::/0" if ":" in after.get("via", "") else "0.0.0.0/0"
        try:
            subnet = ip_network(every if words[0] == "default" else words[0])
        except (ValueError, IndexError):
            continue
        if not subnet.is_link_local and not subnet.is_multicast:
            yield Route(subnet=subnet, gateway=after.get("via", ""), nic=after.get("dev", ""))


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    have, node = facts[host_fact(goal)], facts[NODE]
    yield from _able(goal, host, have, facts[CGROUP])
    ours = node.begun and _is_ours(goal, facts)
    if node.begun and not ours:
        fix = "If it was another cluster's: `kubeadm reset`, and `rm -rf /etc/kubernetes /var/lib/etcd` there. "
        fix += "If it is this site's: the site's secrets are not the right ones."
        yield Note("it has the data of another cluster (/etc/kubernetes, /var/lib/etcd)", fix)
    if not ours:
        yield from _networks(goal, have)
        yield from _entry(goal, have)
    if not node.joined:
        yield from _others(goal, host, facts)


def _able(goal: Goal, host: SiteHost, have: Host, cgroup: str) -> Iterator[Note]:
    """What kubelet and kubeadm would refuse."""
    settings, version = settings_of(goal), version_of(goal, "kubernetes")
    if cgroup != "cgroup2fs" and not settings.cgroup_v1 and minor_of(version) >= _REFUSES_V1:
        fix = "Start its kernel with cgroup v2 (`systemd.unified_cgroup_hierarchy=1`), or take it as it is: "
        fix += "`components: {kubernetes: {cgroup_v1: true}}`, until Kubernetes drops that."
        yield Note(f"it has cgroup v1, on which Kubernetes {version} does not start", fix)
    if have.swaps and not settings.nested:
        fix = "`swapoff -a`, and take the swap lines out of /etc/fstab."
        yield Note(f"it swaps to {', '.join(have.swaps)}, and kubelet does not start", fix)
    if host.has(CONTROL_PLANE) and have.cpus < _CPUS:
        yield Note(f"it has {have.cpus} CPU; a control plane needs {_CPUS}", "Give it more, or take the role away.")
    for name, why in _modules(goal).items():
        if name not in have.modules:
            fix = "Install the modules of the running kernel, or choose another way of kube-proxy."
            yield Note(f"the kernel has no module {name}: {why}", fix)
    if settings.proxy == "nftables" and have.kernel < _NFTABLES:
        fix = "Start a newer kernel, or take `proxy: iptables`."
        yield Note(f"its kernel is {_dotted(have.kernel)}; kube-proxy with nftables wants {_dotted(_NFTABLES)}", fix)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _is_ours(goal: Goal, facts: HostFacts) -> bool:
    """Of a host that is one of a cluster's, or was about to be: whether it is of ours, by its authority."""
    ours, theirs = (certificate_facts(text) for text in (root(goal, KUBE_CA).certificate, facts[AUTHORITY]))
    return ours is not None and theirs is not None and ours.key_id == theirs.key_id


def _networks(goal: Goal, have: Host) -> Iterator[Note]:
    settings = settings_of(goal)
    for key, subnet in (("pods", settings.pods), ("services", settings.services)):
        for route in have.routes:
            other = route.subnet
            if other.prefixlen == 0 or other.version != subnet.version or route.nic.startswith(_OURS):
                continue
            if other.overlaps(subnet):
                fix = f"Choose another subnet for components.kubernetes.{key}, or take the route away."
                at = f" ({route.nic})" if route.nic else ""
                yield Note(f"{key} are in {subnet}, and it has a route to {other}{at}", fix)


def _entry(goal: Goal, have: Host) -> Iterator[Note]:
    """Of a host that is not one of our cluster's: it may have got as far as giving out the API's address."""
    vip = goal.site.vips.get(API_VIP)
    if vip is not None and str(vip) in have.addresses and not have.announces:
        fix = f"Take the address from it, or choose another one for `vips: {{{API_VIP}: …}}`."
        yield Note(f"it has the virtual address {API_VIP}, {vip}, already", fix)


def _others(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    """What runs containers already: ours would take its files and its socket from it."""
    wanted = needs_of(goal, host).packages
    if packages := [name for name in _PACKAGES if name in facts[DPKG].installed and name not in wanted]:
        fix = f"`apt-get purge {' '.join(packages)}`, once nothing that it runs is needed: the release brings its own."
        yield Note(f"it has {', '.join(packages)} of its distribution", fix)
    if units := facts[host_fact(goal)].units:
        fix = f"`systemctl disable --now {' '.join(units)}`, and uninstall what brought it."
        yield Note(f"{', '.join(units)} of somebody else runs there", fix)


def listens(goal: Goal, host: SiteHost) -> Iterator[tuple[str, int]]:
    """kubelet, kube-proxy; the API server, etcd, the controllers."""
    ports = (10250, 10256) if host.is_among(NODES) else ()
    servers = (API_PORT, 2379, 2380, 10257, 10259) if host.has(CONTROL_PLANE) else ()
    yield from (("TCP", port) for port in (*ports, *servers))


def _asks(goal: Goal, host: SiteHost) -> tuple[Fact[Any], ...]:
    return (CGROUP, NODE, AUTHORITY, DPKG, host_fact(goal))


HOSTS = replace(per_host("kubernetes: hosts", _asks, _judge), roles=NODES)
