"""A cluster that is there already, played by a real API server: it is judged before anything is changed, gets charts by
the real helm, and loses only what is ours. There are no nodes behind it, so that charts here bring no pods."""

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.components import components, settings_parsers
from bundler.components.kubernetes.existing import SECRET, kubeconfig_file
from bundler.hosts.base import Host
from bundler.model.asked import AskedChart
from bundler.model.digest import Digest
from bundler.model.lock import LockedChart
from bundler.model.secret import Secret
from bundler.model.site_parser import parse_site
from bundler.plan.plan import Plan, make_plan, make_removal
from bundler.plan.stack import Stack, stack_of
from bundler.secrets.ca import ensure_root
from bundler.secrets.vault import Vault
from bundler.steps.facts import Facts
from bundler.steps.gather import gather
from bundler.steps.resources import Versioned
from bundler.steps.step import Finding, Goal
from bundler.workflows.preflight import checks_asked, judged
from tests.apiserver import Cluster, running_cluster
from tests.folder_host import FolderHost
from tests.goals import NOW, asked, goal_of, release
from tests.lab import lab_program, require_go_tool

pytestmark = pytest.mark.slow

SITE = """\
site: lab
domain: lab.example
hosts:
- {name: n1, address: 192.0.2.11, roles: [site]}
- {name: node5, address: 192.0.2.15, roles: [existing-node]}
components:
  kubernetes:
    existing:
      kubeconfig: admin.kubeconfig
      charts: [haproxy-ingress]
"""
PLACE = "ingress/ingress"
CHART = {
    "Chart.yaml": "{apiVersion: v2, name: ingress, version: 1.0.0, kubeVersion: '>=1.30.0-0'}",
    "templates/all.yaml": """\
apiVersion: v1
kind: ConfigMap
metadata: {name: ours}
data: {key: "{{ .Values.key }}"}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: haproxy}
spec: {controller: haproxy-ingress.github.io/controller}
""",
    "values.yaml": "key: value\n",
}


def packed(files: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"ingress/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """A site of folders, and the cluster that it is to use."""

    cluster: Cluster
    goal: Goal
    hosts: dict[str, Host]

    @property
    def stack(self) -> Stack:
        """Only what changes the cluster: programs are on this machine already."""
        whole = stack_of(components()).of(self.goal.components)
        return Stack(tuple(place for place in whole if place.step.name in ("haproxy-ingress", "kubernetes/pruned")))

    def findings(self, goal: Goal | None = None, *, health: bool = False) -> list[Finding]:
        goal = goal or self.goal
        parts = [part for part in goal.components if part.name != "base"]
        checks = [check for part in parts for check in (part.health if health else part.preflight)]
        facts, failed = gather(checks_asked(goal, checks, goal.site.hosts), self.hosts)
        assert not failed
        return list(judged(goal, checks, goal.site.hosts, facts))

    def told(self, goal: Goal | None = None, *, warnings: bool = False) -> str:
        return "\n".join(each.found for each in self.findings(goal) if each.warning == warnings)

    def plan(self, goal: Goal | None = None) -> Plan:
        return make_plan(self.stack, goal or self.goal, self.facts(goal))

    def versions(self) -> list[str]:
        """As `bundle status` says them."""
        facts, host = self.facts(None).of("n1"), self.goal.site.host("n1")
        resources = [each for place in self.stack for each in place.step.resources(self.goal, host)]
        return [said for each in resources if isinstance(each, Versioned) for said in each.versions(facts)]

    def removal(self) -> Plan:
        steps = frozenset(self.stack.names())
        return make_removal(self.stack, self.goal, self.facts(None), steps=steps, purge=False)

    def facts(self, goal: Goal | None) -> Facts:
        goal = goal or self.goal
        steps = [place.step for place in self.stack]
        questions = {
            host.name: [fact for step in steps if step.on(host) for fact in step.asks(goal, host)]
            for host in goal.site.hosts
        }
        facts, failed = gather(questions, self.hosts)
        assert not failed
        return facts

    def do(self, plan: Plan) -> list[str]:
        for unit, action in plan.actions():
            answer = action.perform(self.hosts[unit.host], 1)
            assert answer.code == 0, answer.tail(20)
        return [f"{action.target} ({action.reason})" for _, action in plan.actions()]


def goal_with(goal: Goal, *, config: str, chart: bytes, values: str = "{}", text: str = SITE) -> Goal:
    digest = Digest.of(chart)
    one = AskedChart(
        chart="ingress", version="1.0.0", release="ingress", namespace="ingress", values=values, variants=()
    )
    locked = LockedChart(
        chart="ingress",
        version="1.0.0",
        repository="file:ingress",
        url="",
        digest=digest,
        size=len(chart),
        metadata=json.dumps(yaml.safe_load(CHART["Chart.yaml"])),
        provenance=None,
        manifest=None,
        config=None,
        dependencies=(),
    )
    parts = (
        asked("kubernetes", provides=(("kubernetes", "1.36.3"),)),
        asked("containerd", provides=(("containerd", "2.2.9"),)),
        asked("haproxy-ingress", charts=(one,)),
        asked("helm", provides=(("helm", "3.22.0"),)),
    )
    vault = Vault.empty()
    vault.put(SECRET, Secret(config))
    found = tuple(each for each in components() if each.name in ("kubernetes", "haproxy-ingress", "base"))
    return replace(
        goal,
        site=parse_site(text, file="site.yaml", components=settings_parsers()),
        text=text,
        lock=replace(goal.lock, asked=parts, charts=(locked,)),
        vault=vault,
        components=found,
        _made={},
    )


def config_of(cluster: Cluster, token: str, *, ca: str | None = None, server: str = "") -> str:
    shown = cluster.folder / "certificates/apiserver.crt"
    encoded = base64.b64encode(shown.read_bytes() if ca is None else ca.encode()).decode()
    place = {"server": server or cluster.server, "certificate-authority-data": encoded}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": place}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
    )


ADMIN = "of-an-administrator"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        for name, ready, runtime in (("node5", "True", "containerd://1.7.27"), ("node6", "False", "cri-o://1.33.1")):
            found.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}])
            status = {
                "conditions": [{"type": "Ready", "status": ready}],
                "nodeInfo": {"containerRuntimeVersion": runtime},
            }
            found.kubectl("patch", "node", name, "--subresource=status", "-p", json.dumps({"status": status}))
        yield found


@pytest.fixture
def office(cluster: Cluster, tmp_path: Path) -> Iterator[Office]:
    chart = packed(CHART)
    goal = goal_with(goal_of(release(tmp_path), settings_parsers()), config=config_of(cluster, ADMIN), chart=chart)
    hosts: dict[str, Host] = {}
    for host in goal.site.hosts:
        made = FolderHost(tmp_path / host.name, host.name)
        made.program("kubectl", f'export HOME="$ROOT"; exec {lab_program("kubernetes")}/kubectl "$@"')
        made.program("helm", f'export HOME="$ROOT"; exec {require_go_tool("helm")} "$@"')
        # The site's repositories, which are not there.
        made.program("curl", f'while [ "$1" != -o ]; do shift; done; cp {tmp_path}/chart.tgz "$2"')
        made.program("containerd", """echo 'config_path = "/not/there"'""")
        hosts[host.name] = made
    (tmp_path / "chart.tgz").write_bytes(chart)
    found = Office(cluster=cluster, goal=goal, hosts=hosts)
    for action in kubeconfig_file(goal).wanted(gather({"n1": kubeconfig_file(goal).asks()}, hosts)[0].of("n1")):
        assert action.perform(hosts["n1"], 1).code == 0
        assert ADMIN not in repr(action)
    yield found
    cluster.kubectl("delete", "ingressclass,secret,configmap", "--all", "--ignore-not-found", "-n", "ingress")


def foreign(name: str) -> dict[str, Any]:
    found = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name}}
    return {**found, "spec": {"controller": "of.somebody/else"}}


def helm_release(name: str, **labels: str) -> dict[str, Any]:
    """What helm keeps of a release."""
    known = {"owner": "helm", "name": name, "version": "1", "status": "deployed", **labels}
    metadata = {"name": f"sh.helm.release.v1.{name}.v1", "namespace": "ingress", "labels": known}
    return {"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "metadata": metadata}


def namespace() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ingress"}}


# --- before anything is changed


def test_a_cluster_that_fits_is_only_warned_of(office: Office) -> None:
    stopping = [each.found for each in office.findings() if not each.warning]
    assert stopping == ["its containerd does not look into /etc/containerd/certs.d"]
    told = office.told(warnings=True)
    assert "not ready: node6" in told
    assert "another runtime than containerd: node6" in told
    assert "nothing of ours leads their pulls to the site's registry: node6" in told
    assert "node5" not in told


def test_what_somebody_else_has_is_found(office: Office) -> None:
    office.cluster.apply([namespace(), foreign("haproxy"), helm_release("ingress")])
    told = office.told()
    assert f"helm has a release {PLACE} of somebody else" in told
    assert "haproxy-ingress would be a second one: somebody else has ingressclasses haproxy" in told
    office.cluster.apply([helm_release("ingress", **{"bundle-content": "1", "bundle-site": "other"})])
    assert f"helm has a release {PLACE} of the site other" in office.told()


def test_who_may_too_little_is_found(office: Office) -> None:
    office.cluster.kubectl("create", "serviceaccount", "little", "-n", "default")
    rules = ["--verb=get,list,create,patch,delete", "--resource=secrets,configmaps,nodes,namespaces"]
    office.cluster.kubectl("create", "clusterrole", "little", *rules)
    office.cluster.kubectl(
        "create", "clusterrolebinding", "little", "--clusterrole=little", "--serviceaccount=default:little"
    )
    token = office.cluster.kubectl("create", "token", "little", "-n", "default").strip()
    told = office.told(with_config(office, config_of(office.cluster, token)))
    assert "the kubeconfig's user may not get serviceaccounts, create serviceaccounts, patch serviceaccounts" in told
    assert "get secrets" not in told


def with_config(office: Office, config: str) -> Goal:
    vault = Vault.empty()
    vault.put(SECRET, Secret(config))
    return replace(office.goal, vault=vault, _made={})


def test_a_cluster_that_is_not_reached_is_found(office: Office) -> None:
    cluster, server = office.cluster, office.cluster.server
    assert f"{server} does not take who" in office.told(with_config(office, config_of(cluster, "nobody")))
    other = ensure_root(Vault.empty(), "other", "other", NOW).certificate
    assert "CERTIFICATE_VERIFY_FAILED" in office.told(with_config(office, config_of(cluster, ADMIN, ca=other)))
    silent = with_config(office, config_of(cluster, ADMIN, server="https://127.0.0.1:1"))
    assert "https://127.0.0.1:1 cannot be asked: [Errno 111] Connection refused" in office.told(silent)


def test_what_the_charts_are_not_for_is_found(office: Office) -> None:
    charts = tuple(replace(each, metadata='{"kubeVersion": "<1.30.0-0"}') for each in office.goal.lock.charts)
    parts = tuple(
        replace(each, provides=(("kubernetes", "1.33.1"),)) if each.component == "kubernetes" else each
        for each in office.goal.lock.asked
    )
    other = replace(office.goal, lock=replace(office.goal.lock, charts=charts, asked=parts), _made={})
    assert "the chart ingress 1.0.0 is for Kubernetes <1.30.0-0, and the cluster is 1.36.3" in office.told(other)
    assert "the cluster is 1.36.3, and the release's kubectl 1.33.1" in office.told(other, warnings=True)


def test_how_it_is_later(office: Office) -> None:
    found = [each.found for each in office.findings(health=True)]
    assert "the cluster has node6 as not ready" in found
    assert any(each.startswith("it does not reach the site's registry at 192.0.2.11:5000") for each in found)


# --- charts


def test_charts_are_applied_and_what_was_changed_is_put_right(office: Office) -> None:
    applied = office.do(office.plan())
    assert applied == [f"apply chart ingress 1.0.0 as {PLACE} (it is not there)"]
    assert office.cluster.kubectl("get", "configmap", "ours", "-n", "ingress", "-o", "jsonpath={.data.key}") == "value"
    assert not office.plan(), "all of it is there"
    assert office.versions() == ["ingress 1.0.0"]
    assert "second one" not in office.told(), "it is ours"
    office.cluster.kubectl("patch", "configmap", "ours", "-n", "ingress", "-p", '{"data": {"key": "other"}}')
    (again,) = office.do(office.plan())
    assert "somebody changed what it has in the cluster: v1.ConfigMap.ingress.ours" in again
    assert office.cluster.kubectl("get", "configmap", "ours", "-n", "ingress", "-o", "jsonpath={.data.key}") == "value"
    assert not office.plan()


def test_only_what_is_ours_goes(office: Office) -> None:
    office.do(office.plan())
    theirs = [helm_release("theirs"), helm_release("of-another", **{"bundle-content": "1", "bundle-site": "other"})]
    office.cluster.apply(theirs)
    assert not office.plan(), "what others have is left alone"
    unwanted = SITE.replace("charts: [haproxy-ingress]", "charts: []")
    none = replace(
        office.goal, text=unwanted, site=parse_site(unwanted, file="s", components=settings_parsers()), _made={}
    )
    assert names(office.plan(none)) == [f"remove {PLACE}"], "it is not asked for any more"
    assert office.do(office.removal()) == [f"remove {PLACE} (its component goes)"]
    assert not office.removal()
    left = office.cluster.kubectl("get", "secrets", "-n", "ingress", "-l", "owner=helm", "-o", "name").split()
    assert sorted(left) == ["secret/sh.helm.release.v1.of-another.v1", "secret/sh.helm.release.v1.theirs.v1"]
    assert "ours" not in office.cluster.kubectl("get", "configmaps", "-n", "ingress", "-o", "name")


def names(plan: Plan) -> Sequence[str]:
    return [action.target for _, action in plan.actions()]
