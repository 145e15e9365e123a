"""Three control planes and two workers, from bare hosts to a cluster by one command, out of one file."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from tests import clusters
from tests.campaign_site import Office, outward
from tests.cluster_faults import PROCESSES
from tests.cluster_load import running_load
from tests.clusters import ADMIN, FIVE, answer_of, cluster_office, outer_address, time_table
from tests.conformance import conformance, quick, ran
from tests.conftest import LONG
from tests.load_figures import table
from tests.nodes import Lab, lab_of, site_bundle
from tests.waiting import eventually

# Of the conformance specs, what runs without --long: the same ones each time. And of what may die.
SAMPLE, SEED = 12, 1363
DIE = ("kube-apiserver where the address is", "etcd that leads", "coredns")
BOUND = 240  # seconds: no interruption is as long, unless something is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    lab: Lab
    office: Office
    lock: Lock

    def kubectl(self, words: str, *, on: str = "n1") -> str:
        return self.lab.run(on, f"kubectl --kubeconfig {ADMIN} {words}")

    def get(self, words: str) -> list[dict[str, Any]]:
        return list(json.loads(self.kubectl(f"get {words} -o json"))["items"])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("site")
    with lab_of(5) as lab:
        bundle = site_bundle(profile="lab-cluster-tests")
        office = cluster_office(lab, folder / "office", bundle)
        said = office.apply("--quiet")
        print(f"\nfrom bare hosts to a cluster: {len(office.ended())} actions in {said.seconds:.0f} s")
        print(time_table(office))
        lock = bundle.path.with_name("site.lock")
        yield Cluster(lab=lab, office=office, lock=parse_lock(lock.read_text(), file=str(lock)))


def test_all_hosts_are_ready_and_a_second_run_does_nothing(cluster: Cluster) -> None:
    nodes = cluster.get("nodes")
    assert {node["metadata"]["name"] for node in nodes} == set(FIVE)
    for node in nodes:
        (ready,) = (each for each in node["status"]["conditions"] if each["type"] == "Ready")
        assert ready["status"] == "True", node["metadata"]["name"]
    again = cluster.office.apply("--json")
    assert again.json()["actions"] == 0
    print(f"\na second run: {again.seconds:.1f} s")
    assert cluster.office.run("health").code == 0


def test_every_image_on_every_host_is_one_of_the_lock(cluster: Cluster) -> None:
    known = {str(blob.digest) for image in cluster.lock.images for blob in (image.root, *image.blobs)}
    for name in FIVE:
        seen = cluster.lab.run(name, "ctr -n k8s.io images ls | awk 'NR > 1 { print $3 }' | sort -u").split()
        assert seen
        assert set(seen) <= known


def test_names_from_every_host_by_its_cache_and_by_the_service(cluster: Cluster) -> None:
    """The cluster's names, the site's own, and at once that there is no other."""
    program = files("bundler.components.dns").joinpath("probe.py").read_bytes()
    service, site, unknown = (
        f"{name}/A" for name in ("kubernetes.default.svc.cluster.local", "n1.lab.example", "x.org")
    )
    for host in FIVE:
        for server in ("169.254.20.10", "10.96.0.10"):
            said = json.loads(cluster.lab.run(host, f"python3 - {server} 53 {service} {site} {unknown}", stdin=program))
            print(f"\n{host} {server}: {said}")
            assert [(said[name]["rcode"], said[name]["answers"]) for name in (service, site)] == [(0, 1), (0, 1)]
            assert said[unknown]["rcode"] == 3, "NXDOMAIN"


def test_the_way_in_from_outside_the_cluster(cluster: Cluster) -> None:
    """An address of the pool answers this machine, which is none of the site's."""
    address = outer_address(cluster.get("services -A"))
    # The name servers' own metrics: what answers HTTP in every cluster.
    cluster.kubectl("create ingress names -n kube-system --rule='names.lab.example/*=kube-dns:9153'")
    eventually(lambda: answer_of(address, "names.lab.example") == 200)
    assert answer_of(address, "others.lab.example") == 404


def test_metrics_of_every_host(cluster: Cluster) -> None:
    """By certificates of the cluster's authority: nothing is taken unseen."""
    lines = cluster.kubectl("top nodes --no-headers").splitlines()
    assert {line.split()[0] for line in lines} == set(FIVE)


def test_kubernetes_own_suite(cluster: Cluster, tmp_path: Path) -> None:
    """What every cluster must do, by those who say what that is: all of it, or a sample."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(cluster.lab.run("n1", f"cat {ADMIN}"))
    names = conformance()
    wanted = names if LONG else random.Random(SEED).sample(quick(names), SAMPLE)
    ends = ran(kubeconfig, wanted, tmp_path / "suite", ways=3 if LONG else 2, limit=7200 if LONG else 600)
    assert {name: end for name, end in ends.items() if end != "passed"} == {}


def test_processes_die_while_clients_ask(cluster: Cluster) -> None:
    """A few of those of test_cluster_faults, once each."""
    struck = clusters.Cluster(lab=cluster.lab)
    struck.await_well()
    with running_load(cluster.lab, inside=struck.workers) as load:
        for fault in (each for each in PROCESSES if each.name in DIE):
            with load.period(f"kill -9 {fault.name}") as period:
                fault.strike(struck, 0)
                load.settle()
            print(f"\n{table(load.periods[-1:])}")
            for each in period.figures:
                assert each.interruption < BOUND, each
            struck.await_well()
        assert load.lost() == [], "acknowledged writes"


def test_nothing_has_asked_the_outside(cluster: Cluster) -> None:
    assert outward(cluster.lab) == []
