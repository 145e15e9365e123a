"""A plan in words and as JSON: the same value for the dry run and for the real one."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bundler.plan.plan import Plan, Unit
from bundler.steps.actions import Action
from bundler.steps.step import Finding

_HOSTS = 3  # as many are named where several share an action
_LISTED = 10


def lines(plan: Plan, *, diffs: bool = True) -> Iterator[str]:
    """Steps in order; below each the hosts that need the same actions together, so that 200 hosts read like one."""
    for step, groups in _grouped(plan).items():
        yield step
        for hosts, unit in groups:
            yield f"  {_named(hosts)}"
            for action in unit.actions:
                yield from _action(action, diffs=diffs)


def _grouped(plan: Plan) -> dict[str, list[tuple[list[str], Unit]]]:
    steps: dict[str, dict[tuple[object, ...], tuple[list[str], Unit]]] = {}
    for unit in plan.units:
        same = tuple((action.kind, action.target, action.reason, action.diff()) for action in unit.actions)
        hosts, _ = steps.setdefault(unit.step, {}).setdefault(same, ([], unit))
        hosts.append(unit.host)
    return {step: list(groups.values()) for step, groups in steps.items()}


def _named(hosts: list[str]) -> str:
    if len(hosts) <= _HOSTS:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:_HOSTS])} and {len(hosts) - _HOSTS} more"


def _action(action: Action, *, diffs: bool) -> Iterator[str]:
    later = f"; known only later: {action.later}" if action.later else ""
    yield f"    {action.kind} {action.target}  ({action.reason}{later})"
    if diffs:
        yield from (f"      {line}" for line in action.diff())


def finding_texts(findings: Iterable[Finding]) -> Iterator[str]:
    """Two lines each: hosts on which the same was found together."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for finding in findings:
        groups.setdefault((finding.found, finding.fix, finding.warning), []).append(finding.host)
    for (found, fix, warning), hosts in groups.items():
        where = _named([host for host in hosts if host])
        yield f"{where}{where and ': '}{'warning: ' if warning else ''}{found}\n  fix: {fix}"


def listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {"host": each.host, "check": each.check, "found": each.found, "fix": each.fix, "warning": each.warning}
        for each in findings
    ]


def as_json(plan: Plan) -> list[dict[str, Any]]:
    """One object for each action."""
    return [
        {
            "host": unit.host,
            "step": unit.step,
            "kind": action.kind,
            "target": action.target,
            "reason": action.reason,
            "later": action.later,
            "before": action.precondition,
            "diff": list(action.diff()),
        }
        for unit, action in plan.actions()
    ]
