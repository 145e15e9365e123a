"""Recovery on a simulated site host: what it mends, in which order, when it holds still, and what it remembers."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bundler.apply.lease import HOLD
from bundler.cli.main import main
from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault
from bundler.support.progress import Silent
from bundler.watch.decide import Limits, Memory
from bundler.workflows import watch as workflow
from bundler.workflows.deployment import Deployment, Request, deployment
from bundler.workflows.install import install
from bundler.workflows.watch import Look, once, watch
from tests.simulated import UNIT, SimulatedHost, SimulatedSite

REQUEST = Request(site=Path("site.yaml"))
LIMITS = Limits(waits=(0, 0), tries=3)


@dataclass(kw_only=True)
class Watched:
    """The site host n1, looked at once for each call of `look`."""

    site: SimulatedSite
    folder: Path
    said: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)

    @property
    def host(self) -> SimulatedHost:
        return self.site.host("n1")

    @property
    def active(self) -> Path:
        return self.host.unit(UNIT)

    def look(self, limits: Limits = LIMITS) -> Look:
        with deployment(REQUEST, create=True) as deployed:
            look, self.memory = once(deployed, "n1", self.memory, limits, say=self.said.append)
        return look

    def acts(self) -> list[str]:
        return [line for line in self.said if not line.startswith("left alone")]


@pytest.fixture
def watched(installed_site: SimulatedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(workflow, "MEMORY", tmp_path / "watch.json")
    return Watched(site=installed_site, folder=tmp_path)


def test_nothing_is_done_where_all_is_well(watched: Watched) -> None:
    changed = len(watched.host.changed)
    for _ in range(3):
        assert watched.look() == Look()
    assert (watched.said, len(watched.host.changed)) == ([], changed)


def test_a_finding_is_seen_twice_and_then_mended(watched: Watched) -> None:
    watched.active.unlink()
    assert watched.look().decisions[0].why == "it is seen for the first time"
    assert watched.said == []
    watched.look()
    assert watched.said[0] == f"{UNIT} is inactive: restart {UNIT}"
    assert watched.said[1].startswith(f"restart {UNIT}: 1 done in ")
    assert watched.active.exists()
    assert watched.look() == Look()
    journal = [json.loads(line) for line in Path("site.state/journal.jsonl").read_text().splitlines()]
    assert [(e["step"], e["target"]) for e in journal if e["event"] == "begin"][-1] == ("sim", f"restart {UNIT}")


def test_a_restart_then_the_steps_then_people(watched: Watched) -> None:
    """What a restart cannot mend, the steps and those before them may; when nothing helps it says so, once."""
    watched.active.unlink()
    watched.host.unit(UNIT, "broken").touch()
    watched.host.path("/etc/plain.conf").write_text("by hand\n")
    for _ in range(8):
        watched.look()
    acts = [line for line in watched.acts() if line.startswith(f"{UNIT} is")]
    assert acts == [
        f"{UNIT} is inactive: restart {UNIT}",
        f"{UNIT} is failed: bring sim back",
        f"{UNIT} is failed: restart {UNIT}",
    ]
    assert [line for line in watched.said if line.startswith("left alone")] == [
        f"left alone: {UNIT} is failed: 3 tries within 60 minutes did not help: bundle restart sim"
    ]
    assert watched.host.path("/etc/plain.conf").read_text() == "setting = 1\n"
    for word in ("broken", "failed"):
        watched.host.unit(UNIT, word).unlink()
    watched.active.touch()
    assert watched.look() == Look()


def test_it_holds_still_while_an_installer_works(watched: Watched) -> None:
    watched.active.unlink()
    hold = watched.host.path(HOLD)
    up = float(Path("/proc/uptime").read_text().split()[0])
    hold.write_text(f"{up - 20:.2f}\n")
    for _ in range(3):
        assert watched.look() == Look(held=True)
    assert not watched.active.exists()
    hold.write_text(f"{up - 3600:.2f}\n")  # an installer that was killed does not keep it from its work
    watched.look()
    watched.look()
    assert watched.active.exists()


def test_an_installer_lets_it_go_at_its_end(watched: Watched) -> None:
    assert main(["apply", "--yes", "--quiet"]) == 0
    assert not watched.host.path(HOLD).exists()


def test_what_was_uninstalled_stays_away_until_it_is_applied(watched: Watched) -> None:
    assert main(["uninstall", "sim", "--yes", "--quiet"]) == 0
    for _ in range(3):
        assert watched.look() == Look()
    assert not watched.host.path("/etc/sim").exists()
    assert main(["apply", "--only", "sim", "--yes", "--quiet"]) == 0
    watched.active.unlink()
    watched.look()
    watched.look()
    assert watched.active.exists()


def test_an_overtaken_recovery_changes_nothing(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installer that comes between the look and the act has a higher epoch."""
    watched.active.unlink()
    watched.look()
    original = workflow._epoch

    def late(deployed: Deployment, here: str) -> object:
        taken = original(deployed, here)
        watched.host.know(watched.host.epoch + 1)
        return taken

    monkeypatch.setattr(workflow, "_epoch", late)
    watched.look()
    assert not watched.active.exists()
    assert "knows a newer installer" in watched.said[-1]


def test_memory_survives_a_restart(watched: Watched) -> None:
    watched.host.unit(UNIT, "broken").touch()
    watched.active.unlink()
    for _ in range(6):
        watched.look()
    assert len(watched.memory.acts) == 3
    told = [line for line in watched.said if line.startswith("left alone")]
    again = workflow._remembered()
    assert (again.acts, again.told) == (watched.memory.acts, watched.memory.told)
    watched.memory = again
    watched.look()
    watched.look()
    assert [line for line in watched.said if line.startswith("left alone")] == told
    assert len(watched.memory.acts) == 3


def test_another_boot_begins_anew(watched: Watched) -> None:
    workflow._remember(Memory().acted("sim", 5))
    assert len(workflow._remembered().acts) == 1
    text = json.loads(workflow.MEMORY.read_text())
    workflow.MEMORY.write_text(json.dumps({**text, "boot": "another"}))
    assert workflow._remembered() == Memory()
    for damaged in ("", "{", "[]", '{"boot": 1}'):
        workflow.MEMORY.write_text(damaged)
        assert workflow._remembered() == Memory()


def test_secrets_that_mending_makes_are_kept(watched: Watched) -> None:
    vault = Vault.open(Path("site.secrets"), KeyFile(path=Path("site.secrets.key")))
    vault.forget("sim.password")
    vault.save()
    watched.host.unit(UNIT, "broken").touch()  # so that the steps come after the restart
    watched.active.unlink()
    for _ in range(3):
        watched.look()
    kept = Vault.open(Path("site.secrets"), KeyFile(path=Path("site.secrets.key"))).get("sim.password")
    assert kept is not None
    assert watched.host.path("/etc/sim/password").read_text() == kept.reveal()


@contextmanager
def running(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """`bundle watch` in a thread, on a site host with the release in its own store."""
    root = watched.folder / "root"
    bundle = watched.site.bundle
    install(bundle.path, root, keys=bundle.publics, threshold=None, jobs=1, progress=Silent())
    monkeypatch.setattr("bundler.workflows.deployment.ROOT", str(root))
    stop = threading.Event()
    limits = replace(LIMITS, tries=5)

    def work() -> None:
        watch(REQUEST, "n1", say=watched.said.append, stop=stop, interval=0.01, limits=limits)

    thread = threading.Thread(target=work)
    thread.start()

    def until(holds: Callable[[], bool]) -> None:
        for _ in range(1000):
            if holds():
                return
            assert thread.is_alive()
            stop.wait(0.02)
        pytest.fail(f"it did not happen; said: {watched.said}")

    try:
        yield until
    finally:
        stop.set()
        thread.join()


def test_it_runs_until_it_is_stopped(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(watched, monkeypatch) as until:
        watched.active.unlink()
        until(lambda: "everything is well again" in watched.said)
        assert watched.active.exists()
        said = len(watched.said)
        Path("site.yaml").rename("away.yaml")
        until(lambda: len(watched.said) > said)
        looked = len(watched.host.asked)
        Path("away.yaml").rename("site.yaml")
        until(lambda: len(watched.host.asked) > looked + 2)
    assert len([line for line in watched.said if line.startswith("could not look")]) == 1


def test_lost_secrets_are_not_replaced(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """New ones would set this host against all others."""
    Path("site.secrets").rename("away")
    Path("site.state").rename("elsewhere")  # a site host does not remember an installation from here
    with running(watched, monkeypatch) as until:
        until(lambda: bool(watched.said))
    assert "site.secrets is not there" in watched.said[0]
    assert not Path("site.secrets").exists()
