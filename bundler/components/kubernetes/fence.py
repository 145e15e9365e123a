"""Addresses of Services and pods stay on the site: a packet to one that nobody translates or routes yet would go to the
default gateway, and from there who knows where."""

from bundler.components.kubernetes.pki import NODES
from bundler.components.kubernetes.settings import settings_of
from bundler.model.site import SiteHost
from bundler.steps.render import render
from bundler.steps.resources import File, Service
from bundler.steps.step import Goal

UNIT = "bundle-cluster-fence.service"
_RULES = "/etc/bundle/kubernetes/fence.nft"


def fence(goal: Goal, host: SiteHost) -> Service:
    settings = settings_of(goal)
    family = settings.pods.version
    hosts = [each.address for each in goal.site.hosts if each.is_among(NODES) and each.address.version == family]
    rules = render(__package__, "fence.nft.j2", pods=settings.pods, services=settings.services, hosts=hosts)
    unit = render(__package__, "fence.service.j2", unit=UNIT, rules=_RULES)
    return Service(
        unit=UNIT,
        files=(
            File(path=_RULES, content=rules),
            File(path=f"/etc/systemd/system/{UNIT}", content=unit),
        ),
    )
