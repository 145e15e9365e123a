"""Names in the cluster: CoreDNS for Services, pods and the site, and a cache on every host."""

from collections.abc import Mapping, Sequence
from typing import Any

from bundler.components.kubernetes.charts import chart_step
from bundler.components.kubernetes.kubeadm import DNS_CACHE, cluster_dns
from bundler.components.kubernetes.kubeadm import DNS_CACHE_UNIT as ADDRESS_UNIT
from bundler.components.kubernetes.pki import NODES
from bundler.components.kubernetes.settings import settings_of
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.render import render
from bundler.steps.resources import File, Resource, Service
from bundler.steps.step import Component, Goal, Step

NAME, CATALOG = "cluster-dns", "coredns"
_NODES_A_REPLICA = 16


def _values(goal: Goal) -> Mapping[str, Mapping[str, Any]]:
    site, settings = goal.site, settings_of(goal)
    nodes = sum(host.is_among(NODES) for host in site.hosts)
    replicas = max(2, -(-nodes // _NODES_A_REPLICA))
    return {
        NAME: {
            "cluster": {
                "domain": settings.domain,
                "networks": [str(settings.services), str(settings.pods)],
                "addresses": [cluster_dns(goal)],
            },
            "site": {
                "zones": [site.domain, *(str(network.subnet) for network in site.networks)],
                "resolvers": [str(host.address) for host in site.with_role(SITE_ROLE)],
            },
            "replicas": replicas,
            "antiAffinity": "required" if nodes >= replicas else "preferred",
            "cache": {"enabled": settings.node_dns, "addresses": [DNS_CACHE]},
        }
    }


def _address(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    if not settings_of(goal).node_dns:
        return ()
    unit = render(__package__, "address.service.j2", unit=ADDRESS_UNIT, address=DNS_CACHE)
    return (Service(unit=ADDRESS_UNIT, files=(File(path=f"/etc/systemd/system/{ADDRESS_UNIT}", content=unit),)),)


COMPONENT = Component(
    name=NAME,
    about="Names in the cluster (CoreDNS).",
    catalog=("kubernetes", CATALOG),
    steps=(
        Step(name=f"{NAME}/address", resources=_address, roles=NODES, after=("base/packages",)),
        chart_step(NAME, catalog=CATALOG, values=_values, needs=("flannel", f"{NAME}/address")),
    ),
    units=(ADDRESS_UNIT,),
    roles=NODES,
)
