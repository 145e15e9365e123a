"""containerd: reads the bundle file, and pulls from the site as from the registries that references name."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.support.progress import Silent
from bundler.views.clients import containerd_hosts
from bundler.workflows.install import install
from tests import lab
from tests.bundles import tiny_bundle
from tests.content import make_image
from tests.serving import running

IMAGES = {
    "docker.io/library/tiny:1": make_image({"tiny": b"tiny\n"}),
    # An index with an absent child, below a host with a port.
    "registry.example:5000/team/app:1.0": make_image({"app": b"app\n"}, index=True),
}


@pytest.fixture(scope="module")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command ctr, with a containerd of its own behind it."""
    lab.require_root()
    programs = lab.unpacked("containerd") / "usr/bin"
    folder = tmp_path_factory.mktemp("containerd")
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "{folder}/socket"\n'
    )
    command = [str(programs / "ctr"), "--address", str(folder / "socket")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([programs / "containerd", "--config", config], stdout=log, stderr=log)
        try:
            for _ in range(100):
                if subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
                    break
                time.sleep(0.1)
            yield command
        finally:
            server.terminate()
            server.wait(timeout=30)


def call(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_file_is_imported_as_it_is(ctr: list[str], tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, images=IMAGES)
    call(*ctr, "--namespace", "file", "images", "import", "--no-unpack", bundle.path)
    assert call(*ctr, "--namespace", "file", "images", "list", "--quiet").split() == sorted(IMAGES)


def test_the_site_stands_for_every_registry(ctr: list[str], tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path, images=IMAGES)
    root, certs = tmp_path / "site", tmp_path / "certs.d"
    install(bundle.path, root, keys=bundle.publics, threshold=1, jobs=2, progress=Silent())
    with running(root) as site:
        for image in bundle.statement.images:
            hosts = certs / image.reference.registry / "hosts.toml"
            hosts.parent.mkdir(parents=True)
            hosts.write_text(containerd_hosts(f"http://127.0.0.1:{site.server.port}"))
            options = ["--hosts-dir", certs, "--snapshotter", "native"]
            call(*ctr, "--namespace", "site", "images", "pull", *options, image.name)
            assert str(image.root) in call(*ctr, "--namespace", "site", "images", "list", f"name=={image.name}")
