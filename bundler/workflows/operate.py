"""`bundle restart`, `bundle uninstall`, `bundle logs`: one component on the hosts that have it."""

import shlex
from collections.abc import Callable, Iterator

from bundler.apply.apply import Watcher
from bundler.apply.lease import Taken
from bundler.components import components
from bundler.errors import BundleError, NotReadable, Usage
from bundler.hosts.base import Script
from bundler.model.site import SiteHost
from bundler.plan.plan import Plan, Unit, make_removal
from bundler.steps.actions import StartUnit
from bundler.steps.resources import Service
from bundler.steps.step import Component
from bundler.support import parallel
from bundler.workflows.deploy import Deployed, Planned, carry_out, changing, not_converged
from bundler.workflows.deployment import Deployment, Request, ask_all, deployment, hosts_of, raise_failed
from bundler.workflows.removed import note_removed

LOG_LINES = 20_000  # of one host, at most


def restart(request: Request, name: str, *, watcher: Watcher, agree: Callable[[Planned], bool]) -> Deployed:
    """Restart a component's units, one host after the other: the next only when the one before is up again.

    Raises Usage for a component that is none, or has no unit; HostsFailed with the hosts that were left as they are.
    """
    component = component_of(name)
    with changing(request) as (deployed, lease):
        hosts = [(host.name, tuple(_restarts(component, deployed, host))) for host in hosts_of(deployed, request)]
        rolling = [Plan(units=units) for _, units in hosts if units]
        if not rolling:
            raise Usage(message=f"{name} has no service to restart on these hosts")
        planned = Planned(plan=Plan(units=tuple(unit for each in rolling for unit in each.units)), findings=())
        if not agree(planned):
            return Deployed(plan=planned.plan, findings=(), done=0, declined=True)
        done = sum(_one_host(deployed, rolling, at, lease, watcher) for at in range(len(rolling)))
        return Deployed(plan=planned.plan, findings=(), done=done)


def _one_host(deployed: Deployment, rolling: list[Plan], at: int, lease: Taken, watcher: Watcher) -> int:
    try:
        return carry_out(deployed, rolling[at], lease, watcher, jobs=1)
    except BundleError as error:
        if waiting := [f"{unit.step} on {unit.host}" for plan in rolling[at + 1 :] for unit in plan.units]:
            raise_failed({rolling[at].units[0].host: error}, waiting)
        raise


def uninstall(
    request: Request, name: str, *, purge: bool, watcher: Watcher, agree: Callable[[Planned], bool]
) -> Deployed:
    """Take a component away: services, settings and what was set aside; its data only with `purge`."""
    component = component_of(name)
    with changing(request) as (deployed, lease):
        planned = Planned(plan=_removal(deployed, request, component, purge=purge), findings=())
        if not planned.plan or not agree(planned):
            return Deployed(plan=planned.plan, findings=(), done=0, declined=bool(planned.plan))
        told = [host.name for host in hosts_of(deployed, request)]
        raise_failed(note_removed(deployed.hosts, told, name, lease))
        done = carry_out(deployed, planned.plan, lease, watcher, jobs=request.jobs, backwards=True)
        if left := _removal(deployed, request, component, purge=purge):
            raise not_converged(left)
        return Deployed(plan=planned.plan, findings=(), done=done)


def plan_uninstall(request: Request, name: str, *, purge: bool) -> Planned:
    """What `uninstall` would do. Changes nothing."""
    component = component_of(name)
    with deployment(request, create=False) as deployed:
        return Planned(plan=_removal(deployed, request, component, purge=purge), findings=())


def _removal(deployed: Deployment, request: Request, component: Component, *, purge: bool) -> Plan:
    steps = frozenset(step.name for step in component.steps)
    facts = ask_all(deployed, hosts_of(deployed, request), request.jobs)
    return make_removal(deployed.stack, deployed.goal, facts, steps=steps, purge=purge)


def logs(deployed: Deployment, request: Request, name: str, *, lines: int, since: str) -> Iterator[tuple[str, str]]:
    """(host, line) of the journals of a component's units; hosts in order.

    Raises Usage; what hosts that could not be asked raise, when the others have said theirs.
    """
    component = component_of(name)
    hosts = [host for host in hosts_of(deployed, request) if any(step.on(host) for step in component.steps)]
    if not component.units or not hosts:
        raise Usage(message=f"{name} has no service with a journal on these hosts")
    text = journal_of(component.units, lines=min(lines, LOG_LINES), since=since)
    said: dict[str, str] = {}

    def ask(host: SiteHost) -> None:
        answer = deployed.hosts[host.name].run(Script(text=text))
        if answer.code != 0:
            raise NotReadable(path=f"the journal of {host.name}", why=answer.tail(3) or f"code {answer.code}")
        said[host.name] = answer.stdout.decode("utf-8", "replace")

    failed = parallel.each(hosts, ask, jobs=request.jobs)
    for host in hosts:
        yield from ((host.name, line) for line in said.get(host.name, "").splitlines())
    raise_failed({host.name: error for host, error in failed})


def journal_of(units: tuple[str, ...], *, lines: int, since: str) -> str:
    """sh text that prints the last lines of these units' journal."""
    when = f" --since={shlex.quote(since)}" if since else ""
    named = "".join(f" -u {shlex.quote(unit)}" for unit in units)
    return f"journalctl --no-pager -q -o short-iso -n {lines}{when}{named}"


def component_of(name: str) -> Component:
    """Raises Usage, naming those that there are."""
    for component in components():
        if component.name == name:
            return component
    known = ", ".join(component.name for component in components())
    raise Usage(message=f"there is no component {name!r}", advice=f"There are: {known}.")


def _restarts(component: Component, deployed: Deployment, host: SiteHost) -> Iterator[Unit]:
    seen: set[str] = set()
    for step in component.steps if component in deployed.goal.components else ():
        resources = step.resources(deployed.goal, host) if step.on(host) else ()
        services = {each.unit: each for each in resources if isinstance(each, Service) and each.unit not in seen}
        seen.update(services)
        actions = tuple(
            StartUnit(unit=each.unit, stamp=each.stamp, ports=each.ports, timeout=each.timeout, reason="asked for")
            for each in services.values()
        )
        if actions:
            yield Unit(host=host.name, step=step.name, actions=actions)
