"""`bundle plan`, `bundle apply`, `bundle install --site`: bring the hosts of a site to a release."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from bundler.apply.apply import Watcher, apply
from bundler.apply.journal import Journal
from bundler.apply.lease import Taken, leased
from bundler.errors import (
    BundleError,
    FactUnknown,
    HostKeyUnknown,
    HostUnreachable,
    NoPrivilege,
    NotCarried,
    NotConverged,
    StalePlan,
)
from bundler.model.limits import LIMITS
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.plan.plan import Plan, make_plan, select
from bundler.plan.show import as_json
from bundler.steps.gather import gather
from bundler.steps.step import Check, Finding
from bundler.support.files import read_file, write_file
from bundler.workflows.deployment import Deployment, Request, deployment, failure, raise_failed, steps_asked
from bundler.workflows.preflight import look, not_ready, preflight_checks
from bundler.workflows.release import remember
from bundler.workflows.removed import note_wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    plan: Plan
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """`done` counts actions; 0 means that everything was so already. `unreachable` hosts know no newer epoch."""

    plan: Plan
    findings: tuple[Finding, ...]
    done: int
    declined: bool = False
    unreachable: tuple[str, ...] = ()


def plan(request: Request, *, shown: Path | None = None) -> Planned:
    """What would be done, and what stands in the way. Changes nothing. Raises StalePlan when `shown` is another one."""
    with deployment(request, create=False) as deployed:
        planned = _plan(deployed, request)
        if shown is not None:
            _check_shown(shown, planned.plan)
        return planned


def deploy(
    request: Request,
    *,
    watcher: Watcher,
    agree: Callable[[Planned], bool],
    shown: Path | None = None,
) -> Deployed:
    """Plan, show, do, look again. `shown` is a plan that was written before: another one is refused.

    Raises LeaseHeld, PreflightFailed, StalePlan, NotConverged, HostsFailed or the one host's error.
    """
    with changing(request) as (deployed, lease):
        planned = _plan(deployed, request)
        if shown is not None:
            _check_shown(shown, planned.plan)
        if planned.plan:
            if stopped := not_ready(planned.findings):
                raise stopped
            if not agree(planned):
                return Deployed(plan=planned.plan, findings=planned.findings, done=0, declined=True)
            deployed.goal.vault.save()
        remember(deployed.release, deployed.state)
        if planned.plan:  # else nothing that was taken away is asked back
            _want_again(deployed, request, lease)
        done = carry_out(deployed, planned.plan, lease, watcher, jobs=request.jobs) if planned.plan else 0
        if done and (left := _plan(deployed, request, preflight=False).plan):
            raise not_converged(left)
        return Deployed(plan=planned.plan, findings=planned.findings, done=done, unreachable=lease.unreachable)


@contextmanager
def changing(request: Request) -> Iterator[tuple[Deployment, Taken]]:
    """A deployment whose hosts nobody else changes meanwhile. Raises LeaseHeld."""
    with deployment(request, create=True) as deployed:
        ours = [host.name for host in deployed.goal.site.with_role(SITE_ROLE)]
        with ExitStack() as held:
            try:
                lease = held.enter_context(leased(deployed.hosts, ours[0], watched=ours, force=request.take_over))
            except (HostUnreachable, HostKeyUnknown, NoPrivilege) as error:
                wanted = deployed.wanted_hosts(request.limit)
                raise_not_ready(deployed, wanted, {ours[0]: error}, jobs=request.jobs)
            yield deployed, lease


def _plan(deployed: Deployment, request: Request, *, preflight: bool = True) -> Planned:
    wanted = deployed.wanted_hosts(request.limit)
    facts, failed = gather(steps_asked(deployed, wanted), deployed.hosts, jobs=request.jobs)
    if failed:
        left = [host for host in wanted if preflight and host.name not in failed]
        raise_not_ready(deployed, left, failed, jobs=request.jobs)
    try:
        whole = make_plan(deployed.stack, deployed.goal, facts)
    except (FactUnknown, NotCarried) as error:
        raise_not_ready(deployed, wanted if preflight else [], {"the plan": error}, jobs=request.jobs)
    chosen = select(whole, deployed.stack, only=request.only, start=request.start, limit=request.limit)
    findings: tuple[Finding, ...] = ()
    if preflight and chosen:
        findings = judge(deployed, preflight_checks(deployed.goal), wanted, request.jobs)
    return Planned(plan=chosen, findings=findings)


def raise_not_ready(
    deployed: Deployment, hosts: Sequence[SiteHost], failed: Mapping[str, BundleError], *, jobs: int
) -> NoReturn:
    """What keeps the site from being planned, with what preflight finds on `hosts`."""
    findings, more = look(deployed.goal, preflight_checks(deployed.goal), hosts, deployed.hosts, jobs=jobs)
    failed = {**failed, **more}
    raise not_ready(findings, list(failed.values())) or failure(failed)


def _want_again(deployed: Deployment, request: Request, lease: Taken) -> None:
    """What was uninstalled and is in the plan's reach is recovery's business again."""
    names = {place.component for place in deployed.stack if not request.only or {*request.only} & {*place.names}}
    told = [host.name for host in deployed.goal.site.hosts if not request.limit or host.name in request.limit]
    note_wanted(deployed.hosts, told, names, lease)


def not_converged(left: Plan) -> NotConverged:
    return NotConverged(left=tuple(f"{u.host}: {u.step}: {a.kind} {a.target}" for u, a in left.actions()))


def judge(deployed: Deployment, checks: Sequence[Check], hosts: Sequence[SiteHost], jobs: int) -> tuple[Finding, ...]:
    """The findings of all checks over the hosts that they are for. Raises HostsFailed, or the one host's error."""
    findings, failed = look(deployed.goal, checks, hosts, deployed.hosts, jobs=jobs)
    raise_failed(failed)
    return findings


def carry_out(
    deployed: Deployment, plan: Plan, lease: Taken, watcher: Watcher, *, jobs: int, backwards: bool = False
) -> int:
    """Run a plan, with a journal; the number of actions done. Raises HostsFailed, or the one host's error."""
    journal = Journal(deployed.state / "journal.jsonl")
    try:
        journal.write("apply", epoch=lease.epoch, release=str(deployed.goal.statement.release), actions=plan.count())
        applied = apply(
            plan,
            deployed.stack,
            deployed.goal,
            deployed.hosts,
            journal=journal,
            lease=lease,
            watcher=watcher,
            jobs=jobs,
            backwards=backwards,
        )
        journal.write("applied", done=applied.done, failed=sorted(applied.failed))
    finally:
        journal.close()
    raise_failed(applied.failed, [f"{unit.step} on {unit.host}" for unit in applied.waited])
    return applied.done


def write_plan(path: Path, planned: Planned) -> None:
    """A plan to look at, and to be compared with what `apply` finds later."""
    text = json.dumps({"plan": 1, "actions": as_json(planned.plan)}, indent=1, ensure_ascii=False)
    write_file(path, f"{text}\n".encode(), mode=0o600)


def _check_shown(path: Path, plan: Plan) -> None:
    """Raises StalePlan with every difference between the plan in the file and this one."""
    try:
        read = json.loads(read_file(path, limit=LIMITS.document))
        keys = ("host", "step", "kind", "target", "before")
        shown = [tuple(str(action[key]) for key in keys) for action in read["actions"]]
    except (ValueError, KeyError, TypeError):
        raise StalePlan(differences=(f"{path} is no plan that `bundle plan -o` wrote",)) from None
    now = list(plan.signature())
    gone = [f"no more needed, or on another file: {' '.join(key[:4])}" for key in shown if key not in set(now)]
    new = [f"not in the plan that was shown: {' '.join(key[:4])}" for key in now if key not in set(shown)]
    if gone or new or shown != now:
        raise StalePlan(differences=tuple(gone + new) or ("the same actions in another order",))
