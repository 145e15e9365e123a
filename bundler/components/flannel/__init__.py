"""Flannel: the network of pods."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundler.components.flannel.settings import HOST_GW, NAME, SCHEMA, VXLAN, FlannelSettings, parse_settings
from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.pki import NODES
from bundler.components.kubernetes.settings import settings_of
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask, Facts, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Check, Component, Finding, Goal

_CHECK = "flannel: the site"


def _backend(goal: Goal) -> str:
    return goal.site.settings_of(NAME, FlannelSettings).backend


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    pods = str(settings_of(goal).pods)
    mode = {"nftables": settings_of(goal).proxy == "nftables", "backend": _backend(goal)}
    return {NAME: {"networks": [pods], **mode, "podCidr": pods}}  # the last for its own chart of old versions


def _judge(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    """A route to a host's pods leads to the host itself: it has to be on the same link."""
    nodes = [host for host in goal.site.hosts if host.is_among(NODES)]
    together = any(all(host.address in net.subnet for host in nodes) for net in goal.site.networks)
    if nodes and _backend(goal) == HOST_GW and not together:
        found = f"components.flannel.backend is {HOST_GW}, and not all hosts of the cluster are in one network"
        yield Finding(host="", check=_CHECK, found=found, fix="Take vxlan, which goes over any network between them.")


# Loaded, could be, or built in.
_VXLAN: Ask[bool] = Ask(
    name="whether it has vxlan",
    script="""if [ -e /sys/module/vxlan ] || modprobe -n -q -- vxlan 2>/dev/null || grep -qs " vxlan_" /proc/kallsyms
then echo yes; fi""",
    reading=lambda said: bool(said.strip()),
)


def _judge_host(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    if _backend(goal) == VXLAN and not facts[_VXLAN]:
        fix = f"Install the modules of the running kernel, or take {HOST_GW}, where all hosts are in one network."
        yield Note("the kernel has no module vxlan: components.flannel.backend is vxlan", fix)


COMPONENT = Component(
    name=NAME,
    about="The network of pods (Flannel).",
    catalog=("kubernetes", NAME),
    steps=(chart_step(NAME, values=_values),),
    settings=parse_settings,
    schema=SCHEMA,
    preflight=(
        Check(name=_CHECK, asks=lambda goal, host: (), judge=_judge),
        per_host("flannel: hosts", lambda goal, host: (_VXLAN,), _judge_host, roles=NODES),
    ),
    roles=NODES,
)
