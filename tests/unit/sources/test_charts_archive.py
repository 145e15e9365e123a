"""Chart archives: those of others, read and refused; our own, the same everywhere and readable by everybody."""

import gzip
import hashlib
import io
import os
import tarfile
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import InvalidDocument
from bundler.sources import chart_archive
from bundler.sources.chart_archive import LARGEST_FILE, pack, read_archive, read_chart, stored_gzip
from tests.charts import chart_files, chart_yaml, dependency, make_archive, make_chart


def test_a_chart_with_charts_in_it() -> None:
    needs = [dependency("a"), dependency("b", ">=1"), dependency("c", "1", "https://c.example")]
    inside = {
        "charts/a/Chart.yaml": chart_yaml("a"),
        "charts/other-name.tgz": make_chart("b", "1.1.0"),
        "charts/_c/Chart.yaml": chart_yaml("c"),
        "charts/.c/Chart.yaml": chart_yaml("c"),
        "charts/c.txt": b"c",
    }
    chart = read_archive(make_chart("web", dependencies=needs, add=inside), name="web.tgz")
    assert (chart.meta.name, chart.meta.version) == ("web", "1.0.0")
    assert chart.vendored == {"a", "b"}
    assert [each.name for each in chart.missing] == ["c"]


def test_old_charts_have_their_dependencies_beside() -> None:
    files = {"requirements.yaml": b"dependencies: [{name: a, repository: ''}]", "requirements.lock": b"{}"}
    assert [each.name for each in read_archive(make_chart("web", apiVersion="v1", add=files), name="w").missing] == [
        "a"
    ]
    assert read_archive(make_chart("web", add=files), name="w").missing == ()


def test_archives_made_elsewhere() -> None:
    """Folders first, another folder's name, Windows' separators, several gzip members."""
    folder = tarfile.TarInfo("any")
    folder.type = tarfile.DIRTYPE
    inside = ("any\\charts\\a\\Chart.yaml", chart_yaml("a"))
    data = make_archive([(folder, b""), ("any\\Chart.yaml", chart_yaml("web")), inside])
    plain = gzip.decompress(data)
    halves = gzip.compress(plain[:700]) + gzip.compress(plain[700:])
    assert read_archive(halves, name="w").vendored == {"a"}


def member(name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", size: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry, b"x" * size


def bomb() -> bytes:
    """Half a gigabyte of zeros in half a megabyte."""
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(deflate.compress(bytes(1 << 24)) for _ in range(32)), deflate.flush()])


def nested_bombs() -> bytes:
    """Each of 60 charts unpacks to 100 MB, which one alone may."""
    big = [member(f"a/{at}", size=LARGEST_FILE) for at in range(19)]
    inner = make_archive([("a/Chart.yaml", chart_yaml("a")), *big])
    return make_chart("web", add={f"charts/a{at}.tgz": inner for at in range(60)})


def matryoshka() -> bytes:
    data = make_chart("m")
    for _ in range(12):
        data = make_chart("m", add={"charts/m.tgz": data})
    return data


CHART = ("web/Chart.yaml", chart_yaml("web"))
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no gzip": (lambda: b"hello", "BadGzipFile"),
    "nothing": (lambda: b"", "ReadError"),
    "half": (lambda: make_chart("web")[:-30], "EOFError"),
    "a changed byte": (lambda: make_chart("web")[:-8] + bytes(8), "CRC"),
    "no tar": (lambda: gzip.compress(b"hello" * 1000), "ReadError"),
    "half a tar": (lambda: gzip.compress(gzip.decompress(make_chart("web"))[:1100]), "no tar header at byte 1024"),
    "half a file": (lambda: gzip.compress(gzip.decompress(make_chart("web"))[:550]), "unexpected end of data"),
    "no chart": (lambda: make_archive([("web/values.yaml", b"")]), "no Chart.yaml"),
    "no files": (lambda: make_archive([]), "no Chart.yaml"),
    "a chart without a folder": (lambda: make_archive([("Chart.yaml", chart_yaml("web"))]), "no regular file"),
    "parent": (lambda: make_archive([CHART, ("web/../../etc/passwd", b"x")]), "the path 'web/../../etc/passwd'"),
    "parent of the top": (lambda: make_archive([("../Chart.yaml", b"x")]), "the path"),
    "absolute": (lambda: make_archive([CHART, ("/etc/passwd", b"x")]), "the path"),
    "absolute below": (lambda: make_archive([CHART, ("web//etc/passwd", b"x")]), "the path"),
    "Windows' parent": (lambda: make_archive([CHART, ("web\\..\\..\\x", b"x")]), "the path"),
    "Windows' drive": (lambda: make_archive([CHART, ("web/c:/x", b"x")]), "the path"),
    "a line break": (lambda: make_archive([CHART, ("web/a\nb", b"x")]), "the path"),
    "symlink": (lambda: make_archive([CHART, member("web/a", tarfile.SYMTYPE, link="/etc/passwd")]), "no regular file"),
    "hard link": (lambda: make_archive([CHART, member("web/a", tarfile.LNKTYPE, link="web/b")]), "no regular file"),
    "device": (lambda: make_archive([CHART, member("web/a", tarfile.CHRTYPE)]), "no regular file"),
    "pipe": (lambda: make_archive([CHART, member("web/a", tarfile.FIFOTYPE)]), "no regular file"),
    "twice": (lambda: make_archive([CHART, ("web/Chart.yaml", chart_yaml("evil"))]), "'Chart.yaml' twice"),
    "twice by another folder": (lambda: make_archive([CHART, ("b/Chart.yaml", chart_yaml("evil"))]), "twice"),
    "large file": (lambda: make_archive([CHART, member("web/a", size=LARGEST_FILE + 1)]), "Helm loads no more"),
    "large in all": (
        lambda: make_archive([CHART, *(member(f"web/{at}", size=LARGEST_FILE) for at in range(21))]),
        "Helm loads no more",
    ),
    "many files": (lambda: make_archive([CHART, *(member(f"web/{at}") for at in range(301))]), "entries"),
    "bomb": (bomb, "when unpacked"),
    "bombs in charts": (nested_bombs, "when unpacked"),
    "charts in charts": (matryoshka, "nested deeper"),
    "broken chart in charts": (lambda: make_chart("web", add={"charts/a.tgz": b"x"}), "BadGzipFile"),
    "broken metadata": (lambda: make_archive([("web/Chart.yaml", b"name: [")]), "did not find expected"),
    "broken lock": (lambda: make_chart("web", add={"Chart.lock": b"[1]"}), "a list for the document"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_archive, "_ENTRIES", 300)
    make, found = HOSTILE[name]
    data = make()
    start = time.monotonic()
    with pytest.raises(InvalidDocument) as caught:
        read_archive(data, name="web.tgz")
    assert found in caught.value.problems[0].found + caught.value.problems[0].expected
    assert caught.value.problems[0].file.startswith("web.tgz")
    assert time.monotonic() - start < 10


@given(st.binary(max_size=300), st.integers(0, 400))
def test_damaged_archives_are_refused_or_read(noise: bytes, at: int) -> None:
    data = make_chart("web")
    broken = data[:at] + noise + data[at + len(noise) :]
    try:
        assert read_archive(broken, name="w").meta.name
    except InvalidDocument:
        return


def test_our_archives_are_the_same_everywhere() -> None:
    """Known bytes: neither the machine's zlib nor its clock has a say."""
    data = pack(chart_files("web"), chart="web")
    assert hashlib.sha256(data).hexdigest() == "0a0f1b1a45017149c235b0bb6f64b14545fe6ff42f52fd34e65c7a68d2bb9b8d"
    assert data == pack(dict(reversed(chart_files("web").items())), chart="web")


def test_our_archives_are_read_by_others() -> None:
    files = chart_files("web") | {
        "files/" + "d" * 90 + "/" + "f" * 90: b"long",
        "empty": b"",
        "big": os.urandom(200_000),
    }
    data = pack(files, chart="web")
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        found = {entry.name: archive.extractfile(entry) for entry in archive}
        assert {name.removeprefix("web/"): body.read() for name, body in found.items() if body} == files
        assert {(entry.mode, entry.uid, entry.mtime, entry.uname) for entry in archive} == {(0o644, 0, 0, "")}
    assert read_archive(data, name="w") == read_chart(files, name="w")


@pytest.mark.parametrize("size", [0, 1, 0xFFFF - 1, 0xFFFF, 0xFFFF + 1, 3 * 0xFFFF, 1 << 20])
def test_stored_gzip(size: int) -> None:
    plain = os.urandom(size)
    data = stored_gzip(plain)
    assert gzip.decompress(data) == plain
    assert len(data) == 10 + size + 5 * max(1, -(-size // 0xFFFF)) + 8
