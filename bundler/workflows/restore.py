"""`bundle restore`: a component's data back from a snapshot, by the engine that installs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bundler.apply.apply import Watcher
from bundler.components import components
from bundler.errors import Usage
from bundler.plan.plan import make_plan
from bundler.plan.stack import stack_of
from bundler.steps.gather import gather
from bundler.steps.step import Component, Restorable, Restoring, Snapshot
from bundler.workflows.deploy import Deployed, Planned, carry_out, changing, not_converged
from bundler.workflows.deployment import Deployment, Request, check_limit, deployment, raise_failed, steps_asked
from bundler.workflows.operate import component_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """HOST:NAME, or nothing for the newest; `again` although it was restored already; `without` these hosts, which are
    gone for good."""

    snapshot: str = ""
    again: bool = False
    without: Sequence[str] = ()

    def restoring(self, deployed: Deployment, *, looked: bool = False) -> Restoring:
        place, _, name = self.snapshot.partition(":")
        return Restoring(place=place, snapshot=name, again=self.again, looked=looked, hosts=deployed.hosts)


def restore(request: Request, name: str, wish: Wish, *, watcher: Watcher, agree: Callable[[Planned], bool]) -> Deployed:
    """Plan, show, do, look again. Killed at any point, the same goes on.

    Raises Usage where there is nothing to restore, or from; LeaseHeld, HostsFailed or the one host's error."""
    part = _restorable(component_of(name))
    with changing(request) as (deployed, lease):
        planned, silent = _plan(deployed, request, part, wish)
        if not planned.plan or not agree(planned):
            return Deployed(plan=planned.plan, findings=(), done=0, declined=bool(planned.plan), unreachable=silent)
        deployed.goal.vault.save()
        steps = _for(deployed, part, wish.restoring(deployed))
        done = carry_out(steps, planned.plan, lease, watcher, jobs=request.jobs)
        left, _ = _plan(deployed, request, part, wish, looked=True)
        if left.plan:
            raise not_converged(left.plan)
        return Deployed(plan=planned.plan, findings=(), done=done, unreachable=silent)


def plan_restore(request: Request, name: str, wish: Wish) -> Planned:
    """What `restore` would do. Changes nothing."""
    part = _restorable(component_of(name))
    with deployment(request, create=False) as deployed:
        return _plan(deployed, request, part, wish)[0]


def snapshots(request: Request, name: str) -> list[tuple[str, Snapshot]]:
    """(host, snapshot), newest first; hosts that do not answer are left out, unless none does."""
    part = _restorable(component_of(name))
    with deployment(request, create=False) as deployed:
        hosts = [host for host in deployed.goal.site.hosts if host.is_among(part.roles)]
        facts, failed = gather({host.name: [part.kept] for host in hosts}, deployed.hosts, jobs=request.jobs)
        if not facts.hosts:
            raise_failed(failed)
        found = [(host, snapshot) for host in facts.hosts for snapshot in facts.of(host)[part.kept]]
        return sorted(found, key=lambda each: each[1].name, reverse=True)


def _restorable(component: Component) -> Restorable:
    """Raises Usage for a component that cannot be restored."""
    if component.restore is not None:
        return component.restore
    able = ", ".join(each.name for each in components() if each.restore is not None)
    raise Usage(message=f"{component.name} keeps no snapshots", advice=f"Those that do: {able}.")


def _plan(
    deployed: Deployment, request: Request, part: Restorable, wish: Wish, *, looked: bool = False
) -> tuple[Planned, tuple[str, ...]]:
    """The plan, and the hosts that have no part in it because they do not answer. Raises Usage, HostsFailed."""
    steps = _for(deployed, part, wish.restoring(deployed, looked=looked))
    hosts = deployed.goal.site.hosts
    check_limit(deployed.goal.site, wish.without)
    facts, failed = gather(steps_asked(steps, hosts), deployed.hosts, jobs=request.jobs)
    needed = {host.name for host in hosts if host.is_among(part.roles)} - {*wish.without}
    raise_failed({name: error for name, error in failed.items() if name in needed})
    if alive := [name for name in wish.without if name in facts.hosts]:
        message = f"{', '.join(alive)} answers, and what it has would live on beside what is restored"
        raise Usage(message=message, advice="Restore with it, or switch it off for good.")
    return Planned(plan=make_plan(steps.stack, steps.goal, facts), findings=()), tuple(failed)


def _for(deployed: Deployment, part: Restorable, restoring: Restoring) -> Deployment:
    """The same site, whose steps are those that restore."""
    owner = next(each for each in components() if each.restore is part)
    stack = stack_of([replace(owner, steps=part.steps)])
    return replace(deployed, goal=replace(deployed.goal, restoring=restoring), stack=stack)
