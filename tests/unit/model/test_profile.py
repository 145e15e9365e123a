import pytest

from bundler.errors import InvalidDocument
from bundler.model.digest import Digest
from bundler.model.platform import Platform
from bundler.model.profile import (
    Component,
    FileRequest,
    PackageTarget,
    Profile,
    Release,
    parse_component,
    parse_profile,
)
from bundler.model.reference import Reference

PROFILE = """\
profile: quickstart
release: {line: demo, number: 3}
platforms: [linux/amd64]
glibc: manylinux_2_36
bootstrap: {python: [3.10, 3.11]}
python: [3.12]
packages: {archive: debian, release: bookworm}
components: [web, tools]
"""
COMPONENT = """\
component: web
images: [nginx:1.25]
wheels: ['numpy>=2; python_version < "3.13"', 'requests[socks]~=2.31']
packages:
  format: deb
  names: [nginx, libstdc++6, g++, 'skopeo=1.9.3+ds1-1+b9', 'libc6:amd64']
files:
- {name: notes.txt, url: 'file:notes.txt', digest: 'sha256:%s'}
""" % ("0" * 64)


def test_profile() -> None:
    assert parse_profile(PROFILE, file="p.yaml") == Profile(
        name="quickstart",
        release=Release(line="demo", number=3),
        platforms=(Platform("linux", "amd64"),),
        glibc="manylinux_2_36",
        bootstrap=("3.10", "3.11"),
        python=("3.12",),
        packages=PackageTarget(archive="debian", release="bookworm"),
        components=("web", "tools"),
    )
    bare = "".join(
        line for line in PROFILE.splitlines(keepends=True) if not line.startswith(("glibc:", "python:", "packages:"))
    )
    profile = parse_profile(bare, file="p.yaml")
    assert (profile.glibc, profile.python, profile.packages) == ("manylinux2014", (), None)
    assert str(profile.release) == "demo 3"


def test_component() -> None:
    assert parse_component(COMPONENT, file="c.yaml") == Component(
        name="web",
        images=(Reference.parse("nginx:1.25"),),
        wheels=('numpy>=2; python_version < "3.13"', "requests[socks]~=2.31"),
        debs=("nginx", "libstdc++6", "g++", "skopeo=1.9.3+ds1-1+b9", "libc6:amd64"),
        files=(FileRequest(name="notes.txt", url="file:notes.txt", digest=Digest("0" * 64)),),
    )
    assert parse_component("component: x", file="c.yaml") == Component(
        name="x", images=(), wheels=(), debs=(), files=()
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("profile: quickstart", "profile: Quick Start"),
        ("profile: quickstart\n", ""),
        ("number: 3", "number: 3.5"),
        ("number: 3", "number: -3"),
        ("line: demo", "line: ../demo"),
        ("line: demo, ", ""),
        ("linux/amd64", "amd64"),
        ("[3.10, 3.11]", "[3.1]"),
        ("[3.10, 3.11]", "3.11"),
        ("[3.10, 3.11]", "[2.7]"),
        ("[3.12]", "[3.7]"),
        ("[3.12]", "{versions: [3.12]}"),
        ("[3.12]", ""),
        ("manylinux_2_36", "glibc-2.36"),
        ("manylinux_2_36", ""),
        ("release: bookworm}", "release: bookworm, suite: x}"),
        ("[web, tools]", "[web, ../tools]"),
        ("components:", "component:"),
    ],
)
def test_wrong_profile(old: str, new: str) -> None:
    assert old in PROFILE
    with pytest.raises(InvalidDocument) as caught:
        parse_profile(PROFILE.replace(old, new), file="p.yaml")
    line = PROFILE[: PROFILE.index(old)].count("\n") + 1
    assert line in {problem.line for problem in caught.value.problems} or old.endswith("\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nginx:1.25", "nginx:"),
        *(
            ("'requests[socks]~=2.31'", requirement)
            for requirement in (
                "''",
                "-r more.txt",
                "' -r more.txt'",
                "./folder",
                "'#'",
                "requests@https",
                "'requests @ https://files.example/r.whl'",
                "https://files.example/r.whl",
                '"requests\\n-r more.txt"',
                '"requests\\x0b-r more.txt"',
                '"requests\\u2028-r more.txt"',
                "'requests # \\'",
            )
        ),
        *(
            ("nginx,", f"{name},")
            for name in ("nginx-", "-o", "'nginx apt'", "Nginx", "nginx/sid", "'?essential'", "n", "nginx=", "nginx:")
        ),
        ("format: deb", "format: rpm"),
        ("  format: deb\n", ""),
        ("name: notes.txt", "name: ../notes.txt"),
        *(
            ("'file:notes.txt'", f"'{url}'")
            for url in (
                "ftp://files.example/x",
                "https://user:secret@files.example/x",
                "https://files.example",
                "https:///x",
                "https://files.example/x#y",
                "https://files.example/x y",
                "https://files.example/é",
                "file:",
                "notes.txt",
                "https://files.example/" + "x" * 2048,
            )
        ),
        ("'file:notes.txt'", '"https://files.example/\\x7f"'),
        ("sha256:", "sha1:"),
    ],
)
def test_wrong_component(old: str, new: str) -> None:
    assert old in COMPONENT
    with pytest.raises(InvalidDocument) as caught:
        parse_component(COMPONENT.replace(old, new, 1), file="c.yaml")
    line = COMPONENT[: COMPONENT.index(old)].count("\n") + 1
    assert line in {problem.line for problem in caught.value.problems} or old.endswith("\n")
