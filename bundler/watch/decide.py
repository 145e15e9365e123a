"""What recovery may do now: a pure decision over what was found and what was done before.

systemd's own restarts are the fast part, so a finding must be seen twice. Then its remedies take turns, later and
later; each check has a number of tries, and so has the host. When they are spent, people are told, once, and nothing
is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bundler.steps.step import Finding, Remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`waits` are seconds between a check's tries, the last one for all further; `tries` of one check and `acts` of the
    host are counted over `window` seconds."""

    looks: int = 2
    waits: tuple[float, ...] = (0, 15, 60, 300)
    tries: int = 5
    acts: int = 12
    window: float = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """`at` in seconds of the host's own uptime."""

    at: float
    check: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`seen` counts the looks in a row that found something; `told` are checks that people were told to see to."""

    seen: Mapping[str, int] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    told: frozenset[str] = frozenset()

    def acted(self, check: str, at: float) -> "Memory":
        return replace(self, acts=(*self.acts, Act(at=at, check=check)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`remedy` is what to do now: one thing, a restart or steps. Without it `why` says why nothing is done, and `tell`
    whether that is news."""

    finding: Finding
    remedy: Remedy | None = None
    why: str = ""
    tell: bool = False


def decide(
    findings: Sequence[Finding], memory: Memory, now: float, limits: Limits
) -> tuple[tuple[Decision, ...], Memory]:
    """One decision for each check that found something; at most one of them acts, so that its effect can be seen."""
    first: dict[str, Finding] = {}
    for finding in findings:
        if not finding.warning:
            first.setdefault(finding.check, finding)
    acts = tuple(act for act in memory.acts if now - act.at < limits.window)
    seen = {check: memory.seen.get(check, 0) + 1 for check in first}
    decisions: list[Decision] = []
    acting = False
    for check, finding in first.items():
        mine = [act for act in acts if act.check == check]
        since = now - mine[-1].at if mine else limits.window
        if seen[check] < limits.looks:
            why, lasting = "it is seen for the first time", False
        else:
            why, lasting = _hindrance(finding, len(mine), len(acts), since=since, limits=limits)
        if not why and acting:
            why, lasting = "something else is mended first", False
        if why:
            decisions.append(Decision(finding=finding, why=why, tell=lasting and check not in memory.told))
        else:
            acting = True
            decisions.append(Decision(finding=finding, remedy=_turn(finding.remedy, len(mine))))
    # One that comes and goes is not news each time: not until its tries are forgotten.
    kept = memory.told & (first.keys() | {act.check for act in acts})
    told = kept | {decision.finding.check for decision in decisions if decision.tell}
    return tuple(decisions), Memory(seen=seen, acts=acts, told=frozenset(told))


def _hindrance(finding: Finding, tries: int, acts: int, *, since: float, limits: Limits) -> tuple[str, bool]:
    """Why nothing is done about it now, and whether that will last; empty when something may be done. `since` are the
    seconds since the check's last try."""
    if finding.remedy is None or not (finding.remedy.restart or finding.remedy.steps):
        return f"it has no remedy of its own: {finding.fix}", True
    if tries >= limits.tries:
        return f"{tries} tries within {limits.window / 60:g} minutes did not help: {finding.fix}", True
    if acts >= limits.acts:
        return f"{acts} acts on this host within {limits.window / 60:g} minutes are the most: {finding.fix}", True
    wait = limits.waits[min(tries, len(limits.waits) - 1)]
    if since < wait:
        return f"the next try is {wait:g} s after the last one", False
    return "", False


def _turn(remedy: Remedy | None, tries: int) -> Remedy:
    """A restart first, then the steps, and so on; the one of both that there is."""
    if remedy is None:
        raise ValueError("a finding without a remedy has no turn")
    if remedy.restart and (tries % 2 == 0 or not remedy.steps):
        return Remedy(restart=remedy.restart)
    return Remedy(steps=remedy.steps)
