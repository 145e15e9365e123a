"""Charts of the release in the cluster: applied by helm on one control plane, each by what is in it; objects of theirs
that somebody changed or deleted are as they were again, and what no release brings any more goes."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bundler.components.base.sources import CA
from bundler.components.kubernetes.existing import appliers, existing, gets_charts
from bundler.components.kubernetes.nodes import NODE
from bundler.components.kubernetes.pki import CONTROL_PLANE
from bundler.components.kubernetes.releases import CONTENT, HELM, RELEASES, SITE, admin, drift, is_ours, releases
from bundler.components.registry.endpoint import repositories_host
from bundler.errors import FactUnknown, NotCarried
from bundler.model.lock import LockedChart
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.model.values import overlay, write_values
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Fact, HostFacts
from bundler.steps.resources import Resource
from bundler.steps.step import Goal, Step

APPLIERS = (CONTROL_PLANE, SITE_ROLE)  # the latter where the cluster is not ours
# By which there are hosts whose pods charts wait for.
_HOSTS = ("kubernetes/worker", "kubernetes/worker-kept", "kubernetes/images", "kubernetes/redirected")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_TIMEOUT = 600  # seconds until what a chart brings must be ready
_SHOWN = 4  # changed objects that are named


def speaks(goal: Goal, facts: HostFacts) -> bool:
    """Whether a host is the control plane that charts are applied on: the first that was asked and has the cluster,
    where none has it the first that was asked; or whoever speaks with the cluster that is there already."""
    asked = [host.name for host in appliers(goal) if host.name in facts.all.hosts]
    having = [name for name in asked if existing(goal) or _has_cluster(facts, name)]
    return facts.host == next(iter((*having, *asked)), facts.host)


def _asks(goal: Goal) -> tuple[Fact[Any], ...]:
    return (releases(goal),) if existing(goal) else (NODE, RELEASES)


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
        return (*_asks(self.goal), drift(self.goal, self.host))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if not speaks(self.goal, facts):
            return
        have = facts[releases(self.goal)].get(self.place)
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
        labels = f"{CONTENT}={self.content}" + (f",{SITE}={self.goal.site.name}" if existing(self.goal) else "")
        return f"""{_environment(admin(self.goal))}
cat > "$d/values.json"
curl -fsS --retry 3 --cacert {CA} --noproxy '*' -o "$d/chart.tgz" {url} || exit 1
[ "$(sha256sum < "$d/chart.tgz")" = "{digest}  -" ] || {{ echo {url} is another chart >&2; exit 1; }}
kubectl delete secrets -n {namespace} --ignore-not-found \\
  -l "owner=helm,name="{name}",status in (pending-install,pending-upgrade,pending-rollback)" || exit 1
apply() {{
  helm upgrade --install {name} "$d/chart.tgz" -n {namespace} --create-namespace -f "$d/values.json" \\
    --labels {labels} --history-max 5 --wait --timeout {_TIMEOUT}s >/dev/null
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
        return f"""cp {admin(self.goal)} "$d/admin.conf"; export KUBECONFIG="$d/admin.conf"
kubectl config set-context --current --namespace={shlex.quote(self.namespace)} >/dev/null || exit 1
helm get manifest {shlex.quote(self.name)} -n {shlex.quote(self.namespace)} |
  kubectl apply --server-side --force-conflicts --field-manager=helm -f - >/dev/null
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if not speaks(self.goal, facts):
            return
        have = facts[releases(self.goal)].get(self.place)
        if have is not None and is_ours(self.goal, have):
            yield _removal(self.goal, self.place, "its component goes")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if not speaks(self.goal, facts):
            return
        if have := facts[releases(self.goal)].get(self.place):
            yield f"{self.chart.chart} {self.chart.version if have.content == self.content else 'of other content'}"


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What an earlier release brought and this one does not goes from the cluster. Definitions of kinds that a chart
    keeps in its folder `crds` stay, as helm has it, and with them all objects of these kinds."""

    goal: Goal = field(repr=False, compare=False)

    def asks(self) -> tuple[Fact[Any], ...]:
        return _asks(self.goal)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if not speaks(self.goal, facts):
            return
        brought = [asked for asked in self.goal.lock.asked if gets_charts(self.goal, asked.component)]
        known = {f"{chart.namespace}/{chart.release}" for asked in brought for chart in asked.charts}
        for place, have in sorted(facts[releases(self.goal)].items()):
            if is_ours(self.goal, have) and place not in known:  # others have no such label
                yield _removal(self.goal, place, self._why)

    @property
    def _why(self) -> str:
        chosen = existing(self.goal) is not None
        return "it is not asked for any more" if chosen else "the release does not have it any more"

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


def pruned(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (Pruned(goal=goal),) if goal.asked("helm") and host in appliers(goal) else ()


def _removal(goal: Goal, place: str, reason: str) -> Run:
    namespace, _, name = place.partition("/")
    uninstall = f"helm uninstall {shlex.quote(name)} -n {shlex.quote(namespace)} --wait --timeout {_TIMEOUT}s"
    text = f"{_environment(admin(goal))}\n{uninstall}\n"
    return Run(name=f"remove {place}", text=text, timeout=_TIMEOUT + 60, reason=reason)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _environment(config: str) -> str:
    """sh text for what helm needs: a folder of its own, and nothing of root's."""
    return f"""umask 077; mkdir -p /run/bundle && d=$(mktemp -d /run/bundle/chart.XXXXXX) || exit 1
trap 'rm -rf "$d"' EXIT
export KUBECONFIG={config} HELM_CACHE_HOME="$d/cache" HELM_CONFIG_HOME="$d/config" HELM_DATA_HOME="$d/data\""""


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
        if host not in appliers(goal) or not gets_charts(goal, name):
            return ()
        made = goal.once(f"charts of {component}", lambda: tuple(_releases(goal, component, values(goal))))
        here = (replace(each, host=host) for each in made)
        return sorted(here, key=lambda each: last.index(each.name) if each.name in last else -1)

    return Step(name=name, resources=resources, roles=APPLIERS, after=(HELM,), needs=(*needs, *_HOSTS))


def _releases(goal: Goal, component: str, own: Mapping[str, Mapping[str, Any]]) -> Iterator[Release]:
    asked = goal.asked(component)
    locked = {(chart.chart, chart.version): chart for chart in goal.lock.charts}
    for each in asked.charts if asked else ():
        chart = locked.get((each.chart, each.version))
        if chart is None:
            raise NotCarried(component=component, missing=(f"chart {each.chart} {each.version}",))
        values = overlay(each.values, write_values(own.get(each.release, {})))
        host = appliers(goal)[0]
        yield Release(goal=goal, host=host, chart=chart, name=each.release, namespace=each.namespace, values=values)
