"""Before the first change: what in site.yaml makes no cluster, and which hosts Kubernetes would refuse."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bundler.components.kubernetes.kubeadm import minor_of
from bundler.components.kubernetes.pki import API_VIP, NODES, WORKER, control_planes
from bundler.components.kubernetes.runtime import version_of
from bundler.components.kubernetes.settings import API_PORT, settings_of
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, Facts, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Check, Finding, Goal

_REFUSES_V1 = 35  # the first 1.N whose kubelet does not start on cgroup v1 by itself (KEP-5573)
CGROUP: Ask[str] = Ask(
    name="its cgroups", script="stat -fc %T /sys/fs/cgroup", reading=str.strip, bare="cgroup2fs"
)  # cgroup2fs, or tmpfs below which v1's controllers are mounted


def _judge_site(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for found, fix, warning in _wrong(goal):
        yield Finding(host="", check=SITE.name, found=found, fix=fix, warning=warning)


def _wrong(goal: Goal) -> Iterator[tuple[str, str, bool]]:
    settings, servers = settings_of(goal), control_planes(goal)
    if not servers:
        yield "no host has the role control-plane", "Give it to one or three of them.", False
        return
    if len(servers) > 1 and API_VIP not in goal.site.vips:
        fix = "Add `vips: {api: ADDRESS}`, an address of their network that nobody has."
        yield f"{len(servers)} control planes have no address in common", fix, False
    if len(servers) % 2 == 0:
        fix = f"Have {len(servers) - 1} or {len(servers) + 1}: an even one bears the loss of no more hosts (etcd)."
        yield f"the number of control planes is even: {len(servers)}", fix, True
    if settings.entry_port == API_PORT:
        fix = f"Choose another port than {API_PORT}, where the API servers themselves are."
        yield f"components.kubernetes.entry_port is {API_PORT}", fix, False
    if not any(host.has(WORKER) for host in goal.site.hosts):
        fix = "Give the role worker to those that run workloads; a control plane may have it too."
        yield "no host has the role worker", fix, True
    for key, subnet in (("pods", settings.pods), ("services", settings.services)):
        for network in goal.site.networks:
            if network.subnet.version == subnet.version and network.subnet.overlaps(subnet):
                fix = f"Choose another subnet for components.kubernetes.{key}."
                yield f"{key} are in {subnet}, which overlaps the network {network.name}, {network.subnet}", fix, False


def _judge_host(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    settings = settings_of(goal)
    if facts[CGROUP] == "cgroup2fs" or settings.cgroup_v1:
        return
    version = version_of(goal, "kubernetes")
    if minor_of(version) >= _REFUSES_V1:
        fix = "Start its kernel with cgroup v2 (`systemd.unified_cgroup_hierarchy=1`), or take it as it is: "
        fix += "`components: {kubernetes: {cgroup_v1: true}}`, until Kubernetes drops that."
        yield Note(f"it has cgroup v1, on which Kubernetes {version} does not start", fix)


SITE = Check(name="kubernetes: the site", asks=lambda goal, host: (), judge=_judge_site)
HOSTS = replace(per_host("kubernetes: hosts", lambda goal, host: (CGROUP,), _judge_host), roles=NODES)
