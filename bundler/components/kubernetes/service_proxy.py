"""kube-proxy: in the version of the release, with the settings of site.yaml, on every host."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.kubeadm import CONFIG, proxy_settings
from bundler.components.kubernetes.pki import NODES
from bundler.components.kubernetes.releases import ADMIN, CLUSTER
from bundler.components.kubernetes.runtime import version_of
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.step import Goal

_MARK = "bundle-kube-proxy"  # a ConfigMap of ours: kubeadm replaces its own objects whole
_HEAD = f'k() {{ kubectl --kubeconfig {ADMIN} --request-timeout=30s -n kube-system "$@"; }}'
# What its pods were last started with, by us.
SETTINGS: Ask[str] = Ask(
    name="kube-proxy's settings",
    after=CLUSTER,
    script=f"{_HEAD}\nk get configmap {_MARK} --ignore-not-found -o 'jsonpath={{.data.settings}}'",
    reading=str.strip,
    bare="",
)


@dataclass(frozen=True, kw_only=True)
class ServiceProxy:
    """kube-proxy. It must not be newer than any API server, and may be newer than a kubelet: so it follows the control
    planes, before the workers. Its rules stay while it starts anew."""

    goal: Goal = field(repr=False)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (SETTINGS,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have, want = facts[SETTINGS], proxy_settings(self.goal)
        if have == want:
            return
        name = f"give kube-proxy {version_of(self.goal, 'kubernetes')} its settings"
        why = "the cluster has another version of it, or other settings" if have else "nothing is known of those it has"
        hosts = sum(host.is_among(NODES) for host in self.goal.site.hosts)
        yield Run(name=name, text=self._text(want, 120 + 30 * hosts), timeout=240 + 30 * hosts, reason=why)

    def _text(self, want: str, limit: int) -> str:
        # Only another program makes other pods by itself. The mark has the settings that pods were started with: what
        # was cut off between the settings and the pods is seen by it.
        return f"""{_HEAD}
settings() {{ k get configmap kube-proxy -o 'jsonpath={{.data}}' | sha256sum | cut -c 1-40; }}
ran=$(k get configmap {_MARK} --ignore-not-found -o 'jsonpath={{.data.ran}}') && ran=${{ran:-$(settings)}} || exit 1
kubeadm init phase addon kube-proxy --config {CONFIG} || exit 1
[ "$(settings)" = "$ran" ] || k rollout restart daemonset/kube-proxy || exit 1
k rollout status daemonset/kube-proxy --timeout={limit}s || {{
  echo "kube-proxy does not start everywhere; where it does not, Services are as they were before." >&2
  k get pods -l k8s-app=kube-proxy -o wide >&2
  exit 1
}}
k create configmap {_MARK} --from-literal=settings={want} --from-literal=ran="$(settings)" --dry-run=client -o yaml |
  k apply -f - >/dev/null
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()
