"""Unmodified pip, apt, skopeo and Debian's docker-registry on the views."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.model.digest import Digest
from bundler.model.statement import FileArtifact
from bundler.signing.openpgp import create_apt_key, public_armored
from bundler.views.apt import sign_apt
from bundler.views.carry import carry_over
from bundler.views.clients import apt_sources
from tests.content import TestSite, make_deb, make_image, make_wheel
from tests.lab import require_program, unpacked
from tests.serving import Running, running

KEY = create_apt_key("Site <apt@example.com>")
IMAGE = make_image({"./etc/hello": b"hi"})
SPARSE = make_image({"./etc/hello": b"hi"}, index=True)
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> TestSite:
    site = TestSite(tmp_path_factory.mktemp("site"))
    site.wheel(make_wheel("Left_Part", requires=["right-part>=2"], body="import right_part\n"), "left-part")
    site.wheel(make_wheel("right-part", "1.0"), "right-part")
    site.wheel(make_wheel("right-part", "2.0+local"), "right-part", "2.0+local")
    site.wheel(make_wheel("right-part", "3.0", requires_python=">=99"), "right-part", "3.0")
    site.deb(make_deb("bundle-left", "1:1.0~rc1+b2", "amd64", depends="bundle-right (>= 2)"))
    site.deb(make_deb("bundle-right", "2.0"), archive="debian-security")
    site.image(IMAGE, "docker.io/library/app:1")
    site.image(SPARSE, "quay.io:5000/team/app:2")
    site.file("note.txt", b"note\n")
    site.publish("one", key=KEY, date=NOW)
    return site


@pytest.fixture(scope="module")
def server(site: TestSite) -> Iterator[Running]:
    with running(site.root) as found:
        yield found


def call(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def pip(base: str, *arguments: object) -> str:
    options = ("--isolated", "--disable-pip-version-check", "--no-cache-dir", "--index-url", f"{base}/pypi/simple/")
    return call(sys.executable, "-m", "pip", arguments[0], *options, *arguments[1:], PIP_CONFIG_FILE="/dev/null")


def test_pip_installs_a_closure_and_checks_it(server: Running, tmp_path: Path) -> None:
    pip(f"http://127.0.0.1:{server.port}", "install", "--target", tmp_path, "left.part")
    code = "import left_part, right_part; print(left_part.VERSION, right_part.VERSION)"
    assert call(sys.executable, "-c", code, PYTHONPATH=str(tmp_path)).split() == ["1.0", "2.0+local"]
    # METADATA alone answers what the resolver asks: the version for another Python was never fetched.
    assert not any("right_part-3.0-py3-none-any.whl " in line for line in server.lines)
    assert any(".whl.metadata 200" in line for line in server.lines)


def test_pip_notices_other_bytes(site: TestSite, tmp_path: Path) -> None:
    other = TestSite(tmp_path)
    wheel = other.wheel(make_wheel("thing"), "thing")
    place = other.publish("one") / f"pypi/files/{wheel.digest.hex}/{wheel.name}"
    place.unlink()
    place.write_bytes(make_wheel("thing", body="evil = 1\n").data)
    with running(tmp_path) as server, pytest.raises(AssertionError, match="DO NOT MATCH THE HASHES"):
        pip(f"http://127.0.0.1:{server.port}", "download", "-d", tmp_path, "thing")


class AptClient:
    """apt with a root of its own: nothing of this machine's state is read or written."""

    def __init__(
        self,
        root: Path,
        uri: str,
        signed_by: str,
        *,
        release: str = "bookworm",
        prefix: Sequence[str] = (),
        settings: str = "",
    ) -> None:
        """`prefix` goes before every command: into another namespace, for one."""
        self.root, self._prefix = root, prefix
        for folder in (
            "etc/apt/sources.list.d",
            "etc/apt/preferences.d",
            "etc/apt/apt.conf.d",
            "state/lists/partial",
            "cache/archives/partial",
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
        (root / "status").touch()
        stanza = apt_sources(uri=uri, release=release, signed_by=signed_by)
        (root / "etc/apt/sources.list.d/site.sources").write_text(stanza)
        (root / "apt.conf").write_text(
            f'Dir "{root}";\nDir::Etc "{root}/etc/apt";\nDir::State "{root}/state";\n'
            f'Dir::State::status "{root}/status";\n'
            f'Dir::Cache "{root}/cache";\nDir::Etc::Trusted "/nonexistent";\nDir::Etc::TrustedParts "/nonexistent";\n'
            'APT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\nAPT::Sandbox::User "root";\n'
            'Acquire::Languages "none";\nAPT::Update::Error-Mode "any";\nAcquire::http::Proxy "DIRECT";\n'
            f"{settings}"
        )

    def run(self, *arguments: str) -> str:
        return call(*self._prefix, "apt-get", *arguments, APT_CONFIG=str(self.root / "apt.conf"))

    def download(self, *packages: str) -> list[str]:
        self.run("install", "-y", "--download-only", *packages)
        return sorted(path.name for path in (self.root / "cache/archives").glob("*.deb"))


@pytest.fixture
def apt(server: Running, tmp_path: Path) -> AptClient:
    require_program("apt-get")
    (tmp_path / "site.asc").write_bytes(public_armored(KEY))
    return AptClient(tmp_path / "apt", f"http://127.0.0.1:{server.port}/apt/debian", str(tmp_path / "site.asc"))


def test_apt_updates_and_takes_a_closure(apt: AptClient, server: Running) -> None:
    said = apt.run("update")
    assert "W:" not in said
    assert "N:" not in said
    assert apt.download("bundle-left") == ["bundle-left_1%3a1.0~rc1+b2_amd64.deb", "bundle-right_2.0_all.deb"]
    assert any("/by-hash/SHA256/" in line for line in server.lines)
    package = next((apt.root / "cache/archives").glob("bundle-left*.deb"))
    assert "1:1.0~rc1+b2" in call("dpkg-deb", "--field", package)
    assert "./usr/share/bundle-left/hello" in call("dpkg-deb", "--contents", package)


def test_apt_takes_the_key_within_the_stanza(server: Running, tmp_path: Path) -> None:
    require_program("apt-get")
    uri = f"http://127.0.0.1:{server.port}/apt/debian"
    client = AptClient(tmp_path / "apt", uri, public_armored(KEY).decode())
    client.run("update")
    assert client.download("bundle-right") == ["bundle-right_2.0_all.deb"]


def test_apt_refuses_another_key(server: Running, tmp_path: Path) -> None:
    require_program("apt-get")
    other = public_armored(create_apt_key("other")).decode()
    client = AptClient(tmp_path / "apt", f"http://127.0.0.1:{server.port}/apt/debian", other)
    with pytest.raises(AssertionError, match="NO_PUBKEY"):
        client.run("update")


def test_apt_follows_an_upgrade_and_a_rollback(tmp_path: Path) -> None:
    require_program("apt-get")
    site = TestSite(tmp_path / "site")
    site.deb(make_deb("tool", "1.0"))
    site.deb(make_deb("other", "1.0", "amd64"))
    one = site.publish("one", key=KEY, date=NOW)
    with running(site.root) as server:
        uri = f"http://127.0.0.1:{server.port}/apt/debian"
        client = AptClient(tmp_path / "apt", uri, public_armored(KEY).decode())
        client.run("update")
        assert "Hit:1" in client.run("update")
        site.artifacts.clear()
        site.deb(make_deb("tool", "2.0"))
        site.deb(make_deb("other", "1.0", "amd64"))
        two = site.publish("two", key=KEY, date=NOW + timedelta(seconds=1), switch=False)
        carry_over(one, two)
        site.switch(two)
        # Between its update and its download the site was switched: what its index names is still there.
        assert client.download("tool") == ["tool_1.0_all.deb"]
        client.run("update")
        assert "tool_2.0_all.deb" in client.download("tool")
        carry_over(two, one)
        sign_apt(one, KEY, NOW + timedelta(seconds=2))
        site.switch(one)
        client.run("update")
        assert "Inst tool (1.0 " in client.run("install", "--simulate", "tool")


def copy_image(source: str, target: Path) -> dict[str, bytes]:
    """All blobs that skopeo gets."""
    call("skopeo", "copy", "--src-tls-verify=false", "--preserve-digests", f"docker://{source}", f"dir:{target}")
    return {path.name: path.read_bytes() for path in target.iterdir()}


def check_images(address: str, folder: Path) -> None:
    found = copy_image(f"{address}/docker.io/library/app:1", folder / "one")
    assert found["manifest.json"] == IMAGE.root
    assert set(found.values()) >= set(IMAGE.blobs)
    found = copy_image(f"{address}/quay.io_5000/team/app:2", folder / "two")
    assert found["manifest.json"] == SPARSE.manifests[1]
    found = copy_image(f"{address}/quay.io_5000/team/app@{Digest.of(SPARSE.root)}", folder / "three")
    assert found["manifest.json"] == SPARSE.manifests[1]
    raw = call("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{address}/quay.io_5000/team/app:2")
    assert raw.encode() == SPARSE.root
    tags = json.loads(call("skopeo", "list-tags", "--tls-verify=false", f"docker://{address}/docker.io/library/app"))
    assert tags["Tags"] == ["1"]


def test_skopeo_copies_from_the_embedded_server(server: Running, tmp_path: Path) -> None:
    require_program("skopeo")
    check_images(f"127.0.0.1:{server.port}", tmp_path)


@contextmanager
def docker_registry(folder: Path, storage: Path, *, prefix: Sequence[str] = ()) -> Iterator[str]:
    """Its log is `folder/log`; `prefix` goes before the command."""
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{plug.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\nstorage:\n"
        f"  filesystem: {{rootdirectory: '{storage}'}}\n  maintenance: {{readonly: {{enabled: true}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*prefix, unpacked("docker-registry") / "usr/bin/docker-registry", "serve", folder / "config.yml"],
            stdout=log,
            stderr=log,
        )
    try:
        host, _, port = address.partition(":")
        for _ in range(100):
            with socket.socket() as plug:
                if prefix or plug.connect_ex((host, int(port))) == 0:
                    break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def test_distribution_serves_the_same_view(site: TestSite, tmp_path: Path) -> None:
    require_program("skopeo")
    with docker_registry(tmp_path, site.root / "current/registry") as address:
        check_images(address, tmp_path)


def test_both_servers_answer_alike(site: TestSite, server: Running, tmp_path: Path) -> None:
    """Our own registry API against the real one: status, digest, type and body."""
    artifact = next(each for each in site.artifacts if isinstance(each, FileArtifact))
    absent = f"sha256:{'0' * 64}"
    paths = [
        "/v2/",
        "/v2/_catalog",
        "/v2/docker.io/library/app/tags/list",
        "/v2/docker.io/library/app/manifests/1",
        f"/v2/docker.io/library/app/manifests/{Digest.of(IMAGE.root)}",
        f"/v2/docker.io/library/app/blobs/{Digest.of(IMAGE.blobs[1])}",
        f"/v2/quay.io_5000/team/app/manifests/{Digest.of(SPARSE.root)}",
        f"/v2/bundle/file/manifests/{artifact.manifest}",
        f"/v2/bundle/file/blobs/{Digest.of(b'note' + bytes([10]))}",
        "/v2/docker.io/library/app/manifests/absent",
        f"/v2/docker.io/library/app/manifests/{absent}",
        f"/v2/docker.io/library/app/blobs/{absent}",
        "/v2/absent/tags/list",
    ]
    accept = {"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"}

    def ask(address: str, method: str, path: str) -> tuple[object, ...]:
        connection = http.client.HTTPConnection(address, timeout=20)
        connection.request(method, path, headers=accept)
        reply = connection.getresponse()
        body = reply.read()
        kind = (reply.headers.get("Content-Type") or "").partition(";")[0]
        connection.close()
        if reply.status != 200:
            return (reply.status, json.loads(body)["errors"][0]["code"] if body else "")
        if kind == "application/json" and body:
            return (reply.status, json.loads(body))
        return (reply.status, kind, reply.headers.get("Docker-Content-Digest"), reply.headers["Content-Length"], body)

    with docker_registry(tmp_path, site.root / "current/registry") as address:
        for path in paths:
            for method in ("GET", "HEAD"):
                if method == "HEAD" and not ("/manifests/" in path or "/blobs/" in path):
                    continue
                theirs, ours = (ask(each, method, path) for each in (address, f"127.0.0.1:{server.port}"))
                assert ours == theirs, (method, path)
