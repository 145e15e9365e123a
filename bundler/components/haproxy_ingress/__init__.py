"""HAProxy Ingress: the way into the cluster for HTTP."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.pki import NODES, WORKER
from bundler.components.metallb.preflight import has_address
from bundler.model.site import SiteHost
from bundler.steps.facts import Facts
from bundler.steps.step import Check, Component, Finding, Goal

NAME = "haproxy-ingress"
_VIP = "ingress"  # of the site's virtual addresses
_REPLICAS = 2  # bear the loss of a host
_CHECK = "haproxy-ingress: its address"


def _judge(goal: Goal, hosts: Sequence[SiteHost], facts: Facts) -> Iterator[Finding]:
    vip = goal.site.vips.get(_VIP)
    if vip is not None and not has_address(goal, vip):
        fix = "Add it to a pool of components.metallb, which gives it out."
        yield Finding(host="", check=_CHECK, found=f"the virtual address {_VIP}, {vip}, is in no pool", fix=fix)


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    vip = goal.site.vips.get(_VIP)
    apart = len(goal.site.with_role(WORKER)) >= _REPLICAS
    return {
        "ingress": {
            "antiAffinity": "required" if apart else "preferred",
            "replicas": _REPLICAS,
            **({"service": {"address": str(vip)}} if vip else {}),
        }
    }


COMPONENT = Component(
    name=NAME,
    about="The way in for HTTP (HAProxy Ingress).",
    catalog=("kubernetes", NAME),
    # Its Service has an address once there is somebody who gives it one.
    steps=(chart_step(NAME, values=_values, needs=("flannel", "metallb")),),
    preflight=(Check(name=_CHECK, asks=lambda goal, host: (), judge=_judge),),
    claims=(("/apis/networking.k8s.io/v1/ingressclasses", "haproxy"),),
    roles=NODES,
)
