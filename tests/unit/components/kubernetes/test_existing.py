"""A cluster that is there already: what site.yaml may say of it, its kubeconfig, and what its hosts get."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.components import components, settings_parsers
from bundler.components.kubernetes import COMPONENT, existing_checks
from bundler.components.kubernetes.charts import Pruned
from bundler.components.kubernetes.existing import KUBECONFIG, SECRET, given, kubeconfig_file, line_of
from bundler.components.kubernetes.existing_view import before
from bundler.components.kubernetes.kubeconfig import parse_kubeconfig
from bundler.components.kubernetes.releases import releases
from bundler.errors import InvalidDocument, NotReadable
from bundler.model.secret import Secret
from bundler.model.site_parser import parse_site
from bundler.plan.plan import make_plan
from bundler.plan.show import as_json
from bundler.plan.stack import stack_of
from bundler.secrets.vault import Vault
from bundler.steps.facts import Facts
from bundler.steps.step import Goal
from bundler.workflows.deployment import Request, bring_given
from tests.goals import asked, goal_of, release

SITE = """\
site: lab
domain: lab.example
hosts:
- {name: n1, address: 10.77.0.11, roles: [site]}
- {name: n2, address: 10.77.0.12, roles: [site]}
- {name: node5, address: 10.77.0.15, roles: [existing-node]}
components:
  kubernetes:
    existing: {kubeconfig: their.kubeconfig, charts: [metallb]}
"""
TOKEN = "eyJhbGciOi-of-somebody"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def config(**changed: Any) -> str:
    """A kubeconfig; keys `cluster_KEY` and `user_KEY` replace its own, None takes them out."""
    cluster = {"server": "https://10.9.9.9:6443", "certificate-authority-data": base64.b64encode(PEM.encode()).decode()}
    user = {"token": TOKEN}
    for name, value in changed.items():
        part = cluster if name.startswith("cluster_") else user
        key = name.partition("_")[2].replace("_", "-")
        part.pop(key, None)
        part.update({key: value} if value is not None else {})
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
        }
    )


def site_of(text: str) -> Any:
    return parse_site(text, file="site.yaml", components=settings_parsers())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), settings_parsers())


def goal_with(goal: Goal, text: str = SITE, kubeconfig: str | None = None) -> Goal:
    provides = {"kubernetes": "1.36.3", "containerd": "2.2.9", "cni-plugins": "1.9.1", "metallb": "0.15.2"}
    names = (*provides, "flannel", "coredns")
    lock = replace(
        goal.lock, asked=tuple(asked(n, provides=((n, provides[n]),) if n in provides else ()) for n in names)
    )
    carried = {each.component for each in lock.asked}
    brought = tuple(part for part in components() if carried.issuperset(part.catalog))
    vault = Vault.empty()
    vault.put(SECRET, Secret(kubeconfig or config()))
    return replace(goal, site=site_of(text), text=text, lock=lock, vault=vault, components=brought, _made={})


# --- site.yaml

WRONG = [
    ("{kubeconfig: k, charts: [flannel]}", "", "that cluster has its network of pods"),
    ("{kubeconfig: k, charts: [cluster-dns]}", "", "that cluster has its names"),
    ("{kubeconfig: k, charts: [metallb, metallb]}", "", "each component once"),
    ("{charts: [metallb]}", "", "no key 'components.kubernetes.existing.kubeconfig'"),
    ("{kubeconfig: k}", "proxy: ipvs", "what only a cluster of our own has at 'components.kubernetes.proxy'"),
    ("{kubeconfig: k}", "prefetch: [a]", "what only a cluster of our own has at 'components.kubernetes.prefetch'"),
]


@pytest.mark.parametrize(("existing", "beside", "said"), WRONG)
def test_what_site_yaml_may_not_say(existing: str, beside: str, said: str) -> None:
    text = SITE.replace("{kubeconfig: their.kubeconfig, charts: [metallb]}", f"{existing}\n    {beside}".rstrip())
    with pytest.raises(InvalidDocument) as caught:
        site_of(text)
    assert said in caught.value.detail
    assert "site.yaml:" in caught.value.detail


def test_a_host_of_somebody_else_has_no_role_of_ours() -> None:
    with pytest.raises(InvalidDocument, match="1 problem") as caught:
        site_of(SITE.replace("[existing-node]", "[existing-node, storage]"))
    assert "existing-node alone" in caught.value.detail


def findings(goal: Goal) -> list[str]:
    return [each.found for each in existing_checks._judge_site(goal, goal.site.hosts, Facts({}))]


def test_what_does_not_fit_together_is_found_with_its_line(plain: Goal) -> None:
    assert findings(goal_with(plain)) == []
    more = "".join(f"{line}\n" for line in ("  flannel: {backend: host-gw}",))
    chart = (replace(asked("flannel"), charts=("one",)),)  # type: ignore[arg-type]
    goal = goal_with(plain, SITE + more)
    goal = replace(goal, lock=replace(goal.lock, asked=(*goal.lock.asked[:-2], *chart)), _made={})
    assert findings(goal) == ["site.yaml:10 sets flannel, which that cluster does not get"]
    ours = goal_with(plain, SITE.replace("roles: [site]}\n- {name: node5", "roles: [worker]}\n- {name: node5"))
    assert findings(ours) == ["site.yaml:9 names a cluster that exists, and n2 would be hosts of one of our own"]
    unknown = goal_with(plain, SITE.replace("[metallb]", "[metallb, haproxy-ingress]"))
    assert findings(unknown) == ["site.yaml:9 wants haproxy-ingress, and the release does not bring it"]
    assert line_of(unknown, "components", "metallb") == ""
    lone = SITE.replace("    existing: {kubeconfig: their.kubeconfig, charts: [metallb]}", "    {}")
    assert findings(goal_with(plain, lone)) == ["node5: the role existing-node without a cluster that exists"]


# --- the kubeconfig

CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"user_token": None}, "a user with nothing to prove who it is"),
    ({"user_token": None, "user_client_certificate": "/root/x.crt"}, "the key 'client-certificate'"),
    ({"user_exec": {"command": "aws"}}, "that program"),
    ({"cluster_certificate_authority": "/etc/ca.crt"}, "kubectl config view --minify --flatten --raw"),
    ({"cluster_server": "http://10.9.9.9"}, "server: https://"),
    ({"cluster_certificate_authority_data": TOKEN}, "certificate-authority-data that is not base64 of PEM"),
]


@pytest.mark.parametrize(("changed", "said"), CONFIGS)
def test_a_kubeconfig_that_would_not_work_elsewhere(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_kubeconfig(config(**changed), file="their.kubeconfig")
    assert said in caught.value.detail
    assert TOKEN not in f"{caught.value!r}{caught.value.detail}{caught.value.summary}"


@pytest.mark.parametrize(
    "text", ["", f"{TOKEN}: [", f"- {TOKEN}", f"a: &{TOKEN} b", config().replace("current-context: it", "x: y")]
)
def test_what_is_no_kubeconfig(text: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_kubeconfig(text, file="their.kubeconfig")
    assert TOKEN not in f"{caught.value!r}{caught.value.detail}"


def test_credentials_of_other_clusters_stay_where_they_are() -> None:
    text = yaml.safe_load(config())
    text["users"].append({"name": "other", "user": {"token": "of another"}})
    with pytest.raises(InvalidDocument, match="1 problem") as caught:
        parse_kubeconfig(yaml.safe_dump(text), file="their.kubeconfig")
    assert "--minify" in caught.value.detail


def test_a_kubeconfig_that_works() -> None:
    found = parse_kubeconfig(config(cluster_insecure_skip_tls_verify=True, cluster_tls_server_name="api"), file="k")
    assert (found.server, found.ca, found.insecure, found.name) == ("https://10.9.9.9:6443", PEM, True, "api")
    assert found.token.reveal() == TOKEN
    assert TOKEN not in repr(found)


def test_it_is_read_once_and_kept_among_the_secrets(plain: Goal, tmp_path: Path) -> None:
    goal = replace(goal_with(plain), vault=Vault.empty(), _made={})
    request = Request(site=tmp_path / "site.yaml")
    with pytest.raises(NotReadable) as caught:
        bring_given(goal, request)
    assert caught.value.exit_code == 12
    assert str(tmp_path / "their.kubeconfig") in caught.value.summary
    file = tmp_path / "their.kubeconfig"
    file.write_text(config())
    bring_given(goal, request)
    file.unlink()
    bring_given(goal, request)
    assert kubeconfig_file(goal).content == Secret(config())
    file.write_text(config(user_token="a new one"))
    bring_given(goal, request)
    assert kubeconfig_file(goal).content == Secret(config(user_token="a new one"))
    assert kubeconfig_file(goal).mode == 0o600
    file.write_text(config(user_token=None))
    with pytest.raises(InvalidDocument):
        bring_given(goal, request)
    assert [each.secret for each in given(goal.site)] == [SECRET]
    assert list(given(site_of(SITE.replace("existing: {kubeconfig: their.kubeconfig, charts: [metallb]}", "{}")))) == []


# --- plans


def bare(goal: Goal) -> Iterator[tuple[str, str, str, str]]:
    """What is planned where nothing is there."""
    stack = stack_of(components()).of([each for each in goal.components if each.name in ("base", "kubernetes")])
    steps = {host.name: [place.step for place in stack if place.step.on(host)] for host in goal.site.hosts}
    facts = Facts(
        {
            host.name: {fact: fact.nothing for step in steps[host.name] for fact in step.asks(goal, host)}
            for host in goal.site.hosts
            if host.name == "node5"
        }
    )
    for each in as_json(make_plan(stack, goal, facts)):
        yield each["step"], each["kind"], each["target"], "\n".join(each["diff"])


def test_a_host_of_that_cluster_gets_where_it_pulls_from_and_nothing_else(plain: Goal) -> None:
    goal = goal_with(plain)
    found = list(bare(goal))
    assert {step for step, *_ in found} == {"kubernetes/redirected"}
    assert {kind for _, kind, *_ in found} == {"write"}
    targets = [target for _, _, target, _ in found]
    assert targets[0] == "/etc/bundle/ca.crt"
    assert len(targets) > 1
    for target, text in [(target, text) for _, _, target, text in found[1:]]:
        assert target.startswith("/etc/containerd/certs.d/")
        for address in ("10.77.0.11", "10.77.0.12"):
            assert f'[host."https://{address}:5000/v2/' in text, "by address: it may not know the site's names"
    checks = [check.name for part in goal.components for check in part.preflight if check.on(goal.site.host("node5"))]
    assert checks == ["kubernetes: hosts that pull"], "how it is made is its owner's business"


def test_no_secret_is_shown(plain: Goal) -> None:
    goal = goal_with(plain)
    ask = before(goal, {})
    assert TOKEN not in repr(ask)
    (write,) = kubeconfig_file(goal).wanted(Facts({"n1": {kubeconfig_file(goal).fact: None}}).of("n1"))
    assert TOKEN not in f"{write!r}{write.diff()}{write.target}"
    assert write.target == KUBECONFIG


def test_only_the_first_site_host_speaks_with_it(plain: Goal) -> None:
    goal = goal_with(plain)
    (helm,) = (step for step in COMPONENT.steps if step.name == "kubernetes/helm")
    assert list(helm.resources(goal, goal.site.host("n2"))) == []
    known = releases(goal).reading("a|x|1|deployed|1|lab\na|y|1|deployed|1|other\na|z|1|deployed||\n")
    facts = Facts({"n1": {releases(goal): known}, "n2": {releases(goal): known}})
    assert [action.target for action in Pruned(goal=goal).wanted(facts.of("n1"))] == ["remove a/x"]
    assert list(Pruned(goal=goal).wanted(facts.of("n2"))) == []
