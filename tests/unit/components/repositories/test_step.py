"""What the repositories' steps want of a host, and what is kept of what was there."""

from pathlib import Path
from typing import Any

import pytest

from bundler.components.registry.settings import parse_settings
from bundler.components.repositories import COMPONENT, UNIT
from bundler.model.digest import Digest
from bundler.steps.actions import InstallPackages, StartUnit, WriteFile
from bundler.steps.facts import Fact, FileFact, FileState, HostFacts, UnitFact, UnitState
from bundler.steps.step import Goal
from tests.facts import bare, settled, wanted, written
from tests.goals import SITE, goal_of, release
from tests.golden import check_texts

PACKAGES, SERVES = COMPONENT.steps
CONF = FileFact(path="/etc/nginx/nginx.conf")
KEPT = FileFact(path="/var/lib/bundle/before/etc/nginx/nginx.conf", secret=True)


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), {"registry": parse_settings})


def bare_with_package(goal: Goal) -> dict[Fact[Any], Any]:
    text = "debian's"
    digest = Digest.of(text.encode())
    state = FileState(kind="regular file", mode=0o644, owner="root", group="root", digest=digest, content=text)
    facts = bare(SERVES, goal, goal.site.hosts[0])
    (conf,) = (fact for fact in facts if isinstance(fact, FileFact) and fact.path == CONF.path)
    return {**facts, conf: state}


def done(goal: Goal) -> dict[Fact[Any], Any]:
    """The facts of a host when the step is done."""
    answers = bare_with_package(goal)
    actions = wanted(SERVES, goal, goal.site.hosts[0], answers)
    after = settled(answers, actions)
    (conf,) = (fact for fact in after if isinstance(fact, FileFact) and fact.path == CONF.path)
    (write,) = (action for action in actions if isinstance(action, WriteFile) and action.path == CONF.path)
    return {**after, conf: written(write)}


def test_a_bare_host(goal: Goal) -> None:
    host = goal.site.hosts[0]
    (packages,) = wanted(PACKAGES, goal, host, bare(PACKAGES, goal, host))
    assert isinstance(packages, InstallPackages)
    assert packages.masked == (UNIT,)
    answers = bare_with_package(goal)
    actions = wanted(SERVES, goal, host, answers)
    assert [(action.kind, action.target) for action in actions] == [
        ("folder", "/etc/bundle/repositories"),
        ("write", "/etc/bundle/repositories/tls.crt"),
        ("write", "/etc/bundle/repositories/tls.key"),
        ("write", "/etc/nginx/nginx.conf"),
        ("write", "/etc/systemd/system/nginx.service.d/bundle.conf"),
        ("start", UNIT),
    ]
    (conf,) = (action for action in actions if isinstance(action, WriteFile) and action.path == CONF.path)
    assert conf.keep
    assert conf.old == Digest.of(b"debian's")
    start = actions[-1]
    assert isinstance(start, StartUnit)
    assert not start.reload
    assert wanted(SERVES, goal, host, done(goal)) == []


def test_a_running_one_is_reloaded_and_debians_comes_back(goal: Goal) -> None:
    host = goal.site.hosts[0]
    answers = bare_with_package(goal)
    after = done(goal)
    (conf,) = (fact for fact in after if isinstance(fact, FileFact) and fact.path == CONF.path)
    (write, start) = wanted(SERVES, goal, host, {**after, conf: answers[conf]})
    assert (write.target, start.target) == (CONF.path, UNIT)
    assert isinstance(start, StartUnit)
    assert start.reload
    (kept,) = (fact for fact in after if isinstance(fact, FileFact) and fact.path == KEPT.path)
    removed = SERVES.unwanted(goal, host, HostFacts(host.name, {**after, kept: answers[conf]}), purge=False)
    targets = [(action.kind, action.target) for action in removed]
    assert ("stop", UNIT) in targets
    assert ("set aside", KEPT.path) in targets


def test_it_runs_on_site_hosts(goal: Goal) -> None:
    assert [host.name for host in goal.site.hosts if SERVES.on(host)] == ["n1", "n2"]


def test_an_ipv6_host_listens_on_both_families(goal: Goal, tmp_path_factory: pytest.TempPathFactory) -> None:
    networks = 'subnet: 10.77.0.0/20}\n- {name: six, subnet: "fd77::/64"}'
    text = SITE.replace("10.77.0.11", '"fd77::11"').replace("subnet: 10.77.0.0/20}", networks)
    six = goal_of(release(tmp_path_factory.mktemp("six")), {"registry": parse_settings}, text=text)
    host = six.site.hosts[0]
    actions = wanted(SERVES, six, host, bare(SERVES, six, host))
    (conf,) = (action for action in actions if isinstance(action, WriteFile) and action.path == CONF.path)
    assert "listen [::]:443 ipv6only=off ssl" in str(conf.content)


def test_a_stopped_unit_is_started(goal: Goal) -> None:
    host = goal.site.hosts[0]
    after = done(goal)
    unit = UnitFact(unit=UNIT)
    (start,) = wanted(SERVES, goal, host, {**after, unit: UnitState(load="loaded", active="failed", sub="failed")})
    assert "failed" in start.reason


def test_the_texts(goal: Goal) -> None:
    check_texts(Path(__file__).parent / "golden", wanted(SERVES, goal, goal.site.hosts[0], bare_with_package(goal)))
