"""Hosts of which nothing is heard, and what waits for them.

Pods with a name and volumes that one host has at a time (StatefulSets, ReadWriteOnce) start elsewhere only when their
host has said that they ended, or when people say that it is off. Nothing here says it for them: a host that is silent
may still write.
https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bundler.components.kubernetes.releases import ADMIN, CLUSTER
from bundler.steps.facts import Ask

_OUT = "node.kubernetes.io/out-of-service"
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """`waiting` are pods (NAMESPACE/NAME) that were to leave a silent host, by its name, last those in whose places
    there are others (which may wait for a volume); `out` are hosts that count as switched off."""

    waiting: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    out: frozenset[str] = frozenset()


def _read(said: str) -> Away:
    lines = [line.split() for line in said.splitlines() if line.strip()]
    waiting = {name: _in_order(pods) for what, name, *pods in lines if what == "waiting" and pods}
    return Away(waiting=waiting, out=frozenset(name for what, name, *_ in lines if what == "out"))


def _in_order(pods: Iterable[str]) -> tuple[str, ...]:
    """Of NAMESPACE/NAME=OWNER'S-KIND."""
    known = [pod.partition("=") for pod in pods]
    return tuple(name for name, _, kind in sorted(known, key=lambda each: each[2] == "ReplicaSet"))


_NODE = '{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.spec.taints[*].key}{"\\n"}'
_POD = "{.metadata.namespace}/{.metadata.name}={.metadata.ownerReferences[0].kind} "
AWAY: Ask[Away] = Ask(
    name="pods that wait for silent hosts",
    after=CLUSTER,
    script=f"""k() {{ kubectl --kubeconfig {ADMIN} --request-timeout=10s "$@"; }}
nodes=$(k get nodes -o jsonpath='{{range .items[*]}}{_NODE}{{end}}') || exit 1
printf '%s\\n' "$nodes" | while read -r name ready taints; do
  case " $taints " in *" {_OUT} "*) echo "out $name" ;; esac
  [ "$ready" = Unknown ] || continue
  echo "waiting $name $(k get pods -A --field-selector "spec.nodeName=$name" \\
    -o jsonpath='{{range .items[?(@.metadata.deletionTimestamp)]}}{_POD}{{end}}')"
done""",
    reading=_read,
    bare=Away(),
)


def waiting(away: Away, node: str) -> tuple[str, str]:
    """What waits for this host, as a finding's words; and what helps. Both empty when nothing does."""
    pods = away.waiting.get(node, ())
    if not pods or node in away.out:
        return "", ""
    named = ", ".join(pods[:_SHOWN]) + (f" and {len(pods) - _SHOWN} more" if len(pods) > _SHOWN else "")
    what = "pod waits" if len(pods) == 1 else "pods wait"
    taint = f"`kubectl taint node {node} {_OUT}=nodeshutdown:NoExecute`"
    fix = f"If it is off for certain, its plug pulled: {taint} lets them start elsewhere. Never while it may still run."
    return f"{len(pods)} {what} for it: {named}", fix


def back(away: Away, ready: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Hosts that are back and still count as switched off: name, finding, fix."""
    for name in sorted(away.out):
        if ready.get(name) == "True":
            fix = f"`kubectl taint node {name} {_OUT}-`"
            yield name, f"{name} is back, and pods are kept from it: it still counts as switched off", fix
