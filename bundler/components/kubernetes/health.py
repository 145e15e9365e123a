"""Whether the cluster's hosts run what makes them its hosts, and whether the cluster thinks so too."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bundler.components.kubernetes import away, certificates, pressure
from bundler.components.kubernetes.entry import ADDRESS_UNIT, PROXY_UNIT
from bundler.components.kubernetes.node_check import KUBELET, SILENT, UNIT
from bundler.components.kubernetes.pki import API_VIP, CONTROL_PLANE, NODES, control_planes
from bundler.components.kubernetes.releases import ADMIN, CLUSTER
from bundler.components.kubernetes.runtime import RUNTIME_UNIT
from bundler.errors import FactUnknown
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, Fact, Facts, HostFacts, UnitFact
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Check, Finding, Goal, Remedy

_READY = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'


def _ready(said: str) -> Mapping[str, str]:
    return dict(line.split("=", 1) for line in said.splitlines())


# What the API says of each node: True, False, or Unknown when nothing is heard of it.
READY: Ask[Mapping[str, str]] = Ask(
    name="the cluster's hosts",
    after=CLUSTER,
    script=f"kubectl --kubeconfig {ADMIN} --request-timeout=10s get nodes -o jsonpath='{_READY}'",
    reading=_ready,
    bare={},
)


def _units(goal: Goal, host: SiteHost) -> tuple[str, ...]:
    entry = (PROXY_UNIT, ADDRESS_UNIT) if host.has(CONTROL_PLANE) and API_VIP in goal.site.vips else ()
    return (RUNTIME_UNIT, KUBELET, UNIT, *entry)


def _asks(goal: Goal, host: SiteHost) -> Iterable[Fact[Any]]:
    return (SILENT, *(UnitFact(unit=unit) for unit in _units(goal, host)))


def _judge_units(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    for unit in _units(goal, host):
        have = facts[UnitFact(unit=unit)]
        if have.active != "active":
            found = "there is no" if have.load == "not-found" else f"it is {have.active} ({have.sub}):"
            fix = f"`bundle logs kubernetes` says why; `bundle restart kubernetes --limit {host.name}` may help."
            yield Note(f"{found} {unit}", fix, remedy=Remedy(restart=unit))
    for unit in facts[SILENT]:
        fix = f"{UNIT} ends it within a minute; `bundle logs kubernetes` says why it hangs."
        yield Note(f"it does not answer: {unit}", fix, remedy=Remedy(restart=unit))


def _judge_nodes(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    """By the first control plane that says anything: they all say the same."""
    why = ""
    for host in hosts:
        try:
            ready, silent = facts.of(host.name)[READY], facts.of(host.name)[away.AWAY]
        except FactUnknown as error:
            why = why or f"{host.name}: {error.why}"
            continue
        yield from _missing(goal, host, ready, silent)
        yield from _back(ready, silent)
        return
    fix = "`bundle logs kubernetes` says why; the API needs a majority of the control planes."
    yield Finding(host=hosts[0].name, check=_NODES, found=f"no control plane answers: {why}", fix=fix)


def _missing(goal: Goal, asked: SiteHost, ready: Mapping[str, str], silent: away.Away) -> Iterator[Finding]:
    for host in goal.site.hosts:
        said = ready.get(host.name)
        if not host.is_among(NODES) or said == "True":
            continue
        found = f"{host.name} is not one of the cluster's"
        if said is not None:
            found = f"the cluster has {host.name} as not ready"
        pods, help_them = away.waiting(silent, host.name)
        fix = f"`kubectl describe node {host.name}` on {asked.name} says why."
        yield Finding(
            host=host.name,
            check=_NODES,
            found=f"{found}; {pods}" if pods else found,
            fix=f"{fix} {help_them}" if help_them else fix,
        )


def _back(ready: Mapping[str, str], silent: away.Away) -> Iterator[Finding]:
    for name, found, fix in away.back(silent, ready):
        yield Finding(host=name, check=_NODES, found=found, fix=fix, warning=True)


_NODES = "kubernetes: nodes"
HEALTH = (
    replace(per_host("kubernetes: services", _asks, _judge_units), roles=NODES),
    Check(
        name=_NODES,
        asks=lambda goal, host: (READY, away.AWAY) if host in control_planes(goal) else (),
        judge=lambda goal, hosts, facts: _judge_nodes(goal, hosts, facts) if hosts else (),
        roles=(CONTROL_PLANE,),
        every=15,
    ),
    certificates.CHECK,
    pressure.CHECK,
)
