"""The stack: the steps of all components, in an order that their dependencies allow."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from bundler.steps.step import Component, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A step in the stack. `before_here` are all steps that come before it on its host, `before_anywhere` those that
    must be done on all their hosts: both with what they depend on in turn."""

    step: Step
    component: str
    before_here: frozenset[str]
    before_anywhere: frozenset[str]

    @property
    def names(self) -> tuple[str, str]:
        """What it may be asked for by."""
        return self.step.name, self.component


@dataclass(frozen=True, slots=True)
class Stack:
    places: tuple[Place, ...]

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places)

    def steps_of(self, names: Iterable[str]) -> frozenset[str]:
        """The steps that are named, or belong to a component that is. Raises KeyError for a name that is neither."""
        wanted = set(names)
        found = {place.step.name for place in self if {place.step.name, place.component} & wanted}
        if unknown := wanted - {name for place in self for name in (place.step.name, place.component)}:
            raise KeyError(", ".join(sorted(unknown)))
        return frozenset(found)

    def names(self) -> tuple[str, ...]:
        return tuple(place.step.name for place in self)

    def of(self, components: Iterable[Component]) -> "Stack":
        """The part of these components: what they wait for in others is nothing to wait for."""
        names = {component.name for component in components}
        return Stack(tuple(place for place in self if place.component in names))


def stack_of(components: Iterable[Component]) -> Stack:
    """Raises ValueError when a step's name is not its component's or below it, a dependency is unknown, or they go in a
    circle: a mistake in a component, never in a site."""
    steps: dict[str, tuple[Component, Step]] = {}
    for component in components:
        for step in component.steps:
            if step.name.partition("/")[0] != component.name or step.name in steps:
                raise ValueError(f"the step {step.name!r} of {component.name}: its name is taken or not below it")
            steps[step.name] = (component, step)
    first = tuple(name for name, (_, step) in steps.items() if not step.last)
    for name, (component, step) in steps.items():
        if step.last:
            steps[name] = (component, replace(step, after=(*step.after, *first)))
    placed: dict[str, Place] = {}
    waiting = dict(steps)
    while waiting:
        ready = [name for name, (_, step) in waiting.items() if placed.keys() >= {*step.after, *step.needs}]
        if not ready:
            raise ValueError(f"steps wait for each other, or for one that is not there: {', '.join(waiting)}")
        for name in ready:
            component, step = waiting.pop(name)
            placed[name] = _place(component.name, step, placed)
    return Stack(tuple(placed.values()))


def _place(component: str, step: Step, placed: Mapping[str, Place]) -> Place:
    here, anywhere = {*step.after}, {*step.needs}
    for name in step.after:
        here |= placed[name].before_here
        anywhere |= placed[name].before_anywhere
    for name in step.needs:
        anywhere |= placed[name].before_anywhere | placed[name].before_here
    return Place(step=step, component=component, before_here=frozenset(here), before_anywhere=frozenset(anywhere))
