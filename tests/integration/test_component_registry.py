"""Debian's docker-registry with the configuration that site hosts get: over the view of a release, and for pushes."""

import http.client
import json
import socket
import ssl
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.components.registry import (
    _known,
    _tls,
    configuration,
    htpasswd,
    password_of,
)
from bundler.components.registry.endpoint import site_ca
from bundler.components.registry.health import certificate_trouble
from bundler.components.registry.settings import parse_settings
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.model.site import SiteHost
from bundler.steps.facts import answers, grouped, question
from bundler.steps.probe import probe
from bundler.steps.resources import File
from bundler.steps.step import Goal
from bundler.views.carry import carry_over
from tests.bundles import IMAGES
from tests.campaigns import Workshop
from tests.conftest import LONG
from tests.content import TestSite, make_image
from tests.goals import SITE, goal_of, release
from tests.lab import Upstream, require_program, unpacked

MB = 1_000_000
HOST = "registry.lab.example"
NAME = "registry.example_5000/team/app"
USERS = "components: {registry: {auth: {users: [puller], builders: [ops]}}}\n"


def text_of(file: File) -> str:
    return file.content.reveal() if isinstance(file.content, Secret) else file.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """`ca` is the file of the site's CA."""

    port: int
    debug_port: int
    ca: Path
    log: Path

    def connect(self) -> http.client.HTTPSConnection:
        """By the registry's name, which the certificate must have."""
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(HOST, self.port)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        return connection

    def get(self, path: str, *, user: str = "", password: str = "") -> tuple[int, bytes]:
        connection = self.connect()
        fields = {"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"}
        if user:
            fields["Authorization"] = f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
        connection.request("GET", path, headers=fields)
        reply = connection.getresponse()
        found = reply.status, reply.read()
        connection.close()
        return found


def free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


@contextmanager
def served(folder: Path, goal: Goal, host: SiteHost, *, writable: bool, storage: Path) -> Iterator[Server]:
    """What the steps write, in another folder and on other ports."""
    for file in _tls(goal, host):
        (folder / Path(file.path).name).write_text(text_of(file))
    settings = goal.site.settings["registry"]
    (folder / "users").write_text(htpasswd(goal, settings.users).reveal())
    (folder / "builders").write_text(htpasswd(goal, settings.builders).reveal())
    (folder / "ca.crt").write_text(site_ca(goal).bundle)
    server = Server(port=free_port(), debug_port=free_port(), ca=folder / "ca.crt", log=folder / "log")
    (folder / "config.yml").write_text(
        configuration(
            goal,
            writable=writable,
            folder=str(folder),
            storage=str(storage),
            port=server.port,
            debug_port=server.debug_port,
        )
    )
    program = unpacked("docker-registry") / "usr/bin/docker-registry"
    with server.log.open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as plug:
                if plug.connect_ex(("127.0.0.1", server.port)) == 0:
                    break
            assert process.poll() is None, server.log.read_text()
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("bundle")), {"registry": parse_settings})


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("bundle")), {"registry": parse_settings}, text=SITE + USERS)


@pytest.fixture
def site(tmp_path: Path) -> TestSite:
    made = TestSite(tmp_path / "srv")
    for name, image in IMAGES.items():
        made.image(image, name)
    made.publish("one")
    return made


def ask(goal: Goal, server: Server, *paths: str) -> Any:
    """What the health check's probe says, through the sh text that a host would run."""
    facts = [probe("answers", "bundler.components.registry", "probe.py", [str(server.port), *paths])]
    groups = grouped(facts)
    said = subprocess.run(["sh", "-c", question(groups)], capture_output=True, text=True, timeout=60).stdout
    return answers(groups, said)[facts[0]]


def test_a_release_is_served_over_tls_and_nobody_writes(goal: Goal, site: TestSite, tmp_path: Path) -> None:
    with served(tmp_path, goal, goal.site.hosts[1], writable=False, storage=site.root / "current/registry") as server:
        known = _known(goal)
        said = ask(goal, server, *(path for path, _ in known))
        assert [said["answers"][path]["status"] for path, _ in known] == [200] * 3
        assert [said["answers"][path]["sha256"] for path, digest in known if digest] == [d.hex for _, d in known if d]
        assert certificate_trouble(goal, said["certificate"]) == ""
        later = replace(goal, now=goal.now + timedelta(days=340))
        assert "ends on" in certificate_trouble(later, said["certificate"])
        assert server.get("/v2/_catalog")[0] == 200
        with http_connection(server.debug_port) as connection:
            connection.request("GET", "/debug/health")
            assert connection.getresponse().status == 200
        connection = server.connect()
        connection.request("POST", f"/v2/{NAME}/blobs/uploads/")
        assert connection.getresponse().status == 405
        connection.close()


@contextmanager
def http_connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def test_a_switch_is_served_without_a_restart(goal: Goal, site: TestSite, tmp_path: Path) -> None:
    """What the tag names changes at once, forth and back; nothing of a generation is remembered."""
    new = make_image({"app": b"another\n"}, index=True)
    with served(tmp_path, goal, goal.site.hosts[0], writable=False, storage=site.root / "current/registry") as server:
        (old,) = IMAGES.values()
        blob = f"/v2/{NAME}/blobs/{Digest.of(new.blobs[1])}"
        for _ in range(3):
            assert server.get(f"/v2/{NAME}/manifests/1.0") == (200, old.root)
            assert server.get(blob)[0] == 404
        one = site.root / "generations/one"
        site.artifacts.clear()
        site.image(new, next(iter(IMAGES)))
        two = site.publish("two", switch=False)
        carry_over(one, two)
        site.switch(two)
        assert server.get(f"/v2/{NAME}/manifests/1.0") == (200, new.root)
        assert server.get(blob) == (200, new.blobs[1])
        # Who read the tag just before the switch still finds what it named.
        assert server.get(f"/v2/{NAME}/manifests/{Digest.of(old.root)}") == (200, old.root)
        assert server.get(f"/v2/{NAME}/blobs/{Digest.of(old.blobs[1])}") == (200, old.blobs[1])
        site.switch(one)
        assert server.get(f"/v2/{NAME}/manifests/1.0") == (200, old.root)
        assert server.get(blob)[0] == 404


def test_users_pull_with_their_password(guarded: Goal, site: TestSite, tmp_path: Path) -> None:
    with served(
        tmp_path, guarded, guarded.site.hosts[0], writable=False, storage=site.root / "current/registry"
    ) as server:
        path = f"/v2/{NAME}/manifests/1.0"
        password = password_of(guarded, "puller").reveal()
        assert server.get(path)[0] == 401
        assert server.get(path, user="puller", password="wrong")[0] == 401
        assert server.get(path, user="ops", password=password_of(guarded, "ops").reveal())[0] == 401
        assert server.get(path, user="puller", password=password)[0] == 200
        assert password not in server.log.read_text()
        assert ask(guarded, server, "/v2/")["answers"]["/v2/"]["status"] == 401


def test_builders_push_and_nobody_else(guarded: Goal, tmp_path: Path) -> None:
    require_program("skopeo")
    layout = TestSite(tmp_path / "from")
    for name, image in IMAGES.items():
        layout.image(image, name)
    layout.publish("one")
    (tmp_path / "source").mkdir()
    password = password_of(guarded, "ops").reveal()
    with (
        served(tmp_path, guarded, guarded.site.hosts[0], writable=True, storage=tmp_path / "builds") as server,
        plain_registry(tmp_path / "source", layout.root / "current/registry") as source,
    ):
        address = f"localhost:{server.port}"
        copy = ["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{source}/{NAME}:1.0"]
        target = f"docker://{address}/team/built:1"
        refused = subprocess.run([*copy, target], capture_output=True, text=True)
        assert refused.returncode != 0
        assert "authentication required" in refused.stderr
        token = b64encode(f"ops:{password}".encode()).decode()
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {address: {"auth": token}}}))
        allowed = [*copy, "--dest-authfile", str(tmp_path / "auth.json"), target]
        pushed = subprocess.run(allowed, capture_output=True, text=True)
        assert pushed.returncode == 0, pushed.stderr
        code, body = server.get("/v2/team/built/tags/list", user="ops", password=password)
        assert (code, json.loads(body)["tags"]) == (200, ["1"])
        assert server.get("/v2/team/built/tags/list")[0] == 401


@contextmanager
def plain_registry(folder: Path, storage: Path) -> Iterator[str]:
    """The same program without TLS, as a source."""
    port = free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nhttp: {{addr: '127.0.0.1:{port}'}}\nstorage:\n"
        f"  filesystem: {{rootdirectory: '{storage}'}}\n  maintenance: {{readonly: {{enabled: true}}}}\n"
    )
    program = unpacked("docker-registry") / "usr/bin/docker-registry"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as plug:
                if plug.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def apparent(folder: Path) -> int:
    """Bytes of all files and folders, each file once however many names it has: `du --apparent-size`."""
    done = subprocess.run(["du", "-s", "--apparent-size", "-B1", folder], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_the_storage_holds_each_byte_once(goal: Goal, empty_upstream: Upstream, tmp_path: Path) -> None:
    """All of ROOT is at most 1 % more than the store; `distribution` itself finds nothing to collect, and skopeo copies
    every image. CI takes 160 MB, a long run more than 3 GB."""
    require_program("skopeo")
    count, size = (12, "56M") if LONG else (4, "8M")
    images = empty_upstream.add_random_images(count, size=size, blobs=5, prefix="storage/", seed="7")
    made = Workshop(folder=tmp_path, upstreams={"lab.example": empty_upstream.url})
    made.declare(images=[f"lab.example/{name}" for name in images])
    made.lock()
    made.run(*made.create("storage.bundle"))
    root = tmp_path / "srv"
    made.run("install", "storage.bundle", "--trust", "release.pub", "--root", str(root))
    (tmp_path / "storage.bundle").unlink()
    all_of_it, store = apparent(root), apparent(root / "store")
    print(
        f"ROOT {all_of_it} bytes, store {store}: {100 * (all_of_it - store) / store:.3f} % more; {len(images)} images"
    )
    assert store > (3000 if LONG else 150) * MB
    assert all_of_it <= store * 1.01
    with served(tmp_path, goal, goal.site.hosts[0], writable=False, storage=root / "current/registry") as server:
        program = unpacked("docker-registry") / "usr/bin/docker-registry"
        collect: list[str | Path] = [program, "garbage-collect", "--dry-run", tmp_path / "config.yml"]
        done = subprocess.run(collect, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        assert "0 blobs and 0 manifests eligible for deletion" in said, said[-2000:]
        for name, digest in images.items():
            source = f"docker://127.0.0.1:{server.port}/lab.example/{name}"
            target = tmp_path / "copy"
            copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--preserve-digests", source, f"dir:{target}"]
            subprocess.run(copy, check=True, timeout=300)
            assert str(Digest.of((target / "manifest.json").read_bytes())) == digest
            subprocess.run(["rm", "-rf", target], check=True)
