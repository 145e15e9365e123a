from pathlib import Path

import pytest

from bundler.errors import NameConflict
from bundler.model.digest import Digest
from tests.content import TestSite, make_deb, make_image, make_wheel

V2 = "registry/docker/registry/v2"


@pytest.fixture
def site(tmp_path: Path) -> TestSite:
    return TestSite(tmp_path)


def links(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("link"))}


def test_an_image_is_laid_out_as_distribution_does(site: TestSite) -> None:
    image = site.image(make_image({"./hello": b"hi"}, index=True), "example.com:5000/app:1")
    target = site.publish("one")
    found = links(target / f"{V2}/repositories/example.com_5000/app")
    revisions = {f"_manifests/revisions/sha256/{digest.hex}/link": str(digest) for digest in image.manifests}
    layers = {f"_layers/sha256/{digest.hex}/link": str(digest) for digest in image.blobs}
    tag = {
        "_manifests/tags/1/current/link": str(image.root),
        f"_manifests/tags/1/index/sha256/{image.root.hex}/link": str(image.root),
    }
    assert found == revisions | layers | tag
    for digest in image.members:
        data = target / f"{V2}/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"
        assert data.samefile(site.store.path(digest))


def test_a_tag_is_only_where_the_reference_has_one(site: TestSite) -> None:
    made = make_image({"./hello": b"hi"})
    site.image(made, f"docker.io/library/app@{Digest.of(made.root)}")
    target = site.publish("one")
    assert not (target / f"{V2}/repositories/docker.io/library/app/_manifests/tags").exists()


def test_images_may_share_everything(site: TestSite) -> None:
    made = make_image({"./hello": b"hi"})
    for name in ("docker.io/library/app:1", "docker.io/library/app:2", "quay.io/library/app:1"):
        site.image(made, name)
    target = site.publish("one")
    tags = sorted(path.parts[-4:-2] for path in (target / V2).glob("repositories/**/tags/*/current/link"))
    assert [tag for _, tag in tags] == ["1", "1", "2"]


def test_one_tag_for_two_images_is_refused(site: TestSite) -> None:
    site.image(make_image({"./hello": b"one"}), "example.com/app:1")
    site.image(make_image({"./hello": b"two"}), "EXAMPLE.com/app:1")
    with pytest.raises(NameConflict) as caught:
        site.publish("one")
    assert caught.value.name == "example.com/app:1"


def test_other_artifacts_lie_under_bundle_by_digest(site: TestSite) -> None:
    wheel = site.wheel(make_wheel("tool"), "tool")
    deb = site.deb(make_deb("tool"))
    file = site.file("readme.txt", b"text")
    target = site.publish("one")
    for kind, artifact in (("wheel", wheel), ("deb", deb), ("file", file)):
        found = links(target / f"{V2}/repositories/bundle/{kind}")
        layers = {digest for digest in artifact.members if digest != artifact.manifest}
        assert set(found.values()) == {str(digest) for digest in (*layers, artifact.manifest)}
        assert f"_manifests/revisions/sha256/{artifact.manifest.hex}/link" in found
