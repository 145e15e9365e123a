"""The release itself: who forced a bundle past the proof that it is complete, or let something pass, is told so before
any change. What charts show only when they are rendered was noted in the lock when it was made."""

from collections.abc import Iterator, Sequence

from bundler.components.machine import kinds
from bundler.model.shortfall import provided, silenced, unpinned
from bundler.model.site import SiteHost
from bundler.model.skew import find_skew
from bundler.steps.facts import Facts
from bundler.steps.step import Check, Finding, Goal


def judge_release(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    lock = goal.lock
    for component, kind, name in unpinned(lock):
        yield kinds.SHORT.at("", component=component, kind=kind, name=name)
    let_pass = {silence.image for asked in lock.asked for silence in asked.silences}
    for skew in find_skew(provided(lock.asked)):
        if skew.name not in let_pass:
            yield kinds.SKEW.at("", skew=skew)
    for component, silence in silenced(lock):
        yield kinds.SILENCED.at("", component=component, name=silence.image, reason=silence.reason)


CHECKS: tuple[Check, ...] = (Check(name="machine: release", asks=lambda goal, host: (), judge=judge_release),)
