"""The chart flannel: what flanneld and the CNI plugin are told."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.house_charts import NotRendered, Objects, render


def made(values: Mapping[str, Any], namespace: str = "kube-system") -> Objects:
    return render("flannel", values, namespace=namespace)


def config(values: Mapping[str, Any], name: str = "net-conf") -> Any:
    return json.loads(made(values).one("ConfigMap", "flannel")["data"][f"{name}.json"])


def command(values: Mapping[str, Any]) -> list[str]:
    pod = made(values).one("DaemonSet", "kube-flannel")["spec"]["template"]["spec"]
    found: list[str] = pod["containers"][0]["command"]
    return found


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, {"EnableIPv4": True, "EnableIPv6": False, "Network": "10.244.0.0/16", "EnableNFTables": False}),
        (
            {"networks": ["fd00:244::/56"]},
            {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fd00:244::/56"},
        ),
        (
            {"networks": ["fd00:244::/56", "10.1.0.0/16"], "nftables": True},
            {
                "EnableIPv4": True,
                "Network": "10.1.0.0/16",
                "EnableIPv6": True,
                "IPv6Network": "fd00:244::/56",
                "EnableNFTables": True,
            },
        ),
        ({"mtu": 9000}, {"Backend": {"Type": "vxlan", "MTU": 9000, "DirectRouting": False}}),
        ({"directRouting": True}, {"Backend": {"Type": "vxlan", "DirectRouting": True}}),
        ({"backend": "host-gw", "mtu": 9000, "directRouting": True}, {"Backend": {"Type": "host-gw"}}),
    ],
    ids=["as it is", "IPv6", "both", "jumbo frames", "direct", "host-gw"],
)
def test_what_flanneld_reads(values: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = config(values)
    assert {key: found.get(key) for key in wanted} == wanted
    assert ("Network" in found, "IPv6Network" in found) == (found["EnableIPv4"], found["EnableIPv6"])


def test_which_interface() -> None:
    assert not any("iface" in word for word in command({}))
    words = command({"interfaces": ["ens2f0", "10.77.0.11"], "reach": "10.77.0.100"})
    assert [word for word in words if "iface" in word] == [
        "--iface=ens2f0",
        "--iface=10.77.0.11",
        "--iface-can-reach=10.77.0.100",
    ]
    assert "--healthz-ip=127.0.0.1" in words


def test_the_plugins_configuration() -> None:
    found = config({}, "cni-conf")
    assert (found["name"], found["cniVersion"]) == ("cbr0", "1.0.0")
    assert [plugin["type"] for plugin in found["plugins"]] == ["flannel", "portmap"]
    assert config({"cniVersion": "0.3.1"}, "cni-conf")["cniVersion"] == "0.3.1"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"networks": []}, "one IPv4 network at most"),
        ({"networks": ["10.1.0.0/16", "10.2.0.0/16"]}, "one IPv4 network at most"),
        ({"backend": "udp"}, "vxlan or host-gw"),
    ],
)
def test_what_could_not_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(NotRendered, match=words):
        made(values)


def test_its_namespace() -> None:
    """The chart makes it with its labels, unless helm has made it for the release."""
    objects = made({})
    labels = objects.one("Namespace", "kube-flannel")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    placed = {each["metadata"].get("namespace") for each in objects.all if each["kind"] not in CLUSTER_WIDE}
    assert placed == {"kube-flannel"}
    assert made({}, namespace="kube-flannel").of("Namespace") == []


CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding")


def test_it_runs_everywhere_and_asks_for_little() -> None:
    objects = made({})
    pod = objects.one("DaemonSet", "kube-flannel")["spec"]["template"]["spec"]
    assert (pod["hostNetwork"], pod["tolerations"]) == (True, [{"operator": "Exists"}])
    assert pod["priorityClassName"] == "system-node-critical"
    assert "privileged" not in pod["containers"][0]["securityContext"]
    rules = objects.of("ClusterRole")[0]["rules"]
    asked = {(name, verb) for rule in rules for name in rule["resources"] for verb in rule["verbs"]}
    assert asked == {("nodes", "get"), ("nodes", "list"), ("nodes", "watch"), ("nodes/status", "patch")}
    assert objects.images == {
        "ghcr.io/flannel-io/flannel:v0.28.10",
        "ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3",
    }


def test_another_configuration_makes_other_pods() -> None:
    def checksum(values: dict[str, Any]) -> str:
        pod = made(values).one("DaemonSet", "kube-flannel")["spec"]["template"]
        text: str = pod["metadata"]["annotations"]["checksum/config"]
        return text

    assert len({checksum({}), checksum({"mtu": 1400}), checksum({"cniVersion": "0.3.1"})}) == 3
    assert checksum({}) == checksum({"healthPort": 8082})
