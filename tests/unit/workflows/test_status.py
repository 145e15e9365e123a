"""What runs where, how well, and what has drifted: asked once of each host."""

from pathlib import Path

import pytest

from bundler.errors import HostUnreachable
from bundler.workflows.deployment import Request
from bundler.workflows.status import as_json, status
from tests.simulated import UNIT, SimulatedSite

REQUEST = Request(site=Path("site.yaml"))


@pytest.fixture
def site(installed_site: SimulatedSite) -> SimulatedSite:
    return installed_site


def test_one_question_for_each_host(site: SimulatedSite) -> None:
    before = {name: (len(host.asked), len(host.changed)) for name, host in site.hosts.items()}
    found = status(REQUEST)
    assert found.healthy
    assert not found.plan
    after = {name: (len(host.asked), len(host.changed)) for name, host in site.hosts.items()}
    assert after == {name: (asked + 1, changed) for name, (asked, changed) in before.items()}


def test_drift_belongs_to_its_component(site: SimulatedSite) -> None:
    site.host("n2").path("/etc/worker.conf").write_text("by hand\n")
    site.host("n3").path("/etc/sim/sim.conf").write_text("by hand\n")
    found = status(REQUEST)
    assert {part.name: part.drift for part in found.components} == {"other": 1, "sim": 2}
    assert found.healthy, "drift is no failure"
    assert found.plan.count() == 3


def test_only_hosts_that_were_asked_for(site: SimulatedSite) -> None:
    site.host("n1").down = True
    found = status(Request(site=Path("site.yaml"), limit=("n3",)))
    assert [host.name for host in found.hosts] == ["n3"]
    assert found.healthy


def test_a_host_without_an_answer_is_not_well_and_hides_nothing(site: SimulatedSite) -> None:
    site.host("n2").down = True
    site.host("n3").unit(UNIT).unlink()
    found = status(REQUEST)
    assert isinstance(found.unreachable["n2"], HostUnreachable)
    assert [finding.host for finding in found.findings] == ["n3"]
    assert {part.name: part.hosts for part in found.components} == {"other": 1, "sim": 2}
    assert as_json(found)["healthy"] is False
