"""Other people's programs read every kind of content: out of the bundle's file as it is, and from the site that it
becomes, served by us and by the real `distribution`. Each row is an artifact, each column a program."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.statement import Artifact, ImageArtifact, Statement
from bundler.workflows.look import inspect
from tests.campaigns import Workshop
from tests.charts import write_chart
from tests.content import make_deb, make_tar
from tests.hostile_server import HostileServer, ok
from tests.images import Repository
from tests.integration.test_charts import Helm, signing_key
from tests.integration.test_images_local import docker_image, saved
from tests.integration.test_views import AptClient, call, docker_registry, pip
from tests.lab import Upstream, require_go_tool, require_program
from tests.serving import Running, running
from tests.upstreams import TinyArchive, TinyIndex, apt_machine, spans

PROFILE = """\
profile: every-kind
release: {line: every-kind, number: 1}
platforms: [linux/amd64]
bootstrap: {python: []}
python: ["3.11", "3.12"]
packages:
- {archive: debian, release: bookworm}
- {archive: ubuntu, release: jammy}
components: [helm, app]
"""
HELM = """\
component: helm
files: [{name: helm, url: "file:helm"}]
tools: {helm: {file: helm}}
"""
APP = """\
component: app
images:
- {reference: "registry.example/team/app:1.0", referrers: true}
- {reference: "local.example:5000/app:1", from: "docker-archive:app.tar"}
charts:
- {chart: shop, repository: "https://charts.example/stable", version: ^1, keyring: "file:charts.gpg"}
- {chart: cache, repository: "oci://registry.example/charts", version: 2.1.0+build.7}
- {chart: own, repository: "file:own"}
wheels: [tiny-app]
packages: {format: deb, names: [tiny-app]}
files:
- {name: notes.txt, url: "file:notes.txt"}
- {name: driver.run, url: "https://vendor.example/driver.run"}
"""
POD = b'apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: "%s"}]}\n'
IMAGES = ("registry.example/team/app:1.0", "local.example:5000/app:1")
CHARTS = ("shop-1.2.0.tgz", "cache-2.1.0+build.7.tgz", "own-0.1.0.tgz")
SIGNED = CHARTS[:2]
WHEEL = "tiny_app-1.0-py3-none-any.whl"
ARCHIVES = (("debian", "bookworm"), ("ubuntu", "jammy"))
DEBS = {"bookworm": "tiny-app_1.0-1~bookworm_all.deb", "jammy": "tiny-app_1.0-1~jammy_all.deb"}
FILES = ("notes.txt", "driver.run", "helm")
ARTIFACTS = (WHEEL, *DEBS.values(), *FILES, "images.lock")
DRIVER = bytes(range(256)) * 1000
LOCK_TYPE = "application/vnd.bundle.lock.v1+yaml"
SBOM = "application/spdx+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything on the connected side, and what it made. `sent` has the bytes that upstreams gave, by name."""

    folder: Path
    lock: Lock
    statement: Statement
    sent: dict[str, bytes]
    index: dict[str, Any]
    referrer: dict[str, Any]

    @property
    def bundle(self) -> Path:
        return self.folder / "site.bundle"

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def manifest(self, name: str) -> str:
        """The digest of an artifact's manifest."""
        if name == "images.lock":
            nested = self._index("index.json")[-1]["digest"]  # of all artifacts that are no images
            listed = self._index(f"blobs/sha256/{nested[7:]}")
            return str(next(each["digest"] for each in listed if each.get("artifactType") == LOCK_TYPE))
        if name in IMAGES:
            return image_of(self, name)[0]
        artifacts = (each for each in self.statement.artifacts if not isinstance(each, ImageArtifact))
        return str(next(each.manifest for each in artifacts if each.name == name))

    def _index(self, member: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(call("tar", "-xOf", self.bundle, member))["manifests"]
        return found


def declare(folder: Path, helm: Helm) -> dict[str, bytes]:
    """The manifests, the files below them, and the chart of a folder; the bytes of the files."""
    app = saved(*docker_image(make_tar({"./app": b"app\n"})), tags=["app:1"])
    files = {"helm": Path(helm.program).read_bytes(), "notes.txt": b"notes\n", "app.tar": app}
    for name in ("profiles", "components", "files"):
        (folder / "manifests" / name).mkdir(parents=True)
    for name, data in files.items():
        (folder / "manifests/files" / name).write_bytes(data)
    for place, text in (("profiles/every-kind", PROFILE), ("components/helm", HELM), ("components/app", APP)):
        (folder / f"manifests/{place}.yaml").write_text(text)
    write_chart(folder / "manifests/charts", "own", "0.1.0", add={"templates/pod.yaml": POD % IMAGES[1].encode()})
    return files


def push_image(upstream: Upstream) -> tuple[dict[str, Any], dict[str, Any]]:
    """An index of three platforms, and what refers to it by the two ways that are in use."""
    repository = Repository(url=upstream.url, name="team/app")
    index = repository.index([repository.image(f"linux/{each}") for each in ("amd64", "arm64", "s390x")], "1.0")
    referrer = repository.referrer(index, SBOM, b"{}")
    repository.fallback(index, [referrer])
    repository.cosign(index)
    return index, referrer


def push_charts(helm: Helm, upstream: Upstream, server: HostileServer, folder: Path) -> dict[str, bytes]:
    """Two signed charts in a repository, one of them in a registry too; their bytes."""
    secret, public = signing_key(helm)
    (folder / "manifests/files/charts.gpg").write_bytes(public.read_bytes())
    packed = folder / "packed"
    for name, version in (("shop", "1.2.0"), ("cache", "2.1.0+build.7")):
        chart = write_chart(folder / "sources", name, version, add={"templates/pod.yaml": POD % IMAGES[0].encode()})
        helm("package", "--sign", "--key", "Charts", "--keyring", secret, "-d", packed, chart)
    helm("push", packed / "cache-2.1.0+build.7.tgz", f"oci://{upstream.host}/charts", "--plain-http")
    helm("repo", "index", packed)
    for path in packed.iterdir():
        server.on(f"/stable/{path.name}", ok(path.read_bytes()))
    return {path.name: path.read_bytes() for path in packed.iterdir()}


def publish_debs(server: HostileServer, folder: Path) -> tuple[Path, dict[str, bytes]]:
    """A package in two distributions: the apt.conf of a machine that knows both, and the packages' bytes."""
    made: dict[str, bytes] = {}
    keys, lines = {}, []
    for archive, release in ARCHIVES:
        tiny = TinyArchive(server=server, root=f"/{archive}", origin=archive.capitalize())
        debs = [make_deb("apt", "2.0-1", Essential="yes"), make_deb("tiny-app", f"1.0-1~{release}")]
        tiny.suite(release, [tiny.deb(each) for each in debs])
        made[debs[1].name] = debs[1].data
        keys[f"{archive}.asc"] = tiny.key
        lines.append(f"deb [signed-by={folder}/{archive}.asc] {tiny.url} {release} main")
    return apt_machine(folder, lines, keys), made


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(program=require_go_tool("helm"), home=tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def world(helm: Helm, empty_upstream: Upstream) -> Iterator[World]:
    # Not below pytest's own folder, which is closed to the user as whom apt reads keys.
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch, HostileServer() as server:
        folder = Path(made)
        folder.chmod(0o755)
        sent = declare(folder, helm) | {"driver.run": DRIVER}
        server.on("/driver.run", spans(DRIVER))
        index, referrer = push_image(empty_upstream)
        sent |= push_charts(helm, empty_upstream, server, folder)
        conf, debs = publish_debs(server, folder)
        pypi = TinyIndex(server=server)
        sent |= debs | {WHEEL: pypi.wheel("tiny-app", requires=["tiny-lib"]).data}
        pypi.wheel("tiny-lib")
        patch.setenv("APT_CONFIG", str(conf))
        patch.setenv("UV_CACHE_DIR", str(folder / "uv"))
        hosts = {"registry.example": empty_upstream.url, "charts.example": server.url, "vendor.example": server.url}
        shop = Workshop(folder=folder, upstreams=hosts | {"pypi": pypi.url})
        shop.run("keys", "create", "release")
        shop.run("lock", "-p", "every-kind", "-o", "images.lock")
        shop.run("create", "--lock", "images.lock", "--key", "release.key", "-o", "site.bundle")
        shop.run("install", "site.bundle", "--trust", "release.pub", "--root", "site")
        text = (folder / "images.lock").read_text()
        yield World(
            folder=folder,
            lock=parse_lock(text, file="images.lock"),
            statement=inspect(folder / "site.bundle").statement,
            sent=sent | {"images.lock": text.encode()},
            index=index,
            referrer=referrer,
        )


@pytest.fixture(scope="module")
def embedded(world: World) -> Iterator[Running]:
    with running(world.site) as found:
        yield found


@pytest.fixture(scope="module", params=["embedded", "distribution"])
def address(request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of the site's registry, served by us and by Debian's docker-registry."""
    if request.param == "embedded":
        yield f"127.0.0.1:{request.getfixturevalue('embedded').port}"
    else:
        with docker_registry(tmp_path_factory.mktemp("registry"), world.site / "current/registry") as found:
            yield found


def image_of(world: World, name: str) -> tuple[str, str]:
    """The digests of an image: of what its name says, and of its manifest for linux/amd64."""
    image = next(each for each in world.lock.images if each.name == name)
    return str(image.root.digest), str(image.manifests[0].digest if image.manifests else image.root.digest)


def place_of(name: str) -> str:
    """The repository of an artifact on the site."""
    if name in CHARTS:
        return f"bundle/chart/{name.partition('-')[0]}"
    kind = "wheel" if name == WHEEL else "deb" if name in DEBS.values() else "file"
    return f"bundle/{kind}"


def test_every_kind_is_there(world: World) -> None:
    assert {type(each) for each in world.statement.artifacts} == set(get_args(Artifact))


# --- the bundle's file


@pytest.mark.parametrize("name", IMAGES)
def test_skopeo_reads_an_image_of_the_file(world: World, tmp_path: Path, name: str) -> None:
    skopeo, source = require_program("skopeo"), f"oci-archive:{world.bundle}:{name}"
    root, manifest = image_of(world, name)
    assert str(Digest.of(call(skopeo, "inspect", "--raw", source).encode())) == root
    call(skopeo, "copy", "--override-arch", "amd64", "--preserve-digests", source, f"dir:{tmp_path}")
    assert str(Digest.of((tmp_path / "manifest.json").read_bytes())) == manifest


@pytest.mark.parametrize("name", ARTIFACTS)
def test_oras_takes_an_artifact_out_of_the_file(world: World, tmp_path: Path, name: str) -> None:
    fetched(world, tmp_path, name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: world.sent[name]}


@pytest.mark.parametrize("name", CHARTS)
def test_helm_renders_what_oras_takes_out_of_the_file(world: World, helm: Helm, tmp_path: Path, name: str) -> None:
    fetched(world, tmp_path, name)
    check_chart(world, helm, tmp_path, name)


def fetched(world: World, folder: Path, name: str) -> None:
    """What oras has of an artifact: it reads the manifest, then each layer under its title, which Helm does not give.

    `oras pull` would do it at once for what index.json itself names; of an index below it, oras sees blobs only.
    """
    oras = require_go_tool("oras")
    text = call(oras, "manifest", "fetch", "--oci-layout", f"{world.bundle}@{world.manifest(name)}")
    assert str(Digest.of(text.encode())) == world.manifest(name)
    for layer in json.loads(text)["layers"]:
        ending = ".prov" if layer["mediaType"].endswith(".prov") else ""
        title = layer.get("annotations", {}).get("org.opencontainers.image.title", f"{name}{ending}")
        call(oras, "blob", "fetch", "--oci-layout", "-o", folder / title, f"{world.bundle}@{layer['digest']}")


def check_chart(world: World, helm: Helm, folder: Path, name: str) -> None:
    """That real helm reads, renders and, where it is signed, verifies the chart in a folder."""
    assert (folder / name).read_bytes() == world.sent.get(name, (folder / name).read_bytes())
    assert f"image: {IMAGES[name not in SIGNED]}" in helm("template", "r", folder / name).replace('"', "")
    if name in SIGNED:
        helm("verify", "--keyring", world.folder / "manifests/files/charts.gpg", folder / name)


def test_oras_finds_in_the_file_what_refers_to_an_image(world: World) -> None:
    oras, subject = require_go_tool("oras"), f"{world.bundle}@{world.index['digest']}"
    found = json.loads(call(oras, "discover", "--oci-layout", "--format", "json", subject))["referrers"]
    assert [each["digest"] for each in found] == [world.referrer["digest"]]


@pytest.mark.parametrize("name", IMAGES)
def test_regctl_reads_an_image_of_the_unpacked_file(world: World, tmp_path: Path, name: str) -> None:
    call("tar", "-C", tmp_path, "-xf", world.bundle, "oci-layout", "index.json", "blobs")
    place = f"ocidir://{tmp_path}@{image_of(world, name)[0]}"
    found = call(require_go_tool("regctl"), "manifest", "get", "--format", "raw-body", place)
    assert str(Digest.of(found.encode())) == image_of(world, name)[0]


# --- the served site


@pytest.mark.parametrize("name", IMAGES)
def test_skopeo_and_crane_pull_an_image(world: World, address: str, tmp_path: Path, name: str) -> None:
    skopeo, crane = require_program("skopeo"), require_go_tool("crane")
    reference = f"{address}/{name.replace(':5000', '_5000')}"
    root, manifest = image_of(world, name)
    call(skopeo, "copy", "--src-tls-verify=false", "--preserve-digests", "--override-arch", "amd64",
         f"docker://{reference}", f"dir:{tmp_path / 'skopeo'}")  # fmt: skip
    assert str(Digest.of((tmp_path / "skopeo/manifest.json").read_bytes())) == manifest
    assert call(crane, "digest", "--insecure", reference).strip() == root
    call(crane, "pull", "--insecure", "--platform=linux/amd64", "--format=oci", reference, tmp_path / "crane")
    assert manifest in (tmp_path / "crane/index.json").read_text()


def test_a_platform_that_was_not_carried_is_not_there(world: World, address: str, tmp_path: Path) -> None:
    """The index keeps its bytes, so it names more than the site has: clients for the others fail at once."""
    crane, reference = require_go_tool("crane"), f"{address}/{IMAGES[0]}"
    assert "arm64" in call(crane, "manifest", "--insecure", reference)
    with pytest.raises(AssertionError, match="MANIFEST_UNKNOWN"):
        call(crane, "pull", "--insecure", "--platform=linux/arm64", reference, tmp_path / "arm64")


@pytest.mark.parametrize("name", ARTIFACTS[:-1])
def test_oras_pulls_an_artifact(world: World, address: str, tmp_path: Path, name: str) -> None:
    place = f"{address}/{place_of(name)}@{world.manifest(name)}"
    call(require_go_tool("oras"), "pull", "--plain-http", "-o", tmp_path, place)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: world.sent[name]}


@pytest.mark.parametrize("name", CHARTS)
def test_helm_pulls_a_chart(world: World, helm: Helm, address: str, tmp_path: Path, name: str) -> None:
    version = name.partition("-")[2].removesuffix(".tgz")
    options = ("--version", version, "--plain-http", "-d", tmp_path, *(("--prov",) if name in SIGNED else ()))
    helm("pull", f"oci://{address}/{place_of(name)}", *options)
    check_chart(world, helm, tmp_path, name)


def test_helm_pulls_a_chart_by_the_name_of_its_registry(world: World, helm: Helm, address: str, tmp_path: Path) -> None:
    options = ("--version", "2.1.0+build.7", "--plain-http", "--prov", "-d", tmp_path)
    helm("pull", f"oci://{address}/registry.example/charts/cache", *options)
    check_chart(world, helm, tmp_path, CHARTS[1])


def test_oras_finds_what_refers_to_an_image(world: World, address: str) -> None:
    place = f"{address}/registry.example/team/app@{world.index['digest']}"
    oras = require_go_tool("oras")
    found = json.loads(call(oras, "discover", "--plain-http", "--format", "json", place))["referrers"]
    assert [each["digest"] for each in found] == [world.referrer["digest"]]


def test_pip_takes_the_wheels(world: World, embedded: Running, tmp_path: Path) -> None:
    pip(f"http://127.0.0.1:{embedded.port}", "download", "-d", tmp_path, "tiny-app")
    assert sorted(path.name for path in tmp_path.iterdir()) == [WHEEL, WHEEL.replace("app", "lib")]


@pytest.mark.parametrize(("archive", "release"), ARCHIVES)
def test_apt_takes_the_package_of_its_release(embedded: Running, tmp_path: Path, archive: str, release: str) -> None:
    require_program("apt-get")
    uri = f"http://127.0.0.1:{embedded.port}/apt/{archive}"
    client = AptClient(tmp_path / "apt", uri, call("curl", "-fsS", f"{uri}/key.asc"), release=release)
    client.run("update")
    assert client.download("tiny-app") == [DEBS[release]]


def test_curl_and_sha256sum_take_the_files(world: World, embedded: Running, tmp_path: Path) -> None:
    require_program("curl")
    for name in ("SHA256SUMS", *FILES):
        call("curl", "-fsS", "-o", tmp_path / name, f"http://127.0.0.1:{embedded.port}/files/{name}")
    call("sh", "-c", f"cd {tmp_path} && sha256sum --strict -c SHA256SUMS")
    assert (tmp_path / "driver.run").read_bytes() == world.sent["driver.run"]
