"""etcd's snapshots and what a restore does with them; what the cluster forgets of hosts that are gone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bundler.components import settings_parsers
from bundler.components.kubernetes.departed import DEPARTED_CHECK, VIEW, Departed, Member, Seen, View
from bundler.components.kubernetes.etcd import VERSION
from bundler.components.kubernetes.nodes import NODE, Node
from bundler.components.kubernetes.restore import RESTORE, STATE_FACT, Record, State
from bundler.components.kubernetes.settings import Snapshots, settings_of
from bundler.components.kubernetes.snapshots import AGE, HEALTH, KEPT
from bundler.errors import Usage
from bundler.model.asked import Asked
from bundler.model.digest import Digest
from bundler.model.site_parser import parse_site
from bundler.plan.plan import make_plan
from bundler.plan.stack import stack_of
from bundler.steps.facts import Fact, Facts
from bundler.steps.step import Component, Goal, Restoring, Snapshot
from tests.goals import NOW, goal_of, release

SITE = """\
site: lab
domain: lab.example
hosts:
- {name: n1, address: 10.77.0.11, roles: [site, control-plane]}
- {name: n2, address: 10.77.0.12, roles: [control-plane]}
- {name: n3, address: 10.77.0.13, roles: [control-plane, worker]}
- {name: n4, address: 10.77.0.14, roles: [worker]}
networks:
- {name: main, subnet: 10.77.0.0/20}
vips: {api: 10.77.0.100}
"""
JOINED, BEGUN, BARE = Node(joined=True, begun=True), Node(begun=True), Node()
OLD, NEW = (
    Snapshot(name=f"2026112{day}T120000Z", digest=Digest.of(str(day).encode()), size=10 << 20) for day in (1, 2)
)
NOW_TEXT = f"{NOW:%Y%m%dT%H%M%SZ}"


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    plain = goal_of(release(tmp_path_factory.mktemp("release")), settings_parsers())
    nothing = ("images", "revealed", "charts", "wheels", "packages", "files", "tools", "silences")
    provides = (("kubernetes", "1.36.3"), ("etcd", "3.6.8-0"))
    part = Asked(component="kubernetes", version="", provides=provides, **dict.fromkeys(nothing, ()))
    return replace(plain, site=site_of(SITE), text=SITE, lock=replace(plain.lock, asked=(part,)), _made={})


def site_of(text: str) -> Any:
    return parse_site(text, file="site.yaml", components=settings_parsers())


# --- restore: by the steps of a plan


def restoring(
    goal: Goal,
    states: Mapping[str, State],
    kept: Mapping[str, tuple[Snapshot, ...]],
    nodes: Mapping[str, Node],
    **asked: Any,
) -> list[tuple[str, str, str]]:
    """(host, step, what) of each action."""
    answers: dict[str, dict[Fact[Any], Any]] = {
        name: {
            NODE: nodes.get(name, JOINED),
            STATE_FACT: states.get(name, State()),
            KEPT: kept.get(name, ()),
            VERSION: "3.6.8",
        }
        for name in ("n1", "n2", "n3", "n4")
    }
    hosts = {name: _NoHost(name) for name in answers}
    owner = Component(name="kubernetes", about="", steps=RESTORE.steps)
    wish = Restoring(hosts=hosts, **asked)
    plan = make_plan(stack_of([owner]), replace(goal, restoring=wish), Facts(answers))
    return [
        (unit.host, unit.step.removeprefix("kubernetes/restore-"), action.target) for unit, action in plan.actions()
    ]


class _NoHost:
    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, script: Any) -> Any:
        raise AssertionError


def record(snapshot: Snapshot, place: str = "n3", begun: str = "20261122T100000Z") -> Record:
    return Record(begun=begun, place=place, name=snapshot.name, digest=snapshot.digest)


KEPT_BY: Mapping[str, tuple[Snapshot, ...]] = {"n1": (OLD,), "n3": (OLD, NEW)}


def test_the_newest_snapshot_of_all_goes_to_all(goal: Goal) -> None:
    done = restoring(goal, {}, KEPT_BY, {})
    brought = {(host, what) for host, step, what in done if step == "file" and NEW.name in what}
    assert brought == {
        ("n1", f"snapshot {NEW.name} of n3"),
        ("n2", f"snapshot {NEW.name} of n3"),
        ("n3", f"check snapshot {NEW.name}"),
    }
    steps = list(dict.fromkeys(step for _, step, _ in done))
    assert steps == ["file", "stop", "data", "start", "ready", "hosts", "end"]
    assert {host for host, step, _ in done if step == "hosts"} == {"n1", "n2", "n3", "n4"}
    assert {host for host, step, _ in done if step == "data"} == {"n1", "n2", "n3"}


def test_a_named_snapshot_and_one_that_is_not_there(goal: Goal) -> None:
    done = restoring(goal, {}, KEPT_BY, {}, place="n1", snapshot=OLD.name)
    assert ("n2", "file", f"snapshot {OLD.name} of n1") in done
    with pytest.raises(Usage) as caught:
        restoring(goal, {}, KEPT_BY, {}, place="n2", snapshot=OLD.name)
    assert f"n2:{OLD.name}" in caught.value.summary
    with pytest.raises(Usage):
        restoring(goal, {}, {}, {})


def test_what_was_cut_off_goes_on_with_the_same_snapshot(goal: Goal) -> None:
    """n1 has the data already, n2 has stopped, n3 is as it was: a newer snapshot changes nothing."""
    mine = record(OLD, "n1")
    states = {
        "n1": State(begun=mine, data=mine.begun, stopped=True, files=frozenset({OLD.digest.hex})),
        "n2": State(begun=mine, stopped=True, files=frozenset({OLD.digest.hex})),
        "n3": State(begun=mine, files=frozenset({OLD.digest.hex})),
    }
    done = restoring(goal, states, KEPT_BY, {})
    assert [(host, step) for host, step, _ in done if step in ("file", "stop", "data", "start")] == [
        ("n3", "stop"),
        ("n2", "data"),
        ("n3", "data"),
        ("n1", "start"),
        ("n2", "start"),
        ("n3", "start"),
    ]
    assert restoring(goal, states, KEPT_BY, {}, looked=True) == done, "that is what is left of it"


def test_what_had_changed_nothing_begins_anew_with_the_newest(goal: Goal) -> None:
    states = {"n1": State(begun=record(OLD, "n1"), files=frozenset({OLD.digest.hex}))}
    assert ("n1", "file", f"snapshot {NEW.name} of n3") in restoring(goal, states, KEPT_BY, {})


def test_a_second_run_does_nothing_unless_it_is_asked_to(goal: Goal) -> None:
    mine = record(NEW)
    states = dict.fromkeys(("n1", "n2", "n3"), State(ended=mine, data=mine.begun))
    assert restoring(goal, states, KEPT_BY, {}) == []
    assert restoring(goal, states, KEPT_BY, {}, looked=True) == []
    assert restoring(goal, states, KEPT_BY, {}, again=True)
    # Its data was lost again on one of them, which then has another etcd than the others.
    assert restoring(goal, {**states, "n2": State(ended=mine)}, KEPT_BY, {})


def test_control_planes_that_are_bare_are_no_part_of_it(goal: Goal) -> None:
    done = restoring(goal, {}, KEPT_BY, {"n1": BARE, "n2": BARE})
    assert {host for host, step, _ in done if step != "hosts"} == {"n3"}
    with pytest.raises(Usage):
        restoring(goal, {}, KEPT_BY, dict.fromkeys(("n1", "n2", "n3"), BARE))


# --- snapshots


def test_snapshots_are_read_and_what_is_cut_short_is_none() -> None:
    said = f"{NEW.name} {NEW.digest.hex} 7 100 100\n{OLD.name} {OLD.digest.hex} 5 100 99\n"
    assert [(each.name, each.about) for each in KEPT.reading(said)] == [(NEW.name, "revision 7")]


def test_a_snapshot_that_is_overdue_is_found(goal: Goal) -> None:
    hosts = [goal.site.host("n1")]
    found = [
        list(HEALTH.judge(goal, hosts, Facts({"n1": {AGE: age, KEPT: (OLD,), NODE: JOINED}})))
        for age in (60.0, 3 * 3600.0)
    ]
    assert [len(each) for each in found] == [0, 1]
    assert found[1][0].remedy is not None


def test_settings_of_snapshots(goal: Goal) -> None:
    text = f"{SITE}components: {{kubernetes: {{snapshots: {{every: 30m, keep: 3}}}}}}\n"
    assert settings_of(replace(goal, site=site_of(text))).snapshots == Snapshots(every=1800, keep=3)


@pytest.mark.parametrize("wrong", ["{every: 30}", "{every: 10s}", "{every: 8d}", "{keep: 0}", "{other: 1}"])
def test_wrong_settings_of_snapshots(wrong: str) -> None:
    with pytest.raises(Exception, match="1 problem"):
        site_of(f"{SITE}components: {{kubernetes: {{snapshots: {wrong}}}}}\n")


# --- hosts that are gone


def member(name: str, last: int, *, healthy: bool = True) -> Member:
    return Member(id=f"{last:x}", name=name, address=f"10.77.0.{last}", healthy=healthy)


ALL = (member("n1", 11), member("n2", 12), member("n3", 13))
WITHOUT_2 = (member("n1", 11), member("n2", 12, healthy=False), member("n3", 13))


def nodes_of(*names: str, site: str = "lab") -> tuple[Seen, ...]:
    return tuple(Seen(name=name, site=site, ready=True) for name in names)


FOUR = nodes_of("n1", "n2", "n3", "n4")
# (what the cluster has, what the hosts are, what is done)
GONE: list[tuple[View, dict[str, Node], list[str]]] = [
    (View(members=ALL, nodes=FOUR), {}, []),
    # Replaced by bare ones.
    (
        View(members=WITHOUT_2, nodes=FOUR),
        {"n2": BARE},
        ["forget etcd member n2 at 10.77.0.12", "forget node n2"],
    ),
    (View(members=ALL, nodes=FOUR), {"n4": BARE}, ["forget node n4"]),
    # It was cut off while it joined, and goes on from there.
    (View(members=WITHOUT_2, nodes=FOUR), {"n2": BEGUN}, []),
    # Its member never started, so that it has no name; the host is bare.
    (
        View(members=(*ALL[::2], member("", 12, healthy=False)), nodes=nodes_of("n1", "n3", "n4")),
        {"n2": BARE},
        ["forget etcd member without a name at 10.77.0.12"],
    ),
    # A member that answers is alive, whatever its host says.
    (View(members=ALL, nodes=nodes_of("n1", "n3", "n4")), {"n2": BARE}, []),
    # Out of site.yaml: ours go, others' stay.
    (View(members=ALL, nodes=(*FOUR, *nodes_of("n5"))), {}, ["remove node n5"]),
    (View(members=ALL, nodes=(*FOUR, *nodes_of("guest", site=""))), {}, []),
    (
        View(members=(*ALL, member("n5", 15, healthy=False)), nodes=(*FOUR, *nodes_of("n5"))),
        {},
        ["forget etcd member n5 at 10.77.0.15", "remove node n5"],
    ),
    (View(members=ALL, nodes=(*FOUR[:3], *nodes_of("n4", site=""))), {}, ["mark as this site's: n4"]),
]


def facts_of(view: View, nodes: Mapping[str, Node], *, by: str = "n1") -> Facts:
    return Facts(
        {
            name: {NODE: nodes.get(name, JOINED), VIEW: view if name == by else View(), STATE_FACT: State()}
            for name in ("n1", "n2", "n3", "n4")
        }
    )


@pytest.mark.parametrize(("view", "nodes", "expected"), GONE)
def test_what_is_forgotten(goal: Goal, view: View, nodes: dict[str, Node], expected: list[str]) -> None:
    facts = facts_of(view, nodes)
    done = {
        host.name: [action.target for action in Departed(goal=goal, host=host).wanted(facts.of(host.name))]
        for host in goal.site.with_role("control-plane")
    }
    assert done == {"n1": expected, "n2": [], "n3": []}


def test_it_is_done_by_one_that_answers(goal: Goal) -> None:
    facts = facts_of(View(members=(member("n1", 11, healthy=False), *ALL[1:]), nodes=FOUR), {"n1": BARE}, by="n3")
    (one, two) = Departed(goal=goal, host=goal.site.host("n3")).wanted(facts.of("n3"))
    assert (one.target, two.target) == ("forget etcd member n1 at 10.77.0.11", "forget node n1")


def test_a_host_that_was_not_asked_is_not_gone(goal: Goal) -> None:
    facts = Facts({"n1": {NODE: JOINED, VIEW: View(members=WITHOUT_2, nodes=FOUR)}})
    assert list(Departed(goal=goal, host=goal.site.host("n1")).wanted(facts.of("n1"))) == []


FINDINGS: list[tuple[View, dict[str, Node], str]] = [
    (View(members=ALL, nodes=FOUR), {}, ""),
    (View(members=WITHOUT_2, nodes=FOUR), {"n2": BARE}, ""),
    (View(), {"n2": BARE, "n3": BARE}, "etcd does not answer on n1"),
    (View(), dict.fromkeys(("n1", "n2", "n3", "n4"), BARE), ""),
    (View(members=(*ALL, member("n5", 15)), nodes=(*FOUR, *nodes_of("n5"))), {}, "n5 is not in site.yaml"),
    (
        View(members=(ALL[0], *(member(n, a, healthy=False) for n, a in (("n2", 12), ("n3", 13)))), nodes=FOUR),
        {"n2": BARE},
        "without n2 etcd would have no majority",
    ),
]


@pytest.mark.parametrize(("view", "nodes", "said"), FINDINGS)
def test_what_is_refused(goal: Goal, view: View, nodes: dict[str, Node], said: str) -> None:
    findings = list(DEPARTED_CHECK.judge(goal, goal.site.hosts, facts_of(view, nodes)))
    assert [finding.found[: len(said)] for finding in findings] == ([said] if said else [])


def test_a_restore_that_was_cut_off_is_named(goal: Goal) -> None:
    facts = Facts(
        {name: {NODE: JOINED, VIEW: View(), STATE_FACT: State(stopped=name == "n2")} for name in ("n1", "n2", "n3")}
    )
    (finding,) = DEPARTED_CHECK.judge(goal, goal.site.hosts, facts)
    assert (finding.host, "bundle restore kubernetes" in finding.fix) == ("n2", True)


def test_the_cluster_is_read() -> None:
    said = """\
member 80a8c4229d9a55db, started, n1, https://10.77.1.11:2380, https://10.77.1.11:2379, false
member b163be99e0f2c14a, unstarted, , https://[fd00::12]:2380, , true
node n1|lab|True
node guest||Unknown
healthy 10.77.1.11
"""
    view = VIEW.reading(said)
    assert [(each.id, each.name, each.address, each.healthy) for each in view.members] == [
        ("80a8c4229d9a55db", "n1", "10.77.1.11", True),
        ("b163be99e0f2c14a", "", "fd00::12", False),
    ]
    assert view.nodes == (
        Seen(name="n1", site="lab", ready=True),
        Seen(name="guest", site="", ready=False),
    )
