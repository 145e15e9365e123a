"""What our charts make, before a real API server: it takes every word."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.apiserver import Cluster, running_cluster
from tests.house_charts import FULL, KUBERNETES, NAMES, render
from tests.lab import PlatformUpstream, require_go_tool

pytestmark = pytest.mark.slow

METALLB = "github.com/metallb/metallb/releases/download/metallb-chart-0.15.2/metallb-0.15.2.tgz"
NAMESPACES = {"cluster-dns": "kube-system", "flannel": "kube-system", "local-volumes": "kube-system"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        for name in ("ingress", "metallb-system"):
            found.kubectl("create", "namespace", name)
        yield found


def kinds_of_metallb(upstream: PlatformUpstream, folder: Path) -> list[dict[str, Any]]:
    archive = folder / "metallb.tgz"
    archive.write_bytes(requests.get(upstream.url(METALLB), timeout=30).content)
    command: list[str | Path] = [
        require_go_tool("helm"),
        "template",
        "metallb",
        archive,
        "--kube-version",
        KUBERNETES,
        "--include-crds",
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [each for each in yaml.safe_load_all(text) if each and each["kind"] == "CustomResourceDefinition"]


@pytest.mark.parametrize("values", ["without", "full"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "address-pools"])
def test_the_api_takes_every_word(cluster: Cluster, name: str, values: str) -> None:
    objects = render(name, FULL[name] if values == "full" else {}, namespace=NAMESPACES.get(name, "ingress"))
    if objects.of("Namespace"):
        cluster.apply(objects.of("Namespace"))
    cluster.would_take(objects.all)


def test_a_word_that_the_api_does_not_know_is_seen(cluster: Cluster) -> None:
    objects = render("ingress", {}, namespace="ingress")
    objects.one("Deployment", "haproxy-ingress")["spec"]["template"]["spec"]["hostNetwrk"] = True
    with pytest.raises(AssertionError, match="hostNetwrk"):
        cluster.would_take(objects.all)


def test_metallb_takes_its_pools(cluster: Cluster, platform_upstream: PlatformUpstream, tmp_path: Path) -> None:
    """Kubernetes 1.36 refuses every peer of MetalLB 0.15 (metallb/metallb issue 3034): AS numbers are declared as int32
    with a maximum beyond it. With what 0.16 declares it takes them."""
    kinds = kinds_of_metallb(platform_upstream, tmp_path)
    objects = render("address-pools", FULL["address-pools"], namespace="metallb-system")
    peers = objects.of("BGPPeer")
    cluster.apply(kinds)
    cluster.kubectl("wait", "--for=condition=Established", "--all", "--timeout=30s", "customresourcedefinitions")
    cluster.would_take(each for each in objects.all if each not in peers)
    with pytest.raises(AssertionError, match=r"format int32 in spec\.myASN"):
        cluster.would_take(peers)
    cluster.apply(with_long_numbers(kinds))
    cluster.would_take(peers)


def with_long_numbers(tree: Any) -> Any:
    if isinstance(tree, list):
        return [with_long_numbers(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    found = {key: with_long_numbers(value) for key, value in tree.items()}
    return found | ({"format": "int64"} if tree.get("format") == "int32" else {})
