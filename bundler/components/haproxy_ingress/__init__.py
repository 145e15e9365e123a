"""HAProxy Ingress: the way into the cluster for HTTP."""

from collections.abc import Mapping
from typing import Any

from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.pki import NODES
from bundler.steps.step import Component, Goal

NAME = "haproxy-ingress"
_VIP = "ingress"  # of the site's virtual addresses


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    vip = goal.site.vips.get(_VIP)
    return {"ingress": {"service": {"address": str(vip)}}} if vip else {}


COMPONENT = Component(
    name=NAME,
    about="The way in for HTTP (HAProxy Ingress).",
    catalog=("kubernetes", NAME),
    # Its Service has an address once there is somebody who gives it one.
    steps=(chart_step(NAME, values=_values, needs=("flannel", "metallb")),),
    roles=NODES,
)
