"""Images of this machine: OCI layouts, what `docker save` wrote, and a real Docker daemon."""

import gc
import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import PinGone, Unreachable
from bundler.model.digest import Digest
from bundler.support.progress import Silent
from bundler.workflows import create as create_module
from bundler.workflows.create import create
from bundler.workflows.install import install
from bundler.workflows.look import inspect
from bundler.workflows.places import Places
from tests import lab
from tests.bundles import ALICE, SOURCES
from tests.content import compact, make_tar
from tests.images import Repository
from tests.integration.test_images_carried import SBOM, call, locked, profile
from tests.lab import Upstream, require_go_tool, require_program
from tests.serving import running

NAME = "registry.example/local/app:1"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool of two files."""
    monkeypatch.setattr(create_module, "tool_sources", lambda: SOURCES)


def carry(manifests: Manifests, lock: Path) -> Path:
    """Create and install; the site."""
    out, site = lock.with_name("o.bundle"), lock.with_name("site")
    create(lock, out, keys=[ALICE], places=Places(manifests=manifests), jobs=2, progress=Silent())
    install(out, site, keys=(ALICE.public,), threshold=None, jobs=1, progress=Silent())
    return site


def pulled(site: Path, folder: Path) -> dict[str, bytes]:
    """What skopeo gets of the image from the site."""
    with running(site) as found:
        source = f"docker://127.0.0.1:{found.port}/{NAME}"
        call(require_program("skopeo"), "copy", "--src-tls-verify=false", "--preserve-digests", source, f"dir:{folder}")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Docker daemon of its own: no network, nothing of this machine's."""
    lab.require_root()
    folder = tmp_path_factory.mktemp("docker")
    needed = {"docker.io": "usr/sbin", "containerd": "usr/bin", "runc": "usr/sbin"}
    programs = [str(lab.unpacked(package) / place) for package, place in needed.items()]
    address = f"unix://{folder}/socket"
    options: list[object] = [
        "--data-root",
        folder / "data",
        "--exec-root",
        folder / "run",
        "--pidfile",
        folder / "pid",
        "-H",
        address,
    ]
    options += ["--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]
    environment = {**os.environ, "PATH": ":".join((*programs, os.environ["PATH"]))}
    with (folder / "log").open("wb") as log:
        command = [f"{programs[0]}/dockerd", *map(str, options)]
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            for _ in range(150):
                if "API listen" in (folder / "log").read_text():
                    break
                time.sleep(0.1)
            started = server.poll() is None and "API listen" in (folder / "log").read_text()
            lab.require("dockerd", started, (folder / "log").read_text()[-300:], impossible=True)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=60)


def saved(config: bytes, layers: list[bytes], *, tags: list[str], links: bool = False) -> bytes:
    """What the classic `docker save` writes; with `links` a layer that is there twice is a link the second time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:

        def add(name: str, data: bytes = b"", target: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.linkname = len(data), target
            entry.type = tarfile.SYMTYPE if target else tarfile.REGTYPE
            archive.addfile(entry, io.BytesIO(data))

        names: list[str] = []
        for at, layer in enumerate(layers):
            first = layers.index(layer)
            names.append(f"{at:064x}/layer.tar")
            add(names[-1], *((b"", f"../{first:064x}/layer.tar") if links and first < at else (layer,)))
        add(f"{Digest.of(config).hex}.json", config)
        entry = {"Config": f"{Digest.of(config).hex}.json", "RepoTags": tags, "Layers": names}
        add("manifest.json", compact([entry]))
    return out.getvalue()


def docker_image(*layers: bytes) -> tuple[bytes, list[bytes]]:
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer)) for layer in layers]}
    value = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "docker_version": "1", "rootfs": rootfs}
    return json.dumps(value, indent=1).encode(), list(layers)


def test_a_saved_image_goes_the_whole_way(tmp_path: Path) -> None:
    one, two = make_tar({"./one": b"1" * 5000}), make_tar({"./two": b"2"})
    config, layers = docker_image(one, two, one)
    manifests = profile(tmp_path / "m", f"- reference: {NAME}\n  from: docker-archive:app.tar", platforms="linux/amd64")
    archive = tmp_path / "m/files/app.tar"
    archive.write_bytes(saved(config, layers, tags=["app:1"], links=True))
    (image,) = locked(manifests, "http://127.0.0.1:1", tmp_path / "lock").images
    assert "synthesised" in (tmp_path / "lock").read_text()
    site = carry(manifests, tmp_path / "lock")
    assert [row.synthesised for row in inspect(tmp_path / "o.bundle").rows] == [True]
    found = pulled(site, tmp_path / "copy")
    assert found["manifest.json"].decode() == image.synthesised
    assert Digest.of(found["manifest.json"]) == image.root.digest
    assert found[Digest.of(config).hex] == config
    assert {found[Digest.of(layer).hex] for layer in layers} == set(layers)
    # Another name, order of members or way of keeping layers: the same image.
    archive.write_bytes(saved(config, layers, tags=["other:2"]))
    assert locked(manifests, "http://127.0.0.1:1", tmp_path / "lock").images == (image,)
    changed, layers = docker_image(one, make_tar({"./two": b"3"}), one)
    archive.write_bytes(saved(changed, layers, tags=["app:1"]))
    for attempt in (lambda: locked(manifests, "", tmp_path / "lock"), lambda: carry(manifests, tmp_path / "lock")):
        (tmp_path / "o.bundle").unlink(missing_ok=True)
        with pytest.raises(PinGone, match=r"docker-archive:app\.tar") as caught:
            attempt()
        assert "bundle lock -p p" in caught.value.hint


def test_skopeos_archive_of_a_real_image(tmp_path: Path, upstream: Upstream) -> None:
    """The Debian image, as another program saves it."""
    skopeo = require_program("skopeo")
    manifests = profile(
        tmp_path / "m", f"- reference: {NAME}\n  from: docker-archive:debian.tar:debian:1", platforms="linux/amd64"
    )
    source = f"docker://{upstream.host}/library/debian:bookworm-slim"
    archive = tmp_path / "m/files/debian.tar"
    call(skopeo, "copy", "--src-tls-verify=false", source, f"docker-archive:{archive}:debian:1")
    (image,) = locked(manifests, upstream.url, tmp_path / "lock").images
    found = pulled(carry(manifests, tmp_path / "lock"), tmp_path / "copy")
    assert {Digest(name) for name in found if len(name) == 64} == {each.digest for each in image.blobs}
    assert archive.stat().st_size > max(each.size for each in image.blobs) > 10 << 20


@pytest.mark.parametrize("packed", [False, True])
def test_a_layout_keeps_its_digests_and_its_referrers(empty_upstream: Upstream, tmp_path: Path, packed: bool) -> None:
    oras = require_go_tool("oras")
    repository = Repository(url=empty_upstream.url, name="local/source")
    children = [repository.image(name) for name in ("linux/amd64", "linux/arm64")]
    root = repository.index(children, "1")
    sbom = repository.referrer(root, SBOM, b"sbom")
    repository.fallback(root, [sbom])
    manifests = profile(tmp_path / "m", f"- reference: {NAME}\n  from: oci:app:1\n  referrers: true")
    place = tmp_path / "m/files/app"
    layout = place if not packed else tmp_path / "layout"
    call(
        oras,
        "copy",
        "-r",
        "--from-plain-http",
        f"{empty_upstream.host}/local/source:1",
        "--to-oci-layout",
        f"{layout}:1",
    )
    if packed:
        call("tar", "-C", layout, "-cf", place, ".")
    (image,) = locked(manifests, empty_upstream.url, tmp_path / "lock").images
    assert str(image.root.digest) == root["digest"]
    assert [str(each.digest) for each in image.referrers] == [sbom["digest"]]
    assert (image.source, image.synthesised, len(image.manifests)) == ("oci:app:1", "", 2)
    site = carry(manifests, tmp_path / "lock")
    with running(site) as found:
        reference = f"127.0.0.1:{found.port}/{NAME}"
        listed = json.loads(call(oras, "discover", "--plain-http", "--format", "json", reference))["referrers"]
        assert [each["digest"] for each in listed] == [sbom["digest"]]


def test_a_daemons_image_goes_the_whole_way(daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", daemon)
    docker = [str(lab.unpacked("docker.io") / "usr/bin/docker")]
    # Two layers of one size: they are told apart only when they have passed.
    one, two, three = (make_tar({"./file": mark * 300_000}) for mark in (b"1", b"2", b"3"))
    config, layers = docker_image(one, two, make_tar({"./small": b"s"}))
    load(docker, saved(config, layers, tags=["app:1"]))
    manifests = profile(tmp_path / "m", f"- reference: {NAME}\n  from: docker-daemon:app:1", platforms="linux/amd64")
    (image,) = locked(manifests, "", tmp_path / "lock").images
    assert {each.digest for each in image.blobs} == {Digest.of(data) for data in (config, *layers)}
    found = pulled(carry(manifests, tmp_path / "lock"), tmp_path / "copy")
    assert found["manifest.json"].decode() == image.synthesised
    assert {found[Digest.of(data).hex] for data in (config, *layers)} == {config, *layers}
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]
    assert locked(manifests, "", tmp_path / "lock").images == (image,)
    changed, layers = docker_image(one, three)
    load(docker, saved(changed, layers, tags=["app:1"]))
    (tmp_path / "o.bundle").unlink()
    for attempt in (lambda: locked(manifests, "", tmp_path / "lock"), lambda: carry(manifests, tmp_path / "lock")):
        with pytest.raises(PinGone, match="docker-daemon:app:1"):
            attempt()
    subprocess.run([*docker, "rmi", "app:1"], check=True, capture_output=True)
    with pytest.raises(PinGone):
        carry(manifests, tmp_path / "lock")


def load(docker: list[str], archive: bytes) -> None:
    done = subprocess.run([*docker, "load"], input=archive, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the package leaves the socket that found nobody to itself
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none")
    manifests = profile(tmp_path / "m", f"- reference: {NAME}\n  from: docker-daemon:app:1")
    with pytest.raises(Unreachable, match=r"docker save -o FILE") as caught:
        locked(manifests, "", tmp_path / "lock")
    assert "No such file or directory" in caught.value.why
    caught = None  # type: ignore[assignment]
    gc.collect()
