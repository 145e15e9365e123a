"""A site of hosts that are folders, where every script that the tool sends is really run. And a component that is made
of everything.

    def test(site: SimulatedSite) -> None:
        assert main(["apply", "--yes"]) == 0
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bundler.cli.main import main
from bundler.errors import BundleError, HostUnreachable
from bundler.hosts.base import Answer, Host, Script
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
from tests.folder_host import GROUP, ME, FolderHost

UNIT, BLOCKING = "sim.service", "blocking.service"
_WORKFLOWS = ("deployment", "operate", "support")
_USERS = ("bundler.components", *(f"bundler.workflows.{name}" for name in _WORKFLOWS))
_PACKAGES = {
    "dpkg-query": '[ ! -e "$ROOT/packages" ] || cat "$ROOT/packages"',
    "dpkg": "exit 1",  # --compare-versions: never older
    "apt-get": r"""
for word; do case $word in *=*[0-9]) case $word in -o|*::*) ;; *)
  printf '%s ii  %s\n' "${word%%=*}" "${word#*=}" >> "$ROOT/packages" ;; esac ;; esac; done""",
}


class SimulatedHost(FolderHost):
    """`asked` and `changed` are the scripts that it ran; its packages are the root's file `packages`."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root, name)
        self.down = False
        self.asked: list[str] = []
        self.changed: list[str] = []
        for program, text in _PACKAGES.items():
            self.program(program, text)

    def run(self, script: Script) -> Answer:
        if self.down:
            raise HostUnreachable(host=self.name, why="it does not answer on port 22", advice="See that it is up.")
        (self.asked if script.epoch is None else self.changed).append(script.text)
        return super().run(script)


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
            self.hosts[name] = SimulatedHost(self.folder.parent / "hosts" / name, name)
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
    own: dict[str, Any] = {"owner": ME, "group": GROUP}
    password = goal.vault.made("sim.password", random_password)
    return (
        Folder(path="/etc/sim", **own),
        File(path="/etc/plain.conf", content="setting = 1\n", keep=True, **own),
        File(path="/etc/sim/password", content=password, mode=0o600, **own),
        Folder(path="/srv/sim", data=True, **own),
        goal.packages("sim", "hello"),
    )


def _service(goal: Goal, host: SiteHost) -> tuple[Resource, ...]:
    own: dict[str, Any] = {"owner": ME, "group": GROUP}
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
    return (File(path="/etc/worker.conf", content=f"{host.name}\n", owner=ME, group=GROUP),)


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
    work = folder / "work"
    work.mkdir()
    bundle = tiny_bundle(work, debs=(make_deb("hello", "1:2.10-3", "amd64"),))
    (work / "release.pub").write_bytes(ALICE.public.pem())
    site = SimulatedSite(folder=work, bundle=bundle, hosts={})
    site.write_site(workers)
    return _entered(site, monkeypatch)


def _entered(site: SimulatedSite, monkeypatch: pytest.MonkeyPatch) -> SimulatedSite:
    for user in _USERS:
        monkeypatch.setattr(f"{user}.components", lambda: (OTHER, SIM))
    for user in ("deployment", "support"):
        monkeypatch.setattr(f"bundler.workflows.{user}.connect", site.connect)
    monkeypatch.chdir(site.folder)
    return site


INSTALL = ("install", "tiny.bundle", "--trust", "release.pub", "--site", "site.yaml")


def installed(site: SimulatedSite) -> SimulatedSite:
    """The same, with everything done."""
    assert main([*INSTALL, "--yes", "--quiet"]) == 0
    return site


def copied(site: SimulatedSite, folder: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedSite:
    """Another that is as this one, hosts and all: quicker than to install it anew."""
    work = folder / "work"
    for name in ("work", "hosts"):
        shutil.copytree(site.folder.parent / name, folder / name, symlinks=True)
    made = SimulatedSite(folder=work, bundle=replace(site.bundle, path=work / site.bundle.path.name), hosts={})
    for name, host in site.hosts.items():
        made.host(name).asked, made.host(name).changed = host.asked[:], host.changed[:]
    return _entered(made, monkeypatch)
