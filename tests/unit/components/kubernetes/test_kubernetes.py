"""The cluster's steps: who makes it and who joins, what kubeadm is told, what charts are applied, in plans."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import yaml

from bundler.components import cluster_dns, components, flannel, haproxy_ingress, settings_parsers
from bundler.components.kubernetes import COMPONENT
from bundler.components.kubernetes.away import AWAY, Away
from bundler.components.kubernetes.charts import Pruned, Release, speaks
from bundler.components.kubernetes.fence import fence
from bundler.components.kubernetes.health import READY
from bundler.components.kubernetes.kubeadm import cluster_text, join_text
from bundler.components.kubernetes.node_check import SILENT
from bundler.components.kubernetes.nodes import NODE, Member, Node
from bundler.components.kubernetes.pki import endpoint, joining, shared_files
from bundler.components.kubernetes.releases import RELEASES, Deployed, drift
from bundler.components.kubernetes.runtime import carried_files, configuration
from bundler.components.kubernetes.service_proxy import SETTINGS as PROXY
from bundler.errors import FactUnknown, InvalidDocument, NotCarried
from bundler.model.asked import AskedChart
from bundler.model.digest import Digest
from bundler.model.lock import LockedChart
from bundler.model.reference import Reference
from bundler.model.secret import Secret
from bundler.model.site_parser import parse_site
from bundler.model.values import overlay
from bundler.plan.stack import stack_of
from bundler.secrets.certificates import certificate_facts, is_issued_by
from bundler.steps.facts import Fact, Facts, HostFacts, Unasked, UnitFact, UnitState, grouped, question
from bundler.steps.step import Goal
from tests.goals import asked, goal_of, release
from tests.lab import require_program

SITE = """\
site: lab
domain: lab.example
hosts:
- {name: n1, address: 10.77.0.11, roles: [site, control-plane]}
- {name: n2, address: 10.77.0.12, roles: [control-plane]}
- {name: n3, address: 10.77.0.13, roles: [control-plane, worker]}
- {name: n4, address: 10.77.0.14, roles: [worker]}
networks:
- {name: main, subnet: 10.77.0.0/20}
vips: {api: 10.77.0.100}
"""
PAUSE = "registry.k8s.io/pause:3.10.2"
JOINED, BEGUN, BARE = Node(joined=True, begun=True), Node(begun=True), Node()


def goal_with(goal: Goal, settings: str = "{}", version: str = "1.36.3", site: str = SITE) -> Goal:
    text = f"{site}components: {{kubernetes: {settings}}}\n"
    parts = (
        asked(
            "kubernetes", provides=(("kubernetes", version), ("etcd", "3.6.8-0")), revealed=(Reference.parse(PAUSE),)
        ),
        asked("containerd", provides=(("containerd", "2.2.9"),)),
    )
    lock = replace(goal.lock, asked=parts)
    parsed = parse_site(text, file="site.yaml", components=settings_parsers())
    return replace(goal, site=parsed, text=text, lock=lock, _made={})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), settings_parsers())


@pytest.fixture
def goal(plain: Goal) -> Goal:
    return goal_with(plain)


def facts_of(nodes: Mapping[str, Node]) -> Facts:
    answers: dict[str, dict[Fact[Any], Any]] = {name: {NODE: node} for name, node in nodes.items()}
    return Facts(answers)


# what each host says, and what is done on each
PARTS: list[tuple[dict[str, Node], dict[str, str]]] = [
    (dict.fromkeys(("n1", "n2", "n3", "n4"), BARE), {"n1": "make", "n2": "join", "n3": "join", "n4": "join"}),
    (dict.fromkeys(("n1", "n2", "n3", "n4"), JOINED), {}),
    ({"n1": BEGUN, "n2": BARE, "n3": BARE, "n4": BARE}, {"n1": "make", "n2": "join", "n3": "join", "n4": "join"}),
    # The first was replaced: the others have the cluster, and it joins.
    ({"n1": BARE, "n2": JOINED, "n3": JOINED, "n4": JOINED}, {"n1": "join"}),
    ({"n1": BARE, "n2": BEGUN, "n3": JOINED, "n4": JOINED}, {"n1": "join", "n2": "join"}),
    ({"n1": JOINED, "n2": BEGUN, "n3": BARE, "n4": JOINED}, {"n2": "join", "n3": "join"}),
]


@pytest.mark.parametrize(("nodes", "expected"), PARTS)
def test_who_makes_the_cluster_and_who_joins(goal: Goal, nodes: dict[str, Node], expected: dict[str, str]) -> None:
    facts = facts_of(nodes)
    found = {
        host.name: action.target.split()[0]
        for host in goal.site.hosts
        for action in Member(goal=goal, host=host).wanted(facts.of(host.name))
    }
    assert found == expected


def test_nobody_makes_a_second_cluster_beside_one_that_is_out_of_sight(goal: Goal) -> None:
    facts = facts_of({"n1": BARE, "n2": BARE})
    with pytest.raises(FactUnknown) as caught:
        list(Member(goal=goal, host=goal.site.host("n1")).wanted(facts.of("n1")))
    assert caught.value.host == "n3"


def test_what_was_cut_off_goes_on(goal: Goal) -> None:
    (anew,) = Member(goal=goal, host=goal.site.host("n1")).wanted(
        facts_of({"n1": BEGUN, "n2": BARE, "n3": BARE}).of("n1")
    )
    text = anew.script().text
    assert "FileAvailable--etc-kubernetes-manifests-etcd.yaml" in text
    assert "SystemVerification" not in text
    (first,) = Member(goal=goal, host=goal.site.host("n1")).wanted(
        facts_of(dict.fromkeys(("n1", "n2", "n3"), BARE)).of("n1")
    )
    assert "--ignore-preflight-errors=DirAvailable--var-lib-etcd || exit 1" in first.script().text, "which is begun"


def test_joining_is_by_a_certificate_of_a_day(goal: Goal) -> None:
    (join,) = Member(goal=goal, host=goal.site.host("n4")).wanted(facts_of({"n4": BARE}).of("n4"))
    assert isinstance(join.stdin, Secret)  # type: ignore[attr-defined]
    config = yaml.safe_load(joining(goal).reveal())
    assert config["clusters"][0]["cluster"]["server"] == "https://10.77.0.100:8443"
    assert joining(goal) == joining(goal), "once a run"


def test_all_control_planes_have_the_same_authorities(goal: Goal) -> None:
    files = {file.path.removeprefix("/etc/kubernetes/pki/"): file for file in shared_files(goal)}
    again = {file.path.removeprefix("/etc/kubernetes/pki/"): file for file in shared_files(replace(goal, _made={}))}
    assert {name: file.digest for name, file in files.items()} == {name: file.digest for name, file in again.items()}
    for name, file in files.items():
        secret = name.endswith(".key")
        assert isinstance(file.content, Secret) == secret
        assert file.mode == (0o600 if secret else 0o644)
    certificates = [file.content for name, file in files.items() if name.endswith(".crt")]
    assert len(certificates) == 3
    for one in certificates:
        assert isinstance(one, str)
        assert certificate_facts(one) is not None
        assert [is_issued_by(one, other) for other in certificates if isinstance(other, str)].count(True) == 1


def test_what_kubeadm_is_told(goal: Goal) -> None:
    documents = {each["kind"]: each for each in yaml.safe_load_all(cluster_text(goal, goal.site.host("n3")))}
    assert set(documents) == {
        "InitConfiguration",
        "ClusterConfiguration",
        "KubeletConfiguration",
        "KubeProxyConfiguration",
    }
    init, cluster, kubelet = (documents[f"{name}Configuration"] for name in ("Init", "Cluster", "Kubelet"))
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.77.0.13", "bindPort": 6443}
    assert init["nodeRegistration"]["taints"] == [], "a control plane that is a worker too takes pods"
    assert init["skipPhases"] == ["addon/coredns"]
    assert cluster["kubernetesVersion"] == "v1.36.3"
    assert cluster["controlPlaneEndpoint"] == "10.77.0.100:8443"
    assert "10.77.0.100" in cluster["apiServer"]["certSANs"]
    assert {"name": "profiling", "value": "false"} in cluster["apiServer"]["extraArgs"]
    assert kubelet["clusterDNS"] == ["169.254.20.10", "10.96.0.10"]
    assert "failCgroupV1" not in kubelet
    (join,) = yaml.safe_load_all(join_text(goal, goal.site.host("n4")))
    assert "controlPlane" not in join
    (join,) = yaml.safe_load_all(join_text(goal, goal.site.host("n2")))
    assert join["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "10.77.0.12"
    assert [taint["effect"] for taint in join["nodeRegistration"]["taints"]] == ["NoSchedule"]


@pytest.mark.parametrize(
    ("mode", "more"), [("iptables", {}), ("nftables", {}), ("ipvs", {"ipvs": {"strictARP": True}})]
)
def test_how_services_are_reached(plain: Goal, mode: str, more: dict[str, Any]) -> None:
    """Without `strictARP` kube-proxy with ipvs would answer for addresses of MetalLB; flannel follows nftables."""
    goal = goal_with(plain, f"{{proxy: {mode}, pods: 10.42.0.0/16}}")
    documents = {each["kind"]: each for each in yaml.safe_load_all(cluster_text(goal, goal.site.host("n1")))}
    proxy = documents["KubeProxyConfiguration"]
    assert {"mode": mode, "clusterCIDR": "10.42.0.0/16", **more}.items() <= proxy.items()
    assert ("ipvs" in proxy) == (mode == "ipvs")
    (values,) = flannel._values(goal).values()
    assert values["nftables"] == (mode == "nftables")


def test_an_older_kubernetes_is_told_in_its_own_words(plain: Goal) -> None:
    goal = goal_with(plain, version="1.28.15", settings="{cgroup_v1: true}")
    init, cluster, kubelet, _ = yaml.safe_load_all(cluster_text(goal, goal.site.host("n1")))
    assert init["apiVersion"] == cluster["apiVersion"] == "kubeadm.k8s.io/v1beta3"
    assert cluster["apiServer"]["extraArgs"]["profiling"] == "false"
    assert "encryptionAlgorithm" not in cluster
    assert "failCgroupV1" not in kubelet, "it does not know the word"


def test_without_a_virtual_address_there_is_one_control_plane(plain: Goal) -> None:
    alone = "\n".join(
        line for line in SITE.splitlines() if "n2" not in line and "n3" not in line and "vips" not in line
    )
    goal = goal_with(plain, site=f"{alone}\n")
    assert endpoint(goal) == "10.77.0.11:6443"


def test_the_runtime_is_told_which_pause_image(goal: Goal, plain: Goal) -> None:
    assert f'sandbox = "{PAUSE}"' in configuration(goal)
    assert "SystemdCgroup = true" in configuration(goal)
    assert "SystemdCgroup = false" in configuration(goal_with(plain, "{cgroup_driver: cgroupfs}"))
    nothing = replace(goal, lock=replace(goal.lock, asked=()), _made={})
    with pytest.raises(NotCarried):
        configuration(nothing)


SETTINGS = [
    ("{pods: 10.96.0.0/16}", "which overlaps 10.96.0.0/16"),
    ("{services: 10.0.0.0/8, pods: 192.168.0.0/16}", "a subnet from /12 to /24"),
    ("{services: 10.96.0.0/28}", "a subnet from /12 to /24"),
    ("{proxy: userspace}", "one of iptables, nftables, ipvs"),
    ("{entry_port: 0}", "a port from 1 to 65535"),
    ("{unknown: 1}", "unknown"),
]


@pytest.mark.parametrize(("text", "said"), SETTINGS)
def test_wrong_settings(plain: Goal, text: str, said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        goal_with(plain, text)
    assert said in caught.value.detail


CHART = LockedChart(
    chart="flannel",
    version="1.0.0",
    repository="file:flannel",
    url="",
    digest=Digest.of(b"chart"),
    size=5,
    metadata="{}",
    provenance=None,
    manifest=None,
    config=None,
    dependencies=(),
)


def a_release(goal: Goal, values: str = "{}", host: str = "n1") -> Release:
    return Release(
        goal=goal, host=goal.site.host(host), chart=CHART, name="flannel", namespace="kube-system", values=values
    )


def cluster_facts(goal: Goal, known: Mapping[str, Deployed], changed: str = "", *, host: str = "n1") -> HostFacts:
    ask = drift(goal, goal.site.host(host))
    return Facts({host: {NODE: JOINED, RELEASES: known, ask: ask.reading(changed)}}).of(host)


def test_a_chart_is_applied_by_what_is_in_it(goal: Goal) -> None:
    chart = a_release(goal)
    said = "\n".join(
        (
            f"kube-system|flannel|9|superseded|{chart.content}|",
            f"kube-system|flannel|10|deployed|{chart.content}|",
            "other|flannel|11|failed||",
        )
    )
    known = RELEASES.reading(said)
    assert known == {
        "kube-system/flannel": Deployed(status="deployed", content=chart.content),
        "other/flannel": Deployed(status="failed", content=""),
    }
    facts = cluster_facts(goal, known)
    assert list(chart.wanted(facts)) == []
    assert list(chart.versions(facts)) == ["flannel 1.0.0"]
    (other,) = a_release(goal, '{"networks": []}').wanted(facts)
    assert other.reason == "its chart or values differ"
    for status, reason in (
        ("pending-upgrade", "its last change is pending-upgrade"),
        ("failed", "its last change is failed"),
    ):
        broken = {"kube-system/flannel": Deployed(status=status, content=chart.content)}
        (again,) = chart.wanted(cluster_facts(goal, broken))
        assert again.reason == reason
    (first,) = chart.wanted(cluster_facts(goal, {}))
    assert (first.target, first.reason) == ("apply chart flannel 1.0.0 as kube-system/flannel", "it is not there")
    assert CHART.digest.hex in first.script().text


def test_what_somebody_changed_in_the_cluster_is_applied_again(goal: Goal) -> None:
    chart = a_release(goal)
    known = {"kube-system/flannel": Deployed(status="deployed", content=chart.content)}
    changed = "\n".join(f"kube-system/flannel apps.v1.Deployment.kube-system.d{at}" for at in range(6))
    (again,) = chart.wanted(cluster_facts(goal, known, changed))
    assert again.reason.startswith("somebody changed what it has in the cluster: apps.v1.Deployment.kube-system.d0, ")
    assert again.reason.endswith(" and 2 more")
    assert "--server-side --force-conflicts" in again.script().text
    assert list(chart.wanted(cluster_facts(goal, known, "other/thing apps.v1.Deployment.other.d"))) == []


def test_what_no_release_brings_any_more_goes(goal: Goal) -> None:
    ours, theirs = Deployed(status="deployed", content="1"), Deployed(status="deployed", content="")
    known = {"kube-system/old": ours, "kube-system/flannel": ours, "their/own": theirs}
    chart = AskedChart(
        chart="flannel", version="1", release="flannel", namespace="kube-system", values="{}", variants=()
    )
    lock = replace(goal.lock, asked=(asked("flannel", charts=(chart,)),))
    (gone,) = Pruned(goal=replace(goal, lock=lock)).wanted(cluster_facts(goal, known))
    assert (gone.target, gone.reason) == ("remove kube-system/old", "the release does not have it any more")
    assert "helm uninstall old -n kube-system" in gone.script().text


# which control planes were asked and what they say, and who applies charts
SPEAKERS: list[tuple[dict[str, Any], str]] = [
    ({"n1": BARE, "n2": BARE, "n3": BARE}, "n1"),
    ({"n1": JOINED, "n2": JOINED, "n3": JOINED}, "n1"),
    ({"n1": BARE, "n2": JOINED, "n3": JOINED}, "n2"),  # the first was replaced
    ({"n2": JOINED, "n3": JOINED}, "n2"),  # it is left out, or down
    ({"n1": Unasked("it does not answer"), "n2": BARE, "n3": JOINED}, "n3"),
    ({"n3": JOINED}, "n3"),
]


@pytest.mark.parametrize(("said", "expected"), SPEAKERS)
def test_charts_are_applied_on_one_control_plane_that_answers(goal: Goal, said: dict[str, Any], expected: str) -> None:
    facts = Facts({**{name: {NODE: node} for name, node in said.items()}, "n4": {NODE: JOINED}})
    assert [name for name in said if speaks(goal, facts.of(name))] == [expected]


@pytest.mark.parametrize(
    ("roles", "names", "entry"),
    [("[control-plane, worker]", "required", "required"), ("[control-plane]", "required", "preferred")],
)
def test_where_there_are_hosts_enough_one_loss_takes_one_of_two(goal: Goal, roles: str, names: str, entry: str) -> None:
    goal = goal_with(goal, site=SITE.replace("roles: [control-plane, worker]", f"roles: {roles}"))
    assert cluster_dns._values(goal)["cluster-dns"]["antiAffinity"] == names
    assert haproxy_ingress._values(goal)["ingress"]["antiAffinity"] == entry


def test_values_are_merged_as_helm_does() -> None:
    values = {"a": {"b": 1, "c": {"d": 2}}, "list": [1, 2], "kept": True}
    own = {"a": {"c": {"d": 3}}, "list": [4]}
    found = json.loads(overlay(json.dumps(values), json.dumps(own)))
    assert found == {"a": {"b": 1, "c": {"d": 3}}, "list": [4], "kept": True}
    assert values["a"] == {"b": 1, "c": {"d": 2}}, "what was given stays as it is"


def test_a_release_without_a_cluster_has_no_steps_of_one(plain: Goal) -> None:
    parts = tuple(each for each in components() if not each.catalog)
    names = {place.component for place in stack_of(components()).of(parts)}
    assert "kubernetes" not in names
    assert "base" in names


def test_a_file_of_the_release_is_fetched_by_who_does_not_have_it(goal: Goal) -> None:
    assert carried_files(goal, goal.site.host("n1")).url == ""
    assert carried_files(goal, goal.site.host("n4")).url == "https://repo.lab.example/files"


Answers = Mapping[str, Mapping[Fact[Any], Any]]


def found(goal: Goal, check: str, answers: Answers) -> list[str]:
    (health,) = (each for each in COMPONENT.health if each.name == f"kubernetes: {check}")
    hosts = [host for host in goal.site.hosts if health.on(host)]
    return [f"{finding.host}: {finding.found}" for finding in health.judge(goal, hosts, Facts(answers))]


def test_what_the_cluster_thinks_of_its_hosts(goal: Goal) -> None:
    well = dict.fromkeys(("n1", "n2", "n3", "n4"), "True")
    down = Unasked("the connection was refused")
    nobody: dict[Fact[Any], Any] = {AWAY: Away()}
    assert found(goal, "nodes", {"n1": {READY: well, **nobody}, "n2": {}, "n3": {}}) == []
    half: Answers = {"n1": {READY: down}, "n2": {READY: {**well, "n4": "Unknown"}, **nobody}, "n3": {}}
    assert found(goal, "nodes", half) == ["n4: the cluster has n4 as not ready"]
    gone = {name: state for name, state in well.items() if name != "n3"}
    answers: Answers = {"n1": {READY: gone, **nobody}, "n2": {}, "n3": {}}
    assert found(goal, "nodes", answers) == ["n3: n3 is not one of the cluster's"]
    silent: Answers = {name: {READY: down} for name in ("n1", "n2", "n3")}
    assert found(goal, "nodes", silent) == ["n1: no control plane answers: n1: the connection was refused"]


def test_services_of_the_clusters_hosts(goal: Goal) -> None:
    up = UnitState(load="loaded", active="active", sub="running")
    units = ("containerd", "kubelet", "bundle-node-check", "bundle-api-haproxy", "bundle-api-keepalived")
    well: dict[Fact[Any], Any] = {SILENT: (), **{UnitFact(unit=f"{unit}.service"): up for unit in units}}
    answers = dict.fromkeys(("n1", "n2", "n3", "n4"), well)
    assert found(goal, "services", answers) == []
    failed = {**well, UnitFact(unit="kubelet.service"): replace(up, active="failed", sub="failed")}
    assert found(goal, "services", {**answers, "n4": failed}) == ["n4: it is failed (failed): kubelet.service"]
    hangs = {**well, SILENT: ("containerd.service",)}
    assert found(goal, "services", {**answers, "n4": hangs}) == ["n4: it does not answer: containerd.service"]


def test_questions_are_shell(goal: Goal) -> None:
    asked: list[Fact[Any]] = [NODE, RELEASES, READY, PROXY, drift(goal, goal.site.host("n3"))]
    done = subprocess.run(["sh", "-n"], input=question(grouped(asked)).encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_packets_to_pods_leave_by_the_interfaces_of_hosts_only_to_other_hosts_of_the_cluster(goal: Goal) -> None:
    """host-gw has no interfaces of its own. The kernel's own tool reads the rules."""
    rules = fence(goal, goal.site.hosts[0]).files[0].content
    assert isinstance(rules, str)
    assert "rt ip nexthop != { 10.77.0.11, 10.77.0.12, 10.77.0.13, 10.77.0.14 }" in rules
    require_program("nft")
    line = ["unshare", "-rn", "nft", "-c", "-f", "-"]
    done = subprocess.run(line, input=rules, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
