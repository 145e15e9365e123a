"""What kubeadm is told: its configuration (kubeadm.k8s.io), and the files that its API servers read."""

import hashlib
from collections.abc import Mapping
from typing import Any

import yaml

from bundler.components.kubernetes.pki import API_VIP, CONTROL_PLANE, WORKER, control_planes, encryption_key, endpoint
from bundler.components.kubernetes.pki import FOLDER as PKI
from bundler.components.kubernetes.runtime import SOCKET, version_of
from bundler.components.kubernetes.settings import API_PORT, settings_of
from bundler.model.secret import Secret
from bundler.model.site import SiteHost
from bundler.steps.render import render
from bundler.steps.resources import File
from bundler.steps.step import Goal

FOLDER = "/etc/kubernetes/bundle"  # what the API servers read, beside kubeadm's own
CONFIG, JOIN_CONFIG = f"{FOLDER}/kubeadm.yaml", f"{FOLDER}/join.yaml"
DNS_CACHE = "169.254.20.10"  # of each host's own cache of names
DNS_CACHE_UNIT = "bundle-dns-cache-address.service"
JOINING = "/run/bundle/join.conf"
KUBELET_CERTIFICATE, KUBELET_KEY = "/var/lib/kubelet/pki/bundle.crt", "/var/lib/kubelet/pki/bundle.key"
# Namespaces of what makes the cluster work, which needs the hosts themselves.
EXEMPT = ("kube-system", "kube-flannel", "metallb-system", "ingress")
SITE_LABEL = "bundle-site"  # a node's label: the site that made it
_LOGS = "/var/log/kubernetes"
_GRACE, _PERIOD, _TOLERATION = 16, 2, 5  # seconds: until a silent host counts as dead, between looks, until pods leave
_RESTARTS = "5s"  # at most, between two starts of what ends again and again
EVICTED_BELOW = 5  # GiB free: then pods go
_AUTHORITY = f"{PKI}/ca.crt"


def minor_of(version: str) -> int:
    """36 of 1.36.3."""
    return int(version.split(".")[1])


def cluster_dns(goal: Goal) -> str:
    """The tenth address of Services, as kubeadm has it."""
    return str(settings_of(goal).services[10])


def cluster_text(goal: Goal, host: SiteHost) -> str:
    """For `kubeadm init` and its phases."""
    version = version_of(goal, "kubernetes")
    return _documents(
        version,
        {
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": str(host.address), "bindPort": API_PORT},
            "nodeRegistration": _registration(goal, version, host),
            # Name service is a chart of ours.
            "skipPhases": ["addon/coredns"],
            **_timeouts(version),
        },
        _cluster(goal, version),
        _kubelet(goal),
        _proxy(goal),
    )


def join_text(goal: Goal, host: SiteHost) -> str:
    """For `kubeadm join`."""
    version = version_of(goal, "kubernetes")
    join: dict[str, Any] = {
        "kind": "JoinConfiguration",
        "discovery": {"file": {"kubeConfigPath": JOINING}},
        "nodeRegistration": _registration(goal, version, host),
        **_timeouts(version),
    }
    if host in control_planes(goal):
        join["controlPlane"] = {"localAPIEndpoint": {"advertiseAddress": str(host.address), "bindPort": API_PORT}}
    return _documents(version, join)


def _timeouts(version: str) -> dict[str, Any]:
    """For machines that are slow or busy; a new member of etcd takes what the others have first, too."""
    return {"timeouts": {"etcdAPICall": "5m0s", "kubernetesAPICall": "3m0s"}} if minor_of(version) >= 31 else {}


def control_settings(goal: Goal) -> str:
    """A digest of what every control plane is to be made from: version, settings, and the files that it reads."""
    return _digest(_cluster(goal, version_of(goal, "kubernetes")))


def kubelet_settings(goal: Goal) -> str:
    """The same of every kubelet's settings: kubeadm writes them anew for each version."""
    return _digest([version_of(goal, "kubernetes"), _kubelet(goal)])


def proxy_settings(goal: Goal) -> str:
    """The same of kube-proxy's."""
    return _digest([version_of(goal, "kubernetes"), _proxy(goal)])


def _digest(what: Any) -> str:
    return hashlib.sha256(yaml.safe_dump(what).encode()).hexdigest()[:40]


def server_files(goal: Goal) -> tuple[File, ...]:
    """What API servers read: who did what is written down, Secrets are encrypted, pods are kept from their hosts."""
    return (
        File(path=f"{FOLDER}/audit.yaml", content=render(__package__, "audit.yaml.j2"), mode=0o600),
        File(path=f"{FOLDER}/admission.yaml", content=render(__package__, "admission.yaml.j2", exempt=EXEMPT)),
        File(path=f"{FOLDER}/encryption.yaml", content=_encryption(goal), mode=0o600),
    )


def _encryption(goal: Goal) -> Secret:
    return Secret(render(__package__, "encryption.yaml.j2", key=encryption_key(goal).reveal()))


def _registration(goal: Goal, version: str, host: SiteHost) -> dict[str, Any]:
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    arguments = {"node-ip": str(host.address), "node-labels": f"{SITE_LABEL}={goal.site.name}"}
    only_control = host.has(CONTROL_PLANE) and not host.has(WORKER)
    return {
        "name": host.name,
        "criSocket": f"unix://{SOCKET}",
        "kubeletExtraArgs": _arguments(version, arguments),
        "taints": [taint] if only_control else [],
    }


def _cluster(goal: Goal, version: str) -> dict[str, Any]:
    settings = settings_of(goal)
    names = [f"{host.name}.{goal.site.domain}" for host in control_planes(goal)]
    addresses = [str(host.address) for host in control_planes(goal)]
    vip = [str(goal.site.vips[API_VIP])] if API_VIP in goal.site.vips else []
    server = {
        "admission-control-config-file": f"{FOLDER}/admission.yaml",
        "audit-log-maxage": "30",
        "audit-log-maxbackup": "10",
        "audit-log-maxsize": "100",
        "audit-log-path": f"{_LOGS}/audit.log",
        "audit-policy-file": f"{FOLDER}/audit.yaml",
        "default-not-ready-toleration-seconds": str(_TOLERATION),
        "default-unreachable-toleration-seconds": str(_TOLERATION),
        "encryption-provider-config": f"{FOLDER}/encryption.yaml",
        # Long connections move on by and by, so that one that came back gets its share.
        "goaway-chance": "0.001",
        "kubelet-certificate-authority": _AUTHORITY,
        "profiling": "false",
    }
    read = "".join(str(file.digest) for file in server_files(goal))
    volumes = [
        # A server reads these files once: others are another name, and with it another pod.
        {
            "name": f"bundle-{_digest(read)[:10]}",
            "hostPath": FOLDER,
            "mountPath": FOLDER,
            "readOnly": True,
            "pathType": "Directory",
        },
        {"name": "audit", "hostPath": _LOGS, "mountPath": _LOGS, "pathType": "DirectoryOrCreate"},
    ]
    manager = {
        "node-monitor-grace-period": f"{_GRACE}s",
        "node-monitor-period": f"{_PERIOD}s",
        "profiling": "false",
    }
    # An event a second of a thousand hosts fits; it is far below what etcd bears.
    # A member that has lost its data stops there, and does not begin a cluster of its own.
    etcd = {"quota-backend-bytes": str(8 << 30), "initial-cluster-state": "existing"}
    found: dict[str, Any] = {
        "kind": "ClusterConfiguration",
        "clusterName": goal.site.name,
        "kubernetesVersion": f"v{version}",
        "controlPlaneEndpoint": endpoint(goal),
        "networking": {
            "podSubnet": str(settings.pods),
            "serviceSubnet": str(settings.services),
            "dnsDomain": settings.domain,
        },
        "apiServer": {
            "certSANs": [*vip, *addresses, *names],
            "extraArgs": _arguments(version, server),
            "extraVolumes": volumes,
        },
        "controllerManager": {"extraArgs": _arguments(version, manager)},
        "scheduler": {"extraArgs": _arguments(version, {"profiling": "false"})},
        "etcd": {"local": {"extraArgs": _arguments(version, etcd)}},
    }
    if minor_of(version) >= 31:
        found["encryptionAlgorithm"] = "ECDSA-P256"
    return found


def _kubelet(goal: Goal) -> dict[str, Any]:
    """KubeletConfiguration (kubelet.config.k8s.io/v1beta1)."""
    settings = settings_of(goal)
    found: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": settings.cgroup_driver,
        # The cache is asked first; while it restarts resolvers go on to the next.
        "clusterDNS": [*([DNS_CACHE] if settings.node_dns else []), cluster_dns(goal)],
        "clusterDomain": settings.domain,
        # Of a large disk a share would be terabytes that nobody may use.
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": f"{EVICTED_BELOW}Gi",
            "nodefs.inodesFree": "5%",
            "imagefs.available": f"{EVICTED_BELOW}Gi",
            "imagefs.inodesFree": "5%",
        },
        # Images of many GB are pulled beside the small ones that make the host ready.
        "serializeImagePulls": False,
        "maxParallelImagePulls": 4,
        "nodeLeaseDurationSeconds": 12,
        "nodeStatusUpdateFrequency": "4s",
        "readOnlyPort": 0,
        "rotateCertificates": True,
        "tlsCertFile": KUBELET_CERTIFICATE,
        "tlsPrivateKeyFile": KUBELET_KEY,
    }
    minor = minor_of(version_of(goal, "kubernetes"))
    if settings.cgroup_v1 and minor >= 31:
        found["failCgroupV1"] = False
    if minor >= 35:
        # Else an API server that could not reach etcd a few times waits up to 5 minutes when etcd is back.
        found["crashLoopBackOff"] = {"maxContainerRestartPeriod": _RESTARTS}
    if settings.nested:
        # The disk is the machine's around the hosts, and how full that is they cannot help.
        found |= {"failSwapOn": False, "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99}
    else:
        found |= {"seccompDefault": True, "shutdownGracePeriod": "30s", "shutdownGracePeriodCriticalPods": "10s"}
    return found


def _proxy(goal: Goal) -> dict[str, Any]:
    """KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)."""
    settings = settings_of(goal)
    found: dict[str, Any] = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clusterCIDR": str(settings.pods),
        "mode": settings.proxy,
    }
    if settings.proxy == "ipvs":
        found["ipvs"] = {"strictARP": True}
    if settings.nested:
        found["conntrack"] = {"maxPerCore": 0, "min": 0}
    return found


def _arguments(version: str, arguments: Mapping[str, str]) -> Any:
    """Arguments in the shape of the configuration's version."""
    if minor_of(version) < 31:
        return dict(arguments)
    return [{"name": name, "value": value} for name, value in arguments.items()]


def _documents(version: str, *documents: dict[str, Any]) -> str:
    api = "kubeadm.k8s.io/v1beta4" if minor_of(version) >= 31 else "kubeadm.k8s.io/v1beta3"
    whole = ({"apiVersion": api, **document} for document in documents)
    return yaml.safe_dump_all(whole, sort_keys=False, width=120)
