"""The chart cluster-dns: its Corefiles, and the objects that kubelets and kubeadm look for."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.house_charts import NotRendered, Objects, render

SITE = {"zones": ["lab.example", "10.77.0.0/24"], "resolvers": ["10.77.0.11", "10.77.0.12"]}
SIX = {"zones": ["lab.example", "fd77::/64"], "resolvers": ["fd77::11"]}
CLUSTER = {"networks": ["10.96.0.0/16", "fd00:96::/112"], "addresses": ["10.96.0.10", "fd00:96::a"]}


def made(values: Mapping[str, Any]) -> Objects:
    return render("cluster-dns", values, namespace="kube-system")


def corefile(values: Mapping[str, Any], name: str = "cluster-dns") -> dict[str, list[str]]:
    """Each block's lines by its head."""
    text: str = made(values).one("ConfigMap", name)["data"]["Corefile"]
    blocks: dict[str, list[str]] = {}
    head = ""
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith((" ", "}")):
            head = line.removesuffix(" {")
            assert head not in blocks
            blocks[head] = []
        elif line != "}":
            blocks[head].append(line.strip())
    assert text.count("{") == text.count("}")
    return blocks


CLUSTER_BLOCK = "cluster.local 10.96.0.0/12 10.244.0.0/16"
UNKNOWN = ["template ANY ANY {", "rcode NXDOMAIN"]


@pytest.mark.parametrize(
    ("values", "heads", "lines"),
    [
        ({}, [CLUSTER_BLOCK, "."], {".": UNKNOWN}),
        (
            {"site": SITE},
            [CLUSTER_BLOCK, "lab.example 10.77.0.0/24", "."],
            {"lab.example 10.77.0.0/24": ["forward . 10.77.0.11 10.77.0.12 {"], ".": UNKNOWN},
        ),
        (
            {"site": SIX, "upstream": ["fd77::53", "10.0.0.53"]},
            [CLUSTER_BLOCK, "lab.example fd77::/64", "."],
            {"lab.example fd77::/64": ["forward . fd77::11 {"], ".": ["forward . fd77::53 10.0.0.53 {"]},
        ),
        (
            {"cluster": CLUSTER | {"domain": "k8s.lab.example"}, "site": SITE},
            ["k8s.lab.example 10.96.0.0/16 fd00:96::/112", "lab.example 10.77.0.0/24", "."],
            {
                "k8s.lab.example 10.96.0.0/16 fd00:96::/112": [
                    "kubernetes k8s.lab.example 10.96.0.0/16 fd00:96::/112 {",
                    "ready :8181",
                    "lameduck 5s",
                ]
            },
        ),
    ],
    ids=["the cluster alone", "two resolvers", "IPv6 and an upstream", "a domain below the site's"],
)
def test_the_servers_corefile(values: dict[str, Any], heads: list[str], lines: dict[str, list[str]]) -> None:
    found = corefile(values)
    assert list(found) == ["(common)", *heads]
    for head, wanted in lines.items():
        assert set(wanted) <= set(found[head]), head
    assert all(block[0] == "import common" for head, block in found.items() if head != "(common)")
    said = [line for block in found.values() for line in block]
    # Nothing asks itself, and nobody but the plugin that has them answers for the cluster's names.
    assert not any("resolv.conf" in line for line in said)
    assert ("template ANY ANY {" in said) == (not values.get("upstream"))
    assert not any(line.startswith(("forward", "cache", "template")) for line in found[heads[0]])


@pytest.mark.parametrize(
    ("values", "heads", "lines"),
    [
        (
            {},
            [CLUSTER_BLOCK, "."],
            {
                "(common)": ["bind 169.254.20.10", "prometheus 169.254.20.10:9253"],
                CLUSTER_BLOCK: ["health 169.254.20.10:8080 {", "forward . 10.96.0.10 {", "force_tcp"],
                "(keep)": ["serve_stale 1h verify"],
                ".": UNKNOWN,
            },
        ),
        (
            {"cluster": CLUSTER, "site": SITE, "cache": {"addresses": ["fd77:fe::10", "169.254.20.10"], "stale": "5m"}},
            ["cluster.local 10.96.0.0/16 fd00:96::/112", "lab.example 10.77.0.0/24", "."],
            {
                "(common)": ["bind fd77:fe::10 169.254.20.10", "prometheus [fd77:fe::10]:9253"],
                "(keep)": ["serve_stale 5m verify"],
                "cluster.local 10.96.0.0/16 fd00:96::/112": [
                    "health [fd77:fe::10]:8080 {",
                    "forward . 10.96.0.10 fd00:96::a {",
                ],
                "lab.example 10.77.0.0/24": ["forward . 10.77.0.11 10.77.0.12 {", "force_tcp"],
            },
        ),
        (
            {"upstream": ["10.0.0.53"]},
            [CLUSTER_BLOCK, "."],
            {".": ["import keep", "forward . 10.0.0.53 {", "force_tcp"]},
        ),
    ],
    ids=["the cluster alone", "IPv6 first", "an upstream"],
)
def test_the_caches_corefile(values: dict[str, Any], heads: list[str], lines: dict[str, list[str]]) -> None:
    values = values | {"cache": {"enabled": True, **values.get("cache", {})}}
    found = corefile(values, "cluster-dns-cache")
    assert list(found) == ["(common)", "(keep)", *heads]
    for head, wanted in lines.items():
        assert set(wanted) <= set(found[head]), head
    assert not any(line.startswith("kubernetes") for block in found.values() for line in block)


@pytest.mark.parametrize(
    ("image", "sockets", "failfast"),
    [
        ("registry.k8s.io/coredns/coredns:v1.14.2", 4, True),
        ("registry.k8s.io/coredns/coredns:v1.12.1", 4, True),
        ("registry.k8s.io/coredns/coredns:v1.12.0", 4, False),
        ("registry.k8s.io/coredns/coredns:v1.11.4", 0, False),
        ("registry.example.com:5000/dns/coredns:1.10.1", 0, False),
        (f"registry.k8s.io/coredns/coredns:v1.14.2@sha256:{'0' * 64}", 4, True),
    ],
)
def test_a_version_is_told_only_what_it_knows(image: str, sockets: int, failfast: bool) -> None:
    found = corefile({"image": image, "site": SITE})
    assert ("multisocket 4" in found["(common)"]) == bool(sockets)
    assert ("failfast_all_unhealthy_upstreams" in found["lab.example 10.77.0.0/24"]) == failfast


def test_many_cores() -> None:
    objects = made({"threads": 16, "cache": {"enabled": True, "threads": 1}})
    threads = [each["env"] for each in objects.containers()]
    assert threads == [[{"name": "GOMAXPROCS", "value": "16"}], [{"name": "GOMAXPROCS", "value": "1"}]] or (
        threads == [[{"name": "GOMAXPROCS", "value": "1"}], [{"name": "GOMAXPROCS", "value": "16"}]]
    )
    assert "multisocket 16" in corefile({"threads": 16})["(common)"]
    assert not any("multisocket" in line for line in corefile({"threads": 16, "multisocket": False})["(common)"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": "registry.k8s.io/coredns/coredns"}, "image must have a tag"),
        ({"site": {"zones": ["lab.example"]}}, "site.zones needs site.resolvers"),
        ({"cluster": {"addresses": []}}, "cluster.addresses"),
        ({"antiAffinity": "maybe"}, "preferred or required"),
        ({"upstream": ["10.96.0.10"]}, "would ask itself"),
        ({"site": {"zones": ["a"], "resolvers": ["169.254.20.10"]}}, "would ask itself"),
    ],
)
def test_what_could_not_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(NotRendered, match=words):
        made(values)


def test_what_kubelets_and_kubeadm_look_for() -> None:
    objects = made({"cluster": CLUSTER, "cache": {"enabled": True}})
    service = objects.one("Service", "kube-dns")
    assert service["metadata"]["namespace"] == "kube-system"
    assert service["metadata"]["labels"]["k8s-app"] == "kube-dns"
    assert (service["spec"]["clusterIP"], service["spec"]["clusterIPs"]) == ("10.96.0.10", ["10.96.0.10", "fd00:96::a"])
    assert service["spec"]["ipFamilyPolicy"] == "RequireDualStack"
    assert {(port["port"], port["protocol"]) for port in service["spec"]["ports"]} >= {(53, "UDP"), (53, "TCP")}
    labelled = [
        each["metadata"]["name"] for each in objects.of("Deployment") if "k8s-app" in each["metadata"]["labels"]
    ]
    assert labelled == ["cluster-dns"]
    assert ("ConfigMap", "coredns") not in objects.names  # kubeadm's own
    assert "ipFamilyPolicy" not in made({}).one("Service", "kube-dns")["spec"]


def test_they_keep_apart() -> None:
    for mode, surge in (("preferred", 1), ("required", 0)):
        deployment = made({"antiAffinity": mode, "replicas": 3}).one("Deployment", "cluster-dns")["spec"]
        assert deployment["replicas"] == 3
        rolling = deployment["strategy"]["rollingUpdate"]
        assert rolling == {"maxSurge": surge, "maxUnavailable": 1 - surge}
        pod = deployment["template"]["spec"]
        (preferred,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        control_plane = {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"}
        assert preferred["preference"]["matchExpressions"] == [control_plane]
        assert list(pod["affinity"]["podAntiAffinity"]) == [f"{mode}DuringSchedulingIgnoredDuringExecution"]
        assert [each["topologyKey"] for each in pod["topologySpreadConstraints"]] == [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        ]
        assert {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"} in (
            pod["tolerations"]
        )
    chosen = made({"nodeSelector": {"role": "dns"}}).one("Deployment", "cluster-dns")["spec"]["template"]["spec"]
    assert chosen["nodeSelector"] == {"role": "dns", "kubernetes.io/os": "linux"}


def test_another_corefile_makes_other_pods_and_nothing_else_does() -> None:
    def sums(values: dict[str, Any]) -> list[str]:
        values = {"cache": {"enabled": True}, **values}
        pods = [each["spec"]["template"] for each in made(values).workloads]
        return sorted(pod["metadata"]["annotations"]["checksum/config"] for pod in pods)

    assert sums({}) == sums({"replicas": 9})
    assert not set(sums({})) & set(sums({"site": SITE}))


def test_the_cache_stands_on_every_node() -> None:
    objects = made({"cache": {"enabled": True}})
    spec = objects.one("DaemonSet", "cluster-dns-cache")["spec"]
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    assert (pod["hostNetwork"], pod["tolerations"]) == (True, [{"operator": "Exists"}])
    assert "ports" not in pod["containers"][0]  # two of them share a host while one is replaced
    assert pod["containers"][0]["livenessProbe"]["httpGet"]["host"] == "169.254.20.10"
    assert objects.images == {"registry.k8s.io/coredns/coredns:v1.14.2"}
    assert made({}).of("DaemonSet") == []
