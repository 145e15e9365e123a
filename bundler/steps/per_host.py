"""Checks that judge each host by itself."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from bundler.errors import FactUnknown
from bundler.model.site import SiteHost
from bundler.steps.facts import Fact, Facts, HostFacts
from bundler.steps.step import Check, Finding, Goal, Remedy


class Note(NamedTuple):
    """A finding about the host that is judged."""

    found: str
    fix: str
    warning: bool = False
    remedy: Remedy | None = None


def per_host(
    name: str,
    asks: Callable[[Goal, SiteHost], Iterable[Fact[Any]]],
    judge: Callable[[Goal, SiteHost, HostFacts], Iterable[Note]],
    *,
    every: float = 0,
    roles: tuple[str, ...] = (),
) -> Check:
    """A host that could not be asked is found too, and does not keep the others from being judged."""

    def all_hosts(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
        for host in hosts:
            try:
                for found, fix, warning, remedy in judge(goal, host, facts.of(host.name)):
                    yield Finding(host=host.name, check=name, found=found, fix=fix, warning=warning, remedy=remedy)
            except FactUnknown as error:
                fix = "Ask the host by hand, mend what is in the way, and run this again."
                yield Finding(host=host.name, check=name, found=f"{error.fact} is not known: {error.why}", fix=fix)

    return Check(name=name, asks=asks, judge=all_hosts, every=every, roles=roles)
