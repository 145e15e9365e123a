"""Charts of the release in the cluster: applied by helm on one control plane, each by what is in it; objects of theirs
that somebody changed or deleted are as they were again, and what no release brings any more goes."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bundler.components.base.sources import CA
from bundler.components.kubernetes.nodes import NODE
from bundler.components.kubernetes.pki import CONTROL_PLANE, at, control_planes
from bundler.components.kubernetes.runtime import BIN
from bundler.components.kubernetes.settings import API_PORT
from bundler.components.registry.endpoint import repositories_host
from bundler.errors import FactUnknown, NotCarried
from bundler.model.lock import LockedChart
from bundler.model.site import SiteHost
from bundler.model.values import overlay, write_values
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.resources import Resource
from bundler.steps.step import Goal, Step

ADMIN = "/etc/kubernetes/admin.conf"
CLUSTER = f"kubernetes/{CONTROL_PLANE}"
HELM = "kubernetes/helm"
_HOSTS = ("kubernetes/worker", "kubernetes/worker-kept", "kubernetes/images")  # whose pods charts wait for
_CONTENT = "bundle-content"  # the label that says what a release of a chart was made from
_TIMEOUT = 600  # seconds until what a chart brings must be ready
_SHOWN = 4  # changed objects that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """Helm's newest record of a release: `status` in its words, `content` what it was made from."""

    status: str
    content: str


def _deployed(said: str) -> Mapping[str, Deployed]:
    found: dict[str, tuple[int, Deployed]] = {}  # the newest by its number
    for line in said.splitlines():
        namespace, name, version, status, content = line.split("|")
        place = f"{namespace}/{name}"
        if place not in found or int(version) > found[place][0]:
            found[place] = (int(version), Deployed(status=status, content=content))
    return {place: deployed for place, (_, deployed) in found.items()}


_FIELDS = ("namespace", "labels.name", "labels.version", "labels.status", f"labels.{_CONTENT}")
_LINE = "|".join(f"{{.metadata.{name}}}" for name in _FIELDS)
# By NAMESPACE/NAME, from helm's own records.
RELEASES: Ask[Mapping[str, Deployed]] = Ask(
    name="charts in the cluster",
    after=CLUSTER,
    script=f"""n=0
until said=$(kubectl --kubeconfig {ADMIN} --request-timeout=15s get secrets -A -l owner=helm \\
  -o jsonpath='{{range .items[*]}}{_LINE}{{"\\n"}}{{end}}')
do n=$((n+1)); [ $n -lt 4 ] || exit 1; sleep 2; done  # an API server that is busy, or just comes
printf '%s\\n' "$said" | grep . || :""",
    reading=_deployed,
    bare={},
)


# Of each release of ours the objects that are not as its chart has them: what the server would make of applying them
# once more, tried and not done, so that defaults and what a chart leaves to others are no difference. Under `LIVE` and
# `MERGED` kubectl lays each by its name. Where the server cannot try it (a webhook that is down) nothing is said.
_COMPARE = f"""set -- $(kubectl --kubeconfig {ADMIN} --request-timeout=15s get secrets -A \\
  -l owner=helm,status=deployed,{_CONTENT} \\
  -o jsonpath='{{range .items[*]}}{{.metadata.namespace}}/{{.metadata.labels.name}} {{end}}') || exit 1
umask 077; mkdir -p /run/bundle && d=$(mktemp -d /run/bundle/compare.XXXXXX) || exit 1
trap 'rm -rf "$d"' EXIT
export HELM_CACHE_HOME="$d" HELM_CONFIG_HOME="$d" HELM_DATA_HOME="$d" TMPDIR="$d" KUBECTL_EXTERNAL_DIFF='diff -rqN'
compare() {{
  cp {ADMIN} "$d/$2.config" && export KUBECONFIG="$d/$2.config" || return
  kubectl config set-context --current --namespace="$1" >/dev/null || return
  helm get manifest "$2" -n "$1" > "$d/$2.yaml" || return
  kubectl diff --server-side --force-conflicts --field-manager=helm -f "$d/$2.yaml" > "$d/$2.said" 2> "$d/$2.errors"
  sed -n "s#^Files .*/\\([^/ ]*\\) and .* differ\\$#$1/$2 \\1#p" "$d/$2.said"
  if grep -qE 'no matches for kind|namespaces .* not found' "$d/$2.errors"; then echo "$1/$2 what others need"; fi
}}
for r; do compare "${{r%/*}}" "${{r#*/}}" & done; wait"""


def _drifted(said: str) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in said.splitlines():
        place, _, name = line.partition(" ")
        found[place] = (*found.get(place, ()), name)
    return found


def drift(goal: Goal, host: SiteHost) -> Ask[Mapping[str, tuple[str, ...]]]:
    """By NAMESPACE/NAME, the objects that differ. Asked of the first control plane whose API answers, and not again."""
    before = control_planes(goal)[: control_planes(goal).index(host)]
    elsewhere = "".join(
        f"if curl -sfk -m 2 -o /dev/null https://{at(each.address, API_PORT)}/livez; then exit 0; fi\n"
        for each in before
    )
    return Ask(
        name="objects of charts",
        after=CLUSTER,
        script=f"{elsewhere}[ -x {BIN}/helm ] || exit 0\n{_COMPARE}",
        reading=_drifted,
        bare={},
    )


def speaks(goal: Goal, facts: HostFacts) -> bool:
    """Whether a host is the control plane that charts are applied on: the first that was asked and has the cluster,
    where none has it the first that was asked."""
    asked = [host.name for host in control_planes(goal) if host.name in facts.all.hosts]
    having = [name for name in asked if _has_cluster(facts, name)]
    return facts.host == next(iter((*having, *asked)), facts.host)


def _has_cluster(facts: HostFacts, name: str) -> bool:
    try:
        return facts.all.of(name)[NODE].joined
    except FactUnknown:
        return False


@dataclass(frozen=True, kw_only=True)
class Release:
    """A chart of the release under a name in a namespace, with these values, as JSON."""

    goal: Goal = field(repr=False, compare=False)
    host: SiteHost
    chart: LockedChart
    name: str
    namespace: str
    values: str

    @property
    def content(self) -> str:
        """Of the chart and its values; as long as a label may be."""
        return hashlib.sha256(f"{self.chart.digest}\n{self.values}".encode()).hexdigest()[:40]

    @property
    def place(self) -> str:
        return f"{self.namespace}/{self.name}"

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE, RELEASES, drift(self.goal, self.host))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if not speaks(self.goal, facts):
            return
        have = facts[RELEASES].get(self.place)
        changed = facts[drift(self.goal, self.host)].get(self.place, ())
        why = "it is not there"
        if have is not None:
            if have.status != "deployed":
                why = f"its last change is {have.status}"
            elif have.content != self.content:
                why = "its chart or values differ"
            elif changed:
                why = f"somebody changed what it has in the cluster: {_some(changed)}"
            else:
                return
        yield Run(
            name=f"apply chart {self.chart.chart} {self.chart.version} as {self.place}",
            text=self._apply() + (self._mend() if changed else ""),
            stdin=self.values.encode(),
            timeout=_TIMEOUT + 120,
            reason=why,
        )

    def _apply(self) -> str:
        digest, name, namespace = self.chart.digest.hex, shlex.quote(self.name), shlex.quote(self.namespace)
        url = shlex.quote(f"https://{repositories_host(self.goal.site)}/charts/files/{digest}/{self.chart.name}")
        # A helm that was killed leaves a record of what it had in hand, and every later one waits for that.
        return f"""{_environment()}
cat > "$d/values.json"
curl -fsS --retry 3 --cacert {CA} --noproxy '*' -o "$d/chart.tgz" {url} || exit 1
[ "$(sha256sum < "$d/chart.tgz")" = "{digest}  -" ] || {{ echo {url} is another chart >&2; exit 1; }}
kubectl delete secrets -n {namespace} --ignore-not-found \\
  -l "owner=helm,name="{name}",status in (pending-install,pending-upgrade,pending-rollback)" || exit 1
apply() {{
  helm upgrade --install {name} "$d/chart.tgz" -n {namespace} --create-namespace -f "$d/values.json" \\
    --labels {_CONTENT}={self.content} --history-max 5 --wait --timeout {_TIMEOUT}s >/dev/null
}}
began=$(date +%s)
apply || {{
  # What it cannot wait for is an API server that is busy, or just comes.
  [ $(($(date +%s) - began)) -lt 60 ] || exit 1
  sleep 10; apply
}} || exit 1
"""

    def _mend(self) -> str:
        """Helm itself puts right what it knows the kinds of, and objects that are gone: of others only charts count."""
        return f"""cp {ADMIN} "$d/admin.conf"; export KUBECONFIG="$d/admin.conf"
kubectl config set-context --current --namespace={shlex.quote(self.namespace)} >/dev/null || exit 1
helm get manifest {shlex.quote(self.name)} -n {shlex.quote(self.namespace)} |
  kubectl apply --server-side --force-conflicts --field-manager=helm -f - >/dev/null
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if speaks(self.goal, facts) and self.place in facts[RELEASES]:
            yield _removal(self.place, "its component goes")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if not speaks(self.goal, facts):
            return
        if have := facts[RELEASES].get(self.place):
            yield f"{self.chart.chart} {self.chart.version if have.content == self.content else 'of other content'}"


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What an earlier release brought and this one does not goes from the cluster. Definitions of kinds that a chart
    keeps in its folder `crds` stay, as helm has it, and with them all objects of these kinds."""

    goal: Goal = field(repr=False, compare=False)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE, RELEASES)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if not speaks(self.goal, facts):
            return
        known = {f"{chart.namespace}/{chart.release}" for asked in self.goal.lock.asked for chart in asked.charts}
        for place, have in sorted(facts[RELEASES].items()):
            if have.content and place not in known:  # of ours: others have no such label
                yield _removal(place, "the release does not have it any more")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


def pruned(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (Pruned(goal=goal),) if goal.asked("helm") else ()


def _removal(place: str, reason: str) -> Run:
    namespace, _, name = place.partition("/")
    uninstall = f"helm uninstall {shlex.quote(name)} -n {shlex.quote(namespace)} --wait --timeout {_TIMEOUT}s"
    text = f"{_environment()}\n{uninstall}\n"
    return Run(name=f"remove {place}", text=text, timeout=_TIMEOUT + 60, reason=reason)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _environment() -> str:
    """sh text for what helm needs: a folder of its own, and nothing of root's."""
    return f"""umask 077; mkdir -p /run/bundle && d=$(mktemp -d /run/bundle/chart.XXXXXX) || exit 1
trap 'rm -rf "$d"' EXIT
export KUBECONFIG={ADMIN} HELM_CACHE_HOME="$d/cache" HELM_CONFIG_HOME="$d/config" HELM_DATA_HOME="$d/data\""""


def _no_values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    return {}


def chart_step(
    name: str,
    *,
    catalog: str = "",
    values: Callable[[Goal], Mapping[str, Mapping[str, Any]]] = _no_values,
    needs: Sequence[str] = (),
    last: Sequence[str] = (),
) -> Step:
    """The step that applies the charts of a component of the catalog, which has the step's name where `catalog` is not
    given, on one control plane: those of `last` in the end, in this order. `values` are the site's own, by the
    name of the chart's release, laid over those that the closure was proved with."""
    component = catalog or name

    def resources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
        made = goal.once(f"charts of {component}", lambda: tuple(_releases(goal, component, values(goal))))
        here = (replace(each, host=host) for each in made)
        return sorted(here, key=lambda each: last.index(each.name) if each.name in last else -1)

    return Step(name=name, resources=resources, roles=(CONTROL_PLANE,), after=(HELM,), needs=(*needs, *_HOSTS))


def _releases(goal: Goal, component: str, own: Mapping[str, Mapping[str, Any]]) -> Iterator[Release]:
    asked = goal.asked(component)
    locked = {(chart.chart, chart.version): chart for chart in goal.lock.charts}
    for each in asked.charts if asked else ():
        chart = locked.get((each.chart, each.version))
        if chart is None:
            raise NotCarried(component=component, missing=(f"chart {each.chart} {each.version}",))
        values = overlay(each.values, write_values(own.get(each.release, {})))
        host = control_planes(goal)[0]
        yield Release(goal=goal, host=host, chart=chart, name=each.release, namespace=each.namespace, values=values)
