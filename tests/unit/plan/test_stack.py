"""The order of steps, and what a plan is made of."""

import pytest

from bundler.plan.stack import Stack, stack_of
from bundler.steps.step import Component, Step


def component(name: str, *steps: Step) -> Component:
    return Component(name=name, about="a", steps=steps)


def step(name: str, **more: object) -> Step:
    return Step(name=name, resources=lambda goal, host: (), **more)  # type: ignore[arg-type]


A = component("a", step("a/two", after=("a/one",), needs=("b",)), step("a/one"))
B = component("b", step("b", after=("a/one",)))
C = component("c", step("c", after=("a/two",)), step("c/last", last=True))


def test_every_step_comes_after_those_that_it_waits_for() -> None:
    stack = stack_of([C, B, A])
    assert stack.names() == ("a/one", "b", "a/two", "c", "c/last")
    places = {place.step.name: place for place in stack}
    assert {name: (sorted(place.before_here), sorted(place.before_anywhere)) for name, place in places.items()} == {
        "a/one": ([], []),
        "b": (["a/one"], []),
        "a/two": (["a/one"], ["a/one", "b"]),
        "c": (["a/one", "a/two"], ["a/one", "b"]),
        "c/last": (["a/one", "a/two", "b", "c"], ["a/one", "b"]),
    }
    assert [place.component for place in stack] == ["a", "b", "a", "c", "c"]


def test_steps_by_their_own_or_their_components_name() -> None:
    stack = stack_of([A, B])
    assert stack.steps_of(["a"]) == {"a/one", "a/two"}
    assert stack.steps_of(["a/one", "b"]) == {"a/one", "b"}
    with pytest.raises(KeyError, match="a/, z"):
        stack.steps_of(["a", "z", "a/"])


@pytest.mark.parametrize(
    ("components", "said"),
    [
        ([component("a", step("b"))], "'b' of a: its name"),
        ([component("a", step("ab"))], "'ab' of a: its name"),
        ([component("a", step("a"), step("a"))], "'a' of a: its name is taken"),
        ([component("a", step("a", after=("nowhere",)))], "wait for each other, or for one that is not there: a"),
        ([component("a", step("a", needs=("a",)))], "wait for each other"),
        ([component("a", step("a", after=("b",))), component("b", step("b", needs=("a",)))], ": a, b"),
    ],
)
def test_a_mistake_in_a_component(components: list[Component], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        stack_of(components)


def test_nothing_is_a_stack() -> None:
    assert stack_of([]) == Stack(())
