"""What recovery may do: a table of single decisions, and a day of whatever may happen."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.steps.step import Finding, Remedy
from bundler.watch.decide import Act, Decision, Limits, Memory, decide

LIMITS = Limits()
RESTART, STEPS = Remedy(restart="a.service"), Remedy(steps=("a",))
BOTH = Remedy(restart="a.service", steps=("a",))


def found(check: str = "a", remedy: Remedy | None = BOTH, *, warning: bool = False) -> Finding:
    return Finding(host="h", check=check, found=f"{check} is down", fix=f"mend {check}", warning=warning, remedy=remedy)


def acts(*at: float, check: str = "a") -> tuple[Act, ...]:
    return tuple(Act(at=each, check=check) for each in at)


SEEN = {"a": 1, "b": 1}
# what is found, what was before; what is done, why not, whether it is told. It is 10,000 s.
TABLE: dict[str, tuple[list[Finding], Memory, list[tuple[Remedy | None, str, bool]]]] = {
    "all is well": ([], Memory(seen=SEEN, acts=acts(9990)), []),
    "for the first time": ([found()], Memory(), [(None, "it is seen for the first time", False)]),
    "for the second time": ([found()], Memory(seen=SEEN), [(RESTART, "", False)]),
    "a warning": ([found(warning=True)], Memory(seen=SEEN), []),
    "without a remedy": (
        [found(remedy=None)],
        Memory(seen=SEEN),
        [(None, "it has no remedy of its own: mend a", True)],
    ),
    "with an empty one": (
        [found(remedy=Remedy())],
        Memory(seen=SEEN),
        [(None, "it has no remedy of its own: mend a", True)],
    ),
    "that was told": (
        [found(remedy=None)],
        Memory(seen=SEEN, told=frozenset("a")),
        [(None, "it has no remedy of its own: mend a", False)],
    ),
    "too soon": (
        [found()],
        Memory(seen=SEEN, acts=acts(9970, 9990)),
        [(None, "the next try is 60 s after the last one", False)],
    ),
    "steps at the second try": ([found()], Memory(seen=SEEN, acts=acts(9980)), [(STEPS, "", False)]),
    "a restart at the third": ([found()], Memory(seen=SEEN, acts=acts(9000, 9900)), [(RESTART, "", False)]),
    "a restart is all there is": ([found(remedy=RESTART)], Memory(seen=SEEN, acts=acts(9980)), [(RESTART, "", False)]),
    "steps are all there is": ([found(remedy=STEPS)], Memory(seen=SEEN), [(STEPS, "", False)]),
    "its tries are spent": (
        [found()],
        Memory(seen=SEEN, acts=acts(6500, 7000, 7500, 8000, 8500)),
        [(None, "5 tries within 60 minutes did not help: mend a", True)],
    ),
    "one of them is long ago": (
        [found()],
        Memory(seen=SEEN, acts=acts(6400, 7000, 7500, 8000, 8500)),
        [(RESTART, "", False)],
    ),
    "the host's acts are spent": (
        [found()],
        Memory(seen=SEEN, acts=acts(*range(9000, 9012), check="b")),
        [(None, "12 acts on this host within 60 minutes are the most: mend a", True)],
    ),
    "one thing at a time": (
        [found(), found("b")],
        Memory(seen=SEEN),
        [(RESTART, "", False), (None, "something else is mended first", False)],
    ),
    "who waits lets the next one": (
        [found(), found("b")],
        Memory(seen=SEEN, acts=acts(9990)),
        [(None, "the next try is 15 s after the last one", False), (RESTART, "", False)],
    ),
    "two findings of a check are one": ([found(), found()], Memory(seen=SEEN), [(RESTART, "", False)]),
}


@pytest.mark.parametrize("case", TABLE)
def test_decide(case: str) -> None:
    findings, memory, expected = TABLE[case]
    decisions, _ = decide(findings, memory, 10_000, LIMITS)
    assert [(each.remedy, each.why, each.tell) for each in decisions] == expected


def test_a_look_without_it_begins_anew() -> None:
    _, memory = decide([found()], Memory(), 0, LIMITS)
    _, memory = decide([], memory, 10, LIMITS)
    [decision], _ = decide([found()], memory, 20, LIMITS)
    assert decision.why == "it is seen for the first time"


Look = list[Finding]


def lived(looks: Sequence[tuple[float, Look]], limits: Limits = LIMITS) -> list[tuple[float, Decision]]:
    """All decisions of a host whose watch looks at these times."""
    memory, made = Memory(), []
    for at, findings in looks:
        decisions, memory = decide(findings, memory, at, limits)
        assert sum(decision.remedy is not None for decision in decisions) <= 1, "one thing at a time"
        for decision in decisions:
            made.append((at, decision))
            if decision.remedy is not None:
                memory = memory.acted(decision.finding.check, at)
        assert len(memory.acts) <= limits.acts, "memory stays small"
    return made


def day(pattern: str, every: float = 10, remedy: Remedy | None = BOTH) -> list[tuple[float, Look]]:
    """A day of looks; `x` is down, `.` is up, again and again."""
    return [
        (at * every, [found(remedy=remedy)] if pattern[at % len(pattern)] == "x" else [])
        for at in range(int(86400 / every))
    ]


@pytest.mark.parametrize("pattern", ["x", "xx.", "xxx...", "x" * 30 + "." * 30, "xx" + "." * 100, "xx" + "." * 400])
def test_a_service_that_comes_and_goes_all_day(pattern: str) -> None:
    made = lived(day(pattern))
    times = [at for at, decision in made if decision.remedy]
    assert 0 < len(times) <= 24 * LIMITS.tries
    most = max(sum(at <= other < at + LIMITS.window for other in times) for at in times)
    assert most <= LIMITS.tries
    told = [at for at, decision in made if decision.tell]
    assert len(told) <= 24 + 1, "once each time that its tries are spent, however often it comes and goes"
    assert bool(told) == (most == LIMITS.tries), "people are told when, and only when, the tries did not help"


def test_a_service_that_stays_down_is_told_of_once() -> None:
    assert len([at for at, decision in lived(day("x")) if decision.tell]) == 1
    assert len([at for at, decision in lived(day("x", remedy=None)) if decision.tell]) == 1
    assert [at for at, decision in lived(day(".x")) if decision.remedy] == [], "it is up at every second look"


def test_when_the_cause_is_gone_and_the_window_over_it_mends_again() -> None:
    """Two hours down, an hour well, down again."""
    looks = [(at * 10.0, [found()] if at < 720 or at >= 1080 else []) for at in range(1440)]
    made = lived(looks)
    told = [at for at, decision in made if decision.tell]
    assert len(told) == 2, "once for each time that its tries were spent"
    assert next(at for at, decision in made if decision.remedy and at >= 10_800) == 10_810


def test_tries_take_turns_later_and_later() -> None:
    tries = [(at, decision.remedy) for at, decision in lived(day("x")) if decision.remedy][:5]
    assert tries == [(10, RESTART), (30, STEPS), (90, RESTART), (390, STEPS), (690, RESTART)]


CHECKS = st.sampled_from(
    [found(name, remedy) for name in "abcd" for remedy in (None, RESTART, STEPS, BOTH)] + [found("e", warning=True)]
)
LOOKS = st.lists(st.tuples(st.integers(0, 900), st.lists(CHECKS, max_size=5)), max_size=40)


@given(LOOKS, st.integers(1, 4), st.integers(1, 6))
def test_whatever_happens_the_bounds_hold(steps: list[tuple[int, Look]], tries: int, most: int) -> None:
    limits = Limits(tries=tries, acts=most)
    now, looks = 0, []
    for wait, findings in steps:
        now += wait
        looks.append((now, findings))
    made = lived(looks, limits)
    times = [(at, decision.finding.check) for at, decision in made if decision.remedy]
    for at, check in times:
        window = [other for other in times if at <= other[0] < at + limits.window]
        assert len(window) <= most
        assert Counter(name for _, name in window)[check] <= tries
    for at, decision in made:
        assert bool(decision.remedy) != bool(decision.why)
        assert decision.remedy is None or bool(decision.remedy.restart) != bool(decision.remedy.steps), (
            f"one act at {at}"
        )
        assert decision.finding.check != "e"
