"""`bundle push` to real registries: Debian's docker-registry 2.8 and distribution 3, read back by skopeo and crane."""

import base64
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.archive.draft import draft_of
from bundler.archive.oci import EMPTY_TYPE
from bundler.archive.reader import BundleFile
from bundler.errors import PushFailed
from bundler.model.digest import Digest
from bundler.push.look import Blobs
from bundler.push.payload import Payload
from bundler.push.registry import Registry
from bundler.push.target import Target
from bundler.push.upload import Upload
from bundler.support.progress import Silent
from bundler.transport import Transport, TransportConfig
from bundler.transport.registry_credentials import Credentials
from bundler.workflows.push import push
from tests import bundles
from tests.bundles import BOB, IMAGES, TinyBundle, tiny_bundle
from tests.charts import make_chart
from tests.content import MANIFEST, Made, compact, describe, make_image
from tests.images import Repository
from tests.lab import require_go_tool, require_program
from tests.registries import PASSWORD, USER, RealRegistry, real_registry

SAME = {"docker.io/library/a:1": make_image({"a": b"same"}), "quay.io/team/b:2": make_image({"a": b"same"})}
SPARSE = next(iter(IMAGES))
SPARSE_PLACE = "pre/registry.example_5000/team/app"
SERVERS = ["debian", "distribution"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """Wheels, packages, files, a chart, two images that share all, and one whose index lists what is not carried."""
    chart = Made(name="web-1.0.0.tgz", data=make_chart("web"), description=b"provenance")
    folder = tmp_path_factory.mktemp("bundle")
    made = tiny_bundle(folder, images={**SAME, **IMAGES}, charts=[chart])
    (folder / "release.pub").write_bytes(made.publics[0].pem())
    return made


def bundle(made: TinyBundle, target: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(made, target, *options), capture_output=True, text=True, timeout=120, env=env(environment)
    )


def command(made: TinyBundle, target: str, *options: str) -> list[str]:
    trust = str(made.path.with_name("release.pub"))
    return [sys.executable, "-m", "bundler", "push", str(made.path), target, "--trust", trust, *options]


def env(more: Mapping[str, str]) -> dict[str, str]:
    """This machine's, without its proxies, authorities and logins."""
    ours = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "XDG_RUNTIME_DIR")
    kept = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and name not in ours
    }
    return {**kept, "DOCKER_CONFIG": "/nonexistent", "REGISTRY_AUTH_FILE": "/nonexistent", **more}


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def login(folder: Path, address: str) -> dict[str, str]:
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": pair}}}))
    return {"DOCKER_CONFIG": str(folder)}


def skopeo(*arguments: str) -> bytes:
    return subprocess.run([require_program("skopeo"), *arguments], capture_output=True, check=True, timeout=60).stdout


# --- the whole way ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVERS)
def test_push_with_login_and_a_private_authority(made: TinyBundle, name: str, tmp_path: Path) -> None:
    with real_registry(tmp_path / "registry", name, auth=True, tls=True) as registry:
        target = f"{registry.address}/pre"
        trusted = {"SSL_CERT_FILE": str(registry.authority)}
        refused = bundle(made, target, **trusted)
        assert (refused.returncode, "no credentials" in refused.stderr) == (22, True), refused.stderr
        known = {**login(tmp_path, registry.address), **trusted}
        assert bundle(made, target, **{**known, "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}).returncode == 29

        asked = bundle(made, target, "--dry-run", "--json", "--sparse-index", "platform", **known)
        would = facts(asked)
        assert (asked.returncode, would["changed"], would["tags"]) == (0, False, 4)
        assert not (registry.folder / "storage").exists()

        done = bundle(made, target, "--json", "--sparse-index", "platform", **known)
        assert done.returncode == 0, done.stderr
        assert {**facts(done), "dry_run": True, "changed": False} == would
        root = made.statement.images[-1].root
        assert facts(done)["unresolved"] == [f"{SPARSE_PLACE}@{root}"]
        assert facts(done)["mounted"] == 2  # the two images have their blobs in common

        before = len(registry.asked())
        again = bundle(made, target, "--sparse-index", "platform", **known)
        assert (again.returncode, "nothing to push" in again.stdout) == (0, True)
        assert {line.split()[0] for line in registry.asked()[before:]} == {"GET", "HEAD"}
        check_by_skopeo(made, registry, known, tmp_path)
        assert PASSWORD not in registry.log + done.stderr


def check_by_skopeo(made: TinyBundle, registry: RealRegistry, known: Mapping[str, str], folder: Path) -> None:
    options = ["--authfile", f"{known['DOCKER_CONFIG']}/config.json"]
    certificates = folder / "certs"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes((registry.folder / "ca.pem").read_bytes())
    reading = [*options, "--cert-dir", str(certificates)]
    for image in made.statement.images:
        place = f"docker://{registry.address}/pre/{image.reference.site_repository}:{image.reference.tag}"
        data = skopeo("inspect", *reading, "--raw", place)
        expected = image.root if image.name != SPARSE else next(d for d in image.manifests if d != image.root)
        assert Digest.of(data) == expected
        copied = folder / f"copy-{image.root.hex[:8]}-{image.reference.registry.replace(':', '_')}"
        skopeo("copy", "--src-cert-dir", str(certificates), "--src-authfile", options[1], place, f"dir:{copied}")
        assert {Digest.of(path.read_bytes()) for path in copied.iterdir()} >= set(image.blobs)


@pytest.mark.parametrize("name", SERVERS)
def test_everything_else_is_where_our_own_registry_has_it(made: TinyBundle, name: str, tmp_path: Path) -> None:
    crane = require_go_tool("crane")
    with real_registry(tmp_path / "registry", name) as registry:
        bundle(made, f"{registry.url}/pre", "--sparse-index", "platform")
        (wheel, *_), (deb,), (chart,) = made.statement.wheels, made.statement.debs, made.statement.charts
        named = {
            f"bundle/wheel@{wheel.manifest}": wheel.digest,
            f"bundle/deb@{deb.manifest}": deb.digest,
            f"bundle/chart/web@{chart.manifest}": chart.digest,
            "bundle/chart/web:1.0.0": chart.digest,
        }
        for place, digest in named.items():
            manifest = subprocess.run(
                [crane, "manifest", "--insecure", f"{registry.address}/pre/{place}"], capture_output=True, check=True
            ).stdout
            assert str(digest) in manifest.decode()
        blob = subprocess.run(
            [crane, "blob", "--insecure", f"{registry.address}/pre/bundle/deb@{deb.digest}"],
            capture_output=True,
            check=True,
        ).stdout
        assert Digest.of(blob) == deb.digest


@pytest.mark.parametrize("name", SERVERS)
def test_what_one_repository_cannot_take_keeps_nothing_else_back(made: TinyBundle, name: str, tmp_path: Path) -> None:
    """A registry whose disk has a file where a repository should be."""
    with real_registry(tmp_path / "registry", name) as registry:
        broken = registry.folder / "storage/docker/registry/v2/repositories/pre/quay.io"
        broken.parent.mkdir(parents=True)
        broken.touch()
        transport = Transport(TransportConfig(sleep=lambda seconds: None))
        target = Target.parse(f"{registry.url}/pre")
        options: dict[str, Any] = {"keys": made.publics, "threshold": 1, "only_platform": True, "jobs": 4}
        done = push(made.path, target, **options, progress=Silent(), transport=transport)
        transport.close()
        assert isinstance(done.error, PushFailed)
        assert [failed for failed, _ in done.error.failures] == ["quay.io/team/b:2"]
        broken.unlink()
        again = bundle(made, str(target), "--json", "--sparse-index", "platform")
        assert (again.returncode, facts(again)["tags"], facts(again)["blobs"]) == (0, 1, 0), again.stderr


def test_names_that_the_bundle_does_not_have(made: TinyBundle) -> None:
    done = bundle(made, "registry.invalid", "--only", "docker.io/library/a:2")
    assert (done.returncode, "docker.io/library/a:1" in done.stderr) == (18, True)


# --- sparse indexes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "sparse"), [("debian", True), ("distribution", False)])
def test_a_refused_index_keeps_nothing_else_back(made: TinyBundle, name: str, sparse: bool, tmp_path: Path) -> None:
    with real_registry(tmp_path / "registry", name, sparse=sparse) as registry:
        done = bundle(made, f"{registry.url}/pre", "--json")
        assert done.returncode == 101, done.stderr
        assert list(facts(done)["refused"]) == [SPARSE]
        assert SPARSE in done.stderr
        assert "--sparse-index platform" in done.stderr
        tags = {
            f"{place.parent.parent.name}:{place.name}" for place in registry.folder.glob("storage/**/_manifests/tags/*")
        }
        assert len(tags) == 3
        assert facts(bundle(made, f"{registry.url}/pre", "--json"))["blobs"] == 0
        assert bundle(made, f"{registry.url}/pre", "--sparse-index", "platform").returncode == 0


def test_a_registry_that_takes_it_has_the_original_index(made: TinyBundle, tmp_path: Path) -> None:
    crane = require_go_tool("crane")
    with real_registry(tmp_path / "registry", "distribution") as registry:
        done = bundle(made, f"{registry.url}/pre", "--only", SPARSE)
        assert done.returncode == 0, done.stderr
        image = next(image for image in made.statement.images if image.name == SPARSE)
        place = f"{registry.address}/{SPARSE_PLACE}"
        run = [crane, "digest", "--insecure"]
        for name in (f"{place}:1.0", f"{place}@{image.root}"):
            assert subprocess.run([*run, name], capture_output=True, text=True).stdout.strip() == str(image.root)
        subprocess.run(
            [crane, "pull", "--insecure", "--platform", "linux/amd64", f"{place}:1.0", tmp_path / "pulled.tar"],
            check=True,
        )
        assert not list(registry.folder.glob("storage/**/repositories/pre/docker.io"))  # --only


# --- what refers to what ---------------------------------------------------------------------------------------------


def referred_bundle(folder: Path) -> TinyBundle:
    """An image and an SBOM that refers to it."""
    parts = bundles.Blobs()
    image = parts.image("docker.io/library/a:1", make_image({"a": b"a"}))
    sbom, empty = b'{"bomFormat":"CycloneDX"}', b"{}"
    about = compact(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "application/vnd.cyclonedx+json",
            "config": describe(empty, EMPTY_TYPE),
            "layers": [describe(sbom, "application/vnd.cyclonedx+json")],
            "subject": {"mediaType": MANIFEST, "digest": str(image.root.digest), "size": image.root.size},
        }
    )
    more = (parts.describe(EMPTY_TYPE, empty), parts.describe("application/vnd.cyclonedx+json", sbom))
    image = replace(image, blobs=(*image.blobs, *more), referrers=(parts.describe(MANIFEST, about),))
    lock = bundles.bare_lock(images=(image,))
    draft = draft_of(lock, sources=bundles.SOURCES, signers=(bundles.ALICE.public,))
    data, statement = bundles.assemble(draft, parts.known, (bundles.ALICE,))
    (folder / "tiny.bundle").write_bytes(data)
    (folder / "release.pub").write_bytes(bundles.ALICE.public.pem())
    return TinyBundle(
        path=folder / "tiny.bundle",
        keys=(bundles.ALICE,),
        lock=lock,
        blobs=parts.known,
        statement=statement,
        layout=draft.layout,
    )


@pytest.mark.parametrize("name", SERVERS)
def test_referrers_are_found_by_the_tag_and_others_stay(name: str, tmp_path: Path) -> None:
    oras = require_go_tool("oras")
    made = referred_bundle(tmp_path)
    (image,) = made.statement.images
    (tmp_path / "foreign.txt").write_text("theirs")
    with real_registry(tmp_path / "registry", name) as registry:
        place = f"{registry.address}/pre/docker.io/library/a:1"

        def discovered() -> set[str]:
            command = [
                oras,
                "discover",
                "--plain-http",
                "--distribution-spec",
                "v1.1-referrers-tag",
                "--format",
                "json",
            ]
            found = subprocess.run([*command, place], capture_output=True, check=True, timeout=60).stdout
            return {entry["digest"] for entry in json.loads(found)["referrers"]}

        first = bundle(made, f"{registry.url}/pre", "--json")
        assert (first.returncode, facts(first)["tags"]) == (0, 2), first.stderr
        ours = {str(digest) for digest in image.referrers}
        assert discovered() == ours
        attach = [oras, "attach", "--plain-http", "--artifact-type", "text/x", place, "foreign.txt:text/plain"]
        subprocess.run(attach, check=True, capture_output=True, timeout=60, cwd=tmp_path)
        assert facts(bundle(made, f"{registry.url}/pre", "--json"))["changed"] is False
        both = discovered()
        assert both > ours
        # Somebody wrote the tag without ours: it gets them again, and keeps theirs.
        (theirs,) = both - ours
        repository = Repository(url=registry.url, name="pre/docker.io/library/a")
        entry = {"mediaType": MANIFEST, "digest": theirs, "size": 1, "artifactType": "text/x"}
        crane = require_go_tool("crane")
        data = subprocess.run(
            [crane, "manifest", "--insecure", f"{place.rpartition(':')[0]}@{theirs}"], capture_output=True, check=True
        ).stdout
        repository.fallback({"digest": str(image.root)}, [{**entry, "size": len(data)}])
        assert facts(bundle(made, f"{registry.url}/pre", "--json"))["tags"] == 1
        assert discovered() == both


# --- cuts and kills --------------------------------------------------------------------------------------------------


@contextmanager
def cutting(address: str, *after: int) -> Iterator[str]:
    """A way to `address` on which the first connections are cut, each after so many bytes of the client's."""
    host, _, port = address.partition(":")
    limits: list[float] = list(after)
    threads: list[threading.Thread] = []
    clients: list[socket.socket] = []

    def pump(source: socket.socket, sink: socket.socket, left: float) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and (left := left - len(data)) >= 0:
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def carry(client: socket.socket, left: float) -> None:
        with client, socket.create_connection((host, int(port))) as server:
            back = threading.Thread(target=pump, args=(server, client, float("inf")))
            back.start()
            pump(client, server, left)
            back.join()

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                clients.append(client)
                threads.append(threading.Thread(target=carry, args=(client, limits.pop(0) if limits else float("inf"))))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        for plug in (listener, *clients):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
        for each in (accepting, *threads):
            each.join(20)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """Files of 6 MB that nothing shortens."""
    folder = tmp_path_factory.mktemp("large")
    files = {f"file-{at:02}.bin": random.Random(at).randbytes(6_000_000) for at in range(20)}
    made = tiny_bundle(folder, files=files, images={}, wheels=(), debs=())
    (folder / "release.pub").write_bytes(made.publics[0].pem())
    return made


@pytest.mark.parametrize("name", SERVERS)
def test_chunks_go_on_after_cuts(large: TinyBundle, name: str, tmp_path: Path) -> None:
    digest = large.statement.files[0].digest
    sent: list[int] = []
    transport = Transport(TransportConfig(sleep=lambda seconds: None))
    with (
        real_registry(tmp_path / "registry", name) as registry,
        cutting(registry.address, 3_500_000, 1_500_000, 1_200_000) as way,
        BundleFile(large.path) as file,
    ):
        client = Registry(Target.parse(f"http://{way}"), transport=transport, credentials=Credentials())
        blobs = Blobs(file, {place.member.name: place for place in large.layout.places})
        Upload(client, "x", Payload(file, blobs.place(digest), digest, sent.append), chunk=1 << 20).run()
        assert client.holds_blob("x", digest, 6_000_000)
        transport.close()
        asked = [line.split()[0] for line in registry.asked()]
    assert sum(sent) == 6_000_000
    assert not client.whole
    assert asked.count("PATCH") >= 6
    # 3 says how far an upload came that was cut within a chunk, and it goes on from there. 2.8 has lost it as soon as
    # it has seen the cut, and then all begins anew.
    assert asked.count("POST") in ((1,) if name == "distribution" else (2, 3, 4))


@pytest.mark.parametrize("name", SERVERS)
def test_killed_and_run_again(large: TinyBundle, name: str, tmp_path: Path) -> None:
    with real_registry(tmp_path / "registry", name) as registry:
        target = f"{registry.url}/pre"
        process = subprocess.Popen(command(large, target, "-j", "2", "-q"), env=env({}))
        deadline = time.monotonic() + 60
        while sum(line.startswith("PUT") for line in registry.asked()) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        done = bundle(large, target, "--json", "-q")
        assert done.returncode == 0, done.stderr
        assert 0 < facts(done)["blobs"] < len(large.statement.files) + 1
        assert facts(bundle(large, target, "--json"))["changed"] is False
        held = {path.parent.name for path in registry.folder.glob("storage/**/blobs/sha256/*/*/data")}
        assert held >= {entry.digest.hex for entry in large.statement.files}


def test_a_damaged_bundle_is_named_and_its_blob_never_arrives(tmp_path: Path) -> None:
    files = {"good.bin": random.Random(1).randbytes(300_000), "bad.bin": random.Random(2).randbytes(300_000)}
    made = tiny_bundle(tmp_path, files=files, images={}, wheels=(), debs=())
    (tmp_path / "release.pub").write_bytes(made.publics[0].pem())
    good, bad = (next(each for each in made.statement.files if each.name == name) for name in files)
    place = made.layout.place(f"blobs/sha256/{bad.digest.hex}")
    with made.path.open("r+b") as file:
        file.seek(place.body + 299_000)
        file.write(b"\0\0\0")
    with real_registry(tmp_path / "registry") as registry:
        done = bundle(made, registry.url)
        assert (done.returncode, "bad.bin" in done.stderr) == (44, True), done.stderr
        held = {path.parent.name for path in registry.folder.glob("storage/**/blobs/sha256/*/*/data")}
        assert good.digest.hex in held
        assert not held & {bad.digest.hex, bad.manifest.hex}


def test_nothing_is_asked_of_a_registry_before_the_signature_holds(made: TinyBundle, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(BOB.public.pem())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        target = f"http://127.0.0.1:{listener.getsockname()[1]}"
        plain = [word if not word.endswith("release.pub") else str(other) for word in command(made, target)]
        done = subprocess.run(plain, capture_output=True, text=True, timeout=60, env=env({}))
        assert done.returncode == 31
        with pytest.raises(BlockingIOError):
            listener.accept()
