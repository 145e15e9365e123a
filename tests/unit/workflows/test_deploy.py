"""Bringing a simulated site to a release: killed and gone on with, overtaken, undone behind its back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.apply.lease import leased
from bundler.errors import BundleError, LeaseHeld, NotConverged, Overtaken, SecretsLocked, Usage
from bundler.plan.plan import Unit
from bundler.secrets.unlock import KeyFile, Passphrase
from bundler.steps.actions import Action
from bundler.workflows.deploy import Deployed, deploy, plan
from bundler.workflows.deployment import Request
from tests.simulated import UNIT, SimulatedSite, Watcher, simulated_site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedSite:
    return simulated_site(tmp_path, monkeypatch)


@pytest.fixture
def request_(site: SimulatedSite) -> Request:
    return Request(site=Path("site.yaml"), bundle=site.bundle.path, keys=site.bundle.publics, jobs=2)


def run(request: Request, watcher: Watcher | None = None) -> Deployed:
    return deploy(request, watcher=watcher or Watcher(), agree=lambda _: True)


class Killed(Exception):
    """As if the process had gone: nothing catches it."""


@pytest.mark.parametrize("at", [0, 1, 4, 7, 12, 20, 25])
def test_killed_anywhere_it_goes_on(at: int, site: SimulatedSite, request_: Request) -> None:
    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        run(request_, Watcher(stop_at=at, act=die))
    done = run(request_)
    assert done.done >= 26 - at - 2
    assert run(request_).done == 0
    passwords = {site.host(name).path("/etc/sim/password").read_text() for name in ("n1", "n2", "n3")}
    assert len(passwords) == 1


def test_secrets_are_kept_before_the_first_action(site: SimulatedSite, request_: Request) -> None:
    there: list[bool] = []
    watcher = Watcher(stop_at=0, act=lambda: there.append(Path("site.secrets").exists()))
    run(request_, watcher)
    assert there == [True]
    assert Path("site.secrets").stat().st_mode & 0o777 == 0o600


def test_nothing_is_kept_of_what_was_declined(site: SimulatedSite, request_: Request) -> None:
    done = deploy(request_, watcher=Watcher(), agree=lambda _: False)
    assert (done.declined, done.done) == (True, 0)
    assert not Path("site.secrets").exists()
    assert not (request_.state / "release").exists()


def test_lost_secrets_are_not_made_anew(site: SimulatedSite, request_: Request) -> None:
    run(request_)
    Path("site.secrets").rename("away")
    for call in (run, plan):
        with pytest.raises(Usage, match="new secrets would lock the site out"):
            call(request_)
    key = KeyFile(path=Path("site.secrets.key"))
    assert run(replace(request_, secrets=Path("away"), unlock=key)).done == 0


def test_the_passphrase_opens_what_it_closed(site: SimulatedSite, request_: Request) -> None:
    closed = replace(request_, unlock=Passphrase(ask=lambda: b"correct horse battery staple"))
    run(closed)
    assert not Path("site.secrets.key").exists()
    assert run(closed).done == 0
    with pytest.raises(SecretsLocked):
        run(replace(request_, unlock=Passphrase(ask=lambda: b"wrong horse battery staple")))


def test_one_installer_at_a_time(site: SimulatedSite, request_: Request) -> None:
    run(request_)
    hosts = {name: site.host(name) for name in ("n1", "n2", "n3")}
    with leased(hosts, "n1"):
        with pytest.raises(LeaseHeld):
            run(request_)
        assert run(replace(request_, take_over=True)).done == 0
    assert run(request_).done == 0


def test_the_one_that_was_overtaken_stops(site: SimulatedSite, request_: Request) -> None:
    def overtake() -> None:
        for name in ("n1", "n2", "n3"):
            site.host(name).know(99)

    with pytest.raises(Overtaken):
        run(request_, Watcher(stop_at=5, act=overtake))
    assert not site.host("n3").path("/etc/worker.conf").exists()


def test_what_is_undone_behind_its_back_is_told(site: SimulatedSite, request_: Request) -> None:
    class Undoing(Watcher):
        def ended(self, unit: Unit, action: Action, *, seconds: float, error: BundleError | None) -> None:
            if action.target == UNIT:
                site.host(unit.host).path("/etc/plain.conf").unlink(missing_ok=True)

    with pytest.raises(NotConverged) as caught:
        run(request_, Undoing())
    assert "n1: sim/files: write /etc/plain.conf" in caught.value.left


def test_the_journal_tells_it_all(site: SimulatedSite, request_: Request) -> None:
    run(request_)
    events = [json.loads(line) for line in (request_.state / "journal.jsonl").read_text().splitlines()]
    assert (events[0]["event"], events[0]["actions"], events[0]["release"]) == ("apply", 26, "tiny 1")
    assert (events[-1]["event"], events[-1]["done"], events[-1]["failed"]) == ("applied", 26, [])
    assert len([event for event in events if event["event"] == "begin"]) == 26
    assert (request_.state / "journal.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_plan_leaves_no_key_behind(site: SimulatedSite, request_: Request) -> None:
    assert plan(request_).plan.count() == 26
    assert list(Path().glob("site.secrets*")) == []
