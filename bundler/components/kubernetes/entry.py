"""The API's virtual address: on one control plane at a time (keepalived), and behind it every API server that is ready
(HAProxy). Nothing in it needs the cluster."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bundler.components.kubernetes.pki import API_VIP, control_planes
from bundler.components.kubernetes.settings import API_PORT, settings_of
from bundler.model.site import SiteHost
from bundler.steps.actions import Action
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.render import render
from bundler.steps.resources import File, Service
from bundler.steps.step import Goal

PROXY_UNIT, ADDRESS_UNIT = "bundle-api-haproxy.service", "bundle-api-keepalived.service"
PACKAGES = ("haproxy", "keepalived")
_FOLDER = "/etc/bundle/kubernetes"


def proxy(goal: Goal) -> Service:
    """HAProxy, on every control plane."""
    port = settings_of(goal).entry_port
    config = render(__package__, "haproxy.cfg.j2", servers=control_planes(goal), port=port, api_port=API_PORT)
    unit = render(__package__, "haproxy.service.j2", unit=PROXY_UNIT, config=f"{_FOLDER}/haproxy.cfg")
    return Service(
        unit=PROXY_UNIT,
        files=(
            File(path=f"{_FOLDER}/haproxy.cfg", content=config),
            File(path=f"/etc/systemd/system/{PROXY_UNIT}", content=unit),
        ),
        ports=(port,),
        reload=True,
    )


@dataclass(frozen=True, kw_only=True)
class FloatingAddress:
    """keepalived, whose configuration names the interface that has the host's own address."""

    goal: Goal = field(repr=False)
    host: SiteHost

    @property
    def _fact(self) -> Ask[str]:
        script = f"ip -o addr show to {self.host.address} | while read -r n interface rest; do echo $interface; done"
        return Ask(name="the interface of its address", script=script, reading=str.strip, bare="")

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self._fact, *self._service("").asks())

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        yield from self._service(facts[self._fact]).wanted(facts)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from self._service(facts[self._fact]).unwanted(facts, purge=purge)

    def _service(self, interface: str) -> Service:
        vip = self.goal.site.vips[API_VIP]
        others = [host for host in control_planes(self.goal) if host != self.host]
        config = render(
            __package__,
            "keepalived.conf.j2",
            host=self.host,
            others=others,
            interface=interface,
            vip=vip,
            router=vip.packed[-1] or 1,
            priority=150 - 10 * control_planes(self.goal).index(self.host),
            port=settings_of(self.goal).entry_port,
        )
        unit = render(__package__, "keepalived.service.j2", unit=ADDRESS_UNIT, config=f"{_FOLDER}/keepalived.conf")
        return Service(
            unit=ADDRESS_UNIT,
            files=(
                File(path=f"{_FOLDER}/keepalived.conf", content=config),
                File(path=f"/etc/systemd/system/{ADDRESS_UNIT}", content=unit),
            ),
        )
