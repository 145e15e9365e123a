"""Our own charts, rendered by the helm that renders them on a site; what comes out is parsed YAML."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.lab import ROOT, require_go_tool

CHARTS = ROOT / "charts"
NAMES = sorted(folder.name for folder in CHARTS.iterdir())
KUBERNETES = "1.36.3"
_WORKLOADS = ("Deployment", "DaemonSet")

# What a site sets, as much of it as there is.
FULL: dict[str, dict[str, Any]] = {
    "cluster-dns": {
        "cluster": {
            "domain": "k8s.lab.example",
            "networks": ["10.96.0.0/16", "10.244.0.0/16", "fd00:96::/112"],
            "addresses": ["10.96.0.10", "fd00:96::a"],
        },
        "site": {"zones": ["lab.example", "10.77.0.0/24", "fd77::/64"], "resolvers": ["10.77.0.11", "fd77::12"]},
        "upstream": ["10.77.0.53"],
        "replicas": 5,
        "antiAffinity": "required",
        "nodeSelector": {"lab.example/dns": "yes"},
        "cache": {"enabled": True, "addresses": ["169.254.20.10", "fd77:fe::10"]},
    },
    "address-pools": {
        "pools": [
            {"name": "main", "addresses": ["10.77.0.200-10.77.0.239", "fd77::200/123"]},
            {"name": "ingress", "addresses": ["10.77.0.100/32"], "autoAssign": False},
        ],
        "l2": {"interfaces": ["eth0"], "nodeSelector": {"lab.example/edge": "yes"}},
        "bgp": {
            "asn": 64500,
            "peers": [
                {"name": "left", "address": "10.77.0.1", "asn": 64501},
                {
                    "name": "right",
                    "address": "fd77::1",
                    "asn": 4200000001,
                    "port": 1179,
                    "holdTime": "90s",
                    "multiHop": True,
                    "nodeSelector": {"lab.example/rack": "r1"},
                    "secret": "right",
                },
            ],
        },
    },
    "ingress": {
        "kind": "daemonset",
        "hostNetwork": True,
        "nodeSelector": {"lab.example/edge": "yes"},
        "tolerations": [{"key": "lab.example/edge", "operator": "Exists"}],
        "class": {"name": "inside", "default": False},
        "service": {"address": "10.77.0.100"},
        "certificate": "ingress/site",
        "config": {"proxy-body-size": "100m", "nbthread": 8},
    },
    "local-volumes": {
        "className": "nvme",
        "default": True,
        "fsType": "xfs",
        "volumes": [
            {"host": "node3", "path": "/dev/disk/by-id/nvme-eui.0025385b2140b0f3", "size": "3500Gi"},
            {"host": "node4", "path": "/dev/disk/by-id/nvme-eui.0025385b2140b0f4", "size": "3500Gi", "fsType": "ext4"},
            {"host": "node4", "path": "/dev/disk/by-id/nvme-eui.0025385b2140b0f5", "size": "1Ti", "mode": "Block"},
            {"host": "node4", "path": "/srv/volumes/one", "size": "100Gi"},
        ],
    },
    "flannel": {
        "networks": ["10.244.0.0/16", "fd00:244::/56"],
        "mtu": 9000,
        "directRouting": True,
        "interfaces": ["ens2f0", "eth0"],
        "reach": "10.77.0.100",
        "nftables": True,
    },
}


class NotRendered(AssertionError):
    """Helm's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What a chart makes."""

    all: tuple[dict[str, Any], ...]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        found = [each for each in self.all if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        assert len(found) == 1, f"{len(found)} of {kind} {name} among {sorted(self.names)}"
        return found[0]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.all if each["kind"] == kind]

    @property
    def names(self) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in self.all}

    @property
    def workloads(self) -> list[dict[str, Any]]:
        return [each for each in self.all if each["kind"] in _WORKLOADS]

    def containers(self) -> Iterator[dict[str, Any]]:
        for workload in self.workloads:
            spec = workload["spec"]["template"]["spec"]
            yield from (*spec.get("initContainers", ()), *spec["containers"])

    @property
    def images(self) -> set[str]:
        return {container["image"] for container in self.containers()}


def render(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "",
    namespace: str = "default",
    options: tuple[str, ...] = (),
) -> Objects:
    """What `helm template` makes of a chart. Raises NotRendered."""
    text = render_text(chart, values, release=release, namespace=namespace, options=options)
    return Objects(all=tuple(document for document in yaml.safe_load_all(text) if document))


def render_text(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "",
    namespace: str = "default",
    options: tuple[str, ...] = (),
) -> str:
    words = ("template", release or chart, str(CHARTS / chart), "--namespace", namespace, "--kube-version", KUBERNETES)
    done = _helm(*words, *options, "--values", "-", given=yaml.safe_dump(dict(values or {})))
    if done.returncode:
        raise NotRendered(done.stderr)
    return done.stdout


def lint(chart: str, values: Mapping[str, Any]) -> str:
    """What `helm lint --strict` says, which is nothing where it is content."""
    words = ("lint", str(CHARTS / chart), "--strict", "--quiet", "--kube-version", KUBERNETES, "--values", "-")
    done = _helm(*words, given=yaml.safe_dump(dict(values)))
    return done.stdout + done.stderr if done.returncode else ""


@cache
def _helm(*words: str, given: str) -> subprocess.CompletedProcess[str]:
    command = [require_go_tool("helm"), *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
