"""Asking hosts: all facts of a host in one round trip, many hosts at once."""

from collections.abc import Iterable, Mapping
from typing import Any

from bundler.errors import BundleError, FactUnknown
from bundler.hosts.base import Host, Script
from bundler.steps.facts import Fact, Facts, answers, grouped, question
from bundler.support import parallel

_TIMEOUT = 90  # seconds for all questions of a host together


def gather(
    asked: Mapping[str, Iterable[Fact[Any]]], hosts: Mapping[str, Host], *, jobs: int = 32
) -> tuple[Facts, dict[str, BundleError]]:
    """The facts of each host, and the hosts that could not be asked, each with its error."""
    found: dict[str, dict[Fact[Any], Any]] = {name: {} for name in asked}

    def work(name: str) -> None:
        found[name] = ask(hosts[name], asked[name])

    failed = dict(parallel.each(asked, work, jobs=jobs))
    return Facts({name: answer for name, answer in found.items() if name not in failed}), failed


def ask(host: Host, facts: Iterable[Fact[Any]]) -> dict[Fact[Any], Any]:
    """Raises what the host's `run` raises, and FactUnknown when it did not answer in time."""
    groups = grouped(facts)
    if not groups:
        return {}
    answer = host.run(Script(text=question(groups), timeout=_TIMEOUT))
    if answer.code != 0:
        raise FactUnknown(host=host.name, fact="its state", why=f"code {answer.code}: {answer.tail(3)}")
    return answers(groups, answer.stdout.decode("utf-8", "replace"), errors=answer.tail(2) if answer.stderr else "")
