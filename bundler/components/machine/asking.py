"""Questions that are answered by lines `KEY VALUE`, and checks over the answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components.machine import kinds
from bundler.errors import FactUnknown
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, Fact, Facts
from bundler.steps.step import Check, Finding, Goal

Row = tuple[SiteHost, Any]
Asks = Callable[[Goal], Fact[Any]]


@dataclass(frozen=True, slots=True)
class Said:
    """Lines of `KEY VALUE`; a key may come more than once."""

    lines: tuple[tuple[str, str], ...]

    @classmethod
    def read(cls, text: str) -> "Said":
        return cls(tuple((key, value.strip()) for key, _, value in (line.partition(" ") for line in text.splitlines())))

    def all(self, key: str) -> tuple[str, ...]:
        return tuple(value for name, value in self.lines if name == key)

    def one(self, key: str) -> str:
        """The first value, or nothing."""
        return next((value for name, value in self.lines if name == key), "")


def lines(name: str, script: str) -> Ask[Said]:
    return Ask(name=name, script=script, reading=Said.read, bare=Said(()))


def over_all(
    name: str, ask: Asks, judge: Callable[[Goal, Sequence[Row]], Iterable[Finding]], *, roles: tuple[str, ...] = ()
) -> Check:
    """`judge` gets each host with its answer; hosts that could not answer are found, and left out."""

    def asks(goal: Goal, host: SiteHost) -> Iterable[Fact[Any]]:
        return (ask(goal),)

    def whole(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
        rows: list[Row] = []
        for host in hosts:
            try:
                rows.append((host, facts.of(host.name)[ask(goal)]))
            except FactUnknown as error:
                yield kinds.UNASKED.at(host.name, fact=error.fact, why=error.why)
        yield from judge(goal, rows)

    return Check(name=name, asks=asks, judge=whole, roles=roles)


def each(
    name: str, ask: Asks, judge: Callable[[Goal, SiteHost, Any], Iterable[Finding]], *, roles: tuple[str, ...] = ()
) -> Check:
    """`judge` gets one host and its answer."""

    def rows(goal: Goal, answered: Sequence[Row]) -> Iterator[Finding]:
        for host, answer in answered:
            yield from judge(goal, host, answer)

    return over_all(name, ask, rows, roles=roles)


def always(ask: Fact[Any]) -> Asks:
    """A question that is the same at every site."""
    return lambda goal: ask


def size(count: int) -> str:
    """Bytes for a reader."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
