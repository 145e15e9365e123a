"""What the name servers' step wants of a host, and what its check makes of the answers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.components.dns import COMPONENT
from bundler.components.dns.health import UNIT
from bundler.components.dns.settings import parse_settings
from bundler.components.dns.zones import zones_of
from bundler.components.registry.settings import parse_settings as registry_settings
from bundler.errors import NotCarried
from bundler.steps.actions import Action
from bundler.steps.facts import Fact, Facts, FileFact, UnitFact
from bundler.steps.step import Finding, Goal
from tests.facts import bare, settled, wanted
from tests.goals import SITE, goal_of, release
from tests.golden import check_texts

PARSERS = {"dns": parse_settings, "registry": registry_settings}
(STEP,) = COMPONENT.steps
(CHECK,) = COMPONENT.health


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), PARSERS)


def asked(facts: dict[Fact[Any], Any], name: str) -> Fact[Any]:
    (found,) = (fact for fact in facts if fact.label == name)
    return found


def installed(goal: Goal) -> tuple[dict[Fact[Any], Any], list[Action]]:
    """The facts of a host when the step is done, and the actions that did it."""
    host = goal.site.hosts[0]
    answers = bare(STEP, goal, host)
    actions = wanted(STEP, goal, host, answers)
    after = settled(answers, actions)
    after[asked(after, "what coredns is from")] = str(goal.lock.files[0].digest)
    return after, actions


def test_a_bare_host_gets_all_of_it(goal: Goal) -> None:
    after, actions = installed(goal)
    assert [(action.kind, action.target) for action in actions] == [
        ("run", "unpack coredns 1.14.4"),
        ("folder", "/etc/bundle/dns"),
        ("write", "/etc/bundle/dns/db.lab.example"),
        ("write", "/etc/bundle/dns/db.77.10.in-addr.arpa"),
        ("write", "/etc/bundle/dns/Corefile"),
        ("write", f"/etc/systemd/system/{UNIT}"),
        ("start", UNIT),
    ]
    assert wanted(STEP, goal, goal.site.hosts[0], after) == []


def test_another_name_restarts_it_and_another_program_too(goal: Goal, tmp_path_factory: pytest.TempPathFactory) -> None:
    after, _ = installed(goal)
    more = goal_of(release(tmp_path_factory.mktemp("more")), PARSERS, text=SITE.replace("10.77.1.13", "10.77.1.14"))
    kinds = [(action.kind, action.target) for action in wanted(STEP, more, more.site.hosts[0], after)]
    assert kinds == [
        ("write", "/etc/bundle/dns/db.lab.example"),
        ("write", "/etc/bundle/dns/db.77.10.in-addr.arpa"),
        ("start", UNIT),
    ]
    files = {"coredns_1.15.0_linux_amd64.tgz": b"another"}
    newer = goal_of(release(tmp_path_factory.mktemp("newer"), files=files), PARSERS)
    kinds = [(action.kind, action.target) for action in wanted(STEP, newer, newer.site.hosts[0], after)]
    assert kinds == [("run", "unpack coredns 1.15.0"), ("write", f"/etc/systemd/system/{UNIT}"), ("start", UNIT)]


def test_a_release_without_the_program(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = release(tmp_path_factory.mktemp("without"), files={"other.txt": b"x"})
    with pytest.raises(NotCarried):
        list(STEP.asks(goal_of(bundle, PARSERS), goal_of(bundle, PARSERS).site.hosts[0]))


def judged(goal: Goal, answers: dict[Fact[Any], Any], said: dict[str, Any]) -> list[Finding]:
    host = goal.site.hosts[0]
    known = {**answers, asked(dict.fromkeys(CHECK.asks(goal, host)), "what the name server answers"): said}
    return list(CHECK.judge(goal, [host], Facts({host.name: known})))


def test_what_the_check_finds(goal: Goal) -> None:
    serial = zones_of(goal.site, goal.site.settings["dns"])[0].serial
    after, _ = installed(goal)
    well: dict[str, Any] = {"rcode": 0, "answers": 1, "serial": serial, "ms": 0.3}
    names = ["lab.example/SOA", "n1.lab.example/A", "bundle-health-check.invalid/A"]
    good = dict(zip(names, (well, well, {**well, "rcode": 3, "answers": 0}), strict=True))
    assert judged(goal, after, good) == []

    (found,) = judged(goal, after, {**good, names[0]: {**well, "serial": 7}})
    assert "other names" in found.found
    assert found.remedy is not None
    assert found.remedy.restart == UNIT
    (found,) = judged(goal, after, {name: {"failure": "timed out"} for name in names})
    assert "timed out" in found.found
    (found,) = judged(goal, after, {**good, names[1]: {**well, "answers": 0}})
    assert "n1.lab.example" in found.found
    (found,) = judged(goal, after, {**good, names[2]: {**well, "rcode": 2}})
    assert "code 2" in found.found
    (found,) = judged(goal, after, {**good, names[1]: {**well, "ms": 900.0}})
    assert found.warning
    # Broken by hand, it is found before the answers, whatever they are; the steps mend it, a restart would not.
    (found,) = judged(goal, {**after, FileFact(path="/etc/bundle/dns/Corefile"): None}, good)
    assert "Corefile" in found.found
    assert found.remedy is not None
    assert (found.remedy.restart, found.remedy.steps) == ("", ("dns",))
    down = replace(after[UnitFact(unit=UNIT)], active="failed", sub="failed")
    (found,) = judged(goal, {**after, UnitFact(unit=UNIT): down}, {})
    assert "failed" in found.found


def test_what_preflight_finds_in_the_names(tmp_path_factory: pytest.TempPathFactory) -> None:
    forward = "forward: {lab.example: [10.1.1.1], corp.example: [10.77.0.12], '.': [10.1.1.1]}"
    text = SITE.replace("name: n3", "name: builds") + f"components: {{dns: {{{forward}}}}}\n"
    goal = goal_of(release(tmp_path_factory.mktemp("release")), PARSERS, text=text)
    (check,) = COMPONENT.preflight
    found = [finding.found for finding in check.judge(goal, goal.site.hosts[:2], Facts({}))]
    assert len(found) == 3
    assert "builds.lab.example is given by the site itself and by a host" in found[0]
    assert "10.77.0.12" in found[1]
    assert "own domain" in found[2]


def test_the_texts(tmp_path_factory: pytest.TempPathFactory) -> None:
    dns = "dns: {forward: {corp.example: [10.1.1.1, 10.1.1.2]}, records: {'*.apps': [10.77.0.200], x: ['fd77::1']}}"
    bundle = release(tmp_path_factory.mktemp("texts"), files={"coredns_1.14.4_linux_amd64.tgz": b"always the same"})
    goal = goal_of(bundle, PARSERS, text=f"{SITE}components: {{{dns}}}\n")
    check_texts(Path(__file__).parent / "golden", installed(goal)[1])
