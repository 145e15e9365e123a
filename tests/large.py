"""A site of a thousand hosts with every component that there is, and what its hosts would answer: for the planner.

python -m tests.large [HOSTS]     says what a plan takes of processor and memory
"""

import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundler.components import base, components, settings_parsers
from bundler.components.base.names import SYSTEM, System
from bundler.model.site import SiteHost
from bundler.plan.plan import make_plan
from bundler.plan.stack import Stack, stack_of
from bundler.steps.actions import Action
from bundler.steps.facts import Fact, Facts
from bundler.steps.step import Goal
from tests import goals
from tests.bundles import TinyBundle
from tests.content import make_deb
from tests.facts import settled

Answers = dict[Fact[Any], Any]


def release(folder: Path) -> TinyBundle:
    """A bundle with all packages that the components need."""
    names = (*base.NEEDED, *base.TOOLS, *base.STORAGE_TOOLS, *goals.PACKAGES)
    return goals.release(folder, debs=tuple(make_deb(name) for name in dict.fromkeys(names)))


def site_text(hosts: int) -> str:
    """Three site hosts, and of the others every third for storage."""
    roles = ["[site, control-plane]"] * 3 + ["[worker]", "[worker, storage]", "[worker, gpu]"] * (hosts // 3)
    lines = [f"- {{name: n{at}, address: 10.77.{at // 250}.{at % 250 + 1}, roles: {roles[at]}}}" for at in range(hosts)]
    head, tail = "site: lab\ndomain: lab.example\nhosts:", "networks:\n- {name: main, subnet: 10.77.0.0/16}\n"
    return "\n".join((head, *lines, tail))


def large_goal(bundle: TinyBundle, hosts: int) -> Goal:
    return goals.goal_of(bundle, settings_parsers(), text=site_text(hosts))


def large_stack() -> Stack:
    """Of what every release brings."""
    return stack_of(components()).of(each for each in components() if not each.catalog)


def asked(stack: Stack, goal: Goal, host: SiteHost) -> list[Fact[Any]]:
    return [fact for place in stack if place.step.on(host) for fact in place.step.asks(goal, host)]


def bare(stack: Stack, goal: Goal) -> dict[str, Answers]:
    """What hosts answer that nothing was ever done to, but that run the release that the bundle has packages for."""
    release = goal.lock.debs[0].release
    found: dict[str, Answers] = {}
    for host in goal.site.hosts:
        answers: Answers = {fact: fact.nothing for fact in asked(stack, goal, host)}
        found[host.name] = {**answers, SYSTEM: System(release=release, hostname=host.name)}
    return found


def after(plan_facts: Mapping[str, Answers], stack: Stack, goal: Goal) -> dict[str, Answers]:
    """What the hosts answer once a plan from these facts was carried out."""
    actions: dict[str, list[Action]] = {name: [] for name in plan_facts}
    for unit, action in make_plan(stack, goal, Facts(plan_facts)).actions():
        actions[unit.host].append(action)
    return {name: settled(answers, actions[name]) for name, answers in plan_facts.items()}


def _measure(hosts: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = release(Path(folder))
        started = time.process_time()
        goal, stack = large_goal(bundle, hosts), large_stack()
        _say(f"site of {hosts} hosts read", started)
        started = time.process_time()
        facts = bare(stack, goal)
        count = sum(map(len, facts.values()))
        _say(f"{count} questions made", started)
        for name in ("bare", "done once", "done twice"):
            started = time.process_time()
            planned = make_plan(stack, goal, Facts(facts))
            _say(f"{name}: {planned.count()} actions of {len(planned.units)} units planned", started)
            facts = after(facts, stack, goal)


def _say(what: str, started: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{time.process_time() - started:6.2f} s CPU  {peak:5.0f} MiB at most  {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _measure(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
