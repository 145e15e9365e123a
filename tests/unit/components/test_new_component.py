"""Adding a component touches nothing else: here one in a folder outside the tree, planned and applied on hosts that are
folders."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import bundler.components
from bundler.apply.apply import apply
from bundler.apply.journal import Journal
from bundler.cli.main import main
from bundler.components import components, settings_parsers
from bundler.errors import InvalidDocument
from bundler.plan.plan import Plan, make_plan, make_removal
from bundler.plan.stack import Stack, stack_of
from bundler.steps.facts import Facts
from bundler.steps.gather import gather
from bundler.steps.step import Component, Finding, Goal
from bundler.watch.decide import Limits, Memory, decide
from tests import large
from tests.folder_host import GROUP, ME
from tests.goals import SITE, goal_of
from tests.scratch import ScratchHost
from tests.simulation import Watched, lease

FILES = {
    "__init__.py": f'''
        """A greeting on every worker, by a service of its own."""

        from bundler.model.json_schema import record, text
        from bundler.steps.facts import UnitFact
        from bundler.steps.render import render
        from bundler.steps.resources import File, Folder, Service
        from bundler.steps.step import Check, Component, Finding, Remedy, Step

        UNIT, PATH = "greeting.service", "/srv/greeting/text"


        def resources(goal, host):
            words = goal.site.settings["greeting"]
            content = render(__package__, "text.j2", words=words, host=host.name)
            file = File(path=PATH, content=content, owner="{ME}", group="{GROUP}")
            return (Folder(path="/srv/greeting", owner="{ME}", group="{GROUP}"), Service(unit=UNIT, files=(file,)))


        def asks(goal, host):
            return (UnitFact(unit=UNIT),)


        def judge(goal, hosts, facts):
            again = Remedy(restart=UNIT, steps=("greeting",))
            for host in hosts:
                if facts.of(host.name)[UnitFact(unit=UNIT)].active != "active":
                    yield Finding(host=host.name, check="greeting", found="nobody greets", fix="greet", remedy=again)


        COMPONENT = Component(
            name="greeting",
            about="A greeting.",
            steps=(Step(name="greeting", resources=resources, roles=("worker",), after=("base/hosts",)),),
            settings=lambda fields: fields.text("words", default="hello"),
            schema=record("A greeting.", {{"words": text("What is said.", ".*")}}),
            health=(Check(name="greeting", asks=asks, judge=judge, roles=("worker",)),),
            units=(UNIT,),
        )
    ''',
    "text.j2": "{{ words }}, {{ host }}\n",
}


@pytest.fixture
def greeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Component]:
    folder = tmp_path / "components/greeting"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(dedent(text))
    monkeypatch.setattr(bundler.components, "__path__", [*bundler.components.__path__, str(folder.parent)])
    components.cache_clear()
    yield next(each for each in components() if each.name == "greeting")
    components.cache_clear()
    sys.modules.pop("bundler.components.greeting")


@pytest.fixture
def goal(greeting: Component, tmp_path: Path) -> Goal:
    bundle = large.release(tmp_path)
    return goal_of(bundle, settings_parsers(), text=f"{SITE}components: {{greeting: {{words: welcome}}}}\n")


@pytest.mark.usefixtures("greeting")
def test_its_settings_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert "words" in json.dumps(schema["properties"]["components"]["properties"]["greeting"])
    path = tmp_path / "site.yaml"
    path.write_text(f"{SITE}components:\n  greeting: {{word: 1}}\n")
    assert main(["site", "check", str(path)]) == InvalidDocument.exit_code
    assert "word" in capsys.readouterr().err
    path.write_text(SITE)
    assert main(["site", "check", str(path)]) == 0


def test_its_step_has_its_place_in_the_order(greeting: Component, goal: Goal) -> None:
    stack = large.large_stack()
    names = stack.names()
    assert names.index("greeting") > names.index("base/hosts")
    plan = make_plan(stack, goal, Facts(large.bare(stack, goal)))
    [unit] = [unit for unit in plan.units if unit.step == "greeting"]
    assert (unit.host, [action.target for action in unit.actions]) == (
        "n3",
        ["/srv/greeting", "/srv/greeting/text", "greeting.service"],
    )


def planned(stack: Stack, goal: Goal, hosts: dict[str, ScratchHost]) -> tuple[Plan, Facts]:
    asked = {host.name: large.asked(stack, goal, host) for host in goal.site.hosts}
    facts, failed = gather(asked, hosts)
    assert failed == {}
    return make_plan(stack, goal, facts), facts


def carried(plan: Plan, stack: Stack, goal: Goal, hosts: dict[str, ScratchHost], **more: Any) -> None:
    journal = Journal(hosts["n1"].root / "journal")
    applied = apply(plan, stack, goal, hosts, journal=journal, lease=lease(), watcher=Watched(), **more)
    journal.close()
    assert (applied.failed, applied.done) == ({}, plan.count())


def found(greeting: Component, goal: Goal, hosts: dict[str, ScratchHost]) -> list[Finding]:
    [check] = greeting.health
    on = [host for host in goal.site.hosts if check.on(host)]
    facts, _ = gather({host.name: check.asks(goal, host) for host in on}, hosts)
    return list(check.judge(goal, on, facts))


def test_it_is_installed_found_ill_mended_and_taken_away(greeting: Component, goal: Goal, tmp_path: Path) -> None:
    hosts = {name: ScratchHost(tmp_path / name, name=name) for name in ("n1", "n2", "n3")}
    hosts["n3"].has_unit("greeting.service")
    first = hosts["n3"].tree()
    [place] = [place for place in stack_of(components()) if place.component == "greeting"]
    stack = Stack((place,))
    plan, _ = planned(stack, goal, hosts)
    carried(plan, stack, goal, hosts)
    assert hosts["n3"].path("/srv/greeting/text").read_text() == "welcome, n3\n"
    assert not planned(stack, goal, hosts)[0]
    assert found(greeting, goal, hosts) == []

    (hosts["n3"].units / "greeting.service.active").unlink()
    findings, memory = found(greeting, goal, hosts), Memory()
    _, memory = decide(findings, memory, 0, Limits())
    [decision], _ = decide(findings, memory, 10, Limits())
    assert decision.remedy is not None
    assert decision.remedy.restart == "greeting.service"
    plan, _ = planned(stack, goal, hosts)
    carried(plan, stack, goal, hosts)
    assert found(greeting, goal, hosts) == []

    _, facts = planned(stack, goal, hosts)
    carried(
        make_removal(stack, goal, facts, steps=frozenset({"greeting"}), purge=False), stack, goal, hosts, backwards=True
    )
    ours = ("var/lib/bundle/units", "var/lib/bundle/epoch", "srv")
    left = {name: what for name, what in hosts["n3"].tree().items() if not name.startswith(ours)}
    assert left == {name: what for name, what in first.items() if not name.startswith("srv")}
