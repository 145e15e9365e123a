"""containerd: the container runtime of every host of the cluster, with runc and the CNI plugins."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bundler.components.base.sources import CA
from bundler.components.kubernetes.settings import settings_of
from bundler.components.registry.endpoint import repositories_host
from bundler.components.store.programs import Programs, Source
from bundler.errors import NotCarried
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.render import render
from bundler.steps.resources import File, Resource, Service
from bundler.steps.step import Goal

RUNTIME_UNIT = "containerd.service"
SOCKET = "/run/containerd/containerd.sock"
BIN, CNI = "/usr/local/bin", "/opt/cni/bin"
# Without what an index says of other platforms, which the site may not have.
PULL = "ctr -n k8s.io images pull --hosts-dir /etc/containerd/certs.d --skip-metadata"
_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")
# Flannel brings its own beside these; host-local and loopback are what it builds upon.
_PLUGINS = ("bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning")

_DATA = "/var/lib/containerd"
_KEEPS: Ask[bool] = Ask(
    name="whether containerd keeps anything", script=f"ls -A {_DATA} 2>/dev/null | head -n 1", reading=bool, bare=False
)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """Images and containers, the first of what a host has of its runtime, and so the last to go: nothing uses them."""

    def asks(self) -> tuple[Fact[Any], ...]:
        return (_KEEPS,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        yield from ()

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        if purge and facts[_KEEPS]:
            text = f"find {_DATA} -xdev -mindepth 1 -delete"
            yield Run(name="remove images and containers", text=text, timeout=600, reason="it holds data")


def carried_files(goal: Goal, host: SiteHost) -> Source:
    """Where a host gets the release's files."""
    if host.has(SITE_ROLE):
        return Source()
    return Source(url=f"https://{repositories_host(goal.site)}/files", ca=CA)


def version_of(goal: Goal, name: str, *, of: str = "") -> str:
    """The version that the release carries of a component of the catalog, or of what the component `of` brings.

    Raises NotCarried."""
    asked = goal.asked(of or name)
    provided = dict(asked.provides) if asked else {}
    if name not in provided:
        raise NotCarried(component=of or name, missing=(f"a version of {name}",))
    return provided[name]


def pause_image(goal: Goal) -> str:
    """The image that holds a pod's namespaces, as kubeadm of this release wants it."""
    asked = goal.asked("kubernetes")
    for reference in asked.revealed if asked else ():
        if reference.repository == "pause":
            return str(reference)
    raise NotCarried(component="containerd", missing=("image registry.k8s.io/pause",))


def _runc(goal: Goal, host: SiteHost) -> Resource:
    if any(file.name.startswith("runc.") for file in goal.lock.files):
        return programs(goal, host, "runc.", ("", f"{BIN}/runc"), version=version_of(goal, "runc", of="containerd"))
    return goal.packages("containerd", "runc")


def programs(
    goal: Goal, host: SiteHost, prefix: str, *members: tuple[str, str], version: str, proof: str = "--version"
) -> Programs:
    """Programs out of the release's file whose name begins so, which without its last sign is what they are called."""
    return Programs(
        name=prefix.rstrip("-."),
        file=goal.file("kubernetes", prefix),
        members=members,
        source=carried_files(goal, host),
        proof=proof,
        version=version,
    )


def configuration(goal: Goal) -> str:
    settings = settings_of(goal)
    return render(
        __package__,
        "containerd.toml.j2",
        version=version_of(goal, "containerd"),
        pause=pause_image(goal),
        plugins=CNI,
        systemd_cgroup=settings.cgroup_driver == "systemd",
        nested=settings.nested,
    )


def runtime(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    archive = goal.file("containerd", "containerd-")
    unit = render(
        __package__,
        "containerd.service.j2",
        unit=RUNTIME_UNIT,
        archive=f"{archive.name}, {archive.digest}",
        program=BIN,
    )
    config = goal.once("containerd/config", lambda: configuration(goal))
    binaries = [(f"bin/{name}", f"{BIN}/{name}") for name in _PROGRAMS]
    plugins = [(name, f"{CNI}/{name}") for name in _PLUGINS]
    cni = version_of(goal, "cni-plugins")
    return (
        goal.packages("containerd", "curl"),
        _runc(goal, host),
        programs(goal, host, "containerd-", *binaries, version=version_of(goal, "containerd")),
        programs(goal, host, "cni-plugins-", *plugins, version=cni, proof="</dev/null version"),
        Service(
            unit=RUNTIME_UNIT,
            files=(
                File(path="/etc/containerd/config.toml", content=config, keep=True),
                File(path=f"/etc/systemd/system/{RUNTIME_UNIT}", content=unit),
            ),
        ),
    )
