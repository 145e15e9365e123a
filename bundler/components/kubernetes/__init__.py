"""Kubernetes by kubeadm: control planes behind a virtual address of the site, and workers.

The order: the container runtime; programs and what they read; the API's address; control planes one after the other,
the first of which makes the cluster; then all workers at once. What is one of the cluster's already becomes what it
should be in its own turn, runtime and all: control planes in their step, workers one after the other in
`kubernetes/worker-kept`. kube-proxy follows when every API server is the new one, and charts when every host is: those
before were proved with what the cluster had, and go on with either; those of the release only with what it brings.
"""

from collections.abc import Sequence

from bundler.components.kubernetes import existing_checks, preflight, preflight_hosts
from bundler.components.kubernetes.certificates import TIMER, Certificates, renewing
from bundler.components.kubernetes.charts import APPLIERS, pruned
from bundler.components.kubernetes.departed import DEPARTED_CHECK, departed
from bundler.components.kubernetes.entry import ADDRESS_UNIT, PACKAGES, PROXY_UNIT, FloatingAddress, proxy
from bundler.components.kubernetes.existing import appliers, existing, given, kubeconfig_file, redirected
from bundler.components.kubernetes.fence import UNIT as FENCE_UNIT
from bundler.components.kubernetes.fence import fence
from bundler.components.kubernetes.health import HEALTH
from bundler.components.kubernetes.kubeadm import (
    CONFIG,
    JOIN_CONFIG,
    KUBELET_CERTIFICATE,
    KUBELET_KEY,
    cluster_text,
    join_text,
    kubelet_settings,
    server_files,
)
from bundler.components.kubernetes.node_check import KUBELET, looked_after
from bundler.components.kubernetes.node_check import UNIT as CHECK_UNIT
from bundler.components.kubernetes.nodes import NODE, Leaving, Member
from bundler.components.kubernetes.pki import API_VIP, CONTROL_PLANE, NODES, control_planes, kubelet_leaf, shared_files
from bundler.components.kubernetes.prefetch import CHECK as PREFETCH_CHECK
from bundler.components.kubernetes.prefetch import Fetched, prefetched
from bundler.components.kubernetes.prefetch import space as prefetch_space
from bundler.components.kubernetes.releases import HELM
from bundler.components.kubernetes.restore import RESTORE
from bundler.components.kubernetes.runtime import BIN, RUNTIME_UNIT, Pulled, programs, runtime, version_of
from bundler.components.kubernetes.service_proxy import ServiceProxy
from bundler.components.kubernetes.settings import SCHEMA, parse_settings
from bundler.components.kubernetes.skew import VERSIONS
from bundler.components.kubernetes.snapshots import HEALTH as SNAPSHOTS_HEALTH
from bundler.components.kubernetes.snapshots import SERVICE_UNIT, TIMER_UNIT, snapshots
from bundler.components.kubernetes.upgrade import ControlPlane
from bundler.components.kubernetes.window import Window
from bundler.components.registry.masked import Masked
from bundler.components.store.programs import Programs
from bundler.model.site import GUEST_ROLE, SiteHost
from bundler.steps.facts import HostFacts
from bundler.steps.render import render
from bundler.steps.resources import Asked, File, Resource
from bundler.steps.step import Component, Goal, Step

RUNTIME, PROGRAMS, ENTRY = "kubernetes/runtime", "kubernetes/programs", "kubernetes/entry"
DEPARTED, SNAPSHOTS = "kubernetes/departed", "kubernetes/snapshots"
CONTROL, WORKER, KEPT = f"kubernetes/{CONTROL_PLANE}", "kubernetes/worker", "kubernetes/worker-kept"
PROXY, IMAGES = "kubernetes/proxy", "kubernetes/images"
PRUNED, REDIRECTED = "kubernetes/pruned", "kubernetes/redirected"
_TOOLS = ("conntrack", "ethtool", "iproute2", "iptables", "mount", "nftables", "socat", "util-linux")


def _programs(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    carried = {deb.package for deb in goal.lock.debs}
    leaf = kubelet_leaf(goal, host)
    return (
        goal.packages("kubernetes", *(name for name in _TOOLS if name in carried)),
        _program(goal, host, "kubeadm", "version"),
        _program(goal, host, "kubectl", "version --client"),
        File(path=KUBELET_CERTIFICATE, content=leaf.certificate),
        File(path=KUBELET_KEY, content=leaf.key, mode=0o600),
        File(path=JOIN_CONFIG, content=join_text(goal, host)),
        fence(goal, host),
        looked_after(goal, host),
    )


def _program(goal: Goal, host: SiteHost, name: str, proof: str) -> Programs:
    return programs(goal, host, name, ("", f"{BIN}/{name}"), version=version_of(goal, "kubernetes"), proof=proof)


def _entry(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    if API_VIP not in goal.site.vips:
        return ()
    masked = [Masked(unit=f"{name}.service", why="the package's own would be in the way") for name in PACKAGES]
    return (*masked, goal.packages("kubernetes", *PACKAGES), proxy(goal), FloatingAddress(goal=goal, host=host))


def _control_plane(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (
        *shared_files(goal),
        *server_files(goal),
        File(path=CONFIG, content=cluster_text(goal, host)),
        renewing(goal, host),
        *_member(goal, host),
    )


def _proxy(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (ServiceProxy(goal=goal),) if host == control_planes(goal)[0] else ()


def _helm(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    if host not in appliers(goal):
        return ()
    theirs = (_program(goal, host, "kubectl", "version --client"), kubeconfig_file(goal)) if existing(goal) else ()
    if goal.asked("helm") is None:
        return theirs
    member = ("linux-amd64/helm", f"{BIN}/helm")
    return (*theirs, programs(goal, host, "helm-", member, version=version_of(goal, "helm"), proof="version"))


def _worker(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return () if host in control_planes(goal) else _member(goal, host)


def _images(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (Fetched(images=goal.once("images to be fetched", lambda: prefetched(goal))),)


def _joined(facts: HostFacts) -> bool:
    return facts[NODE].joined


def _bare(facts: HostFacts) -> bool:
    return not _joined(facts)


def _runtime(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    return (Pulled(), *runtime(goal, host), Asked(facts=(NODE,)))


def _member(goal: Goal, host: SiteHost) -> Sequence[Resource]:
    file = goal.file("kubernetes", "kubelet")
    unit = render(
        __package__,
        "kubelet.service.j2",
        archive=f"{file.name}, {file.digest}",
        settings=kubelet_settings(goal),
        program=f"{BIN}/kubelet",
    )
    window = Window(
        goal=goal,
        host=host,
        runtime=runtime(goal, host),
        kubelet=_program(goal, host, "kubelet", "--version"),
        # It is there before kubeadm starts it; the service looks whether it runs with that.
        unit=File(path=f"/etc/systemd/system/{KUBELET}", content=unit),
    )
    # API servers first: no kubelet may be newer than they are.
    return (
        ControlPlane(goal=goal, host=host),
        *window.before(),
        Member(goal=goal, host=host),
        Certificates(goal=goal, host=host),
        *window.after(),
        Leaving(goal=goal, host=host),
    )


COMPONENT = Component(
    name="kubernetes",
    about="The cluster: control planes, workers, and the API's address.",
    catalog=("kubernetes", "containerd", "cni-plugins"),
    steps=(
        Step(name=RUNTIME, resources=_runtime, roles=NODES, after=("base/clients",), when=_bare),
        Step(name=PROGRAMS, resources=_programs, roles=NODES, after=(RUNTIME,)),
        Step(name=ENTRY, resources=_entry, roles=(CONTROL_PLANE,), after=(PROGRAMS,)),
        Step(name=DEPARTED, resources=departed, roles=(CONTROL_PLANE,), after=(ENTRY,)),
        Step(
            name=CONTROL,
            resources=_control_plane,
            roles=(CONTROL_PLANE,),
            after=(DEPARTED,),
            needs=(DEPARTED,),
            rolling=True,
        ),
        Step(name=PROXY, resources=_proxy, roles=(CONTROL_PLANE,), needs=(CONTROL,)),
        Step(name=SNAPSHOTS, resources=snapshots, roles=(CONTROL_PLANE,), after=(CONTROL,)),
        Step(name=HELM, resources=_helm, roles=APPLIERS, after=(CONTROL,)),
        # Of a cluster that is there already; what they are to pull must be there.
        Step(name=REDIRECTED, resources=redirected, roles=(GUEST_ROLE,), needs=("registry",)),
        Step(
            name=WORKER,
            resources=_worker,
            roles=("worker",),
            after=(PROGRAMS,),
            needs=(CONTROL,),
            when=_bare,
        ),
        Step(name=PRUNED, resources=pruned, roles=APPLIERS, last=True),
        Step(name=KEPT, resources=_worker, roles=("worker",), after=(WORKER,), rolling=True, when=_joined),
        Step(name=IMAGES, resources=_images, roles=("worker",), after=(KEPT,)),
    ),
    settings=parse_settings,
    schema=SCHEMA,
    preflight=(
        preflight.SITE,
        *existing_checks.CHECKS,
        preflight_hosts.HOSTS,
        VERSIONS,
        DEPARTED_CHECK,
        PREFETCH_CHECK,
    ),
    listens=preflight_hosts.listens,
    health=(*HEALTH, *existing_checks.HEALTH, SNAPSHOTS_HEALTH),
    units=(
        RUNTIME_UNIT,
        KUBELET,
        CHECK_UNIT,
        FENCE_UNIT,
        PROXY_UNIT,
        ADDRESS_UNIT,
        TIMER,
        TIMER_UNIT,
        SERVICE_UNIT,
    ),
    space=prefetch_space,
    given=given,
    roles=NODES,
    restore=RESTORE,
)
