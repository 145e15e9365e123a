"""Charts of the release in the cluster: applied by helm on the first control plane, each by what is in it."""

import hashlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bundler.components.base.sources import CA
from bundler.components.kubernetes.pki import CONTROL_PLANE, control_planes
from bundler.components.registry.endpoint import repositories_host
from bundler.errors import NotCarried
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
    script=f"""kubectl --kubeconfig {ADMIN} --request-timeout=20s get secrets -A -l owner=helm \\
  -o jsonpath='{{range .items[*]}}{_LINE}{{"\\n"}}{{end}}'""",
    reading=_deployed,
    bare={},
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A chart of the release under a name in a namespace, with these values, as JSON."""

    goal: Goal = field(repr=False, compare=False)
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
        return (RELEASES,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[RELEASES].get(self.place)
        if have == Deployed(status="deployed", content=self.content):
            return
        why = "it is not there"
        if have is not None:
            why = f"its last change is {have.status}" if have.status != "deployed" else "its chart or values differ"
        yield Run(
            name=f"apply chart {self.chart.chart} {self.chart.version} as {self.place}",
            text=self._apply(),
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
helm upgrade --install {name} "$d/chart.tgz" -n {namespace} --create-namespace -f "$d/values.json" \\
  --labels {_CONTENT}={self.content} --history-max 5 --wait --timeout {_TIMEOUT}s >/dev/null
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if self.place in facts[RELEASES]:
            uninstall = f"helm uninstall {shlex.quote(self.name)} -n {shlex.quote(self.namespace)} --wait"
            text = f"{_environment()}\n{uninstall} --timeout {_TIMEOUT}s\n"
            yield Run(name=f"remove {self.place}", text=text, timeout=_TIMEOUT + 60, reason="its component goes")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if have := facts[RELEASES].get(self.place):
            yield f"{self.chart.chart} {self.chart.version if have.content == self.content else 'of other content'}"


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
    given, on the first control plane: those of `last` in the end, in this order. `values` are the site's own, by the
    name of the chart's release, laid over those that the closure was proved with."""
    component = catalog or name

    def resources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
        if host != control_planes(goal)[0]:
            return ()
        made = goal.once(f"charts of {component}", lambda: tuple(_releases(goal, component, values(goal))))
        return sorted(made, key=lambda each: last.index(each.name) if each.name in last else -1)

    return Step(name=name, resources=resources, roles=(CONTROL_PLANE,), after=(HELM,), needs=(*needs, *_HOSTS))


def _releases(goal: Goal, component: str, own: Mapping[str, Mapping[str, Any]]) -> Iterator[Release]:
    asked = goal.asked(component)
    locked = {(chart.chart, chart.version): chart for chart in goal.lock.charts}
    for each in asked.charts if asked else ():
        chart = locked.get((each.chart, each.version))
        if chart is None:
            raise NotCarried(component=component, missing=(f"chart {each.chart} {each.version}",))
        values = overlay(each.values, write_values(own.get(each.release, {})))
        yield Release(goal=goal, chart=chart, name=each.release, namespace=each.namespace, values=values)
