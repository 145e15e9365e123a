"""The chart address-pools: MetalLB's objects from a site's values."""

from typing import Any

import pytest

from tests.house_charts import NotRendered, Objects, render

MAIN = {"name": "main", "addresses": ["10.77.0.200-10.77.0.239", "fd77::200/123"]}
INGRESS = {"name": "ingress", "addresses": ["10.77.0.100/32"], "autoAssign": False}
PEER = {"name": "left", "address": "10.77.0.1", "asn": 64501}


def made(values: dict[str, Any]) -> Objects:
    return render("address-pools", values, namespace="metallb-system")


def test_nothing_is_announced_where_nothing_is_said() -> None:
    assert made({}).all == ()
    assert made({"bgp": {"asn": 64500, "peers": [PEER]}}).names == {("BGPPeer", "left")}


def test_pools() -> None:
    objects = made({"pools": [MAIN, INGRESS]})
    assert objects.names == {("IPAddressPool", "main"), ("IPAddressPool", "ingress"), ("L2Advertisement", "pools")}
    main, ingress = (objects.one("IPAddressPool", name)["spec"] for name in ("main", "ingress"))
    assert (main["addresses"], main["autoAssign"]) == (MAIN["addresses"], True)
    assert ingress["autoAssign"] is False
    assert objects.one("L2Advertisement", "pools")["spec"] == {"ipAddressPools": ["main", "ingress"]}
    assert {each["metadata"]["namespace"] for each in objects.all} == {"metallb-system"}


def test_where_l2_answers() -> None:
    given = {"interfaces": ["eth0", "ens2f0"], "nodeSelector": {"edge": "yes"}}
    spec = made({"pools": [MAIN], "l2": given}).one("L2Advertisement", "pools")["spec"]
    assert (spec["interfaces"], spec["nodeSelectors"]) == (["eth0", "ens2f0"], [{"matchLabels": {"edge": "yes"}}])


def test_routers_instead() -> None:
    peers = [PEER, {**PEER, "name": "right", "address": "fd77::1", "asn": 4200000001, "port": 1179, "multiHop": True}]
    objects = made({"pools": [MAIN], "l2": {"enabled": False}, "bgp": {"asn": 64500, "peers": peers}})
    assert objects.of("L2Advertisement") == []
    assert objects.one("BGPAdvertisement", "pools")["spec"]["ipAddressPools"] == ["main"]
    left, right = (objects.one("BGPPeer", name)["spec"] for name in ("left", "right"))
    assert (left["myASN"], left["peerASN"], left["peerAddress"], left["peerPort"]) == (64500, 64501, "10.77.0.1", 179)
    assert (right["peerASN"], right["peerAddress"], right["peerPort"]) == (4200000001, "fd77::1", 1179)
    assert (left["ebgpMultiHop"], right["ebgpMultiHop"]) == (False, True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pools": [{"name": "main"}]}, "the pool main needs addresses"),
        ({"pools": [MAIN, MAIN]}, "two pools are called main"),
        ({"bgp": {"peers": [PEER]}}, "bgp.asn is needed"),
        ({"bgp": {"asn": 1, "peers": [{"name": "left", "address": "10.0.0.1"}]}}, "the peer left needs asn"),
        ({"bgp": {"asn": 1, "peers": [{"name": "left", "asn": 2}]}}, "the peer left needs address"),
    ],
)
def test_what_could_not_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(NotRendered, match=words):
        made(values)
