"""A cluster on a lab of nodes: what site.yaml says of it, and how to ask it."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.campaign_site import SHARED_KERNEL, Office
from tests.nodes import Lab, SiteBundle
from tests.waiting import eventually

ADMIN = "/etc/kubernetes/admin.conf"
# Three control planes, the first of which is the site's host too, and two workers.
FIVE = {
    "n1": ["site", "control-plane"],
    "n2": ["control-plane"],
    "n3": ["control-plane"],
    "n4": ["worker"],
    "n5": ["worker"],
}
# What containers that play machines on this kernel cannot have.
NESTED = "kubernetes: {nested: true, cgroup_driver: cgroupfs, cgroup_v1: true}"


def subnet_of(lab: Lab) -> str:
    """10.77.N"""
    return lab.nodes[0].address.rpartition(".")[0]


def outer_pool(lab: Lab) -> str:
    """The component's settings, for Services of type LoadBalancer."""
    return f"metallb: {{pools: [{{name: main, addresses: [{subnet_of(lab)}.200-{subnet_of(lab)}.209]}}]}}"


def cluster_office(lab: Lab, folder: Path, bundle: SiteBundle, roles: Mapping[str, Sequence[str]] = FIVE) -> Office:
    """An administrator's folder whose site.yaml wants a cluster."""
    office = Office(lab=lab, folder=folder, bundle=bundle)
    office.folder.mkdir()
    subnet = subnet_of(lab)
    components = f"{SHARED_KERNEL.removesuffix('}')}, {NESTED}, {outer_pool(lab)}}}"
    office.write_site(roles=roles, components=components, more=f"vips: {{api: {subnet}.100}}")
    return office


def time_table(office: Office, since: int = 0) -> str:
    """When each step began and ended, in seconds from the first on, and with how many actions on how many hosts."""
    events = office.journal()[since:]
    first = min(datetime.fromisoformat(each["at"]) for each in events)
    lines = []
    for step in dict.fromkeys(each["step"] for each in events if "step" in each):
        its = [each for each in events if each.get("step") == step]
        times = [(datetime.fromisoformat(each["at"]) - first).total_seconds() for each in its]
        actions, hosts = sum(each["event"] == "end" for each in its), len({each["host"] for each in its})
        lines.append(f"{min(times):6.1f} to {max(times):6.1f} s  {step}: {actions} actions on {hosts} hosts")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """`control` and `workers` are names of nodes."""

    lab: Lab
    control: tuple[str, ...] = ("n1", "n2", "n3")
    workers: tuple[str, ...] = ("n4", "n5")

    def kubectl(self, words: str, *, stdin: bytes = b"", tries: int = 5) -> str:
        """On the first control plane that answers."""
        said = ""
        for node in self.control * tries:
            done = self.lab.ask(node, f"kubectl --kubeconfig {ADMIN} --request-timeout=20s {words}", stdin)
            if done.returncode == 0:
                return done.stdout.decode()
            said = (done.stdout + done.stderr).decode()
        raise AssertionError(f"kubectl {words}: {said}")

    def get(self, words: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl(f"get {words} -o json"))["items"])

    @property
    def leader(self) -> str:
        """Whose etcd leads."""
        for node in self.control:
            said = self.lab.ask(node, "curl -sf -m 5 http://127.0.0.1:2381/metrics | grep '^etcd_server_is_leader 1'")
            if said.returncode == 0:
                return node
        raise AssertionError("no etcd leads")

    @property
    def holder(self) -> str:
        """Who has the API's address."""
        for node in self.control:
            if self.lab.ask(node, f"ip -o addr show to {subnet_of(self.lab)}.100/32 | grep -q .").returncode == 0:
                return node
        raise AssertionError("nobody has the address")

    def pods(self, labels: str) -> dict[str, dict[str, Any]]:
        """By node, of those that run."""
        found = self.get(f"pods -A -l {labels}")
        return {pod["spec"]["nodeName"]: pod for pod in found if pod["status"]["phase"] == "Running"}

    def unwell(self) -> list[str]:
        """Hosts and pods that are not ready, as the cluster says."""
        found = [f"node {node['metadata']['name']}" for node in self.get("nodes") if not is_ready(node)]
        over = ("Succeeded", "Failed")  # which stay so
        pods = [pod for pod in self.get("pods -A") if pod["status"]["phase"] not in over]
        return [*found, *(f"pod {pod['metadata']['name']}" for pod in pods if not is_ready(pod))]

    def await_well(self, *, within: float = 300) -> None:
        found: list[str] = ["it was not asked"]

        def well() -> bool:
            try:
                found[:] = self.unwell()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                found[:] = [str(error)]
            return not found

        try:
            eventually(well, seconds=within, every=1)
        except AssertionError:
            raise AssertionError(f"not ready after {within:.0f} s: {', '.join(found)}") from None


def is_ready(thing: Mapping[str, Any]) -> bool:
    conditions = thing["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def outer_address(services: Iterable[Mapping[str, Any]]) -> str:
    """Of the one Service of type LoadBalancer: the ingress controller's."""
    (service,) = (each for each in services if each["spec"]["type"] == "LoadBalancer")
    (address,) = (str(each["ip"]) for each in service["status"]["loadBalancer"]["ingress"])
    return address


def answer_of(address: str, name: str) -> int:
    """What is said at that address to who asks for a name; 0 when nobody says anything."""
    try:
        with urlopen(Request(f"http://{address}/metrics", headers={"Host": name}), timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0
