"""Charts in folders: what belongs to them, and what they depend on."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.errors import BundleError, InvalidDocument, Malformed, NotReadable, ResolutionFailed
from bundler.model.chart import Dependency
from bundler.model.digest import Digest
from bundler.model.lock import ChartDependency
from bundler.sources import chart_folder
from bundler.sources.chart_archive import LARGEST_FILE, Chart
from bundler.sources.chart_folder import Folder, assemble
from bundler.sources.chart_ignore import Ignored
from tests.charts import chart_files, dependency, make_chart, write_chart

FILES = [
    ".git/config",
    "Chart.yaml",
    "a.bak",
    "docs/a.bak",
    "docs/b[1].md",
    "docs/c/d.txt",
    "templates/.hidden/x",
    "x/docs/e",
]


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("", [each for each in FILES if not each.startswith("templates")]),
        ("# comment\n\n  *.bak  \n.git/\n", ["Chart.yaml", "docs/b[1].md", "docs/c/d.txt", "x/docs/e"]),
        ("/docs", [".git/config", "Chart.yaml", "a.bak", "x/docs/e"]),
        ("docs/*\n", [".git/config", "Chart.yaml", "a.bak", "x/docs/e"]),
        ("docs", [".git/config", "Chart.yaml", "a.bak"]),
        ("docs/b\\[?\\].md\n[^.xC]*\n.*\nx\n", ["Chart.yaml"]),
        ("[a-c].bak\n[.]git\n[d-x]\ndocs/[a-b]*/", ["Chart.yaml", "docs/b[1].md", "docs/c/d.txt"]),
        ("\ufeffa.bak\n?oc\\s\n", [".git/config", "Chart.yaml"]),
        ("!Chart.yaml", ["Chart.yaml"]),
    ],
)
def test_helmignore(rules: str, left: list[str]) -> None:
    ignored = Ignored.parse(rules, file=".helmignore")

    def stays(path: str) -> bool:
        parts = path.split("/")
        above = ("/".join(parts[:at]) for at in range(1, len(parts)))
        return not any(ignored.leaves_out(each, folder=True) for each in above) and not ignored.leaves_out(
            path, folder=False
        )

    assert [path for path in FILES if stays(path)] == [path for path in left if not path.startswith("templates")]


def test_helmignore_that_helm_does_not_read() -> None:
    with pytest.raises(InvalidDocument) as caught:
        Ignored.parse("**/a\nok\n[a\n[]\n[b-a]\n[a-]\n[-a]\na\\\n", file="x")
    assert [problem.line for problem in caught.value.problems] == [1, 3, 4, 5, 6, 7, 8]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "charts").mkdir()
    return tmp_path / "charts"


def assembled(base: Path, name: str = "web", **pins: bytes) -> tuple[Chart, dict[str, bytes]]:
    """`pins` are archives by name; each is of version 1.0.0."""
    asked = {
        each: ChartDependency(
            name=each, version="1.0.0", url="https://a.example/", digest=Digest.of(data), size=len(data)
        )
        for each, data in pins.items()
    }

    def choose(dependency: Dependency) -> ChartDependency:
        if dependency.version != "^1" or dependency.name not in asked:
            raise ResolutionFailed(what=f"{dependency.name} {dependency.version}", output="not asked for")
        return asked[dependency.name]

    folder = Folder(path=base / name, base=base)
    return assemble(folder, name=name, choose=choose, fetch=lambda pin: pins[pin.name])


def test_a_folder_is_its_files(base: Path) -> None:
    write_chart(base, "web", add={"files/a/b.txt": b"x", ".helmignore": b"*.bak\n", "c.bak": b"x"})
    os.mkfifo(base / "web/pipe.bak")
    (base / "web/link.bak").symlink_to("/etc/passwd")
    (base / "web/empty").mkdir()
    chart, files = assembled(base)
    assert chart.meta.name == "web"
    assert files == chart_files("web") | {"files/a/b.txt": b"x", ".helmignore": b"*.bak\n"}


def test_what_it_depends_on_is_packed_in(base: Path) -> None:
    needs = [
        dependency("there", "^9", "https://a.example"),
        dependency("near", ">=0.1", "file://../near"),
        dependency("far", "^1", "https://a.example"),
    ]
    there = make_chart("there")
    write_chart(base, "web", dependencies=needs, add={"charts/there-9.tgz": there})
    write_chart(base, "near", "0.2.0", dependencies=[dependency("far", "^1", "oci://a.example/b")])
    far = make_chart("far")
    chart, files = assembled(base, far=far)
    assert chart.missing == ()
    packed = {path: data for path, data in files.items() if path.endswith(".tgz")}
    assert packed == {"charts/there-9.tgz": there, "charts/far-1.0.0.tgz": far, "charts/near/charts/far-1.0.0.tgz": far}
    assert set(files) == {
        *chart_files("web"),
        *packed,
        *(f"charts/near/{path}" for path in chart_files("near")),
    }


def locked(version: str, repository: str = "https://a.example") -> bytes:
    return f"dependencies: [{{name: far, version: {version!r}, repository: {repository!r}}}]".encode()


def test_a_lock_file_says_which_version(base: Path) -> None:
    needs = [dependency("far", "^1", "https://a.example/")]
    write_chart(base, "web", dependencies=needs, add={"Chart.lock": locked("1.4.2")})
    with pytest.raises(ResolutionFailed) as caught:
        assembled(base)
    assert caught.value.what == "far 1.4.2"


def circle(base: Path) -> None:
    write_chart(base, "web", dependencies=[dependency("near", "", "file://../near")])
    write_chart(base, "near", dependencies=[dependency("web", "", "file://../web")])


def link(base: Path) -> None:
    (write_chart(base, "web") / "templates/link.yaml").symlink_to("/etc/passwd")


def linked_folder(base: Path) -> None:
    (write_chart(base, "web") / "files").symlink_to("/etc")


def pipe(base: Path) -> None:
    os.mkfifo(write_chart(base, "web") / "pipe")


def needs(repository: str, *, version: str = "^1", name: str = "far", lock: bytes = b"") -> Callable[[Path], object]:
    def write(base: Path) -> None:
        add = {"Chart.lock": lock} if lock else {}
        write_chart(base, "web", dependencies=[dependency(name, version, repository)], add=add)
        write_chart(base, "near", "0.2.0")
        write_chart(base.parent, "outside")

    return write


BROKEN: dict[str, tuple[Callable[[Path], object], type[BundleError], str]] = {
    "no folder": (lambda base: None, NotReadable, "No such file"),
    "no chart": (lambda base: (base / "web").mkdir(), InvalidDocument, "no Chart.yaml"),
    "link": (link, NotReadable, "it is a link"),
    "linked folder": (linked_folder, NotReadable, "it is a link"),
    "pipe": (pipe, NotReadable, "no regular file"),
    "umlaut": (lambda base: write_chart(base, "web", add={"ü.txt": b""}), NotReadable, "ASCII names"),
    "line break": (lambda base: write_chart(base, "web", add={"a\nb": b""}), NotReadable, "ASCII names"),
    "large file": (
        lambda base: write_chart(base, "web", add={"a": bytes(LARGEST_FILE + 1)}),
        NotReadable,
        "larger than",
    ),
    "circle": (circle, ResolutionFailed, "in a circle"),
    "outside": (needs("file://../../outside"), Malformed, "a folder below"),
    "absolute": (needs("file:///etc"), Malformed, "a folder below"),
    "absent neighbour": (needs("file://../absent"), NotReadable, "No such file"),
    "another neighbour": (needs("file://../near"), ResolutionFailed, "holds near 0.2.0"),
    "an old neighbour": (needs("file://../near", name="near"), ResolutionFailed, "holds near 0.2.0"),
    "nowhere": (needs(""), ResolutionFailed, "its repository (none)"),
    "a name in somebody's configuration": (needs("@stable"), ResolutionFailed, "its repository (@stable)"),
    "no version": (
        needs("https://a.example", version="newest", lock=locked("1.0.0")),
        Malformed,
        "a version or a range",
    ),
    "not in its lock": (needs("https://b.example", lock=locked("1.0.0")), ResolutionFailed, "out of date"),
    "another version in its lock": (needs("https://a.example", lock=locked("2.0.0")), ResolutionFailed, "out of date"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_refused(base: Path, name: str) -> None:
    write, kind, text = BROKEN[name]
    write(base)
    with pytest.raises(kind) as caught:
        assembled(base)
    assert text in str(caught.value)


def test_bounds(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_chart(base, "web", add={f"files/{at}": b"x" * 100 for at in range(10)})
    monkeypatch.setattr(chart_folder, "LARGEST", 700)
    with pytest.raises(NotReadable, match="larger than"):
        assembled(base)
    monkeypatch.setattr(chart_folder, "LARGEST", 1 << 20)
    monkeypatch.setattr(chart_folder, "_ENTRIES", 9)
    with pytest.raises(NotReadable, match="9 files at most"):
        assembled(base)


def test_an_archive_that_helm_would_not_load_in_charts(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_chart(base, "web", dependencies=[dependency("far", "^1", "https://a.example")])
    monkeypatch.setattr(chart_folder, "LARGEST_FILE", 1000)
    with pytest.raises(Malformed, match=r"web with charts/far-1\.0\.0\.tgz"):
        assembled(base, far=make_chart("far", add={"files/a": os.urandom(2000)}))
