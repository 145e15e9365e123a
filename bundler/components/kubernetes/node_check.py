"""What hangs: on each host of the cluster a service of ours asks containerd and the kubelet whether they answer, and
ends what does not; systemd starts it again. Containers run on meanwhile."""

from bundler.components.kubernetes.kubeadm import DNS_CACHE, DNS_CACHE_UNIT
from bundler.components.kubernetes.pki import FOLDER, endpoint
from bundler.components.kubernetes.runtime import RUNTIME_UNIT
from bundler.components.kubernetes.settings import settings_of
from bundler.model.site import SiteHost
from bundler.steps.facts import Ask
from bundler.steps.render import render
from bundler.steps.resources import File, Service
from bundler.steps.step import Goal

UNIT = "bundle-node-check.service"
KUBELET = "kubelet.service"
_SCRIPT = "/etc/bundle/kubernetes/node-check"
# Probes, the same in the service and in `bundle health`. A busy host may take its time: two in a row have to fail.
_PROBES = {
    RUNTIME_UNIT: "timeout 8 ctr version",
    KUBELET: "curl -sf -m 8 http://127.0.0.1:10248/healthz",
}


def node_check(goal: Goal, host: SiteHost) -> Service:
    script = render(
        __package__,
        "node-check.sh.j2",
        runtime=RUNTIME_UNIT,
        kubelet=KUBELET,
        probes=_PROBES,
        lease=f"https://{endpoint(goal)}/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{host.name}",
        authority=f"{FOLDER}/ca.crt",
        cache=DNS_CACHE if settings_of(goal).node_dns else "",
        cache_unit=DNS_CACHE_UNIT,
    )
    unit = render(__package__, "node-check.service.j2", unit=UNIT, script=_SCRIPT)
    files = (File(path=_SCRIPT, content=script), File(path=f"/etc/systemd/system/{UNIT}", content=unit))
    return Service(unit=UNIT, files=files)


def _silent(said: str) -> tuple[str, ...]:
    return tuple(said.split())


# Units of the two that run and do not answer.
SILENT: Ask[tuple[str, ...]] = Ask(
    name="whether containerd and the kubelet answer",
    script="\n".join(
        f"! systemctl is-active -q {unit} || {probe} >/dev/null 2>&1 || echo {unit}" for unit, probe in _PROBES.items()
    ),
    reading=_silent,
    bare=(),
)
