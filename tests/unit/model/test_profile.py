import pytest

from bundler.errors import InvalidDocument
from bundler.model.platform import Platform
from bundler.model.profile import Choice, ExtraArchive, PackageTarget, Profile, Release, parse_choice, parse_profile

PROFILE = """\
profile: whole
about: All of it.
release: {line: demo, number: 3}
platforms: [linux/amd64, linux/arm/v7]
glibc: manylinux_2_36
bootstrap: {python: [3.10, 3.11]}
python: [3.12]
constraints: ["urllib3<3"]
packages:
- {archive: debian, release: bookworm, status: "file:hosts/web.status"}
- archive: ubuntu
  release: jammy
  components: [main, universe]
  also: [{archive: cuda, suite: ubuntu2204/x86_64/, components: [main], keyring: "file:cuda.gpg"}]
kernels: [6.1.0-56-amd64]
components: [web, kubernetes@1.36, ofed@doca-3.2]
values: {front: {replicas: 3, tag: "1.10"}}
accept_license: [NVIDIA-Driver]
"""
LEAST = """\
profile: least
release: {line: demo, number: 0}
platforms: [linux/amd64]
bootstrap: {python: [3.11]}
components: [web]
"""


def test_everything() -> None:
    assert parse_profile(PROFILE, file="p.yaml") == Profile(
        name="whole",
        about="All of it.",
        release=Release(line="demo", number=3),
        platforms=(Platform("linux", "amd64"), Platform("linux", "arm", "v7")),
        glibc="manylinux_2_36",
        bootstrap=("3.10", "3.11"),
        python=("3.12",),
        constraints=("urllib3<3",),
        packages=(
            PackageTarget(archive="debian", release="bookworm", status="file:hosts/web.status"),
            PackageTarget(
                archive="ubuntu",
                release="jammy",
                components=("main", "universe"),
                also=(
                    ExtraArchive(
                        archive="cuda", suite="ubuntu2204/x86_64/", components=("main",), keyring="file:cuda.gpg"
                    ),
                ),
            ),
        ),
        kernels=("6.1.0-56-amd64",),
        components=(
            Choice(name="web", version=""),
            Choice(name="kubernetes", version="1.36"),
            Choice(name="ofed", version="doca-3.2"),
        ),
        values=(("front", '{"replicas":3,"tag":"1.10"}'),),
        accepted=("NVIDIA-Driver",),
    )


def test_the_least() -> None:
    profile = parse_profile(LEAST, file="p.yaml")
    assert (profile.about, profile.glibc, profile.python, profile.packages) == ("", "manylinux2014", (), ())
    assert (profile.constraints, profile.kernels, profile.values, profile.accepted) == ((), (), (), ())
    assert str(profile.release) == "demo 0"


def test_one_target_as_a_mapping() -> None:
    profile = parse_profile(LEAST + "packages: {archive: debian, release: bookworm}\n", file="p.yaml")
    assert profile.packages == (PackageTarget(archive="debian", release="bookworm"),)
    assert profile.packages[0].name == "debian/bookworm"


@pytest.mark.parametrize("text", ["web", "kubernetes@1.36"])
def test_a_choice_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_choice(text)) == text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("linux/amd64, ", "linux/amd64/, "),
        ("linux/amd64, ", "Linux/amd64, "),
        ("[3.10, 3.11]", "[3.1]"),
        ("[3.10, 3.11]", "3.11"),
        ("[3.12]", "{versions: [3.12]}"),
        ("python: [3.12]", "python:"),
        ("manylinux_2_36", ""),
        ("manylinux_2_36", "manylinux_2_5"),
        ("release: jammy", "release: Jammy"),
        ("keyring: ", "keys: "),
        ("ubuntu2204/x86_64/", "/../"),
        ("components: [web, ", "components: [web@a@b, "),
        ("about: All of it.", "about: [All of it.]"),
        ("tag: ", "tag: 0x10, other: "),
    ],
)
def test_wrong(old: str, new: str) -> None:
    assert old in PROFILE
    with pytest.raises(InvalidDocument) as caught:
        parse_profile(PROFILE.replace(old, new, 1), file="p.yaml")
    assert PROFILE[: PROFILE.index(old)].count("\n") + 1 in {problem.line for problem in caught.value.problems}
