"""Local volumes: whole disks of the cluster's hosts, which site.yaml names (`use: local`), as volumes of pods.

A disk gets a file system once, when nothing at all is on it; its label says whose it is from then on. The kubelet
checks and mounts it where a pod wants it: there is no mount of the host's to be missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.pki import NODES
from bundler.components.local_volumes.disks import CHECK, Formatted, local_disks
from bundler.model.document import Fields
from bundler.model.json_schema import flag, record
from bundler.model.site import SiteHost
from bundler.steps.resources import Resource
from bundler.steps.step import Component, Goal, Step

NAME = "local-volumes"
_DISKS = f"{NAME}/disks"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalVolumesSettings:
    """`default`: claims that name no class get one of these volumes."""

    default: bool = False


def _parse(fields: Fields) -> LocalVolumesSettings:
    return fields.build(LocalVolumesSettings, default=fields.flag("default", default=False))


def _disks(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    disks = local_disks(host)
    if not disks:
        return ()
    return (goal.packages(NAME, "e2fsprogs"), *(Formatted(host=host, device=disk.device) for disk in disks))


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    volumes = [
        {"host": host.name, "path": disk.device, "size": disk.size}
        for host in goal.site.hosts
        for disk in local_disks(host)
    ]
    default = goal.site.settings_of(NAME, LocalVolumesSettings).default
    return {NAME: {"default": default, "volumes": volumes}}


COMPONENT = Component(
    name=NAME,
    about="Disks of the cluster's hosts as volumes of pods.",
    catalog=("kubernetes", NAME),
    steps=(
        Step(name=_DISKS, resources=_disks, roles=NODES, after=("base/packages",)),
        chart_step(NAME, values=_values, needs=(_DISKS,)),
    ),
    settings=_parse,
    schema=record(
        "Disks of the cluster's hosts as volumes of pods; each host's `disks` name them.",
        {"default": flag("Claims that name no class get one of these volumes.")},
    ),
    preflight=(CHECK,),
    health=(CHECK,),
    roles=NODES,
)
