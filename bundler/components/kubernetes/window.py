"""What a host of the cluster runs is changed while its pods are elsewhere: its container runtime, and its kubelet.

The window: its pods move away where programs change, what it ran is kept, the new takes its place, and once the cluster
has the host as ready with that, pods come back. Where that does not happen in time the host is put back to what it had
and takes pods again; the run ends there, and hosts behind stay as they are. A settings file alone needs no moving: both
programs are started anew below pods that run on.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bundler.components.kubernetes.node_check import KUBELET
from bundler.components.kubernetes.nodes import KEPT, NODE, STATE, Node, ignored, sent_away, welcome
from bundler.components.kubernetes.pki import administering
from bundler.components.kubernetes.runtime import BIN, CNI, RUNTIME_UNIT, version_of
from bundler.components.store.programs import Programs
from bundler.hosts.base import STALE, Script
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, InstallPackages, Run, StartUnit
from bundler.steps.facts import STAMPS, Fact, HostFacts
from bundler.steps.resources import File, Packages, Resource, Service
from bundler.steps.step import Goal

_DRAIN, _READY, _BACK = 600, 300, 180  # seconds: until its pods are elsewhere, until it is ready, until it is so again
_ENDS = 12  # times that a kubelet may end before it counts as one that does not run
_ADMIN = "/run/bundle/admin.conf"
_OWN = "/etc/kubernetes/kubelet.conf"  # by which a host may read itself, and say whether it takes pods
_RUNC = "runc"  # the one of them that some releases have as a package
_PROGRAMS = (*(f"{BIN}/{name}" for name in ("kubelet", "containerd*", "ctr", "runc")), f"{CNI}/*")
_FILES = (
    "/etc/containerd/config.toml",
    f"/etc/systemd/system/{RUNTIME_UNIT}",
    f"/etc/systemd/system/{KUBELET}",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/instance-config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    *(f"/var/lib/bundle/programs/{name}" for name in ("kubelet", "containerd", "cni-plugins", "runc")),
    *(f"{STAMPS}/{unit}" for unit in (RUNTIME_UNIT, KUBELET)),
)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A host's runtime, kubelet, and the kubelet's unit, whose text names the program and the settings it runs with."""

    goal: Goal = field(repr=False)
    host: SiteHost
    runtime: Sequence[Resource]
    kubelet: Programs
    unit: File

    @property
    def resources(self) -> tuple[Resource, ...]:
        return (*self.runtime, self.kubelet, self.unit)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE, *(fact for resource in self.resources for fact in resource.asks()))

    def moves(self, facts: HostFacts) -> bool:
        """Whether what runs pods becomes another, so that they have to be elsewhere for a while."""
        programs = (action for each in self.resources if isinstance(each, Programs) for action in each.wanted(facts))
        packages = (action for each in self.resources if isinstance(each, Packages) for action in each.wanted(facts))
        names = {name for each in packages if isinstance(each, InstallPackages) for name, _ in each.packages}
        return facts[NODE].joined and (any(True for _ in programs) or _RUNC in names)

    def changes(self, facts: HostFacts) -> bool:
        """Whether it will run something else, or does since a run that was cut off. What only has to be started is not
        judged here."""
        if not facts[NODE].joined:
            return False
        actions = (action for each in self.resources for action in each.wanted(facts))
        return facts[NODE].kept or any(not isinstance(action, StartUnit) for action in actions)

    def before(self) -> tuple[Resource, ...]:
        """Up to where the kubelet's unit is written; of a host that is none of the cluster's yet, the kubelet alone."""
        inside = [Inside(resource=resource, window=self) for resource in self.runtime]
        return (Opened(window=self), *inside, Kubelet(window=self), self.unit)

    def after(self) -> tuple[Resource, ...]:
        service = Started(unit=KUBELET, uses=(self.unit,), window=self)
        return (service, Closed(window=self))

    def guarded(self, action: Action, facts: HostFacts) -> Action:
        """The same action, after which, where it fails, the host is what it was before."""
        if not self.changes(facts):
            return action
        if isinstance(action, StartUnit):
            plain = {each.name: getattr(action, each.name) for each in fields(action)}
            return GuardedStart(**plain, back=self.back())
        if isinstance(action, Run):
            text, limit = _guarded(action.text, self.back()), action.timeout + _BACK + 120
            return replace(action, text=text, timeout=limit)
        return action

    def back(self) -> str:
        """sh text: what is kept takes its old place, and the host takes pods again."""
        return f"""{self.functions()}
if [ ! -d {KEPT} ]; then :; else
  echo "{self.host.name} is put back to what it had." >&2
  (cd {KEPT} && find . -type f) | while read -r file; do path=/${{file#./}}
    [ ! {KEPT}/$file -ef $path ] || continue
    cp -al {KEPT}/$file $path.bundle-old 2>/dev/null || cp -a {KEPT}/$file $path.bundle-old
    sync $path.bundle-old; mv -fT $path.bundle-old $path
  done
  systemctl daemon-reload; systemctl restart {RUNTIME_UNIT}; systemctl restart {KUBELET}
  rm -rf {KEPT}
fi
if is_ready "" "" {_BACK}; then takes_pods
else echo "With that it is not ready either, so no pods come back: $why." >&2; fi
echo "Hosts behind it are as they were. \\`journalctl -u kubelet -u containerd\\` on it says more." >&2
"""

    def functions(self) -> str:
        """`is_ready KUBELET RUNTIME SECONDS`: by what its kubelet has told the cluster since it was started last, in
        these versions, or in any; `takes_pods`, unless it was somebody else who took them away."""
        name = shlex.quote(self.host.name)
        ready = (
            '{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}'
        )
        path = f"{{.status.nodeInfo.kubeletVersion}} {{.status.nodeInfo.containerRuntimeVersion}} {ready}"
        return f"""k() {{ kubectl --kubeconfig {_OWN} --request-timeout=10s "$@"; }}
of() {{ systemctl show --value -p $1 {KUBELET}; }}
is_ready() {{
  end=$(($(date +%s) + $3)); wanted="$1 $2"; was=$(of NRestarts)
  while :; do
    why="the cluster does not answer"
    if said=$(k get node {name} -o 'jsonpath={path}' 2>/dev/null); then
      set -- $said; why="the cluster has it with kubelet $1, $2, ready: $3"
      if [ "$wanted" = " " ] || [ "$wanted" = "$1 $2" ]; then
        [ "$3" != True ] || [ "$(date -d "$4" +%s)" -lt "$(date -d "$(of ActiveEnterTimestamp)" +%s)" ] || return 0
      fi
    fi
    [ $(($(of NRestarts) - was)) -lt {_ENDS} ] || {{ why="its kubelet does not stay up"; return 1; }}
    [ $(date +%s) -lt $end ] || return 1
    sleep 2
  done
}}
{self.takes_pods()}"""

    def takes_pods(self) -> str:
        """The function of that name, with kubectl as `k`."""
        name = shlex.quote(self.host.name)
        return f"""takes_pods() {{
  [ -f {STATE}/drained ] || return 0
  k uncordon {name} && {{ {welcome(name)}; }} && rm -f {STATE}/drained
}}"""


def _guarded(text: str, back: str) -> str:
    return f"(\n{text}\n)\nrc=$?\ncase $rc in 0 | {STALE}) exit $rc ;; esac\n{back}exit 1\n"


@dataclass(frozen=True, kw_only=True)
class GuardedStart(StartUnit):
    back: str = field(repr=False)

    def script(self) -> Script:
        plain = super().script()
        return replace(plain, text=_guarded(plain.text, self.back), timeout=plain.timeout + _BACK + 120)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Its pods are elsewhere, where programs change; what it runs is kept."""

    window: Window

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.window.asks()

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[NODE]
        if not have.drained and self.window.moves(facts):
            stdin = administering(self.window.goal)
            reason = "what it runs them with becomes another"
            yield Run(name="move its pods away", text=self._drain(), stdin=stdin, timeout=_DRAIN + 60, reason=reason)
        if not have.kept and self.window.changes(facts):
            reason = "to be put back where the new does not run"
            yield Run(name="keep what it runs now", text=self._keep(), timeout=300, reason=reason)

    def _drain(self) -> str:
        name = shlex.quote(self.window.host.name)
        # What was cordoned by somebody else stays so: only a mark of ours is taken back.
        return f"""umask 077; mkdir -p /run/bundle {STATE} && cat > {_ADMIN} || exit 1
trap 'rm -f {_ADMIN}' EXIT
k() {{ kubectl --kubeconfig {_ADMIN} --request-timeout=30s "$@"; }}
{self.window.takes_pods()}
said=$(k get node {name} -o 'jsonpath={{.spec.unschedulable}}') || exit 1
[ -n "$said" ] || {{ : > {STATE}/drained; sync {STATE}/drained; }}
if [ -f {STATE}/drained ]; then {sent_away(name)}fi
k drain {name} --ignore-daemonsets --delete-emptydir-data --timeout={_DRAIN}s && exit 0
takes_pods
echo "Its pods could not all go elsewhere within {_DRAIN} s, so nothing was changed on it." >&2
exit 1
"""

    def _keep(self) -> str:
        # Programs are never written in place, so a second name of theirs is enough; settings are, by kubeadm.
        return f"""rm -rf {KEPT}.new; mkdir -p {KEPT}.new || exit 1
for path in {" ".join(_PROGRAMS)}; do
  [ ! -f $path ] || cp -al --parents $path {KEPT}.new 2>/dev/null || cp -a --parents $path {KEPT}.new || exit 1
done
for path in {" ".join(_FILES)}; do [ ! -f $path ] || cp -a --parents $path {KEPT}.new || exit 1; done
sync && mv -T {KEPT}.new {KEPT}
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Inside:
    """A resource of a host that is one of the cluster's; before that it is the business of an earlier step."""

    resource: Resource
    window: Window

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.window.asks()

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if facts[NODE].joined:
            for action in self.resource.wanted(facts):
                yield self.window.guarded(action, facts)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Kubelet:
    """The kubelet's program, and where its unit becomes another also its settings: kubeadm brings the cluster's."""

    window: Window

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.window.asks()

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        window = self.window
        for action in window.kubelet.wanted(facts):
            yield window.guarded(action, facts)
        if facts[NODE].joined and any(True for _ in window.unit.wanted(facts)):
            text = f"kubeadm upgrade node --skip-phases=preflight,control-plane,addon {ignored(window.goal, Node())}\n"
            reason = "the cluster has others, or another version"
            settings = Run(name="bring the kubelet's settings", text=text, timeout=300, reason=reason)
            yield window.guarded(settings, facts)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        return self.window.kubelet.unwanted(facts, purge=purge)

    def versions(self, facts: HostFacts) -> Iterator[str]:
        return self.window.kubelet.versions(facts)


@dataclass(frozen=True, kw_only=True)
class Started(Service):
    """The kubelet. In the window its start is guarded."""

    window: Window = field(compare=False)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        for action in super().wanted(facts):
            yield self.window.guarded(action, facts)


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A host that was changed takes pods again, once the cluster has it as ready with what it should have."""

    window: Window

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.window.asks()

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if facts[NODE].drained or self.window.changes(facts):
            limit = _READY + _BACK + 240
            yield Run(name="see that it is ready", text=self._text(), timeout=limit, reason="what it runs was changed")

    def _text(self) -> str:
        goal, host = self.window.goal, self.window.host.name
        kubelet, runtime = f"v{version_of(goal, 'kubernetes')}", f"containerd://{version_of(goal, 'containerd')}"
        return f"""{self.window.functions()}
if is_ready {kubelet} {runtime} {_READY} && takes_pods; then rm -rf {KEPT}; exit 0; fi
echo "{host} is not ready with kubelet {kubelet} and {runtime}: $why." >&2
journalctl -n 8 --no-pager -q -o cat -u {KUBELET} >&2
{self.window.back()}exit 1
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()
