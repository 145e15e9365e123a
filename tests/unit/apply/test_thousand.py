"""A thousand simulated hosts that are slow, refuse, vanish and start anew: run again until it is done."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bundler.apply.apply import Applied, apply
from bundler.apply.journal import Journal
from bundler.plan.plan import make_plan
from bundler.plan.stack import Stack, stack_of
from bundler.steps.facts import Fact, Facts
from bundler.steps.gather import gather
from bundler.steps.step import Goal
from tests.simulation import (
    VOLATILE,
    Did,
    Faults,
    Holds,
    Watched,
    Word,
    World,
    component,
    goal_of,
    lease,
    site_of,
    step,
)

HOSTS, JOBS = 1000, 32
TOKEN = Word(key="token", after="join")
STACK = stack_of(
    [
        component("base", step("base", ("a", "1"), ("b", "1"), ("c", "1"))),
        component("store", step("store", ("store", "1"), roles=("site",))),
        component("serve", step("serve", ("serve", "1"), roles=("site",), after=("store", "base"))),
        component("sources", step("sources", ("sources", "1"), roles=("worker",), needs=("serve",))),
        component("join", step("join", ("join", "1"), ("token", "t"), roles=("worker",), after=("sources", "base"))),
        component(
            "use",
            step("use", Holds(step="use", key="use", word="w-", source=TOKEN), roles=("worker",), after=("join",)),
        ),
        component("mesh", step("mesh", ("mesh", "1"), roles=("gpu",), needs=("join",))),
        component("run", step("run", (f"{VOLATILE}up", "1"), last=True)),
    ]
)
ROLES = {f"h{at}": ("site",) if at < 3 else ("worker", "gpu") if at % 10 == 0 else ("worker",) for at in range(HOSTS)}
GOAL = goal_of(site_of(ROLES))
FAULTS = Faults(
    unreachable=0.01, lost_before=0.01, lost_after=0.01, failed=0.02, timed_out=0.01, restarted=0.01, most=0.5
)
WORDS = {  # what a step's hosts hold in the end
    "base": {"a": "1", "b": "1", "c": "1"},
    "store": {"store": "1"},
    "serve": {"serve": "1"},
    "sources": {"sources": "1"},
    "join": {"join": "1", "token": "t"},
    "use": {"use": "w-t"},
    "mesh": {"mesh": "1"},
    "run": {f"{VOLATILE}up": "1"},
}


def asked(stack: Stack, goal: Goal) -> dict[str, list[Fact[Any]]]:
    return {
        host.name: [fact for place in stack if place.step.on(host) for fact in place.step.asks(goal, host)]
        for host in goal.site.hosts
    }


def run(world: World, folder: Path, epoch: int) -> tuple[Applied | None, int]:
    """What a command does: ask all, plan, apply. Nothing, where a host cannot be asked; and the actions of the plan."""
    questions = asked(STACK, GOAL)
    answers: dict[str, Any] = {}
    for _ in range(20):  # who could not be asked is asked by the next command
        facts, failed = gather(
            {name: questions[name] for name in questions.keys() - answers.keys()}, world.hosts, jobs=JOBS
        )
        answers |= {name: facts.of(name)._answers for name in facts.hosts}
        if not failed:
            break
    else:
        return None, 0
    plan = make_plan(STACK, GOAL, Facts({host.name: answers[host.name] for host in GOAL.site.hosts}))
    journal = Journal(folder / "journal.jsonl")
    try:
        applied = apply(
            plan, STACK, GOAL, world.hosts, journal=journal, lease=lease(epoch), watcher=Watched(), jobs=JOBS
        )
    finally:
        journal.close()
    return applied, plan.count()


def check_order(trace: list[Did]) -> None:
    """Nothing took effect before all that it waits for had: on its own host, and where it `needs` it, everywhere."""
    places = {place.step.name: place for place in STACK}
    on = {name: {host.name for host in GOAL.site.hosts if place.step.on(host)} for name, place in places.items()}
    held: Counter[tuple[str, str]] = Counter()  # by host and step: how many of its words it has, once it had them
    seen: set[Did] = set()
    whole: Counter[str] = Counter()  # on how many hosts a step is done
    for did in trace:
        place = places[did.step]
        for before in place.before_here:
            assert did.host not in on[before] or held[did.host, before] >= len(WORDS[before]), f"{did} before {before}"
        for before in place.before_anywhere:
            assert whole[before] == len(on[before]), f"{did} before {before} was done everywhere"
        assert WORDS[did.step][did.key] == did.word, "no word that is not wanted"
        if did not in seen:
            seen.add(did)
            held[did.host, did.step] += 1
            whole[did.step] += held[did.host, did.step] == len(WORDS[did.step])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_hosts_converge(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "os.fdatasync", lambda descriptor: None
    )  # 15,000 journal lines: what they cost is not looked at
    world = World(GOAL.site, seed=seed, faults=FAULTS)
    threads = threading.active_count()
    counts = []
    for epoch in range(1, 20):
        applied, count = run(world, tmp_path, epoch)
        counts.append(count)
        if applied is not None and count == 0:
            break
        world.faults = world.faults.times(0.7)  # somebody mends the site meanwhile
    else:
        raise AssertionError(f"it does not converge: {counts}")
    expected = {
        host.name: {key: word for place in STACK if place.step.on(host) for key, word in WORDS[place.step.name].items()}
        for host in GOAL.site.hosts
    }
    assert world.state() == expected
    check_order(world.trace)
    assert len(counts) <= 12, counts
    assert world.busiest <= JOBS
    assert threading.active_count() == threads
    done = Counter(world.trace)
    assert len(done) == counts[0] == sum(map(len, expected.values()))
    again = [did for did, times in done.items() if times > 1 and not did.key.startswith(VOLATILE)]
    assert again == [], "what was done is not done again, also when nobody heard that it was"


def test_what_is_whole_is_left_alone(tmp_path: Path) -> None:
    world = World(GOAL.site)
    for name, words in world.hosts.items():
        for place in STACK:
            if place.step.on(GOAL.site.host(name)):
                words.words |= WORDS[place.step.name]
    applied, count = run(world, tmp_path, 1)
    assert (applied, count, world.trace) == (Applied(done=0, failed={}, waited=()), 0, [])
