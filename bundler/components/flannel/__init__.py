"""Flannel: the network of pods."""

from collections.abc import Mapping
from typing import Any

from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.pki import NODES
from bundler.components.kubernetes.settings import settings_of
from bundler.steps.step import Component, Goal

NAME = "flannel"


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    pods = str(settings_of(goal).pods)
    mode = {"nftables": settings_of(goal).proxy == "nftables"}
    return {NAME: {"networks": [pods], **mode, "podCidr": pods}}  # the last for its own chart of old versions


COMPONENT = Component(
    name=NAME,
    about="The network of pods (Flannel).",
    catalog=("kubernetes", NAME),
    steps=(chart_step(NAME, values=_values),),
    roles=NODES,
)
