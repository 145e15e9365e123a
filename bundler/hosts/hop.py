"""The way to a host, as ssh takes it."""

from dataclasses import dataclass

from bundler.model.site import Site, SiteHost
from bundler.model.site_scalars import parse_jump


@dataclass(frozen=True, slots=True)
class Hop:
    """A place that ssh goes to; `name` is for the reader. None: as the user's own configuration says."""

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    jump: "Hop | None" = None


def hop_of(site: Site, host: SiteHost) -> Hop:
    """The way to a host; its `jump` is another host's name or `[user@]address[:port]`."""
    return Hop(
        name=host.name, address=str(host.address), user=host.user, port=host.port, jump=_jump_of(site, host.jump)
    )


def _jump_of(site: Site, text: str) -> Hop | None:
    if not text:
        return None
    jump = parse_jump(text)
    for other in site.hosts:
        if other.name == jump.host:
            return hop_of(site, other)
    return Hop(name=jump.host, address=jump.host, user=jump.user or None, port=jump.port)
