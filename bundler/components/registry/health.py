"""Whether a service on a site host is as its step left it, and answers over TLS with content that must be there."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bundler.components.registry.endpoint import site_ca
from bundler.model.digest import Digest
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.secrets.certificates import certificate_facts, is_issued_by
from bundler.steps.facts import Fact, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.probe import probe
from bundler.steps.resources import Folder, Resource
from bundler.steps.step import Check, Goal, Remedy

RENEWED = timedelta(days=30)  # before its end a certificate is made anew by the next plan
_SLOW = 2000  # milliseconds
Resources = Callable[[Goal, SiteHost], Sequence[Resource]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What a service must answer. `known` are paths with the digest of their body, or None where the status says
    enough; `status` is what all of them must get."""

    unit: str
    step: str
    port: int
    known: tuple[tuple[str, Digest | None], ...]
    status: int = 200

    @property
    def fact(self) -> Fact[Any]:
        paths = [path for path, _ in self.known]
        return probe(f"what port {self.port} answers", __package__, "probe.py", [str(self.port), *paths])

    def judge(self, goal: Goal, facts: HostFacts) -> Iterable[Note]:
        """The first thing that is wrong: the rest follows from it."""
        said, anew = facts[self.fact], Remedy(steps=(self.step,))
        if why := said.get("failure"):
            fix = f"journalctl -u {self.unit} says why; `bundle restart {self.step.partition('/')[0]}` may help."
            both = Remedy(restart=self.unit, steps=(self.step,))
            return (Note(f"nothing answers on port {self.port}: {why}", fix, remedy=both),)
        if why := certificate_trouble(goal, said["certificate"]):
            again = Remedy(restart=self.unit, steps=(self.step,))
            return (Note(f"port {self.port}: {why}", "`bundle apply` makes a new one.", remedy=again),)
        return self._content(said["answers"], anew)

    def _content(self, answers: dict[str, Any], anew: Remedy) -> Iterable[Note]:
        for path, digest in self.known:
            answer = answers[path]
            if answer["status"] != self.status:
                fix = "`bundle apply` makes the views of the release again."
                return (Note(f"port {self.port} answers {answer['status']} for {path}", fix, remedy=anew),)
            if digest and answer["sha256"] != digest.hex:
                fix = "Something damaged the store: install the release again."
                return (Note(f"port {self.port} has other bytes than {digest} at {path}", fix),)
        slowest = max((answer["ms"] for answer in answers.values()), default=0)
        if slowest > _SLOW:
            return (Note(f"port {self.port} took {slowest:.0f} ms", "See what keeps the host busy.", warning=True),)
        return ()


def service_check(
    name: str, step: str, resources: Resources, answering: Callable[[Goal, SiteHost], Answering | None]
) -> Check:
    """A check of what a step installs on site hosts; where `answering` gives None there is nothing."""

    def asks(goal: Goal, host: SiteHost) -> Iterator[Fact[Any]]:
        if found := answering(goal, host):
            yield from step_facts(resources(goal, host))
            yield found.fact

    def judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
        if found := answering(goal, host):
            notes = tuple(drift(step, resources(goal, host), facts))
            yield from notes or found.judge(goal, facts)

    return replace(per_host(name, asks, judge), roles=(SITE_ROLE,))


def step_facts(resources: Iterable[Resource]) -> Iterator[Fact[Any]]:
    return (fact for resource in resources for fact in resource.asks())


def drift(step: str, resources: Iterable[Resource], facts: HostFacts) -> Iterator[Note]:
    """The first thing that is not as the step left it: a file, a folder, its unit. What is written there by hand is
    undone, before a service finds it at its next start."""
    for resource in resources:
        for action in resource.wanted(facts):
            fix = f"`bundle apply --only {step}` brings it back."
            if isinstance(resource, Folder) and resource.data:
                fix = f"It is made again, empty: restore what lay in {resource.path} from a backup."
            yield Note(f"{action.target}: {action.reason}", fix, remedy=Remedy(steps=(step,)))
            return


def certificate_trouble(goal: Goal, pem: str) -> str:
    """What is wrong with a certificate that a service shows, or nothing."""
    found = certificate_facts(pem)
    if found is None:
        return "its certificate cannot be read"
    if not is_issued_by(pem, site_ca(goal).certificate):
        return "its certificate is not by the site's CA"
    if found.not_after <= goal.now:
        return f"its certificate ended on {found.not_after:%Y-%m-%d}"
    if found.not_after - RENEWED <= goal.now:
        return f"its certificate ends on {found.not_after:%Y-%m-%d}"
    return ""
