"""HAProxy Ingress: the way into the cluster for HTTP."""

from bundler.components.kubernetes.charts import chart_step
from bundler.steps.step import Component

NAME = "haproxy-ingress"
COMPONENT = Component(
    name=NAME,
    about="The way in for HTTP (HAProxy Ingress).",
    catalog=("kubernetes", NAME),
    steps=(chart_step(NAME, needs=("flannel",)),),
    roles=("control-plane", "worker"),
)
