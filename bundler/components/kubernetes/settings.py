"""What `components.kubernetes` in site.yaml may say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from bundler.errors import Malformed
from bundler.model.document import Fields
from bundler.model.json_schema import flag, label, listing, number, record, word
from bundler.model.names import check_label
from bundler.model.site import Subnet
from bundler.model.site_scalars import check_domain, parse_port, parse_subnet
from bundler.steps.step import Goal

API_PORT, ENTRY_PORT = 6443, 8443
PROXIES = ("iptables", "nftables", "ipvs")
DRIVERS = ("systemd", "cgroupfs")
_UNITS = {"m": 60, "h": 3600, "d": 86400}
# What may stand beside `existing`, and charts that would take its place or need hosts of ours.
_OF_EXISTING = {"existing", "pods", "services", "domain"}
_NOT_THERE = {
    "flannel": "that cluster has its network of pods",
    "cluster-dns": "that cluster has its names",
    "coredns": "that cluster has its names",
    "local-volumes": "its disks are prepared on hosts of a cluster of our own",
    "kubernetes": "that cluster has it",
}
_PODS: Subnet = ip_network("10.244.0.0/16")
_SERVICES: Subnet = ip_network("10.96.0.0/16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """How often each control plane writes down what etcd has, in seconds, and how many of those it keeps."""

    every: int = 3600
    keep: int = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A cluster that is there already. `kubeconfig` is a file's path, relative to site.yaml, that says how it is
    reached; `charts` are the components that are applied in it, by name."""

    kubeconfig: str
    charts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """`entry_port` is where the site's virtual address `api` leads to the API servers. `cgroup_v1` allows hosts with
    cgroup v1; `node_dns` is a cache of names on every host; `prefetch` are patterns of images that workers have before
    a pod wants them; `nested` is for hosts that are containers themselves, as in a rehearsal. With `existing` there is
    no cluster of ours: `pods`, `services` and `domain` are then what that one has."""

    pods: Subnet = _PODS
    services: Subnet = _SERVICES
    domain: str = "cluster.local"
    entry_port: int = ENTRY_PORT
    proxy: str = "iptables"
    cgroup_driver: str = "systemd"
    cgroup_v1: bool = False
    node_dns: bool = True
    prefetch: tuple[str, ...] = ()
    nested: bool = False
    snapshots: Snapshots = Snapshots()
    existing: Existing | None = None


def settings_of(goal: Goal) -> KubernetesSettings:
    return goal.site.settings_of("kubernetes", KubernetesSettings)


def parse_settings(fields: Fields) -> KubernetesSettings:
    pods, services = _subnet(fields, "pods", _PODS), _subnet(fields, "services", _SERVICES)
    if fields.ok and pods.overlaps(services):
        fields.fail_at("services", found=f"{services}, which overlaps {pods}", expected="another subnet than `pods`")
    # kube-apiserver keeps a map of all addresses of Services; kubeadm takes the tenth for the cluster's names.
    large, small = (12, 24) if services.version == 4 else (108, 120)
    if fields.ok and not large <= services.prefixlen <= small:
        fields.fail_at("services", found=f"{services}", expected=f"a subnet from /{large} to /{small}")
    existing = fields.nested("existing", _existing) if fields.has("existing") else None
    if fields.ok and existing:
        for key in fields.table.pairs.keys() - _OF_EXISTING:
            fields.fail_at(key, found="what only a cluster of our own has", expected="`existing` without it")
    return fields.build(
        KubernetesSettings,
        existing=existing,
        pods=pods,
        services=services,
        domain=fields.value("domain", check_domain, default="cluster.local"),
        entry_port=fields.value("entry_port", parse_port, default=ENTRY_PORT),
        proxy=fields.value("proxy", one_of(PROXIES), default=PROXIES[0]),
        cgroup_driver=fields.value("cgroup_driver", one_of(DRIVERS), default=DRIVERS[0]),
        cgroup_v1=fields.flag("cgroup_v1", default=False),
        node_dns=fields.flag("node_dns", default=True),
        prefetch=fields.values("prefetch", _pattern, optional=True),
        nested=fields.flag("nested", default=False),
        snapshots=fields.nested("snapshots", _snapshots, default=Snapshots()),
    )


def _existing(fields: Fields) -> Existing:
    charts = fields.values("charts", _chart, optional=True)
    if fields.ok and len(set(charts)) < len(charts):
        fields.fail_at("charts", found="a component twice", expected="each component once")
    return fields.build(Existing, kubeconfig=fields.value("kubeconfig", _path), charts=charts)


def _chart(found: str) -> str:
    if found in _NOT_THERE:
        raise Malformed(found=repr(found), expected=f"others: {_NOT_THERE[found]}")
    return check_label(found)


def _path(found: str) -> str:
    if not found or len(found) > 4096 or not found.isprintable():
        raise Malformed(found=repr(found[:80]), expected="the path of a kubeconfig, relative to this file")
    return found


def _snapshots(fields: Fields) -> Snapshots:
    keep = fields.integer("keep", default=Snapshots().keep)
    if fields.ok and not 1 <= keep <= 1000:
        fields.fail_at("keep", found=str(keep), expected="1 to 1000")
    return fields.build(Snapshots, every=fields.value("every", _duration, default=Snapshots().every), keep=keep)


def _duration(found: str) -> int:
    number, unit = found[:-1], found[-1:]
    seconds = int(number) * _UNITS[unit] if number.isdecimal() and len(number) < 6 and unit in _UNITS else 0
    if not 60 <= seconds <= 7 * _UNITS["d"]:
        raise Malformed(found=repr(found[:80]), expected="from 1m to 7d: a number and m, h or d")
    return seconds


def _subnet(fields: Fields, key: str, default: Subnet) -> Subnet:
    return fields.value(key, parse_subnet) if fields.has(key) else default


def one_of(words: tuple[str, ...]) -> Any:
    def parse(found: str) -> str:
        if found not in words:
            raise Malformed(found=repr(found[:80]), expected=f"one of {', '.join(words)}")
        return found

    return parse


_PATTERN = r"[A-Za-z0-9*][A-Za-z0-9._/:@*-]{0,254}"


def _pattern(found: str) -> str:
    if not re.fullmatch(_PATTERN, found):
        raise Malformed(found=repr(found[:80]), expected="an image as the release names it, with `*` for any signs")
    return found


_SUBNET = r"[0-9a-fA-F.:]+/[0-9]{1,3}"
SCHEMA: Mapping[str, Any] = record(
    "The cluster.",
    {
        "pods": word("The subnet of all pods, in none of the site's networks.", _SUBNET, default=str(_PODS)),
        "services": word("The subnet of Services, in none of the site's networks.", _SUBNET, default=str(_SERVICES)),
        "domain": word("The domain of Services.", r"[a-z0-9.-]+", default="cluster.local"),
        "entry_port": number("The API's port at the virtual address `api`.", 1, 65535, default=ENTRY_PORT),
        "proxy": {"description": "How Services are reached.", "enum": list(PROXIES), "default": PROXIES[0]},
        "cgroup_driver": {"description": "Who keeps the cgroups.", "enum": list(DRIVERS), "default": DRIVERS[0]},
        "cgroup_v1": flag("Hosts with cgroup v1 are taken, although Kubernetes gives it up."),
        "node_dns": flag("Every host keeps a cache of names; on without it."),
        "prefetch": listing("Images that workers have before a pod wants them.", word("With `*`.", _PATTERN)),
        "snapshots": record(
            "What etcd has, written down on each control plane.",
            {
                "every": word("The time between two.", "[0-9]+[mhd]", default="1h"),
                "keep": number("How many of them are kept.", 1, 1000, default=24),
            },
        ),
        "existing": record(
            "A cluster that is there already, in place of one of our own.",
            {
                "kubeconfig": word(
                    "How it is reached: a file, relative to this one. Its content is a secret.", ".+", longest=4096
                ),
                "charts": listing("The components that are applied in it.", label("A component.")),
            },
            ("kubeconfig",),
        ),
        "nested": flag("The hosts are containers, as in a rehearsal: what only a machine has is not asked for."),
    },
)
