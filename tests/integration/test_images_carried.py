"""Images of several platforms with what refers to them: from a real registry through lock, bundle and site to real
clients."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bundler.catalog.manifests import Manifests
from bundler.closure.proof import prove_pins
from bundler.errors import PinGone, ResolutionFailed
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.support.files import read_text
from bundler.support.progress import Silent
from bundler.transport import Upstreams
from bundler.workflows import create as create_module
from bundler.workflows.create import create
from bundler.workflows.install import install
from bundler.workflows.lock import lock
from bundler.workflows.places import Places
from tests.bundles import ALICE, SOURCES
from tests.images import Repository
from tests.integration.test_views import docker_registry
from tests.lab import Upstream, require_go_tool, require_program
from tests.serving import Running, running

SBOM, SCAN = "application/spdx+json", "application/vnd.example.scan.v1"
APP = "registry.example/team/app:1.0"


def call(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def profile(folder: Path, images: str, *, platforms: str = "linux/amd64, linux/arm64") -> Manifests:
    """A profile `p` of one component with these images, as YAML items."""
    for name in ("components", "profiles", "files"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "components/app.yaml").write_text(f"component: app\nimages:\n{images}\n")
    (folder / "profiles/p.yaml").write_text(
        f"profile: p\nrelease: {{line: p, number: 1}}\nplatforms: [{platforms}]\nbootstrap: {{python: []}}\n"
        "components: [app]\n"
    )
    return Manifests(folders=(folder,))


def locked(manifests: Manifests, upstream: str, out: Path, *, update: tuple[str, ...] = (), **more: Any) -> Lock:
    upstreams = [f"registry.example={upstream}"] if upstream else []
    places = Places(manifests=manifests, upstreams=Upstreams.parse(upstreams, **more))
    lock("p", out, places=places, update=update, dry_run=False, progress=Silent())
    return parse_lock(read_text(out, limit=LIMITS.document), file=str(out))


@dataclass(frozen=True, kw_only=True)
class Carried:
    repository: Repository
    root: dict[str, Any]
    children: dict[str, dict[str, Any]]
    referrers: list[dict[str, Any]]
    lock: Lock
    bundle: Path
    site: Path


@pytest.fixture(scope="module")
def carried(empty_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    folder = tmp_path_factory.mktemp("carried")
    repository = Repository(url=empty_upstream.url, name="team/app")
    names = ("linux/amd64", "linux/arm64", "windows/amd64", "linux/s390x")
    children = {name: repository.image(name) for name in names}
    extra = [repository.attestation(children["linux/amd64"]), repository.attestation(children["linux/arm64"])]
    root = repository.index([*children.values(), *extra], "1.0")
    about_root = [repository.referrer(root, SBOM, b"{}1"), repository.referrer(root, SCAN, b"{}2", note="a scan")]
    about_child = [repository.referrer(children["linux/arm64"], SBOM, b"{}3")]
    repository.fallback(root, about_root)
    repository.fallback(children["linux/arm64"], about_child)
    repository.fallback(children["linux/s390x"], [repository.referrer(children["linux/s390x"], SBOM, b"{}4")])
    repository.cosign(root)
    repository.cosign(children["linux/amd64"], "att")
    found = locked(profile(folder / "m", f"- reference: {APP}\n  referrers: true"), empty_upstream.url, folder / "lock")
    places = Places(
        manifests=Manifests(folders=(folder / "m",)), upstreams=Upstreams.parse([f"registry.example={repository.url}"])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(create_module, "tool_sources", lambda: SOURCES)
        bundle = folder / "app.bundle"
        create(folder / "lock", bundle, keys=[ALICE], places=places, jobs=4, progress=Silent())
    install(bundle, folder / "site", keys=(ALICE.public,), threshold=None, jobs=2, progress=Silent())
    return Carried(
        repository=repository,
        root=root,
        children=children,
        referrers=[*about_root, *about_child],
        lock=found,
        bundle=bundle,
        site=folder / "site",
    )


@pytest.fixture(scope="module")
def embedded(carried: Carried) -> Iterator[Running]:
    with running(carried.site) as found:
        yield found


@pytest.fixture(scope="module", params=["embedded", "distribution"])
def address(
    request: pytest.FixtureRequest, carried: Carried, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The site's registry, served by us and by Debian's docker-registry."""
    if request.param == "embedded":
        with running(carried.site) as found:
            yield f"127.0.0.1:{found.port}"
    else:
        with docker_registry(tmp_path_factory.mktemp("registry"), carried.site / "current/registry") as found:
            yield found


def test_the_lock_has_the_chosen_platforms_and_what_refers_to_them(carried: Carried) -> None:
    image, att, sig = sorted(carried.lock.images, key=lambda each: (each.reference.tag != "1.0", each.name[-3:]))
    assert str(image.root.digest) == carried.root["digest"]
    chosen = {carried.children[name]["digest"] for name in ("linux/amd64", "linux/arm64")}
    assert {str(each.digest) for each in image.manifests} == chosen
    assert {str(each.digest) for each in image.referrers} == {each["digest"] for each in carried.referrers}
    assert len(image.blobs) == 2 * 2 + 1 + 3  # two images; an empty config for all; a layer each
    assert sig.reference.tag == f"sha256-{carried.root['digest'][7:]}.sig"
    assert att.reference.tag == f"sha256-{carried.children['linux/amd64']['digest'][7:]}.att"


def test_a_signature_that_was_taken_away_is_missed(carried: Carried) -> None:
    assert prove_pins(carried.lock).errors == ()
    for image in carried.lock.images:
        rest = tuple(other for other in carried.lock.images if other is not image)
        errors = prove_pins(replace(carried.lock, images=rest)).errors
        assert errors == (f"image {image.name} for p, wanted by app",)


def test_the_bundle_holds_the_original_index_and_no_other_platform(carried: Carried) -> None:
    blobs = {name.rpartition("/")[2] for name in call("tar", "-tf", carried.bundle).split() if "sha256/" in name}
    assert carried.root["digest"][7:] in blobs
    for name, child in carried.children.items():
        assert (child["digest"][7:] in blobs) == (name in ("linux/amd64", "linux/arm64"))
    top = json.loads(call("tar", "-xOf", carried.bundle, "index.json"))
    names = [each.get("annotations", {}).get("org.opencontainers.image.ref.name") for each in top["manifests"]]
    assert names == [APP, None]  # a signature has no name that an importer would unpack


def test_the_file_is_read_by_others(carried: Carried, tmp_path: Path) -> None:
    skopeo, oras = require_program("skopeo"), require_go_tool("oras")
    raw = call(skopeo, "inspect", "--raw", f"oci-archive:{carried.bundle}:{APP}")
    assert Digest.of(raw.encode()) == Digest.parse(carried.root["digest"])
    for architecture in ("amd64", "arm64"):
        target = tmp_path / architecture
        call(skopeo, "copy", "--override-arch", architecture, f"oci-archive:{carried.bundle}:{APP}", f"dir:{target}")
        found = Digest.of((target / "manifest.json").read_bytes())
        assert str(found) == carried.children[f"linux/{architecture}"]["digest"]
    manifest = call(oras, "manifest", "fetch", "--oci-layout", f"{carried.bundle}@{carried.referrers[0]['digest']}")
    assert json.loads(manifest)["artifactType"] == SBOM


def test_clients_pull_each_platform(carried: Carried, address: str, tmp_path: Path) -> None:
    skopeo, crane = require_program("skopeo"), require_go_tool("crane")
    reference = f"{address}/{APP}"
    assert call(crane, "digest", "--insecure", reference).strip() == carried.root["digest"]
    for architecture in ("amd64", "arm64"):
        wanted = carried.children[f"linux/{architecture}"]["digest"]
        place = tmp_path / architecture
        call(crane, "pull", "--insecure", "--format=oci", f"--platform=linux/{architecture}", reference, place)
        assert wanted in (place / "index.json").read_text()
        options = ("--src-tls-verify=false", "--preserve-digests", "--override-arch", architecture)
        call(skopeo, "copy", *options, f"docker://{reference}", f"dir:{tmp_path / 'skopeo'}")
        assert str(Digest.of((tmp_path / "skopeo/manifest.json").read_bytes())) == wanted


def test_oras_finds_the_referrers(carried: Carried, address: str, tmp_path: Path) -> None:
    oras = require_go_tool("oras")
    for subject, about in (
        (carried.root, carried.referrers[:2]),
        (carried.children["linux/arm64"], carried.referrers[2:]),
    ):
        reference = f"{address}/registry.example/team/app@{subject['digest']}"
        found = json.loads(call(oras, "discover", "--plain-http", "--format", "json", reference))
        listed = {each["digest"]: each["artifactType"] for each in found["referrers"]}
        assert listed == {each["digest"]: each["artifactType"] for each in about}
        one = json.loads(
            call(oras, "discover", "--plain-http", "--format", "json", "--artifact-type", SBOM, reference)
        )["referrers"]
        assert [each["digest"] for each in one] == [each["digest"] for each in about if each["artifactType"] == SBOM]
    scan = carried.referrers[1]["digest"]
    call(oras, "pull", "--plain-http", "-o", tmp_path, f"{address}/registry.example/team/app@{scan}")
    call(oras, "blob", "fetch", "--plain-http", "-o", tmp_path / "scan", *_layer(carried, scan, address))
    assert (tmp_path / "scan").read_bytes() == b"{}2"


def _layer(carried: Carried, manifest: str, address: str) -> list[str]:
    layer = json.loads(carried.repository.kept[manifest])["layers"][0]["digest"]
    return [f"{address}/registry.example/team/app@{layer}"]


def test_cosigns_tags_are_there(carried: Carried, address: str) -> None:
    crane = require_go_tool("crane")
    for subject, ending in ((carried.root, "sig"), (carried.children["linux/amd64"], "att")):
        tag = f"{subject['digest'].replace(':', '-')}.{ending}"
        raw = call(crane, "manifest", "--insecure", f"{address}/registry.example/team/app:{tag}").rstrip("\n")
        assert raw.encode() == carried.repository.kept[str(Digest.of(raw.encode()))]
        layer = json.loads(raw)["layers"][0]["digest"]
        data = call(crane, "blob", "--insecure", f"{address}/registry.example/team/app@{layer}")
        assert subject["digest"] in data


def test_the_api_of_referrers(carried: Carried, embedded: Running) -> None:
    path = f"/v2/registry.example/team/app/referrers/{carried.root['digest']}"
    reply = embedded.ask(path)
    assert (reply.status, reply.fields["content-type"]) == (200, "application/vnd.oci.image.index.v1+json")
    wanted = sorted(carried.referrers[:2], key=lambda each: each["digest"])
    assert json.loads(reply.body)["manifests"] == wanted
    tag = f"sha256-{carried.root['digest'][7:]}"
    assert embedded.ask(f"/v2/registry.example/team/app/manifests/{tag}").body == reply.body
    some = embedded.ask(f"{path}?artifactType={SCAN.replace('+', '%2B')}")
    assert [each["artifactType"] for each in json.loads(some.body)["manifests"]] == [SCAN]
    assert some.fields["oci-filters-applied"] == "artifactType"
    assert json.loads(embedded.ask(f"{path}?artifactType=a/b").body)["manifests"] == []


def test_a_lock_again_keeps_and_an_update_asks_anew(empty_upstream: Upstream, tmp_path: Path) -> None:
    repository = Repository(url=empty_upstream.url, name="team/moving")
    image = repository.image("linux/amd64", tag="1")
    repository.fallback(image, [repository.referrer(image, SBOM, b"old")])
    text = "- reference: registry.example/team/moving:1"
    one = profile(tmp_path / "m", f"{text}\n  referrers: true", platforms="linux/amd64")
    first = locked(one, repository.url, tmp_path / "lock")
    new = repository.referrer(image, SCAN, b"new")
    repository.fallback(image, [repository.referrer(image, SBOM, b"old"), new])
    repository.cosign(image)
    assert locked(one, repository.url, tmp_path / "lock") == first
    moved = locked(one, repository.url, tmp_path / "lock", update=("registry.example/team/moving:1",))
    assert [len(each.referrers) for each in moved.images] == [2, 0]
    without = profile(tmp_path / "m", text, platforms="linux/amd64")
    (bare,) = locked(without, repository.url, tmp_path / "lock").images
    assert (bare.referrers, len(bare.blobs)) == ((), 2)
    again = locked(
        profile(tmp_path / "m", f"{text}\n  referrers: true", platforms="linux/amd64"),
        repository.url,
        tmp_path / "lock",
    )
    assert again.images == moved.images
    repository.delete(new)
    with pytest.raises(PinGone, match=new["digest"]):
        locked(one, repository.url, tmp_path / "lock")


def test_an_image_for_one_of_two_platforms(empty_upstream: Upstream, tmp_path: Path) -> None:
    repository = Repository(url=empty_upstream.url, name="team/single")
    repository.index([repository.image("linux/amd64"), repository.image("windows/amd64")], "1")
    with pytest.raises(ResolutionFailed, match="linux/arm64") as caught:
        locked(profile(tmp_path, "- registry.example/team/single:1"), repository.url, tmp_path / "lock")
    assert "registry.example/team/single:1" in caught.value.what


def test_the_command_takes_mirrors(empty_upstream: Upstream, tmp_path: Path) -> None:
    """From the option and the environment; the registry itself is not there any more when the bundle is made."""
    Repository(url=empty_upstream.url, name="team/mirrored").image("linux/amd64", tag="1")
    profile(tmp_path, "- registry.example/team/mirrored:1", platforms="linux/amd64")
    bundle = (sys.executable, "-m", "bundler")
    options = ("--manifests", tmp_path, "--upstream")
    lock_path, gone = tmp_path / "lock", "registry.example=http://127.0.0.9:1"
    call(*bundle, "lock", "-q", "-p", "p", "-o", lock_path, *options, f"registry.example={empty_upstream.url}")
    mirror = f"registry.example={empty_upstream.url}"
    create_it = (*bundle, "create", "--lock", lock_path, "-o", tmp_path / "a.bundle", *options, gone)
    done = subprocess.run(
        [str(part) for part in (*create_it, "--mirror", "registry.example=http://127.0.0.9:2")],
        env={**os.environ, "BUNDLE_MIRROR": mirror},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 28, done.stderr  # an option stands instead of the variable: neither place is there
    assert "registry.example does not answer" not in done.stderr
    done = subprocess.run(
        [str(part) for part in create_it],
        env={**os.environ, "BUNDLE_MIRROR": f"registry.example=http://127.0.0.9:2 {mirror}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mirror http://127.0.0.9:2 is left out" in done.stderr
