"""Nothing is missing: locks that come up short are refused, by name, before the trip."""

import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import Incomplete
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.support.progress import Silent
from bundler.workflows.create import create
from bundler.workflows.places import Places
from tests.campaigns import Workshop
from tests.lab import ROOT, PlatformUpstream, Upstream, require_go_tool, require_program

PROFILE = """
profile: shop
release: {line: shop, number: 1}
platforms: [linux/amd64]
bootstrap: {python: []}
components: [helm, shop]
"""
HELM = """
component: helm
files: [{name: helm, url: "file:helm"}]
tools: {helm: {file: helm}}
provides: {helm: 3.22.0}
"""
SHOP = """
component: shop
charts:
- chart: shop
  repository: file:shop
  values: {image: "lab.example/shop/image-00:1"}
  variants:
    other: {other: "lab.example/shop/image-01:1"}
"""
IMAGE = "lab.example/shop/image-02:1"
CHART = {
    "Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "values.yaml": "image: nowhere\nother: ''\nhidden: lab.example/shop/image-02:1\n",
    "templates/shop.yaml": """
apiVersion: v1
kind: Pod
metadata: {name: shop}
spec: {containers: [{name: shop, image: "{{ .Values.image }}"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {settings.yaml: "sidecar-image: {{ .Values.other }}"}
""",
}


def write_tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, empty_upstream: Upstream) -> Workshop:
    empty_upstream.add_random_images(3, prefix="shop/")
    made = Workshop(folder=tmp_path_factory.mktemp("complete"), upstreams={"lab.example": empty_upstream.url})
    manifests = made.folder / "manifests"
    write_tree(manifests, {"profiles/shop.yaml": PROFILE, "components/helm.yaml": HELM, "components/shop.yaml": SHOP})
    write_tree(manifests / "charts/shop", CHART)
    (manifests / "files").mkdir()
    (manifests / "files/helm").write_bytes(Path(require_go_tool("helm")).read_bytes())
    made.run("keys", "create", "release")
    made.lock("shop")
    return made


def read(workshop: Workshop) -> Lock:
    return parse_lock((workshop.folder / "shop.lock").read_text(), file="shop.lock")


def test_the_lock_finds_the_images_that_charts_show(workshop: Workshop) -> None:
    """With the values, and with each variant; not those that no variant brings."""
    lock = read(workshop)
    shown = ["lab.example/shop/image-00:1", "lab.example/shop/image-01:1"]
    assert [image.name for image in sorted(lock.images, key=lambda image: image.name)] == shown
    assert [str(image) for asked in lock.asked for image in asked.revealed] == shown
    said = workshop.run("check", "shop.lock", "--all")
    assert "hint: image lab.example/shop/image-02:1" in said
    assert "is complete: 2 images, 1 chart" in said


def test_a_bundle_proves_itself_from_what_is_in_it(workshop: Workshop) -> None:
    workshop.run(*workshop.create("shop.bundle", lock="shop.lock"))
    nowhere = Workshop(folder=workshop.folder, upstreams={"lab.example": "http://127.0.0.1:1"})
    assert "complete" in nowhere.run("check", "shop.bundle", "--trust", "release.pub")
    nowhere.run("check", "shop.bundle", code=2)
    found = json.loads(nowhere.run("check", "shop.bundle", "--trust", "release.pub", "--json", "-q"))
    assert (found["complete"], found["missing"], found["renders"]) == (True, [], 2)


def test_what_only_a_render_shows_is_missed(workshop: Workshop) -> None:
    """The lock names no one who wants the image, the chart does; nothing is left of the bundle."""
    lock = read(workshop)
    less = replace(
        lock,
        images=tuple(image for image in lock.images if "image-01" not in image.name),
        asked=tuple(replace(asked, revealed=()) for asked in lock.asked),
    )
    (workshop.folder / "less.lock").write_text(write_lock(less))
    said = workshop.run(*workshop.create("less.bundle", lock="less.lock"), code=72)
    assert "image lab.example/shop/image-01:1 (missing)" in said
    assert "wanted by shop-1.0.0: " in said, said
    assert "ConfigMap settings" in said, said
    assert not list(workshop.folder.glob("less.bundle*"))
    workshop.run("check", "less.lock", code=72)


def test_a_plain_manifest_is_read_too(workshop: Workshop, tmp_path: Path) -> None:
    """A static pod, or what somebody will kubectl apply; a text that is none is said to be unseen."""
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: vip}\nspec:\n  containers: [{name: vip, image: 'IMAGE'}]\n"
    shop = SHOP + 'files: [{name: vip.yaml, url: "file:vip.yaml"}]\n'
    write_tree(tmp_path, {"components/shop.yaml": shop, "files/vip.yaml": pod.replace("IMAGE", IMAGE)})
    options = ("--manifests", str(tmp_path), "--manifests", "manifests")
    workshop.run("lock", "-p", "shop", "-o", "pod.lock", *options)
    lock = parse_lock((workshop.folder / "pod.lock").read_text(), file="pod.lock")
    assert IMAGE in [image.name for image in lock.images]
    less = replace(
        lock,
        images=tuple(image for image in lock.images if image.name != IMAGE),
        asked=tuple(replace(asked, revealed=()) for asked in lock.asked),
    )
    (workshop.folder / "less.lock").write_text(write_lock(less))
    assert "wanted by vip.yaml: Pod vip" in workshop.run("check", "less.lock", *options, code=72)
    write_tree(tmp_path, {"files/vip.yaml": "a: [\n"})
    workshop.run("lock", "-p", "shop", "-o", "broken.lock", *options)
    assert "not seen: vip.yaml: " in workshop.run("check", "broken.lock", *options)


def test_check_goes_on_where_a_chart_or_a_program_is_missing(workshop: Workshop) -> None:
    lock = read(workshop)
    (workshop.folder / "less.lock").write_text(write_lock(replace(lock, charts=(), files=())))
    said = workshop.run("check", "less.lock", code=72)
    assert "chart shop-1.0.0 for shop, wanted by shop" in said
    assert "file helm for shop, wanted by helm" in said
    assert "not seen: shop-1.0.0: not rendered" in said


def test_a_false_alarm_is_silenced_by_name(workshop: Workshop, tmp_path: Path) -> None:
    """And a silence that nothing needs any more is told."""
    shop = SHOP + 'silence: [{image: "lab.example/shop/image-01:1", reason: the sidecar is not used here}]\n'
    write_tree(tmp_path, {"components/shop.yaml": shop})
    options = ("--manifests", str(tmp_path), "--manifests", "manifests")
    workshop.run("lock", "-p", "shop", "-o", "silenced.lock", *options)
    lock = parse_lock((workshop.folder / "silenced.lock").read_text(), file="silenced.lock")
    assert [image.name for image in lock.images] == ["lab.example/shop/image-00:1"]
    assert "complete" in workshop.run("check", "silenced.lock", *options)
    write_tree(tmp_path, {"components/shop.yaml": shop.replace('image-01:1", reason', 'image-09:1", reason')})
    workshop.run("lock", "-p", "shop", "-o", "unused.lock", *options)
    assert "silenced (the sidecar is not used here), and nothing names it" in workshop.run(
        "check", "unused.lock", *options
    )


def test_a_stale_lock_has_an_exit_code_of_its_own(workshop: Workshop, tmp_path: Path) -> None:
    before = (workshop.folder / "shop.lock").read_bytes()
    workshop.run("lock", "-p", "shop", "-o", "shop.lock", "--check")
    more = SHOP + 'images: ["lab.example/shop/image-02:1"]\n'
    write_tree(tmp_path, {"components/shop.yaml": more})
    options = ("--manifests", str(tmp_path), "--manifests", "manifests")
    said = workshop.run("lock", "-p", "shop", "-o", "shop.lock", "--check", *options, code=73)
    assert "+ image lab.example/shop/image-02:1" in said
    assert (workshop.folder / "shop.lock").read_bytes() == before
    workshop.run("lock", "-p", "shop", "-o", "more.lock", *options)
    said = workshop.run("diff", "shop.lock", "more.lock")
    assert "+ image lab.example/shop/image-02:1" in said
    found = json.loads(workshop.run("diff", "shop.lock", "more.lock", "--json"))
    after = parse_lock((workshop.folder / "more.lock").read_text(), file="more.lock")
    image = next(each for each in after.images if "image-02" in each.name)
    assert dict(found["carry"])["images"] == sum(blob.size for blob in (image.root, *image.manifests, *image.blobs))
    assert json.loads(workshop.run("diff", "more.lock", "more.lock", "--json"))["bytes"] == 0


def test_a_profile_is_checked_as_far_as_its_sources_answer(workshop: Workshop, tmp_path: Path) -> None:
    """What could not be asked is named, and is no error; versions that do not fit are one."""
    assert "resolved: 4" in workshop.run("check", "-p", "shop")
    shop = SHOP + 'images: ["gone.example/app:1"]\nfiles: [{name: f, url: "file:nowhere", license: Secret}]\n'
    write_tree(tmp_path, {"components/shop.yaml": shop})
    options = ("--manifests", str(tmp_path), "--manifests", "manifests", "-p", "shop")
    alone = Workshop(folder=workshop.folder, upstreams={**workshop.upstreams, "gone.example": "http://127.0.0.1:1"})
    said = alone.run("check", *options)
    assert "licence to accept: Secret, for the file f of the component shop" in said
    assert "not checked: 2\n" in said
    assert "  image gone.example/app:1: cannot reach http://127.0.0.1:1/" in said
    assert "  file f: cannot read file:nowhere" in said
    write_tree(tmp_path, {"components/shop.yaml": shop + "provides: {kubernetes: 1.36.3}\n"})
    said = alone.run("check", *options, code=72)
    assert "kubernetes 1.36.3 needs containerd >=2.2.0, and nothing provides it" in said


KINDS = ("images", "charts", "wheels", "debs", "files")


def each_less(lock: Lock) -> Iterator[tuple[str, Any, Lock]]:
    """For every artifact: what it is called in an error, itself, and the lock without it."""
    for kind in KINDS:
        entries = getattr(lock, kind)
        for entry in entries:
            name = {"wheels": "project", "debs": "package"}.get(kind, "name")
            rest = tuple(other for other in entries if other is not entry)
            less: dict[str, Any] = {kind: rest}
            yield getattr(entry, name), entry, replace(lock, **less)
    for wheel in lock.bootstrap.wheels:
        rest = tuple(other for other in lock.bootstrap.wheels if other is not wheel)
        yield wheel.project, wheel, replace(lock, bootstrap=replace(lock.bootstrap, wheels=rest))


def refused(lock: Lock) -> tuple[str, ...]:
    """What `create` says of a lock that comes up short; it leaves nothing behind."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, places = Path(scratch), Places(manifests=Manifests(folders=()))
        (folder / "less.lock").write_text(write_lock(lock))
        try:
            create(folder / "less.lock", folder / "o", keys=[], places=places, jobs=1, progress=Silent())
        except Incomplete as error:
            assert [path.name for path in folder.iterdir()] == ["less.lock"]
            return error.problems
    return ()


def sweep(path: Path) -> int:
    """Take away each artifact in turn: `create` refuses, names it, and says who wants it."""
    lock = parse_lock(path.read_text(), file=str(path))
    taken = list(each_less(lock))
    with ProcessPoolExecutor(mp_context=get_context("forkserver")) as pool:
        for (name, entry, _), problems in zip(taken, pool.map(refused, (less for *_, less in taken)), strict=True):
            naming = [line for line in problems if name.removesuffix(".tgz") in line and "wanted by" in line]
            assert naming, (entry.name, problems)
    return len(taken)


def test_taking_away_any_artifact_of_the_quickstart_is_noticed() -> None:
    require_program("apt-get")
    assert sweep(ROOT / "images.lock") > 150


def test_taking_away_any_artifact_of_a_kubernetes_profile_is_noticed(
    platform_upstream: PlatformUpstream, tmp_path: Path
) -> None:
    made = Workshop(folder=tmp_path, upstreams=platform_upstream.hosts)
    manifests = ("--manifests", str(ROOT / "scripts/lab/manifests"))
    made.run("lock", "-p", "lab-kubernetes-small", "-o", "kubernetes.lock", *manifests)
    assert "complete" in made.run("check", "kubernetes.lock", *manifests)
    assert sweep(tmp_path / "kubernetes.lock") > 150
