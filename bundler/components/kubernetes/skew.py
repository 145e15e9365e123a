"""Which version may follow which, by Kubernetes' own rules (https://kubernetes.io/releases/version-skew-policy/): said
before the first change, by what the hosts have."""

import re
from collections.abc import Iterator, Mapping, Sequence

from bundler.components.kubernetes.kubeadm import minor_of
from bundler.components.kubernetes.nodes import NODE, Node, known
from bundler.components.kubernetes.pki import NODES, control_planes
from bundler.components.kubernetes.runtime import version_of
from bundler.model.site import SiteHost
from bundler.steps.facts import Facts
from bundler.steps.step import Check, Finding, Goal

_NAME = "kubernetes: versions"
_FIRST = 32  # the first 1.N whose `kubeadm upgrade` does its phases one by one, as it is used here
_BEHIND = 3  # minor versions that a kubelet may be older than an API server


def _judge(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    version = version_of(goal, "kubernetes")
    nodes = {host.name: node for host in hosts if (node := known(facts.of(host.name), host.name))}
    joined = {name: node for name, node in nodes.items() if node.joined}
    bare = [host.name for host in control_planes(goal) if host.name in nodes and host.name not in joined]
    for name, found, fix in _wrong(version, joined, bare):
        yield Finding(host=name, check=_NAME, found=found, fix=fix)


def _wrong(version: str, joined: Mapping[str, Node], bare: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Host, what is found and what to do, for each that this version must not follow."""
    servers = {name: node.serves for name, node in joined.items() if node.serves}
    for name, have in servers.items():
        yield from _server(name, have, version)
    for name, node in joined.items():
        if node.kubelet:
            yield from _kubelet(name, node.kubelet, version, served=node.serves)
    older = sorted({have for have in servers.values() if _order(have) < _order(version)}, key=_order)
    for name in bare if older else ():
        found = f"it is a control plane that is not one of the cluster's, which has Kubernetes {older[0]} still"
        fix = f"Bring it with a release of {older[0]} first, or leave it out of site.yaml until others have {version}."
        yield name, found, fix


def _server(name: str, have: str, version: str) -> Iterator[tuple[str, str, str]]:
    if _order(version) < _order(have):
        found = f"its control plane is Kubernetes {have}, newer than the release's {version}, and cannot go back"
        fix = f"Take a release of Kubernetes {have} or later; an older state comes back by a snapshot of etcd only."
        yield name, found, fix
    elif minor_of(version) > minor_of(have) + 1:
        steps = ", then ".join(f"1.{minor}" for minor in range(minor_of(have) + 1, minor_of(version)))
        found = f"its control plane is Kubernetes {have}, and the release's {version} skips {steps}"
        yield name, found, f"Go through a release of Kubernetes {steps} first: one minor version at a time."
    elif have != version and minor_of(version) < _FIRST:
        found = f"its control plane is Kubernetes {have}; here it becomes another only from 1.{_FIRST} on"
        yield name, found, f"Bring all hosts to 1.{_FIRST - 1} by kubeadm, and from there by a release of 1.{_FIRST}."


def _kubelet(name: str, have: str, version: str, *, served: str) -> Iterator[tuple[str, str, str]]:
    if _order(version) < _order(have) and served != have:
        found = f"its kubelet is {have}, newer than the API servers of the release, {version}"
        yield name, found, f"Take a release of Kubernetes {have} or of a later one."
    elif minor_of(version) > minor_of(have) + _BEHIND:
        found = f"its kubelet is {have}, too old for the API servers of the release, {version}"
        last = minor_of(have) + _BEHIND
        yield name, found, f"Bring it to a release of at most Kubernetes 1.{last} first, as the other hosts were."


def _order(version: str) -> tuple[int, ...]:
    """Of 1.36.3, and of 1.36.3-rc.1, which is as good as that here."""
    return tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])


VERSIONS = Check(name=_NAME, asks=lambda goal, host: (NODE,), judge=_judge, roles=NODES)
