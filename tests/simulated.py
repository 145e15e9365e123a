"""Hosts that are folders: every script that the tool sends is really run, by sh, with its paths below the folder and
with small programs in place of systemctl, journalctl, dpkg and apt-get. And a component that is made of everything.

    def test(site: SimulatedSite) -> None:
        assert main(["apply", "--yes"]) == 0
"""

import grp
import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bundler.cli.main import main
from bundler.errors import BundleError, HostUnreachable
from bundler.hosts.base import OVERTAKEN, Answer, Host, Script
from bundler.model.document import Fields
from bundler.model.site import Site, SiteHost
from bundler.plan.plan import Plan, Unit
from bundler.secrets.passwords import random_password
from bundler.steps.actions import Action
from bundler.steps.facts import HostFacts, UnitFact
from bundler.steps.per_host import Note, per_host
from bundler.steps.resources import File, Folder, Resource, Service
from bundler.steps.step import Component, Goal, Remedy, Step
from tests.bundles import ALICE, TinyBundle, tiny_bundle
from tests.content import make_deb

OWNER, GROUP = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
UNIT, BLOCKING = "sim.service", "blocking.service"
_MOVED = ("/etc/", "/var/lib/", "/var/log/", "/run/bundle", "/srv/", "/opt/")
_WORKFLOWS = ("deployment", "operate", "support_host")
_USERS = ("bundler.components", *(f"bundler.workflows.{name}" for name in _WORKFLOWS))
_PROGRAMS = {
    "systemctl": r"""
verb= unit=
for word; do case $word in
  show|daemon-reload|unmask|mask|enable|disable|reset-failed|restart|reload-or-restart) verb=$word ;;
  is-active|is-enabled) verb=$word ;;
  *.service) unit=$word ;;
esac; done
case $verb in
show)
  load=not-found active=inactive file=
  [ ! -e "$SIM/etc/systemd/system/$unit" ] || load=loaded file=disabled
  [ ! -e "$SIM/enabled/$unit" ] || file=enabled
  [ ! -e "$SIM/active/$unit" ] || active=active
  printf 'LoadState=%s\nActiveState=%s\nSubState=dead\nUnitFileState=%s\nNeedDaemonReload=no\n' $load $active $file ;;
enable) mkdir -p "$SIM/enabled"; : > "$SIM/enabled/$unit" ;;
disable) rm -f "$SIM/enabled/$unit" "$SIM/active/$unit" ;;
restart|reload-or-restart)
  date +%s%N >> "$SIM/restarts"; mkdir -p "$SIM/active"; rm -f "$SIM/active/$unit"
  [ ! -e "$SIM/broken" ] || { echo "it is broken" >&2; exit 1; }
  : > "$SIM/active/$unit" ;;
is-active) [ -e "$SIM/active/$unit" ] ;;
is-enabled) [ -e "$SIM/enabled/$unit" ] ;;
daemon-reload|unmask|mask|reset-failed) ;;
*) echo "systemctl cannot do this here: $*" >&2; exit 64 ;;
esac""",
    "journalctl": r"""
for word; do case $word in --since=never) echo "Failed to parse timestamp: never" >&2; exit 1 ;; esac; done
case " $* " in *" -u "*) [ ! -e "$SIM/journal" ] || cat "$SIM/journal" ;; esac""",
    "dpkg-query": r"""
[ ! -e "$SIM/packages" ] || cat "$SIM/packages" """,
    "dpkg": "exit 1",  # --compare-versions: never older
    "apt-get": r"""
for word; do case $word in *=*[0-9]) case $word in -o|*::*) ;; *)
  printf '%s ii  %s\n' "${word%%=*}" "${word#*=}" >> "$SIM/packages" ;; esac ;; esac; done""",
}


@dataclass(kw_only=True)
class SimulatedHost:
    """`asked` and `changed` are the scripts that it ran."""

    name: str
    folder: Path
    programs: Path
    down: bool = False
    asked: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def run(self, script: Script) -> Answer:
        if self.down:
            raise HostUnreachable(host=self.name, why="it does not answer on port 22", advice="See that it is up.")
        (self.asked if script.epoch is None else self.changed).append(script.text)
        if script.epoch is not None:
            if script.epoch < self.epoch:
                return Answer(code=OVERTAKEN, stdout=b"", stderr=b"a newer one is known")
            self.know(script.epoch)
        text = script.text
        for prefix in _MOVED:
            text = text.replace(f" {prefix}", f" {self.folder}{prefix}").replace(
                f"={prefix}", f"={self.folder}{prefix}"
            )
            text = text.replace(f'"{prefix}', f'"{self.folder}{prefix}').replace(
                f">{prefix}", f">{self.folder}{prefix}"
            )
        stdin = script.stdin if isinstance(script.stdin, bytes) else b"".join(script.stdin.chunks())
        variables = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}", "SIM": str(self.folder)}
        done = subprocess.run(["sh", "-c", text], input=stdin, capture_output=True, env=variables, timeout=60)
        return Answer(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    @property
    def epoch(self) -> int:
        file = self.path("/var/lib/bundle/epoch")
        return int(file.read_text()) if file.exists() else 0

    def know(self, epoch: int) -> None:
        self.path("/var/lib/bundle").mkdir(exist_ok=True)
        self.path("/var/lib/bundle/epoch").write_text(f"{epoch}\n")

    def path(self, name: str) -> Path:
        return self.folder / name.lstrip("/")

    def snapshot(self) -> dict[str, bytes]:
        """All that lies on it."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.rglob("*") if path.is_file()
        }


@dataclass(kw_only=True)
class SimulatedSite:
    """`folder` is the working folder, with site.yaml, tiny.bundle and release.pub; `hosts` outlive a command."""

    folder: Path
    bundle: TinyBundle
    hosts: dict[str, SimulatedHost]

    def connect(self, site: Site, *, state: Path, password: Callable[[str], Any]) -> "Connected":
        for host in site.hosts:
            self.host(host.name)
        return Connected({host.name: self.hosts[host.name] for host in site.hosts})

    def host(self, name: str) -> SimulatedHost:
        if name not in self.hosts:
            folder = self.folder.parent / "hosts" / name
            for each in ("etc/systemd/system", "var/lib", "var/log", "srv", "run"):
                (folder / each).mkdir(parents=True)
            (folder / "etc/os-release").write_text("VERSION_CODENAME=bookworm\n")
            self.hosts[name] = SimulatedHost(name=name, folder=folder, programs=self.folder.parent / "programs")
        return self.hosts[name]

    def write_site(self, workers: int = 2, settings: str = "{}") -> None:
        """n1 has the role site; n2 and those after it are workers."""
        lines = ["site: lab", "domain: lab.example", "hosts:", "- {name: n1, address: 10.0.0.1, roles: [site]}"]
        lines += [
            f"- {{name: n{n}, address: 10.0.{n // 250}.{n % 250 + 1}, roles: [worker]}}" for n in range(2, workers + 2)
        ]
        (self.folder / "site.yaml").write_text("\n".join([*lines, f"components: {{sim: {settings}}}", ""]))


class Watcher:
    """Calls `at` before the action of that number."""

    def __init__(self, stop_at: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self.left, self.act = stop_at, act
        self.seen: list[str] = []

    def expect(self, plan: Plan) -> None: ...

    def starts(self, unit: Unit, action: Action) -> None:
        self.seen.append(f"{unit.host} {action.kind} {action.target}")
        if self.left == 0:
            self.act()
        self.left -= 1

    def ended(self, unit: Unit, action: Action, *, seconds: float, error: BundleError | None) -> None: ...


class Connected(dict[str, Host]):
    def close(self) -> None: ...
    def __enter__(self) -> "Connected":
        return self

    def __exit__(self, *_: object) -> None: ...


def _settings(fields: Fields) -> bool:
    return fields.flag("loud", default=False)


def _files(goal: Goal, host: SiteHost) -> tuple[Resource, ...]:
    own: dict[str, Any] = {"owner": OWNER, "group": GROUP}
    password = goal.vault.made("sim.password", random_password)
    return (
        Folder(path="/etc/sim", **own),
        File(path="/etc/plain.conf", content="setting = 1\n", keep=True, **own),
        File(path="/etc/sim/password", content=password, mode=0o600, **own),
        Folder(path="/srv/sim", data=True, **own),
        goal.packages("sim", "hello"),
    )


def _service(goal: Goal, host: SiteHost) -> tuple[Resource, ...]:
    own: dict[str, Any] = {"owner": OWNER, "group": GROUP}
    text = f"loud = {goal.site.settings['sim']}\n"
    files = (
        File(path="/etc/sim/sim.conf", content=text, **own),
        File(path=f"/etc/systemd/system/{UNIT}", content="[Service]\n", **own),
    )
    return (Service(unit=UNIT, files=files),)


def _asks(goal: Goal, host: SiteHost) -> tuple[UnitFact, ...]:
    return (UnitFact(unit=UNIT),)


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    unit = facts[UnitFact(unit=UNIT)]
    if unit.active != "active":
        yield Note(f"{UNIT} is {unit.active}", "bundle restart sim", remedy=Remedy(restart=UNIT, steps=("sim",)))


def _asks_blocking(goal: Goal, host: SiteHost) -> tuple[UnitFact, ...]:
    return (UnitFact(unit=BLOCKING),)


def _judge_blocking(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    if facts[UnitFact(unit=BLOCKING)].active == "active":
        yield Note(f"{BLOCKING} runs", "Stop it.")


def _worker(goal: Goal, host: SiteHost) -> tuple[Resource, ...]:
    return (File(path="/etc/worker.conf", content=f"{host.name}\n", owner=OWNER, group=GROUP),)


SIM = Component(
    name="sim",
    about="Everything that a component can be made of.",
    steps=(
        Step(name="sim/files", resources=_files),
        Step(name="sim", resources=_service, after=("sim/files",)),
    ),
    settings=_settings,
    health=(per_host("sim", _asks, _judge),),
    preflight=(per_host("blocking", _asks_blocking, _judge_blocking),),
    units=(UNIT,),
)
OTHER = Component(
    name="other",
    about="On workers alone, and without a service.",
    steps=(Step(name="other", resources=_worker, roles=("worker",), needs=("sim",)),),
)


def simulated_site(folder: Path, monkeypatch: pytest.MonkeyPatch, *, workers: int = 2) -> SimulatedSite:
    """A site of folders; the tool knows two components. The current folder is the site's."""
    work, programs = folder / "work", folder / "programs"
    for each in (work, programs):
        each.mkdir()
    for name, text in _PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh{text if text.startswith(chr(10)) else chr(10) + text}\n")
        (programs / name).chmod(0o755)
    bundle = tiny_bundle(work, debs=(make_deb("hello", "1:2.10-3", "amd64"),))
    (work / "release.pub").write_bytes(ALICE.public.pem())
    site = SimulatedSite(folder=work, bundle=bundle, hosts={})
    site.write_site(workers)
    for user in _USERS:
        monkeypatch.setattr(f"{user}.components", lambda: (OTHER, SIM))
    for user in ("deployment", "support"):
        monkeypatch.setattr(f"bundler.workflows.{user}.connect", site.connect)
    monkeypatch.chdir(work)
    return site


INSTALL = ("install", "tiny.bundle", "--trust", "release.pub", "--site", "site.yaml")


def installed(site: SimulatedSite) -> SimulatedSite:
    """The same, with everything done."""
    assert main([*INSTALL, "--yes", "--quiet"]) == 0
    return site
