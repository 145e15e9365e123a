"""From one release's Kubernetes to the next on five hosts, while clients ask: with a host on which the new kubelet does
not run, with other settings, and with installers that are killed after each action. What requests saw is printed."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.campaign_site import Campaign, Office, outward
from tests.cluster_load import Load, running_load
from tests.clusters import FIVE, Cluster, cluster_office
from tests.nodes import lab_of, site_bundle
from tests.waiting import eventually

pytestmark = pytest.mark.long
OLD, NEW = "v1.35.4", "v1.36.3"
BEFORE = "before"  # what the disks are called that the older release was installed on
# An administrator's own setting, which the older kubelet takes and the newer one refuses: the feature is gone.
GATE = "InTreePluginPortworxUnregister"
DROP_IN = "/etc/systemd/system/kubelet.service.d/own.conf"
OWN = (
    f'[Service]\nEnvironment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml --feature-gates={GATE}=true"\n'
)
# Whom nobody may miss a request of: what is asked by way of pods on hosts that stay.
STEADY = ("service", "ingress", "cluster-ip", "dns-cache-known", "dns-service-known")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    cluster: Cluster
    old: Office
    new: Office

    def versions(self) -> dict[str, str]:
        """Of kubelets, by what the cluster has."""
        nodes = self.cluster.get("nodes")
        return {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes}

    def servers(self) -> dict[str, str]:
        pods = self.cluster.pods("component=kube-apiserver")
        return {node: pod["spec"]["containers"][0]["image"].rpartition(":")[2] for node, pod in pods.items()}

    def cordoned(self) -> list[str]:
        nodes = self.cluster.get("nodes")
        return [node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable")]

    def judge_upgraded(self) -> None:
        assert set(self.versions().values()) == {NEW}
        assert self.servers() == dict.fromkeys(self.cluster.control, NEW)
        assert self.cordoned() == []
        self.cluster.await_well()
        proxies = self.cluster.get("pods -n kube-system -l k8s-app=kube-proxy")
        assert {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in proxies} == {NEW}
        for node in FIVE:
            kept = self.cluster.lab.ask(
                node, "ls -d /var/lib/bundle/kubernetes/before /var/lib/bundle/kubernetes/drained"
            )
            assert kept.stdout == b"", node
        assert self.new.apply("--json").json()["actions"] == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lab_of(5) as lab:
        folder = tmp_path_factory.mktemp("site")
        old = cluster_office(lab, folder / "office", site_bundle(profile="lab-cluster-before"))
        old.apply("--quiet")
        cluster = Cluster(lab=lab)
        cluster.await_well()
        lab.snapshot("all", BEFORE)
        yield Site(cluster=cluster, old=old, new=replace(old, bundle=site_bundle(profile="lab-cluster")))


@pytest.fixture
def load(site: Site) -> Iterator[Load]:
    with running_load(site.cluster.lab, inside=site.cluster.workers) as load:
        yield load


def durations(office: Office, since: int) -> str:
    """Of each action that took its time, and of each host's part."""
    events = office.ended(since)
    slow = [f"  {each['seconds']:6.1f} s {each['host']} {each['target']}" for each in events if each["seconds"] > 5]
    hosts = {host: sum(each["seconds"] for each in events if each["host"] == host) for host in FIVE}
    return "\n".join([*slow, *(f"  {seconds:6.1f} s {host} in all" for host, seconds in hosts.items())])


def test_an_upgrade_stops_where_the_new_kubelet_does_not_run_and_goes_on_when_it_does(site: Site, load: Load) -> None:
    lab, since = site.cluster.lab, len(site.new.journal())
    assert set(site.versions().values()) == {OLD}
    # The worker before the last: those before it are done, the one behind it must not be touched.
    lab.run("n4", f"mkdir -p {DROP_IN.rpartition('/')[0]} && cat > {DROP_IN}", stdin=OWN.encode())
    lab.run("n4", "systemctl daemon-reload && systemctl restart kubelet")
    site.cluster.await_well()
    with load.period("upgrade, up to a host that does not bear it") as first:
        said = site.new.apply("--quiet", code=None)
    print(f"\n{said.seconds:.0f} s\n{said.err}\n{durations(site.new, since)}")
    assert said.code != 0
    for word in ("n4", "is not ready with kubelet v1.36.3", "unrecognized feature gate", "put back", "journalctl"):
        assert word in said.err
    assert site.versions() == {"n1": NEW, "n2": NEW, "n3": NEW, "n4": OLD, "n5": OLD}
    assert site.servers() == dict.fromkeys(site.cluster.control, NEW)
    assert site.cordoned() == []
    site.cluster.await_well()
    assert "v1.35.4" in lab.run("n4", "/usr/local/bin/kubelet --version")
    # Mended, the same command goes on.
    lab.run("n4", f"rm {DROP_IN} && systemctl daemon-reload && systemctl restart kubelet")
    since = len(site.new.journal())
    with load.period("the rest of it") as second:
        again = site.new.apply("--quiet")
    print(f"\n{again.seconds:.0f} s\n{durations(site.new, since)}\n{load.table()}")
    assert not any(each["target"].startswith("upgrade the control plane") for each in site.new.ended(since))
    site.judge_upgraded()
    assert load.lost() == [], "acknowledged writes"
    for path in STEADY:
        for period in (first, second):
            assert period.of(path).requests > 0
            print(f"{period.fault}: {path}: {period.of(path).failed} of {period.of(path).requests} failed")
    assert outward(lab) == []


def test_what_must_not_follow_is_refused_before_any_change(site: Site) -> None:
    eventually(lambda: set(site.versions().values()) == {NEW})
    since = len(site.old.journal())
    said = site.old.apply(code=None)
    assert said.code != 0
    assert "n1, n2, n3: its control plane is Kubernetes 1.36.3, newer than the release's 1.35.4, and cannot" in said.err
    assert "Take a release of Kubernetes 1.36.3 or later" in said.err
    assert [each for each in site.old.journal()[since:] if each["event"] == "begin"] == []


def test_other_settings_reach_what_runs(site: Site, load: Load) -> None:
    """Of kube-proxy, of kubelets, and of control planes: a name more, for which they need other certificates."""
    text = site.new.folder / "site.yaml"
    before = text.read_text()
    text.write_text(before.replace("nested: true", "nested: true, proxy: nftables, node_dns: false"))
    since = len(site.new.journal())
    try:
        with load.period("other settings"):
            said = site.new.apply("--quiet")
        print(f"\n{said.seconds:.0f} s\n{durations(site.new, since)}\n{load.table()}")
        for node in FIVE:
            assert site.cluster.lab.run(node, "curl -s http://127.0.0.1:10249/proxyMode") == "nftables", node
            asked = f"get --raw /api/v1/nodes/{node}/proxy/configz"
            assert json.loads(site.cluster.kubectl(asked))["kubeletconfig"]["clusterDNS"] == ["10.96.0.10"], node
        moved = [each for each in site.new.ended(since) if each["target"] == "move its pods away"]
        assert moved == [], "settings alone move no pods"
        assert site.new.apply("--json").json()["actions"] == 0
    finally:
        text.write_text(before)


def test_an_upgrade_whose_installer_is_killed_after_each_action(site: Site) -> None:
    """From the older release on, again and again, until one has nothing left to do."""
    site.cluster.lab.restore("all", BEFORE)
    site.cluster.await_well(within=600)
    campaign = Campaign(office=site.new, durations={}, random=random.Random(136))
    campaign.kill_after_each()
    print(f"\n{campaign.report()}")
    site.judge_upgraded()


def test_an_upgrade_whose_installer_is_killed_within_its_actions(site: Site) -> None:
    site.cluster.lab.restore("all", BEFORE)
    site.cluster.await_well(within=600)
    known = {(each["host"], each["step"], each["kind"], each["target"]): each["seconds"] for each in site.new.ended()}
    campaign = Campaign(office=site.new, durations=known, random=random.Random(137))
    campaign.kill_within()
    print(f"\n{campaign.report()}")
    site.judge_upgraded()
