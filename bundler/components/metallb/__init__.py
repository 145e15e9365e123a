"""MetalLB: addresses of the site for Services of type LoadBalancer."""

from collections.abc import Mapping
from typing import Any

from bundler.components.kubernetes.charts import CRDS, chart_step
from bundler.components.kubernetes.pki import NODES
from bundler.components.metallb import preflight
from bundler.components.metallb.settings import NAME, SCHEMA, MetallbSettings, parse_settings
from bundler.steps.step import Component, Goal

_MEMBERS = 7946  # by which those who announce addresses see one another (memberlist)


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    settings = goal.site.settings_of(NAME, MetallbSettings)
    pools = [
        {"name": pool.name, "addresses": list(pool.addresses), "autoAssign": pool.assign} for pool in settings.pools
    ]
    if settings.bgp is None:
        return {"address-pools": {"pools": pools}}
    peers = [{"name": peer.name, "address": str(peer.address), "asn": peer.asn} for peer in settings.bgp.peers]
    bgp = {"asn": settings.bgp.asn, "peers": peers}
    return {"address-pools": {"pools": pools, "l2": {"enabled": False}, "bgp": bgp}}


COMPONENT = Component(
    name=NAME,
    about="Addresses for Services (MetalLB).",
    catalog=("kubernetes", NAME),
    steps=(chart_step(NAME, values=_values, needs=("flannel",), last=("address-pools",)),),
    settings=parse_settings,
    schema=SCHEMA,
    preflight=preflight.CHECKS,
    listens=lambda goal, host: (("TCP", _MEMBERS), ("UDP", _MEMBERS)),
    claims=((CRDS, r".+\.metallb\.io"),),
    roles=NODES,
)
