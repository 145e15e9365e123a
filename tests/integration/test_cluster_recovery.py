"""A cluster that has lost something: what etcd had, a control plane, a worker; each time one command mends it."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.campaign_site import SHARED_KERNEL, Event, Office, check, follow
from tests.clusters import ADMIN, NESTED
from tests.nodes import Lab, lab_of, site_bundle

pytestmark = pytest.mark.long

SERVERS = ("n1", "n2", "n3")
ROLES = {
    "n1": ["site", "control-plane", "worker"],
    "n2": ["control-plane", "worker"],
    "n3": ["control-plane", "worker"],
    "n4": ["worker"],
}
KEYS = "--cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/server.crt "
KEYS += "--key=/etc/kubernetes/pki/etcd/server.key"
# What is restored, whole: states and what the cluster itself writes all the time are left out.
COMPARED = "configmaps,secrets,deployments,services,namespaces,serviceaccounts,clusterroles,daemonsets"


@dataclass(slots=True, kw_only=True)
class Site:
    """Of which hosts may be replaced: then they have other keys."""

    lab: Lab
    office: Office
    roles: dict[str, list[str]]

    def write(self) -> None:
        subnet = self.lab.nodes[0].address.rpartition(".")[0]
        pools = f"metallb: {{pools: [{{name: main, addresses: [{subnet}.200-{subnet}.209]}}]}}"
        components = f"{SHARED_KERNEL.removesuffix('}')}, {NESTED}, {pools}}}"
        text = self.lab.site_yaml(roles=self.roles, components=components, more=f"vips: {{api: {subnet}.100}}")
        gone = [node.name for node in self.lab.nodes if node.name not in self.roles]
        lines = [line for line in text.splitlines() if not any(f'"name": "{name}"' in line for name in gone)]
        (self.office.folder / "site.yaml").write_text("\n".join(lines) + "\n")

    def replace(self, *names: str) -> None:
        """Other machines in their places."""
        for name in names:
            self.lab = self.lab.replace(name)
        self.write()

    def kubectl(self, words: str, *, on: str = "n1") -> str:
        return self.lab.run(on, f"kubectl --kubeconfig {ADMIN} {words}", timeout=300)

    def objects(self, *, on: str = "n1") -> dict[str, Any]:
        """By kind, namespace and name: everything of an object but its state and who wrote it last."""
        found = {}
        for each in json.loads(self.kubectl(f"get {COMPARED} -A -o json", on=on))["items"]:
            each.pop("status", None)
            for word in ("managedFields", "resourceVersion", "generation"):
                each["metadata"].pop(word, None)
            found["/".join((each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]))] = each
        return found

    def nodes(self, *, on: str = "n1") -> dict[str, bool]:
        """Whether each is ready."""
        ready = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}'
        pairs = self.kubectl(f"get nodes -o jsonpath='{ready}'", on=on).split()
        return {name: said == "True" for name, said in (pair.split("=") for pair in pairs)}

    def members(self, *, on: str = "n1") -> dict[str, bool]:
        """etcd's members by address, and whether each is healthy."""
        text = f"etcdctl --endpoints=https://127.0.0.1:2379 {KEYS}"
        listed = self.lab.run(on, f"{text} member list").splitlines()
        said = self.lab.ask(on, f"{text} endpoint health --cluster 2>&1").stdout.decode()
        addresses = [line.split(", ")[3].partition("://")[2].rpartition(":")[0] for line in listed]
        return {address: f"{address}:2379 is healthy" in said for address in addresses}

    def snapshot(self, host: str = "n1") -> str:
        """HOST:NAME of a new one."""
        self.lab.run(host, "systemctl start bundle-etcd-snapshot.service", timeout=600)
        return f"{host}:{self.lab.run(host, 'ls /var/lib/bundle-etcd/*Z.db | tail -n 1').split('/')[-1][:-3]}"

    def lose_etcd(self) -> None:
        """On all members."""
        for name in SERVERS:
            self.lab.run(name, "rm -rf /var/lib/etcd; pkill -KILL -x etcd || :; rm -rf /var/lib/etcd")

    def well(self, *, on: str = "n1") -> bool:
        return self.members(on=on) == self._servers() and self.nodes(on=on) == dict.fromkeys(self.roles, True)

    def become_well(self) -> None:
        until = time.monotonic() + 300
        while not self.well():
            assert time.monotonic() < until, (self.members(), self.nodes())
            time.sleep(3)

    def _servers(self) -> dict[str, bool]:
        return {self.lab.node(name).address: True for name, roles in self.roles.items() if "control-plane" in roles}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with lab_of(len(ROLES)) as lab:
        office = Office(lab=lab, folder=folder / "office", bundle=site_bundle(profile="lab-cluster"))
        office.folder.mkdir()
        site = Site(lab=lab, office=office, roles=dict(ROLES))
        site.write()
        office.apply("--quiet")
        site.become_well()
        yield site


def test_etcd_is_lost_on_all_members_and_restored(site: Site) -> None:
    site.kubectl("create namespace kept")
    site.kubectl("-n kept create configmap one --from-literal=a=1")
    site.kubectl("-n kept create secret generic two --from-literal=b=2")
    site.kubectl("-n kept create deployment three --image=registry.k8s.io/pause:3.10.2 --replicas=2")
    site.kubectl("-n kept rollout status deployment/three --timeout=240s")
    name = site.snapshot()
    before = site.objects()
    site.kubectl("-n kept delete configmap one")
    site.kubectl("-n kept scale deployment/three --replicas=1")
    site.kubectl("create namespace later")
    site.lose_etcd()
    said = site.office.run("restore", "kubernetes", "--snapshot", name, "--yes")
    print(f"\nrestored from {name} in {said.seconds:.0f} s, {len(before)} objects")
    assert site.objects() == before
    site.kubectl("-n kept rollout status deployment/three --timeout=240s")
    site.become_well()
    # Who watches has seen it too: what is new goes everywhere.
    site.kubectl("-n kept scale deployment/three --replicas=4")
    site.kubectl("-n kept rollout status deployment/three --timeout=240s")
    again = site.office.run("restore", "kubernetes", "--snapshot", name, "--yes", "--json")
    assert again.json()["actions"] == 0
    site.kubectl("delete namespace kept")


def test_a_member_that_lost_its_data_makes_no_cluster_of_its_own(site: Site) -> None:
    """The one that made the cluster would: hosts would take it for the cluster, which is empty."""
    site.snapshot()
    site.lab.run("n1", "rm -rf /var/lib/etcd; pkill -KILL -x etcd || :; rm -rf /var/lib/etcd; sleep 30")
    assert site.lab.run("n1", "curl -sk -m 5 https://127.0.0.1:6443/readyz || echo no") != "ok"
    assert set(site.nodes(on="n2")) == set(ROLES)
    site.office.run("restore", "kubernetes", "--yes")
    site.become_well()


def test_a_restore_that_is_killed_after_every_step_goes_on(site: Site) -> None:
    name = site.snapshot("n2")
    before = site.objects()
    words = ["restore", "kubernetes", "--snapshot", name, "--yes", "--quiet"]
    first, done, runs = ["--again"], set[str](), 0
    while True:
        seen: set[str] = set()

        def strike(event: Event, seen: set[str] = seen, done: frozenset[str] = frozenset(done)) -> bool:
            if event["event"] == "end":
                seen.add(event["step"])
            return bool(seen - done)

        run = follow(site.office, [*words, *first], strike)
        done, first, runs = done | seen, [], runs + 1
        if not run.stopped:
            break
    check(run.said, words, 0)
    print(f"\n{runs} runs, killed after {', '.join(sorted(done))}")
    assert runs >= 5
    assert site.objects() == before
    site.become_well()


def test_two_of_three_are_lost_with_all_they_had(site: Site) -> None:
    site.kubectl("create namespace survivor")
    name = site.snapshot("n3")
    before = site.objects()
    site.replace("n1", "n2")
    refused = site.office.apply("--quiet", code=None)
    assert refused.code != 0
    assert "bundle restore kubernetes" in refused.err
    restored = site.office.run("restore", "kubernetes", "--yes")
    print(f"\nrestored on the one that is left from {name} in {restored.seconds:.0f} s")
    joined = site.office.apply("--quiet")
    print(f"two bare ones joined in {joined.seconds:.0f} s")
    site.become_well()
    after = site.objects()
    assert {key: after.get(key) for key in before if "/survivor" in key} == {
        key: value for key, value in before.items() if "/survivor" in key
    }


def test_a_dead_control_plane_is_replaced(site: Site) -> None:
    """The first, which made the cluster, and where charts are applied and the site is served."""
    site.replace("n1")
    said = site.office.apply("--quiet")
    print(f"\nn1 replaced in {said.seconds:.0f} s, {len(said.err.splitlines())} lines")
    site.become_well()
    assert site.office.apply("--json").json()["actions"] == 0


def test_a_host_is_destroyed_while_it_joins(site: Site) -> None:
    site.replace("n2")
    struck = threading.Event()

    def strike(event: Event) -> bool:
        if event["event"] == "begin" and event["host"] == "n2" and event["target"] == "join the cluster":
            time.sleep(6)  # in the middle: its member is added, or its node is
            site.lab.kill("n2")
            struck.set()
        return False

    run = follow(site.office, ("apply", *site.office.release, "--yes", "--quiet"), strike)
    assert struck.is_set()
    assert run.said.code != 0
    site.replace("n2")
    said = site.office.apply("--quiet")
    print(f"\nafter its destruction while it joined: replaced in {said.seconds:.0f} s")
    site.become_well()


def test_hosts_leave_and_come(site: Site) -> None:
    """A worker that is out of site.yaml goes, with its pods moved away first; a bare one in its place joins."""
    site.kubectl("create deployment moved --image=registry.k8s.io/pause:3.10.2 --replicas=6")
    site.kubectl("rollout status deployment/moved --timeout=240s")
    del site.roles["n4"]
    site.write()
    said = site.office.apply("--quiet")
    print(f"\nn4 removed in {said.seconds:.0f} s")
    site.become_well()
    site.kubectl("rollout status deployment/moved --timeout=240s")
    site.roles["n4"] = ["worker"]
    site.replace("n4")
    said = site.office.apply("--quiet")
    print(f"n4 added in {said.seconds:.0f} s")
    site.become_well()
    site.kubectl("delete deployment moved")


def test_a_control_plane_leaves_in_order_and_comes_back_later(site: Site) -> None:
    said = site.office.run("uninstall", "kubernetes", "--limit", "n3", "--purge", "--yes")
    print(f"\nn3 left in {said.seconds:.0f} s")
    del site.roles["n3"]
    site.write()
    site.become_well()
    site.office.apply("--quiet")
    assert site.lab.node("n3").address not in site.lab.run("n2", "cat /etc/bundle/kubernetes/haproxy.cfg")
    site.roles["n3"] = ROLES["n3"]
    site.write()
    site.office.apply("--quiet")
    site.become_well()
    assert site.lab.node("n3").address in site.lab.run("n2", "cat /etc/bundle/kubernetes/haproxy.cfg")
