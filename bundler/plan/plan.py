"""Plans: what will be done to each host and why, as a value. Made from facts alone; nothing here touches a host."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from bundler.errors import Usage
from bundler.model.site import SiteHost
from bundler.plan.stack import Place, Stack
from bundler.steps.actions import Action
from bundler.steps.facts import Facts, HostFacts
from bundler.steps.step import Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The actions of one step on one host, in order. `later`: planned from facts that nobody knows yet, so they are
    planned once more when the steps before are done, and must come out the same but for what was not known."""

    host: str
    step: str
    actions: tuple[Action, ...]
    later: bool = False

    def keys(self) -> tuple[tuple[str, str], ...]:
        return tuple((action.kind, action.target) for action in self.actions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Units in the order of the stack, hosts in the order of the site."""

    units: tuple[Unit, ...]

    def __bool__(self) -> bool:
        return bool(self.units)

    def actions(self) -> Iterator[tuple[Unit, Action]]:
        return ((unit, action) for unit in self.units for action in unit.actions)

    def count(self) -> int:
        return sum(len(unit.actions) for unit in self.units)

    def signature(self) -> tuple[tuple[str, str, str, str, str], ...]:
        """What two plans are compared by: where, what, to what, and what must lie there before."""
        return tuple(
            (unit.host, unit.step, action.kind, action.target, action.precondition) for unit, action in self.actions()
        )


def make_plan(stack: Stack, goal: Goal, facts: Facts) -> Plan:
    """What is missing on the hosts that `facts` knows. Raises FactUnknown, NotCarried."""
    return _plan(stack, goal, facts, lambda place, host, known: place.step.wanted(goal, host, known))


def make_removal(stack: Stack, goal: Goal, facts: Facts, *, steps: frozenset[str], purge: bool) -> Plan:
    """What takes the named steps away again, last things first; what two of them hold goes with the later one."""
    places = reversed([place for place in stack if place.step.name in steps])
    gone: set[tuple[str, str, str]] = set()

    def decide(place: Place, host: SiteHost, known: HostFacts) -> list[Action]:
        actions = place.step.unwanted(goal, host, known, purge=purge)
        found = [(action, (host.name, action.kind, action.target)) for action in actions]
        fresh = [action for action, what in found if what not in gone]
        gone.update(what for _, what in found)
        return fresh

    return _plan(places, goal, facts, decide)


def _plan(
    places: Iterable[Place], goal: Goal, facts: Facts, decide: Callable[[Place, SiteHost, HostFacts], list[Action]]
) -> Plan:
    by_name = {host.name: host for host in goal.site.hosts}
    hosts = [by_name[name] for name in facts.hosts]
    known = {host.name: facts.of(host.name) for host in hosts}
    pairs = ((place, host) for place in places for host in hosts if place.step.on(host))
    units = (_unit(place, host, known[host.name], decide) for place, host in pairs)
    return Plan(units=tuple(unit for unit in units if unit))


def _unit(
    place: Place, host: SiteHost, known: HostFacts, decide: Callable[[Place, SiteHost, HostFacts], list[Action]]
) -> Unit | None:
    known.pending.clear()
    actions = decide(place, host, known)
    if not actions:
        return None
    known.open.add(place.step.name)
    later = ", ".join(sorted({f"{fact.label} (after {fact.after})" for fact in known.pending}))
    marked = tuple(replace(action, later=later) for action in actions) if later else tuple(actions)
    return Unit(host=host.name, step=place.step.name, actions=marked, later=bool(later))


def select(plan: Plan, stack: Stack, *, only: Iterable[str] = (), start: str = "", limit: Iterable[str] = ()) -> Plan:
    """The part of a plan that is asked for: steps or components `only`, steps from `start` on, hosts of `limit`.

    Raises Usage for an unknown name, and for a part that needs something of the plan that it leaves out.
    """
    try:
        steps = stack.steps_of(only) if only else frozenset(stack.names())
        first = min((stack.names().index(name) for name in stack.steps_of([start])), default=0) if start else 0
    except KeyError as error:
        known = ", ".join(stack.names())
        raise Usage(message=f"there is no step or component {error.args[0]}", advice=f"There are: {known}.") from None
    steps &= frozenset(stack.names()[first:])
    hosts = frozenset(limit)
    chosen = tuple(unit for unit in plan.units if unit.step in steps and (not hosts or unit.host in hosts))
    _check_whole(plan, stack, chosen)
    return Plan(units=chosen)


def _check_whole(plan: Plan, stack: Stack, chosen: tuple[Unit, ...]) -> None:
    places = {place.step.name: place for place in stack}
    taken = {(unit.host, unit.step) for unit in chosen}
    left = {(unit.host, unit.step) for unit in plan.units} - taken
    somewhere = {step: host for host, step in sorted(left, reverse=True)}  # the first of the hosts that it is left on
    for unit in chosen:
        place = places[unit.step]
        here = {(unit.host, step) for step in place.before_here} & left
        anywhere = {(somewhere[step], step) for step in place.before_anywhere & somewhere.keys()}
        for host, step in sorted(here | anywhere):
            raise Usage(
                message=f"{unit.step} on {unit.host} needs {step} on {host}, which is left out and not done",
                advice="Leave out less: without --only, --from and --limit everything is done in order.",
            )
