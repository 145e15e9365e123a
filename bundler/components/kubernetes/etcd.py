"""etcd's own programs on the control planes, out of its image, and how the member of a host is asked."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.pki import FOLDER as PKI
from bundler.components.kubernetes.runtime import BIN, PULL, version_of
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
_MOUNT, _BEGAN = "/run/bundle/etcd-image", "/run/bundle/etcd-began.log"


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


def _mounting(goal: Goal) -> str:
    """sh text: what etcd's image has is at _MOUNT, until the script ends."""
    name = image(goal)
    return f"""c() {{ ctr -n k8s.io "$@"; }}
away() {{ c images unmount --rm {_MOUNT} >/dev/null 2>&1; c snapshots rm {_MOUNT} >/dev/null 2>&1; }}
trap away EXIT
mkdir -p {_MOUNT} && away
[ -n "$(c images ls -q name=={name} 2>/dev/null)" ] || \\
  {PULL} {name} >/dev/null || exit 1
c images mount {name} {_MOUNT} >/dev/null || exit 1
"""


def beginning(goal: Goal, host: SiteHost) -> str:
    """sh text: the first member's data, before kubeadm runs it. Every member is told that its cluster exists already,
    and stops where its data is lost, instead of beginning an empty cluster that hosts would take for theirs."""
    peer, here = f"https://{host.address}:{PEER_PORT}", "http://127.0.0.1"
    return f"""if ! ls {DATA}/member/wal/*.wal >/dev/null 2>&1; then
  mkdir -p {DATA} && chmod 700 {DATA} && rm -rf {DATA}/member || exit 1
  (
    {_mounting(goal)}
    {_MOUNT}/usr/local/bin/etcd --name {host.name} --data-dir {DATA} --initial-cluster {host.name}={peer} \\
      --initial-advertise-peer-urls {peer} --listen-peer-urls {here}:{PEER_PORT} \\
      --advertise-client-urls {here}:{CLIENT_PORT} --listen-client-urls {here}:{CLIENT_PORT} \\
      >{_BEGAN} 2>&1 &
    n=0; until curl -sf -m 5 {here}:{CLIENT_PORT}/health | grep -q true
    do
      n=$((n+1)); kill -0 $! && [ $n -lt 120 ] || {{ tail -n 5 {_BEGAN} >&2; kill -9 $!; exit 1; }}; sleep 0.5
    done
    kill $! && wait $!; :
  ) || {{ echo "etcd does not begin" >&2; exit 1; }}
  rm -f {_BEGAN}
fi
"""


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
        return f"""{_mounting(self.goal)}for p in {" ".join(reversed(_PROGRAMS))}; do
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
