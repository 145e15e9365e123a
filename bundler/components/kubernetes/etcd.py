"""etcd's own programs on the control planes, out of its image, and how the member of a host is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.pki import FOLDER as PKI
from bundler.components.kubernetes.runtime import BIN, version_of
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Remove, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.step import Goal

DATA = "/var/lib/etcd"
CLIENT_PORT, PEER_PORT = 2379, 2380
_KEYS = f"--cacert={PKI}/etcd/ca.crt --cert={PKI}/etcd/server.crt --key={PKI}/etcd/server.key"
# sh text: `etcd WORDS…` asks the member of this host.
CLIENT = f"""etcd() {{ {BIN}/etcdctl --endpoints=https://127.0.0.1:{CLIENT_PORT} {_KEYS} --command-timeout=20s "$@"; }}
"""
_PROGRAMS = ("etcdctl", "etcdutl")
_MOUNT = "/run/bundle/etcd-image"


# sh text: `util WORDS…` works on files; before 3.6 images may have no program of its own for that.
UTIL = f"""util() {{ if [ -x {BIN}/etcdutl ]; then {BIN}/etcdutl "$@"; else {BIN}/etcdctl "$@"; fi; }}
"""


def _version(said: str) -> str:
    return said.removeprefix("etcdctl version:").strip()


VERSION: Ask[str] = Ask(
    name="etcd's programs",
    script=f'[ ! -x {BIN}/etcdctl ] || {BIN}/etcdctl version | grep "^etcdctl version"',
    reading=_version,
    bare="",
)


def image(goal: Goal) -> str:
    return f"registry.k8s.io/etcd:{version_of(goal, 'etcd', of='kubernetes')}"


@dataclass(frozen=True, kw_only=True)
class Tools:
    """etcdctl and etcdutl of the release's etcd, which no file of the release is, but its image has."""

    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (VERSION,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        version = version_of(self.goal, "etcd", of="kubernetes").partition("-")[0]
        if facts[VERSION] != version:
            why = f"they are of {facts[VERSION]}" if facts[VERSION] else "they are not there"
            yield Run(name=f"take etcdctl and etcdutl {version} out of etcd's image", text=self._take(), reason=why)

    def _take(self) -> str:
        name = image(self.goal)
        return f"""c() {{ ctr -n k8s.io "$@"; }}
away() {{ c images unmount --rm {_MOUNT} >/dev/null 2>&1; c snapshots rm {_MOUNT} >/dev/null 2>&1; }}
trap away EXIT
mkdir -p {_MOUNT} && away
[ -n "$(c images ls -q name=={name} 2>/dev/null)" ] || \\
  c images pull --hosts-dir /etc/containerd/certs.d {name} >/dev/null || exit 1
c images mount {name} {_MOUNT} >/dev/null || exit 1
for p in {" ".join(reversed(_PROGRAMS))}; do
  [ $p = etcdctl ] || [ -e {_MOUNT}/usr/local/bin/$p ] || continue
  cp -f {_MOUNT}/usr/local/bin/$p {BIN}/.$p.new && sync {BIN}/.$p.new && mv -fT {BIN}/.$p.new {BIN}/$p || exit 1
done
"""

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[VERSION]:
            for name in _PROGRAMS:
                yield Remove(path=f"{BIN}/{name}", reason="it is ours")

    def versions(self, facts: HostFacts) -> Iterator[str]:
        if have := facts[VERSION]:
            yield f"etcdctl {have}"
