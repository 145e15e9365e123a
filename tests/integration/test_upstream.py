"""The lab's upstream serves what it says: images by kubeadm's own list, charts for a stock helm, files by ranges."""

import hashlib
import subprocess
from pathlib import Path

import pysequoia
import pytest
import requests
import yaml

from tests.lab import PlatformUpstream, lab_program

INDEX = "application/vnd.oci.image.index.v1+json"
KUBELET = "dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"

pytestmark = pytest.mark.slow


def get(url: str, **headers: str) -> requests.Response:
    answer = requests.get(url, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def index_of(upstream: PlatformUpstream, reference: str) -> requests.Response:
    name, tag = reference.rsplit(":", 1)
    return get(f"{upstream.registry(name)}/manifests/{tag}", Accept=INDEX)


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_image_that_kubeadm_lists_is_there(platform_upstream: PlatformUpstream) -> None:
    kubeadm = lab_program("kubernetes") / "kubeadm"
    listed = output_of(kubeadm, "config", "images", "list", "--kubernetes-version", "v1.36.3").split()
    assert len(listed) == 7
    for reference in listed:
        children = index_of(platform_upstream, reference).json()["manifests"]
        assert {"architecture": "amd64", "os": "linux"} in [child["platform"] for child in children], reference


def test_an_image_of_two_platforms_with_referrers_under_the_fallback_tag(platform_upstream: PlatformUpstream) -> None:
    etcd = index_of(platform_upstream, "registry.k8s.io/etcd:3.6.8-0")
    assert {child["platform"]["architecture"] for child in etcd.json()["manifests"]} == {"amd64", "arm64"}
    digest = sha256(etcd.content)
    referrers = index_of(platform_upstream, f"registry.k8s.io/etcd:sha256-{digest}").json()["manifests"]
    assert "application/spdx+json" in [each["artifactType"] for each in referrers]
    for each in referrers:
        url = f"{platform_upstream.registry('registry.k8s.io/etcd')}/manifests/{each['digest']}"
        assert get(url, Accept=each["mediaType"]).json()["subject"]["digest"] == f"sha256:{digest}"


def test_a_program_starts_from_the_image_that_carries_it(platform_upstream: PlatformUpstream, tmp_path: Path) -> None:
    repository = platform_upstream.registry("registry.k8s.io/coredns/coredns")
    child = index_of(platform_upstream, "registry.k8s.io/coredns/coredns:v1.14.2").json()["manifests"][0]
    image = get(f"{repository}/manifests/{child['digest']}", Accept=child["mediaType"]).json()
    (tmp_path / "layer").write_bytes(get(f"{repository}/blobs/{image['layers'][0]['digest']}").content)
    output_of("tar", "-C", tmp_path, "-xzf", tmp_path / "layer")
    assert output_of(tmp_path / "coredns", "-version").startswith("CoreDNS-1.14.2")


def test_helm_pulls_from_a_repository_and_verifies(platform_upstream: PlatformUpstream, tmp_path: Path) -> None:
    keyring = tmp_path / "keyring"
    keyring.write_bytes(bytes(pysequoia.Cert.from_file(str(platform_upstream.state / "lab-key.asc"))))
    options = ["--devel", "--repo", platform_upstream.url("haproxy-ingress.github.io/charts")]
    verify = ["--verify", "--keyring", str(keyring), "-d", str(tmp_path)]
    said = output_of(lab_program("helm") / "helm", "pull", "haproxy-ingress", *options, *verify)
    assert "Chart Hash Verified" in said


def test_helm_pulls_and_renders_an_oci_chart(platform_upstream: PlatformUpstream) -> None:
    registry = platform_upstream.hosts["ghcr.io"].removeprefix("http://")
    chart = f"oci://{registry}/prometheus-community/charts/kube-state-metrics"
    options = ["--version", "7.0.0-lab", "--plain-http"]
    rendered = output_of(lab_program("helm") / "helm", "template", "x", chart, *options)
    assert "image: registry.k8s.io/kube-state-metrics/kube-state-metrics:" in rendered


@pytest.mark.parametrize(
    "repository",
    ["metallb.github.io/metallb", "kubernetes-sigs.github.io/metrics-server", "flannel-io.github.io/flannel"],
)
def test_published_charts_lie_where_their_index_says(platform_upstream: PlatformUpstream, repository: str) -> None:
    index = yaml.safe_load(get(platform_upstream.url(f"{repository}/index.yaml")).text)
    for entry in (entry for versions in index["entries"].values() for entry in versions):
        (url,) = entry["urls"]
        assert sha256(get(platform_upstream.url(url.removeprefix("https://"))).content) == entry["digest"]


def test_files_come_by_ranges_and_match_their_checksums(platform_upstream: PlatformUpstream) -> None:
    url = platform_upstream.url(KUBELET)
    whole = get(url)
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    assert get(f"{url}.sha256").text == sha256(whole.content)
    part = get(url, Range="bytes=1000-1999", **{"If-Range": whole.headers["ETag"]})
    assert part.status_code == 206
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(whole.content)}"
    assert part.content == whole.content[1000:2000]
