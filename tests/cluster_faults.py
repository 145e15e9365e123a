"""Faults of a cluster in the lab, one by one: each strikes, and says which hosts' clients do not count meanwhile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.clusters import Cluster

Strike = Callable[[Cluster, int], None]
DNS, CACHE = "k8s-app=kube-dns", "app.kubernetes.io/name=cluster-dns-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`strike` does it; the number says which time it is, so that another host is struck each time."""

    name: str
    strike: Strike


def kill_process(cluster: Cluster, node: str, name: str) -> None:
    """The oldest process of that name on a node, which has its own processes."""
    cluster.lab.run(node, f"kill -9 $(pgrep -xo {name})")


def kill_unit(cluster: Cluster, node: str, unit: str, whom: str) -> None:
    cluster.lab.run(node, f"systemctl kill --signal=KILL --kill-whom={whom} {unit}")


def kill_container(cluster: Cluster, labels: str, number: int) -> None:
    """The process of one of these pods' first container, on a worker where there is such a one."""
    pods = cluster.pods(labels)
    nodes = [node for node in sorted(pods) if node in cluster.workers] or sorted(pods)
    node = nodes[number % len(nodes)]
    pod = pods[node]
    identity = pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    cluster.lab.run(node, f"kill -9 $(ctr -n k8s.io tasks ls | awk '$1 == \"{identity}\" {{ print $2 }}')")


def others(cluster: Cluster, node: str) -> Sequence[str]:
    return [each for each in cluster.control if each != node]


def _server(cluster: Cluster, number: int) -> None:
    kill_process(cluster, cluster.holder, "kube-apiserver")


def _other_server(cluster: Cluster, number: int) -> None:
    kill_process(cluster, others(cluster, cluster.holder)[number % 2], "kube-apiserver")


def _worker_of(cluster: Cluster, number: int) -> str:
    return cluster.workers[number % len(cluster.workers)]


PROCESSES = (
    Fault(name="kube-apiserver where the address is", strike=_server),
    Fault(name="kube-apiserver elsewhere", strike=_other_server),
    Fault(name="etcd that leads", strike=lambda cluster, number: kill_process(cluster, cluster.leader, "etcd")),
    Fault(
        name="kubelet",
        strike=lambda cluster, number: kill_unit(cluster, _worker_of(cluster, number), "kubelet", "main"),
    ),
    Fault(
        name="containerd",
        strike=lambda cluster, number: kill_unit(cluster, _worker_of(cluster, number), "containerd", "main"),
    ),
    Fault(name="coredns", strike=lambda cluster, number: kill_container(cluster, DNS, number)),
    Fault(
        name="coredns, a host's cache",
        strike=lambda cluster, number: kill_container(cluster, CACHE, number),
    ),
    Fault(
        name="flanneld",
        strike=lambda cluster, number: kill_process(cluster, _worker_of(cluster, number), "flanneld"),
    ),
    Fault(
        name="kube-proxy",
        strike=lambda cluster, number: kill_process(cluster, _worker_of(cluster, number), "kube-proxy"),
    ),
    Fault(
        name="haproxy where the address is",
        strike=lambda cluster, number: kill_unit(cluster, cluster.holder, "bundle-api-haproxy", "all"),
    ),
    Fault(
        name="keepalived where the address is",
        strike=lambda cluster, number: kill_unit(cluster, cluster.holder, "bundle-api-keepalived", "all"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A host that loses its power: which."""

    name: str
    victim: Callable[[Cluster], str]


def _plain_control(cluster: Cluster) -> str:
    """Neither has the address, nor leads etcd, nor is the site's own host, if there is such a one."""
    special = {cluster.holder, cluster.leader, cluster.control[0]}
    return next((each for each in cluster.control if each not in special), others(cluster, cluster.holder)[-1])


HOSTS = (
    Loss(name="a control plane", victim=_plain_control),
    Loss(name="the control plane with the address", victim=lambda cluster: cluster.holder),
    Loss(name="the control plane whose etcd leads", victim=lambda cluster: cluster.leader),
    Loss(name="a worker", victim=lambda cluster: cluster.workers[0]),
    Loss(name="another worker", victim=lambda cluster: cluster.workers[1]),
)
