"""What stands in the way of an installation: everything at once, before the first change."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundler.errors import BundleError, FactUnknown, PreflightFailed
from bundler.hosts.base import Host
from bundler.model.site import SiteHost
from bundler.plan.show import finding_texts
from bundler.steps.facts import Fact, Facts
from bundler.steps.gather import gather
from bundler.steps.step import Check, Finding, Goal


def preflight_checks(goal: Goal) -> tuple[Check, ...]:
    return tuple(check for component in goal.components for check in component.preflight)


def look(
    goal: Goal, checks: Sequence[Check], wanted: Sequence[SiteHost], hosts: Mapping[str, Host], *, jobs: int
) -> tuple[tuple[Finding, ...], dict[str, BundleError]]:
    """The findings of all checks over the hosts that they are for, and the hosts that could not be asked."""
    facts, failed = gather(checks_asked(goal, checks, wanted), hosts, jobs=jobs)
    answered = [host for host in wanted if host.name not in failed]
    return tuple(dict.fromkeys(judged(goal, checks, answered, facts))), failed


def checks_asked(goal: Goal, checks: Sequence[Check], hosts: Sequence[SiteHost]) -> dict[str, list[Fact[Any]]]:
    """What the checks ask of each host."""
    return {
        host.name: [fact for check in checks if check.on(host) for fact in check.asks(goal, host)] for host in hosts
    }


def judged(goal: Goal, checks: Sequence[Check], hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    """A check that lacks an answer finds that, and keeps no other from judging."""
    for check in checks:
        try:
            yield from check.judge(goal, [host for host in hosts if check.on(host)], facts)
        except FactUnknown as error:
            fix = "Mend what the host says, and run this again."
            yield Finding(host=error.host, check=check.name, found=f"{error.fact}: {error.why}", fix=fix)


def not_ready(findings: Sequence[Finding], errors: Sequence[BundleError] = ()) -> PreflightFailed | None:
    """What stops, with errors about hosts and all warnings, as one; None when no finding stops.

    That something about a host is not known is left out where that host has a finding that may be the cause.
    """
    stopping = [finding for finding in findings if not finding.warning]
    if not stopping:
        return None
    found = {finding.host for finding in stopping}
    shown = [error for error in errors if not (isinstance(error, FactUnknown) and error.host in found)]
    return PreflightFailed(
        findings=(*map(in_words, shown), *finding_texts(stopping)),
        warnings=tuple(finding_texts(finding for finding in findings if finding.warning)),
    )


def in_words(error: BundleError) -> str:
    lines = [error.summary, *error.detail.splitlines(), *([f"fix: {error.hint}"] if error.hint else [])]
    return "\n  ".join(lines)
