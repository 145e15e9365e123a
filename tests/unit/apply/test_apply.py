"""Apply, on simulated hosts: order, what a failure stops, what is planned once more, what is written down."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bundler.apply.apply import Applied, apply
from bundler.apply.journal import Journal
from bundler.apply.lease import Taken
from bundler.errors import ActionFailed, FactUnknown, HostLost, Overtaken, StalePlan
from bundler.hosts.base import LOCKED, OVERTAKEN, SHORT, STALE, TIMED_OUT, Answer, Script
from bundler.plan.plan import Plan, make_plan, make_removal
from bundler.plan.stack import Stack, stack_of
from bundler.steps.facts import Facts
from bundler.steps.gather import gather
from tests.simulation import Faults, Holds, Watched, Word, World, component, goal_of, lease, site_of, step

SITE = site_of({"s1": ("site",), "s2": ("site",), "w1": ("worker",), "w2": ("worker",)})
TOKEN = Word(key="token", after="join")
USE = Holds(step="use", key="use", word="w-", source=TOKEN)
STACK = stack_of(
    [
        component("store", step("store", ("a", "1"), ("b", "1"), roles=("site",))),
        component("serve", step("serve", ("serve", "1"), roles=("site",), after=("store",))),
        component("early", step("early", ("early", "1"), roles=("worker",))),
        component(
            "join", step("join", ("join", "1"), ("token", "t"), roles=("worker",), after=("early",), needs=("serve",))
        ),
        component("use", step("use", USE, roles=("worker",), after=("join",))),
        component("other", step("other", ("other", "1"), roles=("worker",), after=("early",))),
    ]
)
GOAL = goal_of(SITE)


@dataclass
class Site:
    """A site of four hosts with all that `apply` takes."""

    folder: Path
    stack: Stack = STACK
    world: World = field(default_factory=lambda: World(SITE))
    taken: Taken = field(default_factory=lease)
    watched: Watched = field(default_factory=Watched)

    def plan(self) -> Plan:
        return make_plan(self.stack, GOAL, self.facts())

    def facts(self) -> Facts:
        hosts = GOAL.site.hosts
        asked = {
            host.name: [fact for place in self.stack if place.step.on(host) for fact in place.step.asks(GOAL, host)]
            for host in hosts
        }
        return gather(asked, self.world.hosts)[0]

    def apply(self, plan: Plan | None = None, **more: Any) -> Applied:
        journal = Journal(self.folder / "journal.jsonl")
        try:
            plan = self.plan() if plan is None else plan
            args = {"journal": journal, "lease": self.taken, "watcher": self.watched, **more}
            return apply(plan, self.stack, GOAL, self.world.hosts, **args)
        finally:
            journal.close()

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "journal.jsonl").read_text().splitlines()]

    def on(self, host: str, put: str, do: Callable[[], Answer | None]) -> None:
        """Do this instead of a host's putting of a word, or before it."""
        self.world.hosts[host].before = lambda script: do() if script.text.startswith(f"put {put} ") else None


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    before = threading.active_count()
    yield Site(folder=tmp_path)
    assert threading.active_count() == before


def answer(code: int, said: str = "") -> Callable[[], Answer]:
    return lambda: Answer(code=code, stdout=b"", stderr=said.encode())


@pytest.mark.parametrize("jobs", [0, 1, 32])
def test_all_goes_well(site: Site, jobs: int) -> None:
    plan = site.plan()
    site.world.busiest = 0  # planning asks all hosts at once
    applied = site.apply(plan, jobs=jobs)
    assert site.world.busiest <= max(1, jobs)
    assert (applied.done, applied.failed, applied.waited) == (plan.count(), {}, ())
    assert site.world.state()["w1"] == {"early": "1", "join": "1", "token": "t", "use": "w-t", "other": "1"}
    assert not site.plan()
    trace = [(did.host, did.key) for did in site.world.trace]
    for worker in ("w1", "w2"):
        for server in ("s1", "s2"):
            assert trace.index((server, "serve")) < trace.index((worker, "join"))
    assert site.watched.expected is plan
    assert len(site.watched.begun) == len(site.watched.ends) == plan.count()


def test_an_empty_plan(site: Site) -> None:
    assert site.apply(Plan(units=())) == Applied(done=0, failed={}, waited=())


def test_a_host_does_not_wait_for_what_it_does_not_need(site: Site) -> None:
    """`early` needs nobody: it is done while the site hosts still work."""
    early = threading.Event()

    def wait() -> None:
        assert early.wait(20)

    site.on("s1", "a", wait)
    site.on("w1", "early", early.set)
    assert site.apply(jobs=2).failed == {}


def test_a_failure_ends_its_hosts_part_and_what_needs_it(site: Site) -> None:
    site.on("s2", "b", answer(7, "one\ntwo"))
    applied = site.apply()
    assert applied.done == 2 + 1 + 1 + 4, "store and serve on s1, one word on s2, early and other on the workers"
    assert {(unit.host, unit.step) for unit in applied.waited} == {
        ("s2", "serve"),
        *((worker, name) for worker in ("w1", "w2") for name in ("join", "use")),
    }
    [error] = applied.failed.values()
    assert isinstance(error, ActionFailed)
    assert (error.host, error.step, error.what, error.code, error.output) == ("s2", "store", "put b", 7, "one\ntwo")
    assert error.journal == str(site.folder / "journal.jsonl")
    assert ("s2", "store", "b", error.summary) in site.watched.ends


def test_a_failure_of_one_host_leaves_the_others_alone(site: Site) -> None:
    site.on("w1", "early", answer(1))
    applied = site.apply()
    assert list(applied.failed) == ["w1"]
    assert {unit.host for unit in applied.waited} == {"w1"}
    assert site.world.state()["w2"]["use"] == "w-t"
    site.world.hosts["w1"].before = lambda script: None
    assert site.apply().failed == {}
    assert not site.plan()


ROLLING = stack_of(
    [
        component("first", step("first", ("first", "1"))),
        component("roll", step("roll", ("one", "1"), ("two", "2"), after=("first",), rolling=True)),
        component("rest", step("rest", ("rest", "1"), after=("roll",))),
    ]
)


def test_a_rolling_step_goes_one_host_at_a_time_in_the_sites_order(tmp_path: Path) -> None:
    site = Site(folder=tmp_path, stack=ROLLING)
    site.on("s1", "first", lambda: time.sleep(0.2))  # it is ready last, and its turn is first
    assert site.apply().failed == {}
    ends = [(host, target) for host, _, target, error in site.watched.ends if target in ("one", "two") and not error]
    assert ends == [(host, word) for host in ("s1", "s2", "w1", "w2") for word in ("one", "two")]


def test_a_rolling_step_that_fails_somewhere_goes_no_further(tmp_path: Path) -> None:
    site = Site(folder=tmp_path, stack=ROLLING)
    site.on("s2", "two", answer(1))
    applied = site.apply()
    assert list(applied.failed) == ["s2"]
    assert {(unit.host, unit.step) for unit in applied.waited} == {
        ("s2", "rest"),
        *((host, name) for host in ("w1", "w2") for name in ("roll", "rest")),
    }
    assert site.world.state()["s1"]["rest"] == "1"


def lose() -> Answer:
    raise HostLost(host="w1", why="it is silent")


ANSWERS: dict[str, tuple[Callable[[], Answer], type[Exception], str]] = {
    "stale": (answer(STALE), StalePlan, "w1: early changed after the plan was made"),
    "timed out": (answer(TIMED_OUT, "half"), ActionFailed, "it took too long\nhalf"),
    "locked": (
        answer(LOCKED, "123 sleep"),
        ActionFailed,
        "programs of an earlier action still run on the host\n123 sleep",
    ),
    "short": (answer(SHORT), ActionFailed, "the session ended before everything was sent"),
    "refused": (answer(1, "no"), ActionFailed, "no"),
    "lost": (lose, HostLost, ""),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_what_is_said_of_an_answer(site: Site, case: str) -> None:
    do, kind, said = ANSWERS[case]
    site.on("w1", "early", do)
    error = site.apply().failed["w1"]
    assert isinstance(error, kind)
    assert said in error.detail
    ends = [entry for entry in site.journal() if entry["event"] == "end" and "error" in entry]
    assert [(entry["host"], entry["target"], entry["error"]) for entry in ends] == [("w1", "early", error.summary)]


def test_the_journal_says_what_ran_before_it_runs(site: Site) -> None:
    site.on("w2", "early", answer(9, "x" * 5000))
    site.apply()
    entries = site.journal()
    for host in ("s1", "w1"):
        mine = [entry for entry in entries if entry["host"] == host]
        assert [entry["event"] for entry in mine] == ["begin", "end"] * (len(mine) // 2)
    begin, end = (entry for entry in entries if entry["host"] == "w2")
    assert begin.keys() == {"at", "event", "epoch", "reason", "host", "step", "kind", "target"}
    assert (begin["epoch"], begin["kind"], begin["target"], begin["step"]) == (1, "put", "early", "early")
    assert (end["code"], len(end["output"])) == (9, 2000)


def test_a_half_line_of_a_killed_run_is_ended_first(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"event": "whole"}\n{"event": "ha')
    for text in ("line\nbreak", "next"):
        journal = Journal(path)
        journal.write("said", output=text)
        journal.close()
    whole, half, *said = path.read_bytes().split(b"\n")[:-1]
    assert (whole, half) == (b'{"event": "whole"}', b'{"event": "ha')
    assert [json.loads(line)["output"] for line in said] == ["line\nbreak", "next"]
    assert path.stat().st_mode & 0o077 == 0 or path.stat().st_mode & 0o777 == 0o644, "it was there before"


def test_what_cannot_be_written_down_is_not_done(site: Site) -> None:
    plan = site.plan()

    class Full(Journal):
        def write(self, event: str, **facts: Any) -> None:
            from bundler.errors import CannotWrite

            raise CannotWrite(path=str(self.path), why="no")

    journal = Full(site.folder / "journal.jsonl")
    applied = site.apply(plan, journal=journal)
    journal.close()
    assert applied.done == 0
    assert site.world.trace == []
    assert set(applied.failed) == {"s1", "s2", "w1", "w2"}


def test_a_unit_planned_from_unknown_facts_is_planned_once_more(site: Site) -> None:
    plan = site.plan()
    [use] = [unit for unit in plan.units if (unit.host, unit.step) == ("w1", "use")]
    assert use.actions[0].word == "w-?"  # type: ignore[attr-defined]
    assert site.apply(plan).failed == {}
    assert site.world.state()["w1"]["use"] == "w-t"


def test_a_later_unit_may_turn_out_to_be_done(site: Site) -> None:
    plan = site.plan()
    site.world.hosts["w1"].words["use"] = "w-t"
    applied = site.apply(plan)
    assert (applied.failed, applied.done) == ({}, plan.count() - 1)


def test_a_later_unit_does_nothing_that_was_not_shown(site: Site) -> None:
    shown = make_plan(STACK, GOAL, site.facts())
    more = step("use", USE, ("more", "1"), roles=("worker",), after=("join",))
    components = [component(place.component, place.step) for place in STACK if place.step.name != "use"]
    site.stack = stack_of([*components, component("use", more)])
    error = site.apply(shown).failed["w1"]
    assert isinstance(error, StalePlan)
    assert error.differences == ("w1: use was planned as put use, and is now put use, put more",)
    assert "use" not in site.world.state()["w1"]


def test_a_later_unit_whose_host_cannot_be_asked(site: Site) -> None:
    plan = site.plan()
    site.world.hosts["w1"].before = lambda script: None if script.epoch else Answer(code=1, stdout=b"", stderr=b"no")
    applied = site.apply(plan)
    assert isinstance(applied.failed["w1"], FactUnknown)
    assert applied.done == plan.count() - 1


def test_who_is_overtaken_stops(site: Site) -> None:
    site.world.hosts["s2"].epoch = 2
    with pytest.raises(Overtaken) as raised:
        site.apply(jobs=1)
    assert raised.value.exit_code == 95
    assert site.taken.lost.is_set()
    assert {did.host for did in site.world.trace} <= {"s1", "w1"}, "what was begun before"
    assert OVERTAKEN in [entry.get("code") for entry in site.journal()]


def test_a_lost_lease_begins_no_further_action(site: Site) -> None:
    site.on("s1", "a", site.taken.lost.set)
    with pytest.raises(Overtaken):
        site.apply(jobs=1)
    assert [(did.host, did.key) for did in site.world.trace] == [("s1", "a")]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_begins_no_further_action(site: Site, kind: type[BaseException]) -> None:
    """A fault of the tool, or Ctrl-C: what is in hand ends, and nothing that waits for a thread is begun."""

    def fall() -> None:
        raise kind

    plan = site.plan()
    site.on("s1", "a", fall)
    site.world.faults = Faults(most=100)
    with pytest.raises(kind):
        site.apply(plan, jobs=1)
    assert len(site.world.trace) <= 2, "the one that was begun while we were told"
    site.world.faults = Faults()
    site.world.hosts["s1"].before = lambda script: None
    assert site.apply().failed == {}


def test_removal_waits_for_nobody(site: Site) -> None:
    site.apply()
    names = frozenset(STACK.names())
    plan = make_removal(STACK, GOAL, site.facts(), steps=names, purge=False)
    site.on("w1", "use", answer(1))
    applied = site.apply(plan, backwards=True)
    assert list(applied.failed) == ["w1"]
    assert not any(site.world.state()[host][key] for host, key in (("s1", "a"), ("s1", "serve"), ("w2", "join")))
    site.world.hosts["w1"].before = lambda script: None
    site.apply(make_removal(STACK, GOAL, site.facts(), steps=names, purge=False), backwards=True)
    assert not make_removal(STACK, GOAL, site.facts(), steps=names, purge=False)


def test_questions_carry_no_epoch_and_actions_do(site: Site) -> None:
    seen: list[Script] = []
    for host in site.world.hosts.values():
        host.before = seen.append
    site.taken = lease(7)
    site.apply()
    assert {script.epoch for script in seen if script.text.startswith("put")} == {7}
    assert {script.epoch for script in seen if not script.text.startswith("put")} == {None}
