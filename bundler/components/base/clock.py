"""Time: chrony, from the site's sources or from the site hosts themselves."""

from collections.abc import Iterator
from ipaddress import ip_network

from bundler.components.base.names import HEADER
from bundler.components.base.settings import BaseSettings
from bundler.model.site import SITE_ROLE, Site, SiteHost

# Of a server that does not answer in its first seconds chrony asks again after 64 s, and wants several answers: a host
# that starts before the site's would have no time for minutes. On the site's own network a question costs nothing.
_NEAR = "iburst minpoll 4 maxpoll 6"
UNIT = "chrony.service"
PATH = "/etc/chrony/chrony.conf"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/bundle.conf"
# Debian's own unit leaves a chronyd that was killed dead.
DROP_IN_TEXT = f"{HEADER}[Unit]\nStartLimitIntervalSec=0\n\n[Service]\nRestart=always\nRestartSec=1\n"


def chrony_text(site: Site, host: SiteHost, settings: BaseSettings) -> str:
    """chrony.conf(5), without the folders of more sources that Debian's own includes: nothing adds to what is here."""
    lines = [
        *sources(site, host, settings),
        "driftfile /var/lib/chrony/chrony.drift",
        "# A clock that is far off is set at once, but only at the start: later it would jump under running services.",
        "makestep 1.0 3",
        "rtcsync",
        "# Commands by the local socket alone.",
        "cmdport 0",
    ]
    if host.has(SITE_ROLE):
        lines += [
            "# Without any better source the site hosts agree on one of them, so that the site has one time.",
            "local stratum 10 orphan",
            *(f"allow {subnet}" for subnet in served(site)),
        ]
    else:
        lines += ["# Nobody asks this host.", "port 0"]
    return HEADER + "".join(f"{line}\n" for line in lines)


def sources(site: Site, host: SiteHost, settings: BaseSettings) -> Iterator[str]:
    """The servers of one host: the site's sources for site hosts, and all other site hosts for everybody."""
    if host.has(SITE_ROLE):
        yield from (f"server {source} iburst" for source in settings.sources)
    first = site.with_role(SITE_ROLE)[0]
    for server in site.with_role(SITE_ROLE):
        if server.name != host.name:
            prefer = " prefer" if server == first and not (settings.sources and host.has(SITE_ROLE)) else ""
            yield f"server {server.address} {_NEAR}{prefer}"


def served(site: Site) -> tuple[str, ...]:
    """The site's networks, and the hosts that are in none of them."""
    subnets = [network.subnet for network in site.networks]
    alone = (ip_network(host.address) for host in site.hosts if not any(host.address in subnet for subnet in subnets))
    return tuple(str(subnet) for subnet in (*subnets, *alone))
