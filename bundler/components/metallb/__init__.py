"""MetalLB: addresses of the site for Services of type LoadBalancer."""

from bundler.components.kubernetes.charts import chart_step
from bundler.steps.step import Component

NAME = "metallb"
COMPONENT = Component(
    name=NAME,
    about="Addresses for Services (MetalLB).",
    catalog=("kubernetes", NAME),
    steps=(chart_step(NAME, needs=("flannel",)),),
    roles=("control-plane", "worker"),
)
