"""`bundle status` and `bundle health`: what runs where, in which version, how well, and what has drifted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components import components
from bundler.errors import BundleError, FactUnknown
from bundler.model.site import SiteHost
from bundler.plan.plan import Plan, make_plan
from bundler.plan.show import findings_json
from bundler.steps.facts import Facts, PackageFact
from bundler.steps.gather import gather
from bundler.steps.resources import Packages
from bundler.steps.step import Component, Finding
from bundler.workflows.deploy import Deployment, Request, deployment, step_facts
from bundler.workflows.operate import hosts_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStatus:
    """`versions` are those of its packages on the hosts, each with the number of hosts; `drift` counts actions."""

    name: str
    hosts: int
    findings: tuple[Finding, ...]
    drift: int
    versions: Mapping[str, int]


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
    asked = {
        host.name: [
            *step_facts(deployed, host),
            *(
                fact
                for part in components()
                for check in part.health
                if check.on(host)
                for fact in check.asks(goal, host)
            ),
        ]
        for host in hosts
    }
    facts, unreachable = gather(asked, deployed.hosts, jobs=jobs)
    plan, facts, unknown = _plan(deployed, facts)
    unreachable |= unknown
    reached = [host for host in hosts if host.name not in unreachable]
    return Status(
        release=str(goal.statement.release),
        hosts=tuple(hosts),
        unreachable=unreachable,
        components=tuple(_component(part, deployed, plan, facts, reached) for part in components()),
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
    here = [host for host in hosts if any(step.on(host) for step in part.steps)]
    findings = [
        finding
        for check in part.health
        for finding in check.judge(deployed.goal, [host for host in hosts if check.on(host)], facts)
    ]
    versions: dict[str, int] = {}
    for host in here:
        for fact in _packages(part, deployed, host):
            if state := facts.of(host.name)[fact].version:
                versions[f"{fact.package} {state}"] = versions.get(f"{fact.package} {state}", 0) + 1
    return ComponentStatus(
        name=part.name,
        hosts=len(here),
        findings=tuple(findings),
        drift=sum(len(unit.actions) for unit in plan.units if unit.step.partition("/")[0] == part.name),
        versions=versions,
    )


def _packages(part: Component, deployed: Deployment, host: SiteHost) -> list[PackageFact]:
    return [
        fact
        for step in part.steps
        if step.on(host)
        for resource in step.resources(deployed.goal, host)
        if isinstance(resource, Packages)
        for fact in resource.asks()
        if isinstance(fact, PackageFact)
    ]


def as_json(found: Status) -> dict[str, Any]:
    return {
        "release": found.release,
        **problems_json(found),
        "hosts": [{"name": host.name, "roles": list(host.roles)} for host in found.hosts],
        "components": [
            {"name": part.name, "hosts": part.hosts, "drift": part.drift, "versions": dict(part.versions)}
            for part in found.components
        ],
    }


def problems_json(found: Status) -> dict[str, Any]:
    return {
        "healthy": found.healthy,
        "unreachable": {name: error.summary for name, error in found.unreachable.items()},
        "findings": findings_json(found.findings),
    }
