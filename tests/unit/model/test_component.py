import pytest

from bundler.errors import InvalidDocument, Malformed
from bundler.model.component import (
    ChartRequest,
    Checksums,
    Component,
    Content,
    Fact,
    FileRequest,
    ImageRequest,
    PackageSet,
    Silence,
    ToolRequest,
    Variant,
)
from bundler.model.component_parser import parse_component
from bundler.model.digest import Digest
from bundler.model.reference import Reference

COMPONENT = """\
component: web
about: A server.
images:
- nginx:1.25
- {reference: nvcr.io/a/b:1, referrers: true, license: NVIDIA-Driver}
- {reference: "example.com/c:2", from: "oci:layouts/c"}
charts:
- chart: web
  repository: https://charts.example.com/stable/
  version: ">=1.2, <2"
  release: front
  namespace: shop
  values: {replicas: 3, tag: "1.10", quoted: "yes", ratio: 0.5, none: , list: [a, true]}
  variants: {tls: {tls: {enabled: true}}}
  keyring: file:keys/web.gpg
- {chart: plain, repository: "oci://registry.example.com/charts"}
wheels: ['numpy>=2; python_version < "3.13"', 'requests[socks]~=2.31']
packages:
- {format: deb, names: [nginx, libstdc++6, g++, 'skopeo=1.9.3+ds1-1+b9', 'libc6:amd64']}
- {format: deb, names: ["linux-headers-{kernel}"], roles: [gpu], releases: [jammy]}
files:
- {name: notes.txt, url: 'file:notes.txt', digest: 'sha256:%s'}
- name: tool.tar.gz
  url: https://files.example.com/tool.tar.gz?version=1
  checksums:
    url: https://files.example.com/SHA256SUMS
    signature: https://files.example.com/SHA256SUMS.asc
    keyring: file:keys/tool.gpg
provides: {web: 1.25}
tools: {helm: {file: tool.tar.gz, member: linux-amd64/helm}}
silence: [{image: "busybox:latest", reason: a test that is off}]
facts: [{fact: It serves., source: its manual}]
""" % ("0" * 64)

VERSIONS = """\
component: web
wheels: [numpy]
provides: {web: 1.0}
versions:
  "2.0": {wheels: [pandas], provides: {other: 2.0}}
  "10.0":
    images: [nginx]
"""


def chart(**facts: object) -> ChartRequest:
    blank = {"version": "*", "namespace": "default", "values": "{}", "variants": (), "keyring": "", "license": ""}
    return ChartRequest(**{**blank, **facts})  # type: ignore[arg-type]


def image(text: str, *, source: str = "", referrers: bool = False, license_name: str = "") -> ImageRequest:
    return ImageRequest(reference=Reference.parse(text), source=source, referrers=referrers, license=license_name)


def test_everything() -> None:
    content = parse_component(COMPONENT, file="c.yaml").content
    assert content.images == (
        image("nginx:1.25"),
        image("nvcr.io/a/b:1", referrers=True, license_name="NVIDIA-Driver"),
        image("example.com/c:2", source="oci:layouts/c"),
    )
    assert content.charts == (
        chart(
            name="web",
            repository="https://charts.example.com/stable",
            version=">=1.2, <2",
            release="front",
            namespace="shop",
            values='{"list":["a",true],"none":null,"quoted":"yes","ratio":0.5,"replicas":3,"tag":"1.10"}',
            variants=(Variant(name="tls", values='{"tls":{"enabled":true}}'),),
            keyring="file:keys/web.gpg",
        ),
        chart(name="plain", repository="oci://registry.example.com/charts", release="plain"),
    )
    assert content.wheels == ('numpy>=2; python_version < "3.13"', "requests[socks]~=2.31")
    assert content.packages == (
        PackageSet(names=("nginx", "libstdc++6", "g++", "skopeo=1.9.3+ds1-1+b9", "libc6:amd64"), roles=(), releases=()),
        PackageSet(names=("linux-headers-{kernel}",), roles=("gpu",), releases=("jammy",)),
    )
    assert content.files == (
        FileRequest(name="notes.txt", url="file:notes.txt", digest=Digest("0" * 64), checksums=None, license=""),
        FileRequest(
            name="tool.tar.gz",
            url="https://files.example.com/tool.tar.gz?version=1",
            digest=None,
            checksums=Checksums(
                url="https://files.example.com/SHA256SUMS",
                signature="https://files.example.com/SHA256SUMS.asc",
                keyring="file:keys/tool.gpg",
            ),
            license="",
        ),
    )
    assert content.provides == (("web", "1.25"),)
    assert content.tools == (("helm", ToolRequest(file="tool.tar.gz", member="linux-amd64/helm")),)
    assert content.silences == (Silence(image="busybox:latest", reason="a test that is off"),)
    assert content.facts == (Fact(text="It serves.", source="its manual"),)


def test_the_least() -> None:
    assert parse_component("component: x", file="c.yaml") == Component(
        name="x", about="", content=Content(), versions=()
    )


def test_one_set_of_packages_as_a_mapping() -> None:
    one = parse_component("component: x\npackages: {format: deb, names: [nginx]}\n", file="c.yaml")
    assert one.content.packages == (PackageSet(names=("nginx",), roles=(), releases=()),)


def test_a_version_adds_to_what_all_versions_have() -> None:
    component = parse_component(VERSIONS, file="c.yaml")
    assert (component.version, [version for version, _ in component.versions]) == ("", ["10.0", "2.0"])
    chosen = component.at("2.0")
    assert (chosen.version, chosen.versions, chosen.content.wheels) == ("2.0", (), ("numpy", "pandas"))
    assert dict(chosen.content.provides) == {"web": "1.0", "other": "2.0"}
    assert component.at("10.0").content.images == (image("nginx"),)


@pytest.mark.parametrize(
    ("text", "version", "has"),
    [
        (VERSIONS, "3.0", "web@10.0, web@2.0"),
        (VERSIONS, "", "web@10.0, web@2.0"),
        ("component: x", "1.0", "x, which has no versions"),
    ],
)
def test_a_version_that_is_not_there(text: str, version: str, has: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_component(text, file="c.yaml").at(version)
    assert caught.value.expected == has


def test_a_component_without_versions_is_chosen_bare() -> None:
    component = parse_component("component: x\nwheels: [numpy]\n", file="c.yaml")
    assert component.at("") == component


@pytest.mark.parametrize(
    "name",
    ["nginx-", "-o", "nginx apt", "Nginx", "nginx/sid", "?essential", "n", "nginx=", "nginx:", "{kernel}x{arch}"],
)
def test_package_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidDocument, match="a package name, or NAME=VERSION"):
        parse_component(f"component: x\npackages: {{format: deb, names: ['{name}']}}\n", file="c.yaml")


@pytest.mark.parametrize(
    "url",
    [
        "https:///x",
        "HTTPS://example.com/x",
        "https://example.com/a\\tb",
        "https://example.com/\\x7f",
        "https://@example.com/x",
        "https://example.com@evil.example/x",
        "notes.txt",
        "file:a//b",
        "file:..",
        "file:a/..",
        "file:a?b",
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(InvalidDocument, match=r"an http|below its folder"):
        parse_component(f'component: x\nfiles: [{{name: a, url: "{url}"}}]\n', file="c.yaml")
