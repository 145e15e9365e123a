"""Before the first change: what keeps a cluster that is there already from being used; and how it is, later."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from bundler.components.kubernetes.existing import appliers, existing, gets_charts, line_of, parsed, registry_urls
from bundler.components.kubernetes.existing_view import View, before, now
from bundler.components.kubernetes.kubeadm import minor_of
from bundler.components.kubernetes.pki import NODES
from bundler.components.kubernetes.releases import is_ours
from bundler.components.kubernetes.runtime import version_of
from bundler.components.machine.asking import Said, lines
from bundler.errors import Malformed
from bundler.model.asked import AskedChart
from bundler.model.chart_versions import Range, Version
from bundler.model.site import GUEST_ROLE, SITE_ROLE, SiteHost
from bundler.secrets.certificates import certificate_facts
from bundler.steps.facts import Ask, Facts, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Check, Component, Finding, Goal

Wrong = tuple[str, str, bool]  # what is found, its fix, and whether it is only a warning
_SOON = timedelta(days=30)
_SHOWN = 5
_BY_HAND = "docs/kubernetes.md says what to write there by hand."
_PULLING = ("ImagePullBackOff", "ErrImagePull")


# --- what site.yaml says


def _judge_site(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    chosen = existing(goal)
    guests = goal.site.with_role(GUEST_ROLE)
    if chosen is None:
        if guests:
            found = f"{_some([host.name for host in guests])}: the role {GUEST_ROLE} without a cluster that exists"
            yield _finding(found, "Say which: `components: {kubernetes: {existing: {kubeconfig: PATH}}}`.")
        return
    at = line_of(goal, "components", "kubernetes", "existing")
    if ours := [host.name for host in goal.site.hosts if host.is_among(NODES)]:
        fix = f"Give them the role {GUEST_ROLE}, if they are hosts of that cluster; or leave `existing` out."
        yield _finding(f"{at} names a cluster that exists, and {_some(ours)} would be hosts of one of our own", fix)
    for component in goal.components:
        has_charts = any(asked.charts for name in component.catalog if (asked := goal.asked(name)))
        where = line_of(goal, "components", component.name)
        if has_charts and where and not gets_charts(goal, component.name):
            fix = f"Add it to components.kubernetes.existing.charts ({at}), or take its settings out."
            yield _finding(f"{where} sets {component.name}, which that cluster does not get", fix)
    for name in chosen.charts:
        if not any(component.name == name for component in goal.components):
            where = line_of(goal, "components", "kubernetes", "existing", "charts")
            fix = "Take it out, or carry a release that has it (`bundle inspect`)."
            yield _finding(f"{where} wants {name}, and the release does not bring it", fix)


def _finding(found: str, fix: str, *, warning: bool = False) -> Finding:
    return Finding(host="", check=_SITE, found=found, fix=fix, warning=warning)


# --- what the cluster says


def _claims(goal: Goal) -> Mapping[str, str]:
    """The paths of kinds that the charts claim objects of, by names for the answers."""
    paths = dict.fromkeys(path for component in _chosen(goal) for path, _ in component.claims)
    return {f"claims {path}": path for path in paths}


def _chosen(goal: Goal) -> list[Component]:
    return [each for each in goal.components if existing(goal) and each.claims and gets_charts(goal, each.name)]


def _judge(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for host in hosts:
        if host not in appliers(goal) or existing(goal) is None:
            continue
        view = facts.of(host.name)[before(goal, _claims(goal))]
        for found, fix, warning in _wrong(goal, host, view):
            yield Finding(host=host.name, check=_CLUSTER, found=found, fix=fix, warning=warning)


def _wrong(goal: Goal, host: SiteHost, view: View) -> Iterator[Wrong]:
    yield from _reached(goal, host, view)
    if view.error or view.refused or not view.version:
        return
    yield from _rights(view)
    yield from _versions(goal, view)
    yield from _nodes(goal, view)
    yield from _taken(goal, view)


def _reached(goal: Goal, host: SiteHost, view: View) -> Iterator[Wrong]:
    server = parsed(goal).server
    if view.error:
        fix = f"See that {host.name} reaches it, and that the kubeconfig has its authority; then `kubectl get nodes`."
        yield f"{server} cannot be asked: {view.error}", fix, False
    elif view.refused:
        fix = f"Write another one to {_path(goal)}: `kubectl --kubeconfig … get nodes` must work with it."
        yield f"{server} does not take who the kubeconfig says we are", fix, False
    elif not view.version:
        yield f"{server} does not say its version", "See that it is the API server of a Kubernetes.", False
    if parsed(goal).insecure:
        fix = "Put the cluster's authority into the kubeconfig in place of `insecure-skip-tls-verify`."
        yield f"whoever answers at {server} is taken for it, and is told who we are", fix, True
    for name, pem in (("the kubeconfig's certificate", parsed(goal).certificate), ("its own", view.certificate)):
        known = certificate_facts(pem)
        if known is not None and known.not_after < goal.now + _SOON:
            over = known.not_after < goal.now
            what = f"{server}: {name} {'ended' if over else 'ends'} {known.not_after:%Y-%m-%d}"
            yield what, "Renew it by the means of that cluster.", not over


def _path(goal: Goal) -> str:
    chosen = existing(goal)
    return chosen.kubeconfig if chosen else ""


def _rights(view: View) -> Iterator[Wrong]:
    lacks = view.lacks()
    if lacks:
        fix = "Bind its user to `cluster-admin`, or to a role with these rights in all namespaces."
        yield f"the kubeconfig's user may not {_some(lacks, 12)}", fix, False


def _versions(goal: Goal, view: View) -> Iterator[Wrong]:
    have = view.version
    ours = version_of(goal, "kubernetes")
    if abs(minor_of(ours) - minor_of(have)) > 1:
        fix = f"A release whose Kubernetes is within one minor version of {have} is what Kubernetes supports."
        yield f"the cluster is {have}, and the release's kubectl {ours}", fix, True
    locked = {(chart.chart, chart.version): chart for chart in goal.lock.charts}
    for chart in _charts(goal):
        known = locked.get((chart.chart, chart.version))
        wanted = str(json.loads(known.metadata).get("kubeVersion", "")) if known else ""
        if wanted and not _admits(wanted, have):
            fix = "Take it out of components.kubernetes.existing.charts, or carry a version of it for that cluster."
            yield (
                f"the chart {chart.chart} {chart.version} is for Kubernetes {wanted}, and the cluster is {have}",
                fix,
                False,
            )


def _charts(goal: Goal) -> Iterator[AskedChart]:
    for component in goal.components:
        if existing(goal) and gets_charts(goal, component.name):
            yield from _of(goal, component)


def _of(goal: Goal, component: Component) -> Iterator[AskedChart]:
    for name in component.catalog[1:]:
        asked = goal.asked(name)
        yield from asked.charts if asked else ()


def _admits(wanted: str, have: str) -> bool:
    """As helm has it: without what a vendor adds (1.32.5+rke2r1, 1.30.2-gke.1)."""
    try:
        return Range.parse(wanted).admits(Version.parse(re.split(r"[-+]", have)[0]))
    except Malformed:
        return True


def _nodes(goal: Goal, view: View) -> Iterator[Wrong]:
    if not view.nodes:
        yield "the cluster has no node", "Let hosts join it first.", True
    if lost := [node.name for node in view.nodes if node.status.split(",")[0] != "Ready"]:
        fix = "`kubectl describe node` says why; charts wait for pods that are to run there."
        yield f"not ready: {_some(lost)}", fix, len(lost) < len(view.nodes)
    if others := [node.name for node in view.nodes if not node.runtime.startswith("containerd://")]:
        fix = f"The site has no way to lead their pulls to its registry: {_BY_HAND}"
        yield f"another runtime than containerd: {_some(others)}", fix, True
    guests = {name for host in goal.site.with_role(GUEST_ROLE) for name in (host.name, str(host.address))}
    unseen = [node.name for node in view.nodes if not {node.name, node.name.split(".")[0], node.address} & guests]
    if unseen:
        fix = f"Name them in site.yaml with the role {GUEST_ROLE}; or, where the site has no login, {_BY_HAND}"
        yield f"nothing of ours leads their pulls to the site's registry: {_some(unseen)}", fix, True


def _taken(goal: Goal, view: View) -> Iterator[Wrong]:
    """Names that charts want, and somebody has."""
    fix = "Take its component out of components.kubernetes.existing.charts, or what is there away."
    ours = {place for place, have in view.releases.items() if is_ours(goal, have)}
    for chart in _charts(goal):
        place = f"{chart.namespace}/{chart.release}"
        have = view.releases.get(place)
        if have is not None and place not in ours:
            whose = f"of the site {have.site}" if have.site else "of somebody else"
            yield f"helm has a release {place} {whose}", fix, False
    for component in _chosen(goal):
        own = {f"{each.namespace}/{each.release}" for each in _of(goal, component)} & ours
        for path, pattern in component.claims:
            names = [meta for meta in view.objects(f"claims {path}") if re.fullmatch(pattern, meta["name"])]
            others = [meta["name"] for meta in names if not _is_own(meta, own)]
            if others:
                kind = path.rpartition("/")[2]
                yield f"{component.name} would be a second one: somebody else has {kind} {_some(others)}", fix, False


def _is_own(meta: Mapping[str, object], own: set[str]) -> bool:
    """By helm's own mark; definitions that a chart keeps in its folder `crds` have none."""
    marks = meta.get("annotations") or {}
    if not isinstance(marks, dict) or "meta.helm.sh/release-name" not in marks:
        return bool(own)
    return f"{marks.get('meta.helm.sh/release-namespace')}/{marks['meta.helm.sh/release-name']}" in own


# --- hosts of that cluster which we may log in to

# Where the runtime looks for where to pull from, by its own word; and which one it is.
RUNTIME = lines(
    "its container runtime",
    """if [ -d /var/lib/rancher ]; then echo "rancher yes"; fi
if command -v containerd >/dev/null; then
  containerd config dump 2>/dev/null | sed -n "s/^ *config_path *= *[\\"']\\(.*\\)[\\"'] *$/path \\1/p"
  echo "containerd yes"
fi""",
)


def _judge_guest(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    said = facts[RUNTIME]
    if said.one("rancher"):
        yield Note("its containerd is RKE2's or K3s', which writes its settings itself", _BY_HAND)
    elif not said.one("containerd"):
        yield Note("it has no containerd", _BY_HAND)
    elif not any("/etc/containerd/certs.d" in path.split(":") for path in said.all("path")):
        fix = 'Set `config_path = "/etc/containerd/certs.d"` in the table `….registry` of /etc/containerd/config.toml, '
        yield Note("its containerd does not look into /etc/containerd/certs.d", f"{fix}and restart it.")


def _reach(goal: Goal) -> Ask[Said]:
    """Which of the site's registries do not answer."""
    tries = "".join(f"t {url.removeprefix('https://')} &\n" for url in registry_urls(goal))
    text = f"""t() {{ timeout 3 bash -c ": </dev/tcp/${{1%:*}}/${{1##*:}}" 2>/dev/null || echo "unreached $1"; }}
{tries}wait"""
    return lines("the site's registries", text)


def _judge_reach(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    for place in facts[_reach(goal)].all("unreached"):
        yield Note(f"it does not reach the site's registry at {place}", "Let it through: its pods pull from there.")


# --- how it is


def _judge_now(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    for host in hosts:
        if host not in appliers(goal) or existing(goal) is None:
            continue
        view = facts.of(host.name)[now(goal)]
        found = [*_reached(goal, host, view), *(() if view.error else (*_lost(view), *_pulls(goal, view)))]
        for what, fix, warning in found:
            yield Finding(host=host.name, check=_HEALTH, found=what, fix=fix, warning=warning)


def _lost(view: View) -> Iterator[Wrong]:
    for node in view.nodes:
        if node.status.split(",")[0] != "Ready":
            yield f"the cluster has {node.name} as not ready", f"`kubectl describe node {node.name}` says why.", False


def _pulls(goal: Goal, view: View) -> Iterator[Wrong]:
    """Pods of ours that wait for their images, by the nodes that do not get them."""
    ours = {chart.namespace for chart in _charts(goal)}
    waiting: dict[str, list[str]] = {}
    for pod in view.pods:
        if pod.namespace in ours and pod.status.removeprefix("Init:") in _PULLING:
            waiting.setdefault(pod.node, []).append(f"{pod.namespace}/{pod.name}")
    for node, pods in waiting.items():
        yield (
            f"{node} does not get the images of {_some(pods)}",
            f"Lead its pulls to the site's registry. {_BY_HAND}",
            False,
        )


def _some(names: Sequence[str], most: int = _SHOWN) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


_SITE, _CLUSTER, _HEALTH = "kubernetes: an existing cluster", "kubernetes: the cluster", "kubernetes: the cluster now"
CHECKS = (
    Check(name=_SITE, asks=lambda goal, host: (), judge=_judge_site),
    Check(
        name=_CLUSTER,
        asks=lambda goal, host: (before(goal, _claims(goal)),) if existing(goal) and host in appliers(goal) else (),
        judge=_judge,
        roles=(SITE_ROLE,),
    ),
    per_host("kubernetes: hosts that pull", lambda goal, host: (RUNTIME,), _judge_guest, roles=(GUEST_ROLE,)),
)
HEALTH = (
    Check(
        name=_HEALTH,
        asks=lambda goal, host: (now(goal),) if existing(goal) and host in appliers(goal) else (),
        judge=_judge_now,
        roles=(SITE_ROLE,),
        every=15,
    ),
    per_host("kubernetes: hosts that pull now", lambda goal, host: (_reach(goal),), _judge_reach, roles=(GUEST_ROLE,)),
)
