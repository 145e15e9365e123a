import pytest

from bundler.errors import NameConflict
from bundler.model.digest import Digest
from bundler.model.reference import Reference
from bundler.model.sitenames import check_site_names, site_archive

A, B = Digest.of(b"a"), Digest.of(b"b")


@pytest.mark.parametrize(
    ("images", "conflict"),
    [
        ([("docker.io/library/app:1", A), ("quay.io/library/app:1", B)], None),
        ([("app:1", A), ("app:2", B)], None),
        ([("app:1", A), (f"app:1@{A}", A)], None),
        ([(f"app@{A}", A), (f"app@{B}", B)], None),
        ([("app:1", A), (f"docker.io/library/app:1@{B}", B)], "docker.io/library/app:1"),
        ([("example.com/app:1", A), ("EXAMPLE.com/app:1", B)], "example.com/app:1"),
        ([("example.com/app:1", A), ("EXAMPLE.com/app:1", A)], None),
        ([("[1::2]:5000/app:1", A), ("[1::2]:5001/app:1", B)], None),
        ([("Bundle/wheel:1", A)], "bundle"),
    ],
)
def test_images(images: list[tuple[str, Digest]], conflict: str | None) -> None:
    parsed = [(Reference.parse(name), digest) for name, digest in images]
    if conflict is None:
        check_site_names(images=parsed)
    else:
        with pytest.raises(NameConflict) as caught:
            check_site_names(images=parsed)
        assert caught.value.name == conflict


def test_two_registries_under_one_name() -> None:
    six = Reference(registry="[1::2]", repository="app")
    named = Reference(registry="ip6-1--2", repository="app")
    with pytest.raises(NameConflict) as caught:
        check_site_names(images=[(six, A), (named, A)])
    assert caught.value.name == "ip6-1--2"


def test_debs() -> None:
    check_site_names(debs=[("debian", "bookworm", "a.deb", A), ("debian-security", "bookworm", "a.deb", A)])
    check_site_names(debs=[("debian", "bookworm", "a.deb", A), ("debian", "trixie", "a.deb", B)])
    with pytest.raises(NameConflict):
        check_site_names(debs=[("debian", "bookworm", "a.deb", A), ("debian-security", "bookworm", "a.deb", B)])


def test_files() -> None:
    check_site_names(files=[("a", A), ("b", A)])
    with pytest.raises(NameConflict):
        check_site_names(files=[("a", A), ("a", B)])
    with pytest.raises(NameConflict):
        check_site_names(files=[("SHA256SUMS", A)])


def test_site_archive() -> None:
    assert site_archive("debian") == site_archive("debian-security") == "debian"
    assert site_archive("security") == "security"
