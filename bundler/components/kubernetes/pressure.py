"""Disks of the cluster's hosts that fill up: what takes the room, before the kubelet throws pods out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bundler.components.kubernetes.kubeadm import EVICTED_BELOW
from bundler.components.kubernetes.pki import NODES
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Check, Goal

_GIB = 1 << 30
_EARLY = 2 * EVICTED_BELOW * _GIB  # bytes: people have time from here on
_SHOWN = 3
# Where room goes that Kubernetes knows of: images and containers, what pods keep on the host, and what they say.
_PLACES = ("/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods", "/var/log", "/var/lib/etcd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """Bytes that are `free` where the runtime and the kubelet keep their things, the less of both; and of a disk that
    is nearly full the bytes `taken` by each folder that could be counted in time."""

    free: int
    taken: Mapping[str, int] = field(default_factory=dict)


def _read(said: str) -> Filling:
    free, *lines = said.splitlines()
    taken = {path: int(size) << 10 for size, path in (line.split(None, 1) for line in lines)}
    return Filling(free=int(free), taken=taken)


DISK: Ask[Filling] = Ask(
    name="the room for images and pods",
    script=f"""d='/var/lib/containerd /var/lib/kubelet'
free=$(df -B1 --output=avail $d 2>/dev/null | sort -n | grep -m 1 '[0-9]')
echo "${{free:-{1 << 62}}}"
[ "${{free:-{1 << 62}}}" -ge {_EARLY} ] || for d in {" ".join(_PLACES)}; do
  [ ! -d "$d" ] || timeout 10 nice du -skx "$d" 2>/dev/null
done
:""",
    reading=_read,
    bare=Filling(free=1 << 62),
)


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    have = facts[DISK]
    if have.free >= _EARLY:
        return
    most = sorted(have.taken.items(), key=lambda each: -each[1])[:_SHOWN]
    said = ", ".join(f"{path} has {size / _GIB:.1f} GiB" for path, size in most) or "what takes it was not counted"
    below = have.free < EVICTED_BELOW * _GIB
    what = "pods are evicted" if below else f"below {EVICTED_BELOW} GiB pods are evicted"
    fix = "Unused images go by themselves; make room of the rest, or give the host a larger disk."
    yield Note(f"{have.free / _GIB:.1f} GiB are free, and {what}: {said}", fix, warning=not below)


CHECK: Check = replace(per_host("kubernetes: disks", lambda goal, host: (DISK,), _judge, every=60), roles=NODES)
