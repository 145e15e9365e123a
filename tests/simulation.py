"""Simulated hosts: each holds words by key, and answers what this module's own fact and action ask of it.

They are slow, refuse, fail, vanish before or after they acted, and start anew (which loses what begins with `run/`), as
a seed decides. What each did is in the world's trace, in the order in which it happened.
"""

import random
import shlex
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, ClassVar, Self

from bundler.apply.lease import Taken
from bundler.errors import BundleError, HostLost, HostUnreachable
from bundler.hosts.base import OVERTAKEN, TIMED_OUT, Answer, Script
from bundler.model.site import Site, SiteHost
from bundler.plan.plan import Plan, Unit
from bundler.secrets.vault import Vault
from bundler.steps.actions import Action
from bundler.steps.facts import Fact, HostFacts
from bundler.steps.resources import Resource
from bundler.steps.step import Component, Goal, Step

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
VOLATILE = "run/"


@dataclass(frozen=True, kw_only=True)
class Word(Fact[str]):
    """What a host holds for a key; empty is nothing."""

    key: str

    @property
    def label(self) -> str:
        return self.key

    @property
    def nothing(self) -> str:
        return ""

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        return "\n".join(f"get {fact.key}" for fact in facts)

    def parse(self, line: str) -> str:
        return line


@dataclass(frozen=True, kw_only=True)
class Put(Action):
    kind: ClassVar[str] = "put"
    key: str
    word: str
    step: str = field(default="", compare=False)

    @property
    def target(self) -> str:
        return self.key

    def script(self) -> Script:
        return Script(text=f"put {self.key} {self.word} {self.step}")


@dataclass(frozen=True, kw_only=True)
class Holds:
    """A host holds a word for a key. `fixed` gives it from another fact, where there is one."""

    step: str
    key: str
    word: str = ""
    source: Word | None = None

    def asks(self) -> tuple[Fact[Any], ...]:
        return (Word(key=self.key), *([self.source] if self.source else []))

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        word = f"{self.word}{facts[self.source] or '?'}" if self.source else self.word
        if facts[Word(key=self.key)] != word:
            yield Put(step=self.step, key=self.key, word=word, reason="it holds another word")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if facts[Word(key=self.key)]:
            yield Put(step=self.step, key=self.key, word="''", reason="it is ours")


def step(name: str, *holds: Holds | tuple[str, str], **more: Any) -> Step:
    """A step whose hosts hold these words."""
    made: tuple[Resource, ...] = tuple(
        each if isinstance(each, Holds) else Holds(step=name, key=each[0], word=each[1]) for each in holds
    )
    return Step(name=name, resources=lambda goal, host: made, **more)


def component(name: str, *steps: Step) -> Component:
    return Component(name=name, about="simulated", steps=steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How likely each is, at every script; `most` bounds a host's milliseconds."""

    unreachable: float = 0
    lost_before: float = 0
    lost_after: float = 0
    failed: float = 0
    timed_out: float = 0
    restarted: float = 0
    most: float = 0

    def times(self, factor: float) -> "Faults":
        rates = {name: getattr(self, name) * factor for name in self.__slots__ if name != "most"}
        return Faults(**rates, most=self.most)


@dataclass(frozen=True, slots=True)
class Did:
    """A host took a word in."""

    host: str
    step: str
    key: str
    word: str


class World:
    def __init__(self, site: Site, *, seed: int = 0, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.trace: list[Did] = []
        self.lock = threading.Lock()
        self.busy = self.busiest = 0
        self.hosts = {
            host.name: SimulatedHost(host.name, self, random.Random(f"{seed}{host.name}")) for host in site.hosts
        }

    def state(self) -> dict[str, dict[str, str]]:
        return {name: dict(host.words) for name, host in self.hosts.items()}


class SimulatedHost:
    def __init__(self, name: str, world: World, rng: random.Random) -> None:
        self.name = name
        self.words: dict[str, str] = {}
        self.epoch = 0
        self._world, self._rng = world, rng
        self.before: Callable[[Script], Answer | None] = lambda script: None  # what a test has it do instead

    def run(self, script: Script) -> Answer:
        world = self._world
        with world.lock:
            world.busy += 1
            world.busiest = max(world.busiest, world.busy)
        try:
            return self._run(script)
        finally:
            with world.lock:
                world.busy -= 1

    def _run(self, script: Script) -> Answer:
        if (instead := self.before(script)) is not None:
            return instead
        rng, faults = self._rng, self._world.faults
        if faults.most:
            time.sleep(rng.random() * faults.most / 1000)
        if rng.random() < faults.restarted:
            self.words = {key: word for key, word in self.words.items() if not key.startswith(VOLATILE)}
            raise HostUnreachable(host=self.name, why="it starts anew")
        if rng.random() < faults.unreachable:
            raise HostUnreachable(host=self.name, why="no route")
        if rng.random() < faults.lost_before:
            raise HostLost(host=self.name, why="it is silent")
        if script.epoch is not None:
            if script.epoch < self.epoch:
                return Answer(code=OVERTAKEN, stdout=b"", stderr=b"the newest epoch here is another")
            self.epoch = script.epoch
            if rng.random() < faults.failed:
                return Answer(code=1, stdout=b"", stderr=b"it does not want to")
        slow = rng.random() < faults.timed_out
        answer = self._answer(script, until=rng.randrange(2) if slow else None)
        if rng.random() < faults.lost_after:
            raise HostLost(host=self.name, why="it is silent")
        return Answer(code=TIMED_OUT, stdout=b"", stderr=b"") if slow else answer

    def _answer(self, script: Script, until: int | None) -> Answer:
        said = []
        for line in script.text.splitlines()[:until]:
            words = shlex.split(line)
            match words:
                case ["get", key]:
                    said.append(self.words.get(key, ""))
                case ["put", key, word, by]:
                    assert script.epoch is not None, "a change without an epoch"
                    with self._world.lock:
                        self.words[key] = word
                        self._world.trace.append(Did(self.name, by, key, word))
                case [")", *_, "printf", text, "$?"]:
                    said.append(text.replace("\\n", "\n").rstrip("\n").replace("%s", "0"))
                case ["(" | "export", *_]:
                    pass
                case _:
                    raise AssertionError(f"a simulated host does not know {line!r}")
        return Answer(code=0, stdout="\n".join([*said, ""]).encode(), stderr=b"")


def site_of(roles: Mapping[str, tuple[str, ...]]) -> Site:
    hosts = tuple(
        SiteHost(name=name, address=ip_address(f"10.0.{at // 250}.{at % 250 + 1}"), roles=has)
        for at, (name, has) in enumerate(roles.items())
    )
    return Site(name="s", domain="s.example", hosts=hosts)


def goal_of(site: Site) -> Goal:
    """A goal of simulated hosts: there is no release."""
    nothing: Any = None
    return Goal(site=site, text="", lock=nothing, statement=nothing, vault=Vault.empty(), now=NOW)


def lease(epoch: int = 1) -> Taken:
    return Taken(epoch=epoch, unreachable=(), lost=threading.Event())


@dataclass
class Watched:
    """A watcher that keeps what it is told."""

    expected: Plan | None = None
    begun: list[tuple[str, str, str]] = field(default_factory=list)
    ends: list[tuple[str, str, str, str]] = field(default_factory=list)

    def expect(self, plan: Plan) -> None:
        self.expected = plan

    def starts(self, unit: Unit, action: Action) -> None:
        self.begun.append((unit.host, unit.step, action.target))

    def ended(self, unit: Unit, action: Action, *, seconds: float, error: BundleError | None) -> None:
        self.ends.append((unit.host, unit.step, action.target, error.summary if error else ""))
