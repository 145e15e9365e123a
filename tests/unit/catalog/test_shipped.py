"""The catalog as it is shipped: it parses, it loads, and each thing in it is said in full."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bundler.catalog.licenses import licenses_of
from bundler.catalog.load import Declared, load, read_component
from bundler.catalog.manifests import Manifests
from bundler.model.component import Component
from bundler.workflows.catalog import ShownProfile, show
from tests.lab import ROOT

MANIFESTS = Manifests(folders=(ROOT / "manifests",))
COMPONENTS = {name: read_component(name, manifests=MANIFESTS) for name in MANIFESTS.names("components")}
CHOICES = [
    component.at(version)
    for component in COMPONENTS.values()
    for version in ([version for version, _ in component.versions] or [""])
]
DEMO = {"web", "toolbox", "analysis"}  # quickstart's
PLATFORM = ["default", "seed-2025"]

# The reference platform, as the issue that asked for it names it.
SEED = {
    "kubernetes": "1.28",
    "containerd": "1.7",
    "flannel": "0.22",
    "metallb": "0.13",
    "ingress-nginx": "1.12",
    "mariadb": "10.11",
    "maxscale": "23.08",
    "redis": "7.0",
    "seaweedfs": "3.55",
    "triton": "23.05",
    "device-plugin": "0.14",
    "fluent-bit": "2.1",
    "metrics-server": "0.6",
    "cuda": "11.8",
    "ofed": "24.10",
    "helm": "3.16",
}
RESTRICTED_HOSTS = ("nvcr.io", "download.nvidia.com", "mellanox.com")


def name_of(component: Component) -> str:
    return f"{component.name}@{component.version}" if component.version else component.name


@pytest.fixture(scope="module", params=PLATFORM)
def declared(request: pytest.FixtureRequest) -> Declared:
    return load(request.param, manifests=MANIFESTS)


def provides(declared: Declared) -> dict[str, str]:
    return {name: version for component in declared.components for name, version in component.content.provides}


def test_every_part_of_the_platform_is_there() -> None:
    """The installer's components, and what they stand upon."""
    wanted = "base-os registry kubernetes containerd cni-plugins crictl helm coredns dns flannel kube-vip metallb"
    wanted += " haproxy-ingress ingress-nginx metrics-server ceph lvs seaweedfs juicefs mariadb maxscale redis"
    wanted += " nvidia-driver cuda nvidia-container-toolkit device-plugin ofed triton kueue volcano prometheus"
    wanted += " exporters fluent-bit zabbix clients local-volumes"
    assert set(COMPONENTS) == set(wanted.split()) | DEMO


@pytest.mark.parametrize("component", CHOICES, ids=name_of)
def test_a_choice_is_said_in_full(component: Component) -> None:
    content = component.content
    path = ROOT / "manifests" / "components" / f"{component.name}.yaml"
    text = path.read_text()
    assert component.about
    assert all(fact.text and fact.source for fact in content.facts)
    assert content.facts or component.name in DEMO
    for image in content.images:
        assert str(image.reference) in text, "a reference is written in full"
        assert image.reference.tag != "latest"
    for chart in content.charts:
        assert chart.version[:1].isdigit() or chart.version[:1] == "v", "a version, not a range"
        assert chart.license == ""
    for file in content.files:
        pinned = file.digest or file.checksums
        assert pinned or any("checksum" in fact.text.lower() for fact in content.facts), "why nothing pins it"
        assert urlsplit(file.url).scheme in ("https", "file")


@pytest.mark.parametrize("component", CHOICES, ids=name_of)
def test_what_may_not_be_passed_on_freely_has_its_licence(component: Component) -> None:
    content = component.content
    hosts = [(image.reference.registry, image.license) for image in content.images]
    hosts += [(urlsplit(file.url).hostname or "", file.license) for file in content.files]
    for host, license_name in hosts:
        assert bool(license_name) == host.endswith(RESTRICTED_HOSTS)


def test_the_profiles_load_with_all_their_components(declared: Declared) -> None:
    assert [name_of(each) for each in declared.components] == list(map(str, declared.profile.components))
    assert len(declared.components) > 25


def test_one_release_and_one_file_of_each_name(declared: Declared) -> None:
    files = [file.name for component in declared.components for file in component.content.files]
    assert len(files) == len(set(files))


def test_the_seed_is_the_reference_platform() -> None:
    found = provides(load("seed-2025", manifests=MANIFESTS))
    assert {name: found[name] for name, want in SEED.items() if not found[name].startswith(want)} == {}


def test_default_is_newer_where_it_differs() -> None:
    new, old = (provides(load(name, manifests=MANIFESTS)) for name in PLATFORM)

    def order(version: str) -> list[int]:
        return [int(part) for part in version.replace("-", ".").split(".") if part.isdigit()]

    common = [name for name in new if name in old and name != "ofed"]
    assert [name for name in common if order(new[name]) < order(old[name])] == []
    assert sum(new[name] != old[name] for name in common) >= 20


@pytest.mark.parametrize(
    ("profile", "licenses"),
    [
        ("quickstart", ()),
        ("default", ("NVIDIA-CUDA-EULA", "NVIDIA-Deep-Learning-Container", "NVIDIA-Driver")),
        (
            "seed-2025",
            ("NVIDIA-CUDA-EULA", "NVIDIA-Deep-Learning-Container", "NVIDIA-Driver", "NVIDIA-MLNX-OFED"),
        ),
    ],
)
def test_licences_wait_for_whoever_builds_the_bundle(profile: str, licenses: tuple[str, ...]) -> None:
    shown = show(profile, MANIFESTS)
    assert isinstance(shown, ShownProfile)
    assert (shown.licenses, shown.missing, shown.declared.profile.accepted) == (licenses, licenses, ())


def test_an_accepted_licence_is_not_missing(tmp_path: Path) -> None:
    text = (ROOT / "manifests" / "profiles" / "default.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text + "accept_license: [NVIDIA-Driver, NVIDIA-CUDA-EULA]\n")
    shown = show(str(path), MANIFESTS)
    assert isinstance(shown, ShownProfile)
    assert shown.missing == ("NVIDIA-Deep-Learning-Container",)


def test_licences_come_from_every_kind() -> None:
    assert licenses_of(COMPONENTS["triton"].at("23.05").content) == ("NVIDIA-Deep-Learning-Container",)
    assert licenses_of(COMPONENTS["nvidia-driver"].at("580").content) == ("NVIDIA-Driver",)


def test_no_image_of_the_control_plane_is_written_down() -> None:
    """kubeadm names them; a second list would only come to differ."""
    assert COMPONENTS["kubernetes"].content.images == ()
    assert all(not content.images for _, content in COMPONENTS["kubernetes"].versions)
    assert dict(COMPONENTS["kubernetes"].content.tools)["kubeadm"].file == "kubeadm"
