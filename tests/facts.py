"""Canned facts for tests of steps: strict, so that a step reads exactly what it asks for.

A fact that the step reads and the test did not give fails the case, and so does one that was given and not read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.model.site import SiteHost
from bundler.steps.actions import Action, InstallPackages, MakeFolder, Remove, SetAside, StartUnit, StopUnit, WriteFile
from bundler.steps.facts import Fact, FileFact, FileState, HostFacts, PackageFact, PackageState, UnitFact, UnitState
from bundler.steps.step import Goal, Step

T = TypeVar("T")


class CannedFacts(HostFacts):
    """The answers of one host that a test gives; `read` are those that were used."""

    def __init__(self, host: str, answers: Mapping[Fact[Any], Any]) -> None:
        super().__init__(host, answers)
        self.read: set[Fact[Any]] = set()

    def __getitem__(self, fact: Fact[T]) -> T:
        self.read.add(fact)
        return super().__getitem__(fact)


def bare(step: Step, goal: Goal, host: SiteHost, known: Mapping[Fact[Any], Any] | None = None) -> dict[Fact[Any], Any]:
    """What a bare host says to a step's questions, but for what is `known`; that must be among them."""
    answers: dict[Fact[Any], Any] = {fact: fact.nothing for fact in step.asks(goal, host)}
    strange = set(known or {}) - set(answers)
    assert not strange, f"{step.name} does not ask for {sorted(fact.label for fact in strange)}"
    return answers | dict(known or {})


def wanted(step: Step, goal: Goal, host: SiteHost, answers: Mapping[Fact[Any], Any]) -> list[Action]:
    """The step's actions, by exactly these answers: each is read here, or by its removal."""
    facts = CannedFacts(host.name, answers)
    actions = step.wanted(goal, host, facts)
    step.unwanted(goal, host, facts, purge=True)
    unread = set(answers) - facts.read
    assert not unread, f"{step.name} asks and does not read {sorted(fact.label for fact in unread)}"
    return actions


def settled(answers: Mapping[Fact[Any], Any], actions: Iterable[Action]) -> dict[Fact[Any], Any]:
    """The answers of the same host when the actions are done; what a Run changes is the test's to say."""
    after = dict(answers)
    for action in actions:
        after |= {fact: state for fact, state in _states(action, after).items() if fact in after}
    return after


def _states(action: Action, before: Mapping[Fact[Any], Any]) -> dict[Fact[Any], Any]:
    match action:
        case WriteFile():
            return {FileFact(path=action.path, secret=isinstance(action.content, Secret)): written(action)}
        case MakeFolder():
            state = FileState(kind="directory", mode=action.mode, owner=action.owner, group=action.group)
            return {FileFact(path=action.path): state}
        case SetAside():
            path = FileFact(path=action.path)
            return {FileFact(path=action.aside): before.get(path), path: None}
        case Remove():
            return {FileFact(path=action.path): None}
        case InstallPackages():
            pairs = action.packages
            return {PackageFact(package=name): PackageState(version=it, carried=it) for name, it in pairs}
        case StartUnit():
            running = UnitState(load="loaded", active="active", sub="running", file="enabled", stamp=action.stamp)
            return {UnitFact(unit=action.unit): running}
        case StopUnit():
            unit = UnitFact(unit=action.unit)
            return {unit: replace(before.get(unit, UnitState()), active="inactive", sub="dead", file="disabled")}
    return {}


def written(action: WriteFile) -> FileState:
    """What is told of the file once it is written."""
    named: dict[str, Any] = {"mode": action.mode, "owner": action.owner, "group": action.group}
    if isinstance(action.content, Secret):
        return replace(file_state(action.content.reveal(), **named), content=None)
    return file_state(action.content, **named)


def file_state(text: str, *, mode: int = 0o644, owner: str = "root", group: str = "root") -> FileState:
    data = text.encode()
    return FileState(
        kind="regular file", mode=mode, owner=owner, group=group, size=len(data), digest=Digest.of(data), content=text
    )


def done(actions: Iterable[Action]) -> list[str]:
    """Actions as a reader sees them: what, and to what."""
    return [f"{action.kind} {action.target}" for action in actions]
