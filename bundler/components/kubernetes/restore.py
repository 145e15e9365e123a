"""etcd back to a snapshot, on all control planes of the cluster at once.

First each has the snapshot, whole; then the control plane stops everywhere; then what etcd had is set aside and the
snapshot takes its place; then the control plane starts. Nothing is stopped before all of them have the snapshot, and
each part goes on where it was cut off. Control planes that are bare are no part of it: they join afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bundler.components.kubernetes.etcd import CLIENT, DATA, PEER_PORT, UTIL, Tools
from bundler.components.kubernetes.nodes import NODE, STATE
from bundler.components.kubernetes.pki import CONTROL_PLANE, NODES, control_planes
from bundler.components.kubernetes.settings import API_PORT
from bundler.components.kubernetes.snapshots import FOLDER, KEPT, SERVICE_UNIT, path_of
from bundler.errors import NotReadable, Usage
from bundler.hosts.base import Answer, Host, Script
from bundler.hosts.transfer import send
from bundler.model.digest import Digest
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, Facts, HostFacts
from bundler.steps.step import Goal, Restorable, Snapshot, Step

FILE, STOP, PLACE = "kubernetes/restore-file", "kubernetes/restore-stop", "kubernetes/restore-data"
START, READY, HOSTS, END = (f"kubernetes/restore-{name}" for name in ("start", "ready", "hosts", "end"))
_MANIFESTS, _STOPPED = "/etc/kubernetes/manifests", f"{STATE}/stopped"
_MARK = f"{DATA}/member/bundle-restore"  # in what a restore made: which one it was
_PODS = ("kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd")
_CHUNK = 4 << 20  # bytes read from a host at once
# Revisions go up by more than were ever written since the snapshot, and all before them count as gone: whoever watches
# looks anew, instead of taking old for new (etcd's documentation, "Restoring with revision bump").
_BUMP = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A restore: when it began, from which host's snapshot."""

    begun: str
    place: str
    name: str
    digest: Digest

    def __str__(self) -> str:
        return f"{self.begun} {self.place} {self.name} {self.digest.hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far a host is. `begun` and `ended` are the restore in hand and the last one; `data` says when the one began
    that made what etcd has; `files` are the snapshots that were brought."""

    begun: Record | None = None
    ended: Record | None = None
    data: str = ""
    stopped: bool = False
    files: frozenset[str] = frozenset()


def _state(said: str) -> State:
    lines = [line.partition(" ")[::2] for line in said.splitlines()]
    first = dict(reversed(lines))
    return State(
        begun=_record(first.get("begun", "")),
        ended=_record(first.get("ended", "")),
        data=first.get("data", ""),
        stopped="stopped" in first,
        files=frozenset(rest for word, rest in lines if word == "file"),
    )


def _record(line: str) -> Record | None:
    if not line:
        return None
    begun, place, name, digest = line.split()
    return Record(begun=begun, place=place, name=name, digest=Digest(digest))


STATE_FACT: Ask[State] = Ask(
    name="its part in restoring etcd",
    script=f"""for w in begun ended; do [ ! -f {STATE}/restore.$w ] || echo "$w $(cat {STATE}/restore.$w)"; done
[ ! -f {_MARK} ] || echo "data $(cat {_MARK})"
[ ! -f {_STOPPED}/etcd.yaml ] || echo stopped
for f in {FOLDER}/restore-*.db; do [ ! -f "$f" ] || {{ f=${{f##*/restore-}}; echo "file ${{f%.db}}"; }}; done""",
    reading=_state,
    bare=State(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A restore to be done, or gone on with, by these members."""

    record: Record
    size: int
    members: tuple[SiteHost, ...]


def work_of(goal: Goal, facts: Facts) -> Work | None:
    """What is to be restored; None when it is so already. Raises Usage."""
    here = [host for host in control_planes(goal) if host.name in facts.hosts]
    members = tuple(host for host in here if facts.of(host.name)[NODE].joined)
    states = [facts.of(host.name)[STATE_FACT] for host in members]
    kept = {host.name: facts.of(host.name)[KEPT] for host in here}
    asked = goal.restoring
    if (record := _in_hand(states)) and asked.snapshot in ("", record.name) and asked.place in ("", record.place):
        size = next((each.size for each in kept.get(record.place, ()) if each.name == record.name), 0)
        return Work(record=record, size=size, members=members)
    if asked.looked:
        return None
    if not members:
        fix = "`bundle apply` makes it, or lets those join that were replaced."
        raise Usage(message="no control plane is one of a cluster: there is nothing to restore into", advice=fix)
    place, snapshot = _choose(kept, asked.place, asked.snapshot)
    last = states[0].ended
    same = last and all(state.ended == last and state.data == last.begun for state in states)
    if last and same and last.digest == snapshot.digest and not asked.again:
        return None
    begun = f"{goal.now:%Y%m%dT%H%M%SZ}"
    record = Record(begun=begun, place=place, name=snapshot.name, digest=snapshot.digest)
    return Work(record=record, size=snapshot.size, members=members)


def _in_hand(states: list[State]) -> Record | None:
    """The restore that has changed something and has not ended."""
    begun = [state.begun for state in states if state.begun and (state.stopped or state.data == state.begun.begun)]
    return max(begun, key=lambda record: record.begun, default=None)


def _choose(kept: dict[str, tuple[Snapshot, ...]], place: str, name: str) -> tuple[str, Snapshot]:
    """The newest, of those that are meant. Raises Usage."""
    found = [
        (host, snapshot)
        for host, snapshots in kept.items()
        for snapshot in snapshots
        if place in ("", host) and name in ("", snapshot.name)
    ]
    if not found:
        what = f"no control plane has a snapshot {place}:{name}" if name else "no control plane has a snapshot of etcd"
        raise Usage(message=what, advice="`bundle restore kubernetes --list` shows those that there are.")
    return max(found, key=lambda each: each[1].name)


# --- what is done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remote:
    """A file of a host, read in pieces (bundler.hosts.base.Stream)."""

    host: Host
    path: str
    size: int

    def chunks(self) -> Iterator[bytes]:
        for offset in range(0, self.size, _CHUNK):
            text = f"tail -c +{offset + 1} -- {self.path} | head -c {_CHUNK}"
            answer = self.host.run(Script(text=text, timeout=120))
            if answer.code != 0 or len(answer.stdout) != min(_CHUNK, self.size - offset):
                raise NotReadable(path=f"{self.path} on {self.host.name}", why=answer.tail(2) or "it is shorter")
            yield answer.stdout


@dataclass(frozen=True, kw_only=True)
class Bring(Action):
    """A snapshot of another host, through this machine; it goes on where it was cut off."""

    kind: ClassVar[str] = "bring"
    source: Host
    name: str
    path: str
    digest: Digest
    size: int

    @property
    def target(self) -> str:
        return f"snapshot {self.name} of {self.source.name}"

    @property
    def precondition(self) -> str:
        return str(self.digest)

    def perform(self, host: Host, epoch: int) -> Answer:
        stream = _Remote(host=self.source, path=path_of(self.name), size=self.size)
        return send(host, stream, self.path, digest=self.digest, mode=0o600, owner="root", epoch=epoch)


@dataclass(frozen=True, kw_only=True)
class _Part:
    goal: Goal = field(repr=False)
    host: SiteHost

    def asks(self) -> tuple[Fact[Any], ...]:
        return (STATE_FACT, NODE, KEPT)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        work = work_of(self.goal, facts.all)
        if work is not None and (self.host in work.members or not self.host.has(CONTROL_PLANE)):
            yield from self.actions(work, facts)

    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        raise NotImplementedError

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


class _File(_Part):
    """The snapshot is there, and there is room for what is made of it."""

    @property
    def _tools(self) -> Tools:
        return Tools(goal=self.goal, host=self.host)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (*super().asks(), *self._tools.asks())

    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        record, state = work.record, facts[STATE_FACT]
        if state.data == record.begun:
            return
        yield from self._tools.wanted(facts)
        path, name = file_of(record), record.name
        if record.digest.hex not in state.files:
            yield Run(name="make room for the snapshot", text=_room(work.size), reason=f"{work.size} bytes come")
            why = "etcd is to have what is in it"
            if self.host.name == record.place:
                text = f"""[ "$(sha256sum < {path_of(name)})" = "{record.digest.hex}  -" ] || {{
  echo "{name} is damaged: take another one (bundle restore kubernetes --list)" >&2; exit 1; }}
ln -f {path_of(name)} {path} && sync {FOLDER}
"""
                yield Run(name=f"check snapshot {name}", text=text, timeout=1800, reason=why)
            else:
                source = self.goal.restoring.hosts[record.place]
                yield Bring(source=source, name=name, path=path, digest=record.digest, size=work.size, reason=why)
        if state.begun != record:
            text = f"umask 077; mkdir -p {STATE} && echo '{record}' > {STATE}/.new && sync {STATE}/.new || exit 1\n"
            text += f"mv -fT {STATE}/.new {STATE}/restore.begun && sync {STATE}\n"
            yield Run(name="note that etcd is being restored", text=text, reason="the next run is to go on with it")


class _Stop(_Part):
    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        if not facts[STATE_FACT].stopped and facts[STATE_FACT].data != work.record.begun:
            yield Run(name="stop the control plane", text=_stop(), timeout=400, reason="etcd is being restored")


class _Data(_Part):
    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        if facts[STATE_FACT].data != work.record.begun:
            why = f"it is to have what {work.record.place} had then"
            name = f"restore etcd from snapshot {work.record.name}"
            yield Run(name=name, text=_restore(work, self.host), timeout=3600, reason=why)


class _Start(_Part):
    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        if facts[STATE_FACT].stopped or facts[STATE_FACT].data != work.record.begun:
            yield Run(name="start the control plane", text=_START, reason="it was stopped")


class _Ready(_Part):
    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        yield Run(name="wait for etcd and the API server", text=_READY, timeout=700, reason="they were restored")


class _Hosts(_Part):
    """A kubelet whose host joined after the snapshot is unknown, and says who it is only when it starts."""

    def asks(self) -> tuple[Fact[Any], ...]:
        return super().asks() if self.host.has(CONTROL_PLANE) else (NODE,)

    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        if facts[NODE].joined:
            text = "systemctl restart kubelet.service && systemctl is-active -q kubelet.service\n"
            yield Run(name="restart the kubelet", text=text, reason="the cluster may not know it any more")


class _End(_Part):
    def actions(self, work: Work, facts: HostFacts) -> Iterator[Action]:
        # A snapshot that was due meanwhile could not be taken.
        text = f"""rm -f {FOLDER}/restore-*.db; systemctl reset-failed -q {SERVICE_UNIT} 2>/dev/null || :
[ ! -f {STATE}/restore.begun ] || mv -fT {STATE}/restore.begun {STATE}/restore.ended && sync {STATE}
"""
        yield Run(name="note that etcd was restored", text=text, reason="it is the end")


def file_of(record: Record) -> str:
    return f"{FOLDER}/restore-{record.digest.hex}.db"


def _room(size: int) -> str:
    """The snapshot, and what is made of it beside what etcd has now, with a log of its own."""
    wanted = 2 * size + (256 << 20)
    return f"""umask 077; mkdir -p {FOLDER} {DATA} || exit 1
rm -f {FOLDER}/restore-*.db
for d in {FOLDER} {DATA}; do
  free=$(df -PB1 $d | awk 'NR == 2 {{ print $4 }}')
  [ "$free" -gt {wanted} ] || {{ echo "$d: $free bytes are free, {wanted} are wanted" >&2; exit 1; }}
done
"""


# `gone NAME`: the static pod's container does not run any more, or is ended; a kubelet that does not run ends nothing.
_GONE = """ctr version >/dev/null 2>&1 || systemctl start containerd.service || exit 1
systemctl is-active -q kubelet.service || systemctl start kubelet.service
running() {
  for id in $(ctr -n k8s.io containers ls -q "labels.\\"io.kubernetes.container.name\\"==$1" 2>/dev/null)
  do ctr -n k8s.io tasks ls 2>/dev/null | grep -q "^$id .*RUNNING" && echo $id; done
}
gone() {
  n=0
  while id=$(running $1) && [ -n "$id" ]; do
    n=$((n+1)); [ $n -lt 90 ] || for i in $id; do ctr -n k8s.io tasks kill -s KILL $i 2>/dev/null; done
    [ $n -lt 120 ] || { echo "$1 does not stop" >&2; exit 1; }
    sleep 1
  done
}
"""


def _stop() -> str:
    # etcd's goes last: where it is gone all are.
    return f"""{_GONE}umask 077; mkdir -p {_STOPPED} || exit 1
for p in {" ".join(_PODS)}; do
  [ ! -f {_MANIFESTS}/$p.yaml ] || mv -fT {_MANIFESTS}/$p.yaml {_STOPPED}/$p.yaml || exit 1
done
sync {_STOPPED}
gone kube-apiserver; gone etcd
"""


def _restore(work: Work, host: SiteHost) -> str:
    """What etcd had is set aside inside its folder, which may be a disk of its own; one of those is kept."""
    record, new = work.record, f"{DATA}/bundle-new"
    cluster = ",".join(f"{member.name}={_peer(member)}" for member in work.members)
    aside = f"{DATA}/before-restore-{record.begun}"
    return f"""{_GONE}{UTIL}gone kube-apiserver; gone etcd
umask 077; mkdir -p {DATA} && chmod 700 {DATA} && rm -rf {new} || exit 1
more=; if util snapshot restore --help 2>&1 | grep -q -e --bump-revision
then more="--bump-revision {_BUMP} --mark-compacted"; fi
said=$(util snapshot restore {file_of(record)} --data-dir {new} --name {host.name} --initial-cluster {cluster} \\
  --initial-cluster-token restore-{record.begun} --initial-advertise-peer-urls {_peer(host)} $more 2>&1) ||
  {{ printf '%s\\n' "$said" | tail -n 3 >&2; exit 1; }}
echo {record.begun} > {new}/member/{_MARK.rpartition("/")[2]} && sync -f {new} || exit 1
if [ -e {DATA}/member ]; then
  for old in {DATA}/before-restore-*; do case $old in {aside}*) ;; *) rm -rf "$old" ;; esac; done
  a={aside}; n=0; while [ -e $a ]; do n=$((n+1)); a={aside}-$n; done
  mv -T {DATA}/member $a || exit 1
fi
mv -T {new}/member {DATA}/member && rm -rf {new} && sync {DATA}
"""


_START = f"""for p in {" ".join(reversed(_PODS))}; do
  [ ! -f {_STOPPED}/$p.yaml ] || mv -fT {_STOPPED}/$p.yaml {_MANIFESTS}/$p.yaml || exit 1
done
sync {_MANIFESTS}
"""
_READY = f"""{CLIENT}n=0
until said=$(etcd endpoint health 2>&1)
do n=$((n+1)); [ $n -lt 100 ] || {{ echo "etcd has no majority: $said" >&2; exit 1; }}; sleep 1; done
n=0; until curl -sfk -m 5 -o /dev/null https://127.0.0.1:{API_PORT}/readyz
do n=$((n+1)); [ $n -lt 150 ] || {{ echo "the API server is not ready" >&2; exit 1; }}; sleep 1; done
"""


def _peer(host: SiteHost) -> str:
    address = f"[{host.address}]" if host.address.version == 6 else str(host.address)
    return f"https://{address}:{PEER_PORT}"


def _step(name: str, part: type[_Part], *, roles: tuple[str, ...] = (CONTROL_PLANE,), needs: str = "") -> Step:
    def resources(goal: Goal, host: SiteHost) -> tuple[Any, ...]:
        return (part(goal=goal, host=host),)

    return Step(name=name, resources=resources, roles=roles, needs=(needs,) if needs else ())


RESTORE = Restorable(
    steps=(
        _step(FILE, _File),
        _step(STOP, _Stop, needs=FILE),
        _step(PLACE, _Data, needs=STOP),
        _step(START, _Start, needs=PLACE),
        _step(READY, _Ready, needs=START),
        _step(HOSTS, _Hosts, roles=NODES, needs=READY),
        _step(END, _End, needs=HOSTS),
    ),
    kept=KEPT,
    roles=(CONTROL_PLANE,),
)
