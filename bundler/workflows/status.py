"""`bundle status` and `bundle health`: what runs where, in which version, how well, and what has drifted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bundler.errors import BundleError, FactUnknown
from bundler.model.site import SiteHost
from bundler.plan.plan import Plan, make_plan
from bundler.plan.show import findings_json
from bundler.steps.facts import Facts
from bundler.steps.gather import gather
from bundler.steps.resources import Ending, Versioned
from bundler.steps.step import Component, Finding
from bundler.workflows.deployment import Deployment, Request, deployment, hosts_of, steps_asked
from bundler.workflows.preflight import checks_asked
from bundler.workflows.removed import NOTED


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstEnd:
    """The certificate of a component that ends before all others."""

    at: datetime
    host: str
    certificate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStatus:
    """`versions` are those of its programs on the hosts, each with the number of hosts; `drift` counts actions;
    `uninstalled` are those of its hosts that it was taken away from; `ends` is None without certificates."""

    name: str
    hosts: int
    uninstalled: int
    findings: tuple[Finding, ...]
    drift: int
    versions: Mapping[str, int]
    ends: FirstEnd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    release: str
    hosts: tuple[SiteHost, ...]
    unreachable: Mapping[str, BundleError]
    components: tuple[ComponentStatus, ...]
    plan: Plan

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for component in self.components for finding in component.findings)

    @property
    def healthy(self) -> bool:
        return not self.unreachable and all(finding.warning for finding in self.findings)


def status(request: Request) -> Status:
    """Asks every host once; one that does not answer is part of the answer. Changes nothing."""
    with deployment(request, create=False) as deployed:
        return status_of(deployed, hosts_of(deployed, request), jobs=request.jobs)


def status_of(deployed: Deployment, hosts: Sequence[SiteHost], *, jobs: int) -> Status:
    goal = deployed.goal
    asked = steps_asked(deployed, hosts)
    health = [check for part in goal.components for check in part.health]
    for name, questions in checks_asked(goal, health, hosts).items():
        asked[name] += [*questions, NOTED]
    facts, unreachable = gather(asked, deployed.hosts, jobs=jobs)
    plan, facts, unknown = _plan(deployed, facts)
    unreachable |= unknown
    reached = [host for host in hosts if host.name not in unreachable]
    return Status(
        release=str(goal.statement.release),
        hosts=tuple(hosts),
        unreachable=unreachable,
        components=tuple(_component(part, deployed, plan, facts, reached) for part in goal.components),
        plan=plan,
    )


def _plan(deployed: Deployment, facts: Facts) -> tuple[Plan, Facts, dict[str, BundleError]]:
    """What has drifted, with the hosts left out that could not say all of it: they are as good as unreachable."""
    unknown: dict[str, BundleError] = {}
    while True:
        try:
            return make_plan(deployed.stack, deployed.goal, facts), facts, unknown
        except FactUnknown as error:
            unknown[error.host] = error
            facts = facts.without(error.host)


def _component(
    part: Component, deployed: Deployment, plan: Plan, facts: Facts, hosts: Sequence[SiteHost]
) -> ComponentStatus:
    """A host that a component was taken away from on purpose is not among those that it is judged on."""
    goal = deployed.goal
    here = [host for host in hosts if any(step.on(host) for step in part.steps)]
    gone = [host for host in here if part.name in facts.of(host.name)[NOTED]]
    left = [host for host in hosts if host not in gone]
    findings = [
        finding for check in part.health for finding in check.judge(goal, [h for h in left if check.on(h)], facts)
    ]
    resources = [
        (resource, facts.of(host.name))
        for host in here
        for step in part.steps
        if step.on(host)
        for resource in step.resources(goal, host)
    ]
    versions = Counter(
        version
        for resource, known in resources
        if isinstance(resource, Versioned)
        for version in resource.versions(known)
    )
    ends = (
        FirstEnd(at=at, host=known.host, certificate=name)
        for resource, known in resources
        if isinstance(resource, Ending)
        for name, at in resource.ends(known)
    )
    return ComponentStatus(
        name=part.name,
        hosts=len(here),
        uninstalled=len(gone),
        findings=tuple(findings),
        drift=sum(len(unit.actions) for unit in plan.units if unit.step.partition("/")[0] == part.name),
        versions=versions,
        ends=min(ends, key=lambda each: each.at, default=None),
    )


def as_json(found: Status) -> dict[str, Any]:
    return {
        "release": found.release,
        **problems_json(found),
        "hosts": [{"name": host.name, "roles": list(host.roles)} for host in found.hosts],
        "components": [
            {
                "name": part.name,
                "hosts": part.hosts,
                "uninstalled": part.uninstalled,
                "drift": part.drift,
                "versions": dict(part.versions),
                **({"certificates": _ends_json(part.ends)} if part.ends else {}),
            }
            for part in found.components
        ],
    }


def _ends_json(first: FirstEnd) -> dict[str, str]:
    return {"first_end": first.at.isoformat(), "host": first.host, "certificate": first.certificate}


def problems_json(found: Status) -> dict[str, Any]:
    return {
        "healthy": found.healthy,
        "unreachable": {name: error.summary for name, error in found.unreachable.items()},
        "findings": findings_json(found.findings),
    }
