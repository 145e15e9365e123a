"""A thousand hosts with every component that there is, bounded by the work done, not by the clock."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jinja2
import pytest

from bundler.model.digest import Digest
from bundler.model.site import SiteHost
from bundler.plan.plan import make_plan
from bundler.plan.show import lines
from bundler.plan.stack import Place, Stack
from bundler.steps.facts import Facts
from bundler.steps.resources import Resource
from bundler.steps.step import Goal
from tests import large
from tests.bundles import TinyBundle

HOSTS = 1000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    return large.release(tmp_path_factory.mktemp("release"))


def counted(stack: Stack, calls: Counter[str]) -> Stack:
    """The same stack, whose steps count how often they are asked for their resources."""

    def place(each: Place) -> Place:
        def resources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
            calls[each.step.name] += 1
            return each.step.resources(goal, host)

        return replace(each, step=replace(each.step, resources=resources))

    return Stack(tuple(place(each) for each in stack))


@pytest.mark.slow
def test_a_plan_for_a_thousand_hosts(bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    goal, plain, calls = large.large_goal(bundle, HOSTS), large.large_stack(), Counter[str]()
    stack, work = counted(plain, calls), Counter[str]()

    real, hashed = jinja2.Template.render, Digest.of

    def render(template: jinja2.Template, *args: Any, **more: Any) -> str:
        work["renders"] += 1
        return real(template, *args, **more)

    def of(data: bytes) -> Digest:
        work["hashed"] += len(data)
        return hashed(data)

    monkeypatch.setattr(jinja2.Template, "render", render)
    monkeypatch.setattr(Digest, "of", of)
    facts = large.bare(plain, goal)
    plan = make_plan(stack, goal, Facts(facts))
    assert {unit.host for unit in plan.units} == {host.name for host in goal.site.hosts}
    assert len(list(lines(plan, diffs=False))) < 1000, "a thousand hosts read like a few"
    again = make_plan(stack, goal, Facts(large.after(facts, plain, goal)))
    assert again.count() < plan.count() / 2
    assert all(count <= 2 * HOSTS for count in calls.values()), "each step is asked once a host and plan"
    assert 0 < work["renders"] < 200, "texts that are the same for all hosts are made once"
    assert work["hashed"] < HOSTS << 20, "and no text is read again and again"
