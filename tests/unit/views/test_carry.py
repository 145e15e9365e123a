import subprocess
from pathlib import Path

import pytest

from bundler.errors import NameConflict
from bundler.signing.openpgp import create_apt_key
from bundler.views.carry import carried, carry_over, content_addressed
from bundler.views.tree import Tree
from tests.content import DATE, TestSite, make_deb, make_image, make_wheel

HEX = "a" * 64
KEY = create_apt_key("t")


def paths(generation: Path) -> set[str]:
    return {path.relative_to(generation).as_posix() for path in generation.rglob("*") if path.is_file()}


def publish(site: TestSite, number: int) -> Path:
    site.artifacts.clear()
    version = f"{number}.0"
    site.wheel(make_wheel("tool", version), "tool", version)
    site.deb(make_deb("tool", version, "amd64"))
    site.image(make_image({"./hello": version.encode()}), "docker.io/library/app:1")
    site.file("note.txt", version.encode())
    return site.publish(version, key=KEY)


def test_what_the_name_fixes_is_carried_once_and_nothing_else(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    one, two, three = (publish(site, number) for number in (1, 2, 3))
    own = {generation: paths(generation) for generation in (one, two, three)}
    carry_over(one, two)
    carry_over(two, three)
    assert paths(two) == own[two] | {path for path in own[one] if content_addressed(path)} | {"carried"}
    assert paths(three) == own[three] | {path for path in own[two] if content_addressed(path)} | {"carried"}
    gone = paths(one) - paths(three)
    assert any("pool/" in path for path in gone)  # of the one before the one before, nothing is left
    kinds = [path for path in carried(three) if path not in own[three]]
    for part in ("pypi/files/", "/pool/", "/by-hash/", "/data", "/_layers/", "/revisions/"):
        assert any(part in path for path in kinds)
    assert not any("/tags/" in path for path in kinds)


def test_carrying_again_and_back_changes_nothing(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    one, two = publish(site, 1), publish(site, 2)
    own = paths(one)
    carry_over(one, two)
    before = paths(two)
    carry_over(one, two)
    assert paths(two) == before
    carry_over(two, one)  # a rollback
    carry_over(one, two)
    assert paths(two) == before
    assert own < paths(one)


def test_a_release_that_is_gone_is_not_signed_again(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    site.deb(make_deb("tool"), release="bullseye")
    one = site.publish("one", key=KEY)
    site.artifacts.clear()
    site.deb(make_deb("tool"), release="bookworm")
    two = site.publish("two", switch=False)
    carry_over(one, two)
    from bundler.views.apt import sign_apt

    sign_apt(two, KEY, DATE)
    assert [path.parent.name for path in two.rglob("InRelease")] == ["bookworm"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"pypi/files/{HEX}/a.whl", True),
        (f"pypi/files/{HEX}/a/b", False),
        ("pypi/simple/a/index.html", False),
        (f"apt/debian/pool/aa/{HEX}/a.deb", True),
        ("apt/debian/dists/bookworm/InRelease", False),
        ("apt/debian/dists/bookworm/main/binary-amd64/Packages", False),
        (f"apt/debian/dists/bookworm/main/binary-amd64/by-hash/SHA256/{HEX}", True),
        ("files/a", False),
        (f"x/pypi/files/{HEX}/a.whl", False),
    ],
)
def test_content_addressed(path: str, expected: bool) -> None:
    assert content_addressed(path) is expected


def test_files_have_a_list_of_checksums_that_sha256sum_takes(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    site.file("b.txt", b"b")
    site.file("a.txt", b"a")
    folder = site.publish("one") / "files"
    assert sorted(path.name for path in folder.iterdir()) == ["SHA256SUMS", "a.txt", "b.txt"]
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True, capture_output=True)


def test_a_file_cannot_take_the_place_of_the_list(tmp_path: Path) -> None:
    site = TestSite(tmp_path)
    site.file("SHA256SUMS", b"x")
    with pytest.raises(NameConflict):
        site.publish("one")


def test_a_link_over_another_file_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    tree = Tree(tmp_path)
    tree.link("x/c", tmp_path / "a")
    tree.link("x/c", tmp_path / "a")
    with pytest.raises(NameConflict):
        tree.link("x/c", tmp_path / "b")
