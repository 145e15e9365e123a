"""What `components.flannel` in site.yaml may say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bundler.components.kubernetes.settings import one_of
from bundler.model.document import Fields
from bundler.model.json_schema import record

NAME = "flannel"
VXLAN, HOST_GW = "vxlan", "host-gw"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlannelSettings:
    """`backend`: packets of pods go between hosts within others (vxlan), or as they are, by routes (host-gw)."""

    backend: str = VXLAN


def parse_settings(fields: Fields) -> FlannelSettings:
    return fields.build(FlannelSettings, backend=fields.value("backend", one_of((VXLAN, HOST_GW)), default=VXLAN))


SCHEMA: Mapping[str, Any] = record(
    "The network of pods.",
    {
        "backend": {
            "description": "How packets of pods go between hosts: vxlan over any network, host-gw within one subnet.",
            "enum": [VXLAN, HOST_GW],
            "default": VXLAN,
        }
    },
)
