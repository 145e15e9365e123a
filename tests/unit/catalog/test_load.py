"""What no single manifest shows, and where manifests are looked for."""

from pathlib import Path

import pytest

from bundler.catalog.load import load, read_component
from bundler.catalog.manifests import Manifests
from bundler.errors import InvalidDocument, Malformed, NotReadable
from tests.lab import ROOT

PROFILE = """\
profile: p
release: {line: p, number: 1}
platforms: [linux/amd64]
bootstrap: {python: ["3.11"]}
components: [%s]
"""
CHART = "component: %s\ncharts: [{chart: web, repository: 'https://charts.example.com'}]\n"


def folder(path: Path, *, profile: str = "", **components: str) -> Path:
    for kind in ("components", "profiles", "files"):
        (path / kind).mkdir(parents=True, exist_ok=True)
    for name, text in components.items():
        (path / "components" / f"{name}.yaml").write_text(text)
    if profile:
        (path / "profiles" / "p.yaml").write_text(profile)
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        load("p", manifests=Manifests(folders=(path,)))
    return [f"{Path(each.file).name}: found {each.found}, expected {each.expected}" for each in caught.value.problems]


def test_all_problems_of_all_files_at_once(tmp_path: Path) -> None:
    path = folder(
        tmp_path,
        profile=PROFILE % "one, two, three@1, four, five@2, gone" + "values: {nobody: {}}\n",
        one="component: one\nimage: [x]\nwheels: {}\n",
        two="component: other\n",
        three="component: three\n",
        four="component: four\nversions: {'1': {}}\n",
        five="component: five\nversions: {'1': {}}\n",
    )
    found = problems(path)
    keys = "about, charts, component, facts, files, images, packages, provides, silence, tools, versions, wheels"
    assert found[:5] == [
        f"one.yaml: found the unknown key 'image', expected {keys}",
        "one.yaml: found a mapping at 'wheels', expected a list",
        "two.yaml: found component: other, expected component: two",
        "p.yaml: found three@1, expected three, which has no versions",
        "p.yaml: found four, expected four@1",
    ]
    assert found[5] == "p.yaml: found five@2, expected five@1"
    assert found[6].startswith("p.yaml: found cannot read gone.yaml: ")
    assert found[7:] == [
        "p.yaml: found values for nobody, which no component installs, expected a chart's release name"
    ]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("one, one", "p.yaml: found the component one in one and in one, expected each name once"),
        ("one, two", "p.yaml: found the release web in one and in two, expected each name once"),
    ],
)
def test_two_of_one_name(tmp_path: Path, chosen: str, expected: str) -> None:
    path = folder(tmp_path, profile=PROFILE % chosen, one=CHART % "one", two=CHART % "two")
    assert expected in problems(path)


def test_the_first_folder_that_has_a_name_wins(tmp_path: Path) -> None:
    ours = folder(tmp_path / "ours", web="component: web\nabout: ours\n")
    theirs = folder(
        tmp_path / "theirs", web="component: web\nabout: theirs\n", db="component: db\n", profile=PROFILE % "web, db"
    )
    both = Manifests(folders=(ours, theirs))
    assert both.names("components") == ("db", "web")
    assert [each.about for each in load("p", manifests=both).components] == ["ours", ""]
    assert read_component("web", manifests=Manifests(folders=(theirs, ours))).about == "theirs"


def test_a_profile_s_own_folder_comes_first(tmp_path: Path) -> None:
    ours = folder(tmp_path / "ours", web="component: web\nabout: ours\n", profile=PROFILE % "web")
    theirs = folder(tmp_path / "theirs", web="component: web\nabout: theirs\n")
    found = load(str(ours / "profiles" / "p.yaml"), manifests=Manifests(folders=(theirs,)))
    assert found.components[0].about == "ours"


def test_the_tool_s_own_catalog_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "kubernetes" in Manifests.of([]).names("components")
    ours = folder(tmp_path / "manifests", kubernetes="component: kubernetes\nabout: ours\n")
    assert read_component("kubernetes", manifests=Manifests.of([])).about == "ours"
    other = folder(tmp_path / "other", web="component: web\n")
    assert ours not in Manifests.of([other]).folders, "a folder that is given takes the place of ./manifests"


def test_names_that_are_not_there(tmp_path: Path) -> None:
    manifests = Manifests(folders=(folder(tmp_path),))
    with pytest.raises(NotReadable):
        load("nothing", manifests=manifests)
    with pytest.raises(NotReadable):
        Manifests.of([tmp_path / "gone"])


@pytest.mark.parametrize("url", ["file:../secret", "file:/etc/passwd", "file:a/../../secret", "file:link"])
def test_files_stay_below_their_folder(tmp_path: Path, url: str) -> None:
    """Whatever the parser let through: a symbolic link is seen only here."""
    path = folder(tmp_path / "m")
    (tmp_path / "secret").write_text("x")
    (path / "files" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Malformed):
        Manifests(folders=(path,)).file(url)


def test_our_own_charts_lie_beside_the_catalog_of_a_checkout(tmp_path: Path) -> None:
    """Those of others, and of an installed wheel, lie in the catalog; the first folder that has one wins."""
    path = folder(tmp_path / "m")
    ours = Manifests(folders=(path, ROOT / "manifests"))
    assert ours.charts == (path / "charts", ROOT / "charts")
    assert ours.chart("file:cluster-dns") == ROOT / "charts" / "cluster-dns"
    (path / "charts" / "cluster-dns").mkdir(parents=True)
    assert ours.chart("file:cluster-dns") == path / "charts" / "cluster-dns"
    with pytest.raises(Malformed):
        ours.chart("file:../manifests")
