"""Plans: from facts to actions, the part that is asked for, and how it is shown."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bundler.errors import FactUnknown, Usage
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.plan.plan import Plan, Unit, make_plan, make_removal, select
from bundler.plan.show import as_json, lines
from bundler.plan.stack import stack_of
from bundler.steps.actions import MakeFolder, WriteFile
from bundler.steps.facts import Fact, Facts, Unasked
from tests.simulation import Holds, Word, component, goal_of, site_of, step

SITE = site_of({"s1": ("site",), "s2": ("site",), "w1": ("worker",), "w2": ("worker",)})
TOKEN = Word(key="token", after="join")
STACK = stack_of(
    [
        component(
            "store",
            step("store/tool", ("tool", "1"), roles=("site",)),
            step("store", roles=("site",), after=("store/tool",)),
        ),
        component("serve", step("serve", ("serve", "1"), roles=("site",), after=("store",))),
        component("join", step("join", ("join", "1"), ("token", "t"), roles=("worker",), needs=("serve",))),
        component(
            "use",
            step("use", Holds(step="use", key="use", word="w-", source=TOKEN), roles=("worker",), after=("join",)),
        ),
    ]
)
GOAL = goal_of(SITE)
ALL = {"tool": "1", "serve": "1", "join": "1", "token": "t", "use": "w-t"}


def facts(**hosts: dict[str, str]) -> Facts:
    """What these hosts hold."""
    asked = [*(Word(key=key) for key in ALL), TOKEN]
    return Facts({name: {fact: held.get(fact.key, "") for fact in asked} for name, held in hosts.items()})


def told(plan: Plan) -> list[str]:
    return [f"{unit.host} {unit.step}: {action.target}={action.word}" for unit, action in plan.actions()]  # type: ignore[attr-defined]


BARE = facts(s1={}, s2={}, w1={}, w2={})


def test_steps_in_order_and_hosts_in_order() -> None:
    plan = make_plan(STACK, GOAL, BARE)
    assert told(plan) == [
        "s1 store/tool: tool=1",
        "s2 store/tool: tool=1",
        "s1 serve: serve=1",
        "s2 serve: serve=1",
        "w1 join: join=1",
        "w1 join: token=t",
        "w2 join: join=1",
        "w2 join: token=t",
        "w1 use: use=w-?",
        "w2 use: use=w-?",
    ]
    assert (bool(plan), plan.count(), len(plan.units)) == (True, 10, 8)


def test_what_is_known_only_later_says_so() -> None:
    plan = make_plan(STACK, GOAL, BARE)
    later = {(unit.step, unit.later, action.later) for unit, action in plan.actions() if unit.host == "w1"}
    assert later == {("join", False, ""), ("use", True, "token (after join)")}
    joined = make_plan(STACK, GOAL, facts(w1={**ALL, "use": "w-old"}))
    assert [(unit.later, action.later) for unit, action in joined.actions()] == [(False, "")]
    assert told(joined) == ["w1 use: use=w-t"]


def test_nothing_to_do_is_an_empty_plan() -> None:
    plan = make_plan(STACK, GOAL, facts(s1=ALL, s2=ALL, w1=ALL, w2=ALL))
    assert (plan, bool(plan), list(lines(plan)), as_json(plan)) == (Plan(units=()), False, [], [])


def test_only_hosts_that_were_asked_are_planned() -> None:
    assert {unit.host for unit in make_plan(STACK, GOAL, facts(s2={}, w1={})).units} == {"s2", "w1"}


def test_nothing_is_planned_from_what_is_not_known() -> None:
    with pytest.raises(FactUnknown, match="s1: tool could not be found out: it was not asked"):
        make_plan(STACK, GOAL, Facts({"s1": {}}))
    with pytest.raises(FactUnknown, match="it burns"):
        make_plan(STACK, GOAL, Facts({"s1": {Word(key="tool"): Unasked("it burns")}}))
    answers: dict[Fact[Any], Any] = {**{Word(key=key): "" for key in ALL}, TOKEN: Unasked("no answer before join")}
    assert make_plan(STACK, GOAL, Facts({"w1": answers})).count() == 3, "it is not read before its step is done"


def test_removal_goes_backwards_and_knows_what_goes() -> None:
    plan = make_removal(STACK, GOAL, facts(s1=ALL, w1=ALL), steps=frozenset({"join", "use", "serve"}), purge=False)
    assert [line.split("=")[0] for line in told(plan)] == [
        "w1 use: use",
        "w1 join: token",
        "w1 join: join",
        "s1 serve: serve",
    ]
    assert not any(unit.later for unit in plan.units), "what goes first is there while it is looked at"


def test_what_two_steps_hold_goes_once() -> None:
    both = Holds(step="worker", key="join", word="1")
    stack = stack_of([component("c", step("c", both), step("c/kept", both, ("use", "2"), after=("c",)))])
    plan = make_removal(stack, GOAL, facts(w1=ALL, w2=ALL), steps=frozenset({"c", "c/kept"}), purge=False)
    assert [line.split("=")[0] for line in told(plan)] == [
        "w1 c/kept: use",
        "w1 c/kept: join",
        "w2 c/kept: use",
        "w2 c/kept: join",
    ]


DONE_HERE = facts(s1={"tool": "1"}, s2=ALL, w1={**ALL, "use": ""}, w2={})
SELECTED: list[tuple[Facts, dict[str, Any], Sequence[str]]] = [
    (BARE, {}, ["s1 store/tool", "s2 store/tool", "s1 serve", "s2 serve", "w1 join", "w2 join", "w1 use", "w2 use"]),
    (BARE, {"only": ["store"]}, ["s1 store/tool", "s2 store/tool"]),
    (BARE, {"only": ["store"], "limit": ["s2"]}, ["s2 store/tool"]),
    (BARE, {"start": "store/tool", "limit": ["s1"]}, ["s1 store/tool", "s1 serve"]),
    (BARE, {"limit": ["nobody"]}, []),
    (DONE_HERE, {"only": ["use"], "limit": ["w1"]}, "use on w1 needs serve on s1, which is left out and not done"),
    (facts(s1=ALL, w1={**ALL, "use": ""}, w2={}), {"only": ["use"], "limit": ["w1"]}, ["w1 use"]),
    (
        facts(s1=ALL, w1={**ALL, "use": ""}, w2={}),
        {"start": "use"},
        "use on w2 needs join on w2, which is left out and not done",
    ),
    (BARE, {"only": ["serve"]}, "serve on s1 needs store/tool on s1"),
    (BARE, {"only": ["join"]}, "join on w1 needs serve on s1"),
    (BARE, {"limit": ["w2"]}, "join on w2 needs serve on s1"),
    (BARE, {"start": "serve", "only": ["store"]}, []),
    (BARE, {"only": ["sotre"]}, "there is no step or component sotre"),
    (BARE, {"start": "nowhere"}, "there is no step or component nowhere"),
]


@pytest.mark.parametrize(("known", "asked", "expected"), SELECTED)
def test_select(known: Facts, asked: dict[str, Any], expected: Sequence[str] | str) -> None:
    plan = make_plan(STACK, GOAL, known)
    if isinstance(expected, str):
        with pytest.raises(Usage, match=expected):
            select(plan, STACK, **asked)
    else:
        assert [f"{unit.host} {unit.step}" for unit in select(plan, STACK, **asked).units] == list(expected)


def test_a_signature_is_what_runs_and_on_what() -> None:
    def unit(content: str | Secret, old: str | None, reason: str) -> Unit:
        digest = Digest.of(old.encode()) if old else None
        return Unit(host="h", step="s", actions=(WriteFile(path="/p", content=content, old=digest, reason=reason),))

    first = Plan(units=(unit("a", "old", "r"),)).signature()
    assert first == (("h", "s", "write", "/p", str(Digest.of(b"old"))),)
    assert Plan(units=(unit("a", "old", "other words"),)).signature() == first
    assert Plan(units=(unit("a", None, "r"),)).signature() != first


# --- shown


def written(host: str, content: str | Secret = "new\n", later: str = "") -> Unit:
    write = WriteFile(
        path="/etc/a", content=content, old=Digest.of(b"old\n"), before="old\n", reason="it differs", later=later
    )
    return Unit(host=host, step="a/b", actions=(write, MakeFolder(path="/d", reason="it is not there")))


def test_hosts_that_need_the_same_are_shown_together() -> None:
    units = [written(f"h{number}") for number in range(200)]
    units[7] = written("h7", content="its own\n")
    assert list(lines(Plan(units=tuple(units)))) == [
        "a/b",
        "  h0, h1, h2 and 196 more",
        "    write /etc/a  (it differs)",
        "      @@ -1 +1 @@",
        "      -old",
        "      +new",
        "    folder /d  (it is not there)",
        "  h7",
        "    write /etc/a  (it differs)",
        "      @@ -1 +1 @@",
        "      -old",
        "      +its own",
        "    folder /d  (it is not there)",
    ]
    assert len(list(lines(Plan(units=tuple(units)), diffs=False))) == 7
    assert "  h0, h1, h2" in list(lines(Plan(units=tuple(units[:3]))))


def test_secrets_are_masked_everywhere() -> None:
    plan = Plan(units=(written("h", content=Secret("hunter2"), later="the token (after x)"),))
    shown = "\n".join(lines(plan))
    assert "      (secret)" in shown.splitlines()
    assert "    write /etc/a  (it differs; known only later: the token (after x))" in shown.splitlines()
    assert "hunter2" not in shown + json.dumps(as_json(plan)) + repr(plan)


def test_as_json() -> None:
    assert as_json(Plan(units=(written("h"),))) == [
        {
            "host": "h",
            "step": "a/b",
            "kind": "write",
            "target": "/etc/a",
            "reason": "it differs",
            "later": "",
            "before": str(Digest.of(b"old\n")),
            "diff": ["@@ -1 +1 @@", "-old", "+new"],
        },
        {
            "host": "h",
            "step": "a/b",
            "kind": "folder",
            "target": "/d",
            "reason": "it is not there",
            "later": "",
            "before": "",
            "diff": [],
        },
    ]
