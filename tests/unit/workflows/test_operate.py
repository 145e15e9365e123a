"""Restarting and taking away on a simulated site: what comes back, what stays, who is told."""

from pathlib import Path

import pytest

from bundler.cli.main import main
from bundler.errors import HostUnreachable
from bundler.workflows.deploy import Planned
from bundler.workflows.deployment import Request
from bundler.workflows.operate import plan_uninstall, restart, uninstall
from bundler.workflows.removed import REMOVED
from tests.simulated import UNIT, SimulatedSite, Watcher, installed, simulated_site

REQUEST = Request(site=Path("site.yaml"))


@pytest.fixture
def site(installed_site: SimulatedSite) -> SimulatedSite:
    return installed_site


def take_away(*, purge: bool = False, request: Request = REQUEST) -> int:
    return uninstall(request, "sim", purge=purge, watcher=Watcher(), agree=lambda _: True).done


def test_what_was_there_before_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = simulated_site(tmp_path, monkeypatch)
    theirs = site.host("n2").path("/etc/plain.conf")
    theirs.write_text("theirs\n")
    installed(site)
    assert theirs.read_text() == "setting = 1\n"
    kinds = [
        action.kind for unit, action in plan_uninstall(REQUEST, "sim", purge=False).plan.actions() if unit.host == "n2"
    ]
    assert kinds.count("set aside") == 1
    take_away()
    assert theirs.read_text() == "theirs\n"


def test_data_goes_only_when_it_is_purged(site: SimulatedSite) -> None:
    assert take_away() == 18
    assert take_away() == 0
    assert site.host("n1").path("/srv/sim").is_dir()
    assert take_away(purge=True) == 3
    assert not site.host("n1").path("/srv/sim").exists()


def test_hosts_are_told_first_and_told_again(site: SimulatedSite) -> None:
    seen: list[bool] = []
    told, also = (site.host(name).path(f"{REMOVED}/sim") for name in ("n1", "n2"))
    uninstall(REQUEST, "sim", purge=False, watcher=Watcher(0, lambda: seen.append(told.exists())), agree=lambda _: True)
    assert seen == [True]
    assert told.exists()
    assert also.exists()
    assert main(["apply", "--yes", "--quiet", "--limit", "n2"]) == 0
    assert told.exists()
    assert not also.exists()
    assert main(["apply", "--yes", "--quiet"]) == 0
    assert not told.exists()


def test_an_uninstallation_that_was_killed_goes_on(site: SimulatedSite) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uninstall(REQUEST, "sim", purge=False, watcher=Watcher(5, die), agree=lambda _: True)
    assert take_away() > 0
    assert take_away() == 0


def test_a_host_that_is_away_stops_it_before_the_first_change(site: SimulatedSite) -> None:
    site.host("n3").down = True
    with pytest.raises(HostUnreachable):
        take_away()
    assert site.host("n1").path("/etc/sim").exists()
    assert not site.host("n1").path(f"{REMOVED}/sim").exists()


def test_the_plan_of_a_restart_is_shown_and_may_be_declined(site: SimulatedSite) -> None:
    shown: list[Planned] = []

    def decline(planned: Planned) -> bool:
        shown.append(planned)
        return False

    done = restart(REQUEST, "sim", watcher=Watcher(), agree=decline)
    assert (done.declined, done.done) == (True, 0)
    assert [(unit.host, action.target) for unit, action in shown[0].plan.actions()] == [
        (name, UNIT) for name in ("n1", "n2", "n3")
    ]
