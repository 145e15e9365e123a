"""Snapshots of etcd: each control plane writes down what etcd has, now and then, and keeps some of them.

Secrets in them are encrypted, as etcd has them: the key is among the site's secrets, and in no snapshot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bundler.components.kubernetes.etcd import CLIENT, DATA, UTIL, Tools
from bundler.components.kubernetes.nodes import NODE, STATE
from bundler.components.kubernetes.pki import CONTROL_PLANE
from bundler.components.kubernetes.runtime import BIN
from bundler.components.kubernetes.settings import settings_of
from bundler.model.digest import Digest
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.render import render
from bundler.steps.resources import File, Folder, Resource, Service
from bundler.steps.step import Check, Goal, Remedy, Snapshot

FOLDER = "/var/lib/bundle-etcd"
SERVICE_UNIT, TIMER_UNIT = "bundle-etcd-snapshot.service", "bundle-etcd-snapshot.timer"
# Takes one at once: sh text for whoever is about to change what etcd has.
TAKE = f"[ ! -x {BIN}/etcdutl ] || [ ! -f /etc/systemd/system/{SERVICE_UNIT} ] || systemctl start {SERVICE_UNIT}\n"
_LATE = 600  # seconds that one may take, and wait for
_PROGRAM = "/etc/bundle/kubernetes/etcd-snapshot.sh"


def _kept(said: str) -> tuple[Snapshot, ...]:
    found = []
    for line in sorted(said.splitlines()):
        name, digest, revision, size, have = line.split()
        if size == have:  # what is cut short is none
            found.append(Snapshot(name=name, digest=Digest(digest), size=int(size), about=f"revision {revision}"))
    return tuple(found)


# Oldest first.
KEPT: Ask[tuple[Snapshot, ...]] = Ask(
    name="its snapshots of etcd",
    script=f"""cd {FOLDER} 2>/dev/null || exit 0
for f in *Z.db; do
  [ -f "$f" ] && read -r about < "${{f%.db}}.about" || continue
  echo "${{f%.db}} $about $(stat -c %s "$f")"
done 2>/dev/null""",
    reading=_kept,
    bare=(),
)
# Seconds since the newest was taken; without one, since the host is one of the cluster's.
AGE: Ask[float] = Ask(
    name="how old its newest snapshot of etcd is",
    script=f"""now=$(date +%s); since=$now
[ ! -f {STATE}/joined ] || since=$(stat -c %Y {STATE}/joined)
for f in {FOLDER}/*Z.db; do [ ! -f "$f" ] || since=$(stat -c %Y "$f"); done
echo $((now - since))""",
    reading=float,
    bare=0.0,
)


def path_of(name: str) -> str:
    return f"{FOLDER}/{name}.db"


def snapshots(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    """The step's resources."""
    settings = settings_of(goal).snapshots
    program = render(
        __package__, "etcd-snapshot.sh.j2", folder=FOLDER, data=DATA, client=CLIENT, util=UTIL, keep=settings.keep
    )
    service = render(__package__, "etcd-snapshot.service.j2", unit=SERVICE_UNIT, program=_PROGRAM)
    timer = render(__package__, "etcd-snapshot.timer.j2", unit=TIMER_UNIT, every=settings.every)
    return (
        Tools(goal=goal, host=host),
        Folder(path=FOLDER, mode=0o700, data=True),
        File(path=_PROGRAM, content=program),
        Service(
            unit=TIMER_UNIT,
            files=(
                File(path=f"/etc/systemd/system/{SERVICE_UNIT}", content=service),
                File(path=f"/etc/systemd/system/{TIMER_UNIT}", content=timer),
            ),
        ),
    )


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    every, age = settings_of(goal).snapshots.every, facts[AGE]
    if facts[NODE].joined and age > 2 * every + _LATE:
        what = f"its newest snapshot of etcd is {_hours(age)} old" if facts[KEPT] else "it has no snapshot of etcd"
        fix = f"`journalctl -u {SERVICE_UNIT}` on {host.name} says why; `systemctl start {SERVICE_UNIT}` takes one."
        yield Note(f"{what}: one is taken every {_hours(every)}", fix, remedy=Remedy(restart=SERVICE_UNIT))


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def _asks(goal: Goal, host: SiteHost) -> tuple[Fact[Any], ...]:
    return (AGE, KEPT, NODE)


HEALTH: Check = replace(per_host("kubernetes: snapshots", _asks, _judge, every=60), roles=(CONTROL_PLANE,))
