"""The site's name servers: CoreDNS on each site host, authoritative for the site's domain and the reverse zones of its
networks, with an immediate NXDOMAIN for what nobody on the site has."""

from collections.abc import Sequence

from bundler.components.dns.health import NAMES, STEP, UNIT, dns_check, settings_of
from bundler.components.dns.settings import SCHEMA, parse_settings
from bundler.components.dns.zones import zones_of
from bundler.components.store import CONFIG
from bundler.components.store.programs import Programs, Source
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.render import render
from bundler.steps.resources import File, Folder, Resource, Service
from bundler.steps.step import Component, Goal, Step

PORT = 53
FOLDER = f"{CONFIG}/dns"
PROGRAM = "/usr/local/lib/bundle/coredns"
SOCKETS = 8  # each with a buffer of its own: room for queries while the program waits for a processor
LOOPBACK = {"metrics": 9153, "health": 9154, "ready": 9155}  # ports on 127.0.0.1


def corefile(goal: Goal, host: SiteHost, *, folder: str = FOLDER, ports: dict[str, int] = LOOPBACK) -> str:
    """CoreDNS' configuration. It picks a server block by the longest zone, so that a block for everything takes nothing
    from the others; within one block it would (the order of plugins is compiled in)."""
    site, settings = goal.site, settings_of(goal)
    return render(
        __package__,
        "Corefile.j2",
        address=host.address,
        sockets=SOCKETS,
        domain=site.domain,
        server=f"{site.with_role(SITE_ROLE)[0].name}.{site.domain}",
        folder=folder,
        ports=ports,
        zones=zones_of(site, settings),
        forward=sorted(settings.forward.items()),
        forwards_all="." in settings.forward,
    )


def _resources(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    archive = goal.file("dns", "coredns_")
    zones = goal.once("dns/zones", lambda: zones_of(goal.site, settings_of(goal)))
    unit = render(
        __package__,
        "unit.j2",
        unit=UNIT,
        archive=f"{archive.name}, {archive.digest}",
        program=PROGRAM,
        corefile=f"{FOLDER}/Corefile",
    )
    return (
        Programs(
            name="coredns",
            file=archive,
            members=(("coredns", PROGRAM),),
            source=Source(),
            proof="-version",
            version=archive.name.split("_")[1],
        ),
        Folder(path=FOLDER),
        Service(
            unit=UNIT,
            files=(
                *(File(path=f"{FOLDER}/db.{zone.name}", content=zone.text) for zone in zones),
                File(path=f"{FOLDER}/Corefile", content=corefile(goal, host)),
                File(path=f"/etc/systemd/system/{UNIT}", content=unit),
            ),
            # It opens the health check's port when everything else is up; port 53 may be another program's as well.
            ports=(PORT, LOOPBACK["health"]),
        ),
    )


COMPONENT = Component(
    name="dns",
    about="The site's name servers (CoreDNS).",
    steps=(Step(name=STEP, resources=_resources, roles=(SITE_ROLE,), after=("store/release",)),),
    settings=parse_settings,
    schema=SCHEMA,
    preflight=(NAMES,),
    health=(dns_check(_resources),),
    units=(UNIT,),
    listens=lambda goal, host: (("UDP", PORT),),
    roles=(SITE_ROLE,),
)
