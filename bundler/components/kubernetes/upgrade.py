"""From one version to the next: a control plane by kubeadm, and each host's kubelet while its pods are elsewhere.

One host after the other (the steps are rolling): where a host does not come back as it should, those behind it stay as
they are.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.kubeadm import CONFIG
from bundler.components.kubernetes.nodes import NODE, STATE, Node, ignored
from bundler.components.kubernetes.pki import administering, control_planes
from bundler.components.kubernetes.runtime import version_of
from bundler.components.store.programs import Programs
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Fact, HostFacts
from bundler.steps.step import Goal

_DRAIN, _READY = 600, 300  # seconds
_ADMIN = "/run/bundle/admin.conf"
_HEAD = f"""umask 077; mkdir -p /run/bundle && cat > {_ADMIN} || exit 1
trap 'rm -f {_ADMIN}' EXIT
k() {{ kubectl --kubeconfig {_ADMIN} --request-timeout=30s "$@"; }}
"""


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """A host that is one of the cluster's runs what the release has: its control plane first. Then its pods go, so that
    its `kubelet` can be another one."""

    goal: Goal = field(repr=False)
    host: SiteHost
    kubelet: Programs

    def asks(self) -> tuple[Fact[Any], ...]:
        return (NODE, *self.kubelet.asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[NODE]
        if not have.joined:
            return
        version = version_of(self.goal, "kubernetes")
        if have.serves and have.serves != version:
            text = self._control_plane(version, facts)
            reason = f"it has {have.serves}"
            yield Run(name=f"upgrade the control plane to {version}", text=text, timeout=1200, reason=reason)
        if not have.drained and self.moves(facts):
            stdin = administering(self.goal)
            reason = "its kubelet becomes another one"
            yield Run(name="move its pods away", text=self._drain(), stdin=stdin, timeout=_DRAIN + 60, reason=reason)

    def moves(self, facts: HostFacts) -> bool:
        """Whether pods have to be elsewhere for a while."""
        return facts[NODE].joined and any(self.kubelet.wanted(facts))

    def _control_plane(self, version: str, facts: HostFacts) -> str:
        """The first that is upgraded brings the cluster's own settings to the version, the others follow."""
        others = (host.name for host in control_planes(self.goal) if host != self.host)
        if any(facts.all.of(name)[NODE].serves == version for name in others):
            return f"kubeadm upgrade node {ignored(self.goal, Node())}\n"
        return f"""kubeadm init phase upload-config all --config {CONFIG} || exit 1
kubeadm upgrade apply v{version} --yes --skip-phases=addon/coredns {ignored(self.goal, Node())}
"""

    def _drain(self) -> str:
        name = shlex.quote(self.host.name)
        # What was cordoned by somebody else stays so: only a mark of ours is taken back.
        return f"""{_HEAD}
[ -n "$(k get node {name} -o 'jsonpath={{.spec.unschedulable}}')" ] || : > {STATE}/drained
k drain {name} --ignore-daemonsets --delete-emptydir-data --timeout={_DRAIN}s && exit 0
if [ -f {STATE}/drained ]; then k uncordon {name}; rm -f {STATE}/drained; fi
exit 1
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


@dataclass(frozen=True, kw_only=True)
class Returned:
    """A host whose pods were moved away by us takes pods again, once it is ready with the version that it should
    have."""

    goal: Goal = field(repr=False)
    host: SiteHost
    before: Upgraded

    def asks(self) -> tuple[Fact[Any], ...]:
        return self.before.asks()

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if facts[NODE].drained or self.before.moves(facts):
            text, stdin = self._return(), administering(self.goal)
            reason = "its pods were moved away"
            yield Run(name="let it take pods again", text=text, stdin=stdin, timeout=2 * _READY, reason=reason)

    def _return(self) -> str:
        name, version = shlex.quote(self.host.name), version_of(self.goal, "kubernetes")
        path = '{.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}'
        return f"""{_HEAD}
n=0; until [ "$(k get node {name} -o 'jsonpath={path}')" = "v{version} True" ]
do n=$((n+1)); [ $n -lt {_READY // 2} ] || {{ echo "it is not ready with v{version}" >&2; exit 1; }}; sleep 2; done
[ ! -f {STATE}/drained ] || k uncordon {name} || exit 1
rm -f {STATE}/drained
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()
