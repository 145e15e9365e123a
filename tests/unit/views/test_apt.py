import re
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.errors import NameConflict
from bundler.model.digest import Digest
from bundler.signing.openpgp import create_apt_key
from bundler.views.apt import sign_apt
from bundler.views.clients import apt_sources
from tests.content import DATE, TestSite, make_deb


@pytest.fixture
def site(tmp_path: Path) -> TestSite:
    return TestSite(tmp_path)


def stanzas(path: Path) -> list[dict[str, str]]:
    return [dict(line.split(": ", 1) for line in text.splitlines()) for text in path.read_text().split("\n\n")]


def test_security_is_part_of_its_archive_and_all_belongs_to_every_architecture(site: TestSite) -> None:
    site.deb(make_deb("one", architecture="amd64"))
    site.deb(make_deb("two", architecture="arm64"), archive="debian-security")
    site.deb(make_deb("three", architecture="all"))
    site.deb(make_deb("one", architecture="amd64"), archive="debian-security")  # the same bytes: listed once
    target = site.publish("one")
    assert [path.name for path in (target / "apt").iterdir()] == ["debian"]
    main = target / "apt/debian/dists/bookworm/main"
    listed = {folder.name: [each["Package"] for each in stanzas(folder / "Packages")] for folder in main.iterdir()}
    assert listed == {"binary-amd64": ["one", "three"], "binary-arm64": ["three", "two"]}


def test_a_stanza_names_a_file_with_its_size_and_digest(site: TestSite) -> None:
    made = make_deb("one", "1:2.0-1", "amd64")
    site.deb(made)
    target = site.publish("one")
    (stanza,) = stanzas(target / "apt/debian/dists/bookworm/main/binary-amd64/Packages")
    data = (target / "apt/debian" / stanza["Filename"]).read_bytes()
    assert data == made.data
    assert stanza["Size"] == str(len(data))
    assert stanza["SHA256"] == Digest.of(data).hex
    assert stanza["Version"] == "1:2.0-1"
    assert made.description.decode() in (target / "apt/debian/dists/bookworm/main/binary-amd64/Packages").read_text()


def test_only_all_gives_an_architecture_of_its_own(site: TestSite) -> None:
    site.deb(make_deb("one"))
    target = site.publish("one", key=create_apt_key("t"))
    assert (target / "apt/debian/dists/bookworm/main/binary-all/Packages").is_file()
    assert "Architectures: all\n" in (target / "apt/debian/dists/bookworm/Release").read_text()


def test_one_name_with_two_contents_is_refused_in_a_release_and_taken_in_two(site: TestSite) -> None:
    site.deb(make_deb("one", body=b"a"), release="bookworm")
    site.deb(make_deb("one", body=b"b"), release="trixie")
    site.publish("one")
    site.deb(make_deb("one", body=b"c"), archive="debian-security", release="trixie")
    with pytest.raises(NameConflict) as caught:
        site.publish("two")
    assert caught.value.name == "debian/trixie/one_1.0-1_all.deb"


def test_every_archive_of_a_release_has_an_index_for_each_of_its_architectures(site: TestSite) -> None:
    for architecture in ("amd64", "arm64"):
        site.deb(make_deb("app", architecture=architecture), archive="ubuntu", release="jammy")
    site.deb(make_deb("toolkit", architecture="amd64"), archive="cuda", release="jammy")
    site.deb(make_deb("keys"), archive="keys", release="jammy")
    site.deb(make_deb("app", architecture="amd64"), archive="ubuntu", release="noble")
    apt = site.publish("one", key=create_apt_key("t")) / "apt"
    listed = {
        path.relative_to(apt).parent.as_posix().replace("/dists/", " ").replace("/main/binary-", " "): [
            each["Package"] for each in stanzas(path)
        ]
        if path.stat().st_size
        else []
        for path in apt.glob("*/dists/*/main/binary-*/Packages")
    }
    assert listed == {
        "cuda jammy amd64": ["toolkit"],
        "cuda jammy arm64": [],
        "keys jammy amd64": ["keys"],
        "keys jammy arm64": ["keys"],
        "ubuntu jammy amd64": ["app"],
        "ubuntu jammy arm64": ["app"],
        "ubuntu noble amd64": ["app"],
    }
    assert "Architectures: amd64 arm64\n" in (apt / "cuda/dists/jammy/Release").read_text()
    assert (apt / "cuda/key.asc").is_file()


def test_release_lists_every_index_and_by_hash_has_it(site: TestSite) -> None:
    site.deb(make_deb("one", architecture="amd64"))
    site.deb(make_deb("one", architecture="arm64"))
    dist = site.publish("one", key=create_apt_key("t")) / "apt/debian/dists/bookworm"
    text = (dist / "Release").read_text()
    found = re.findall(r"^ ([0-9a-f]{64}) +(\d+) (\S+)$", text, re.MULTILINE)
    assert [name for _, _, name in found] == ["main/binary-amd64/Packages", "main/binary-arm64/Packages"]
    for digest, size, name in found:
        data = (dist / name).read_bytes()
        assert (Digest.of(data).hex, len(data)) == (digest, int(size))
        assert (dist / name).with_name("by-hash").joinpath("SHA256", digest).samefile(dist / name)
    for line in ("Suite: bookworm", "Codename: bookworm", "Acquire-By-Hash: yes"):
        assert f"{line}\n" in text
    assert "Date: Fri, 02 Jan 2026 03:04:05 GMT\n" in text
    assert "Valid-Until" not in text
    assert text.strip() in (dist / "InRelease").read_text()


def test_signing_again_moves_the_date_and_the_file_time_and_leaves_no_rest(site: TestSite) -> None:
    site.deb(make_deb("one"))
    target = site.publish("one", key=create_apt_key("t"))
    dist = target / "apt/debian/dists/bookworm"
    before = sorted(path.relative_to(target) for path in target.rglob("*"))
    sign_apt(target, create_apt_key("u"), DATE + timedelta(seconds=1))
    assert "03:04:06 GMT" in (dist / "InRelease").read_text()
    assert (dist / "InRelease").stat().st_mtime == DATE.timestamp() + 1
    assert sorted(path.relative_to(target) for path in target.rglob("*")) == before
    assert "BEGIN PGP PUBLIC KEY" in (target / "apt/debian/key.asc").read_text()


def test_sources_stanzas() -> None:
    stanza = apt_sources(uri="http://site.example.com/apt/debian", release="bookworm", signed_by="/k.asc")
    assert stanza.splitlines() == [
        "Types: deb",
        "URIs: http://site.example.com/apt/debian",
        "Suites: bookworm",
        "Components: main",
        "Signed-By: /k.asc",
    ]
    assert apt_sources(uri="u", release="r", signed_by="-B-\n\nx\n-E-\n").endswith("Signed-By:\n -B-\n .\n x\n -E-\n")
