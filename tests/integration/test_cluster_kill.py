"""An installer of a cluster that is killed after every step: what comes out is what an undisturbed one gives."""

import json
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.campaign_site import Campaign, Office, all_facts, differences, name_of
from tests.clusters import Cluster, cluster_office
from tests.nodes import Lab, lab_of, site_bundle
from tests.waiting import eventually

pytestmark = pytest.mark.long

BARE = "bare"
# What is signed anew for each host that joins, and what the kernel or a program chooses freely.
_OWN = (
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/pki/apiserver",
    "/etc/kubernetes/pki/front-proxy-client",
    "/etc/kubernetes/pki/etcd/server",
    "/etc/kubernetes/pki/etcd/peer",
    "/etc/kubernetes/pki/etcd/healthcheck-client",
    "/etc/kubernetes/manifests/etcd.yaml",  # names the members in the order in which they came
    "/etc/kubernetes/tmp",
    "/root/.kube/cache/",  # what kubectl has asked before
)
_FREE = 30000  # ports above are chosen by programs, or by the cluster for its Services
_KINDS = "deployments,daemonsets,services,configmaps,serviceaccounts,clusterroles,clusterrolebindings,crds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Bare hosts to come back to, and what an undisturbed installation left: on the hosts, and in the cluster."""

    lab: Lab
    folder: Path
    straight: Office
    facts: dict[str, dict[str, str]] = field(repr=False)
    objects: dict[str, str] = field(repr=False)
    durations: dict[tuple[str, str, str, str], float] = field(repr=False)


def facts_of_hosts(lab: Lab) -> dict[str, dict[str, str]]:
    return {
        host: {key: value for key, value in facts.items() if not is_own(key)} for host, facts in all_facts(lab).items()
    }


def is_own(key: str) -> bool:
    """Whether two installations have it each their own way."""
    if key.startswith("port "):
        return int(key.rpartition(":")[2]) >= _FREE
    return key.startswith(_OWN)


def objects_of(cluster: Cluster) -> dict[str, str]:
    """What is in the cluster, by name; of what runs pods how, and of nodes what they are."""
    found = {}
    for thing in [*cluster.get(f"{_KINDS} -A"), *cluster.get("nodes")]:
        meta = thing["metadata"]
        name = f"{thing['kind']} {meta.get('namespace', '')}/{meta['name']}"
        found[name] = json.dumps(_kept(thing), sort_keys=True)
    return found


def _kept(thing: Mapping[str, Any]) -> Any:
    if thing["kind"] == "Node":
        info = thing["status"]["nodeInfo"]
        return [thing["spec"].get("taints"), info["kubeletVersion"], info["containerRuntimeVersion"]]
    return thing["spec"] if thing["kind"] in ("Deployment", "DaemonSet") else None


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("site")
    with lab_of(5) as lab:
        lab.snapshot("all", BARE)
        office = cluster_office(lab, folder / "straight", site_bundle(profile="lab-cluster"))
        said = office.apply("--quiet")
        durations = {name_of(event): float(event["seconds"]) for event in office.ended()}
        print(f"\nundisturbed: {len(durations)} actions in {said.seconds:.0f} s")
        cluster = Cluster(lab=lab)
        cluster.await_well()
        yield Ground(
            lab=lab,
            folder=folder,
            straight=office,
            facts=facts_of_hosts(lab),
            objects=objects_of(cluster),
            durations=durations,
        )


def test_killed_after_every_step(ground: Ground) -> None:
    ground.lab.restore("all", BARE)
    office = cluster_office(ground.lab, ground.folder / "killed", ground.straight.bundle)
    for file in ground.straight.folder.glob("site.secrets*"):
        shutil.copy(file, office.folder)
    campaign = Campaign(office=office, durations=ground.durations, random=random.Random(1))
    struck = campaign.kill_after_steps()
    steps = {step for _, step, _, _ in ground.durations}
    print(
        f"\n{campaign.report()}\nkilled after {len(struck)} of {len(steps)} steps, not after {sorted(steps - struck)}"
    )
    assert len(struck) > len(steps) * 0.8
    cluster = Cluster(lab=ground.lab)
    cluster.await_well()
    again = office.apply("--json")
    assert again.json()["actions"] == 0
    # A clock that was started before that of the site host asks it again only now and then.
    eventually(lambda: office.run("health", code=None).code == 0, seconds=90, every=5)
    found = differences(facts_of_hosts(ground.lab), ground.facts)
    assert not found, "\n".join(found[:100])
    found = differences({"the cluster": objects_of(cluster)}, {"the cluster": ground.objects})
    assert not found, "\n".join(found[:100])
