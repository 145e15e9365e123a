"""`bundle catalog` as a user meets it, and broken manifests on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundler.cli.main import main
from tests.lab import ROOT
from tests.manifests import Broken, broken

Run = Callable[..., tuple[int, str, str]]
SAMPLE = [case for case in (*broken("components"), *broken("profiles")) if len(case.problems) > 1]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["catalog", *arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return run


def test_the_list(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line}
    assert "1.28, 1.35, 1.36" in rows["kubernetes"]
    assert rows["seed-2025"].split()[1] == "32"
    facts = json.loads(run("--json")[1])
    assert {each["name"] for each in facts["components"]} > {"kubernetes", "triton", "web"}
    assert [each["name"] for each in facts["profiles"]] == ["default", "quickstart", "seed-2025"]
    assert "kubernetes@1.36" in facts["profiles"][0]["components"]


def test_a_component(run: Run) -> None:
    code, out, _ = run("show", "triton")
    assert code == 0
    for part in (
        "versions   23.05, 26.06",
        "chosen by  default (26.06), seed-2025 (23.05)",
        "image     nvcr.io/nvidia/tritonserver:23.05-py3, licence NVIDIA-Deep-Learning-Container must be accepted",
        "source: https://docs.nvidia.com/",
    ):
        assert part in out


def test_one_version_of_a_component(run: Run) -> None:
    _, out, _ = run("show", "kubernetes@1.28")
    assert "kubernetes 1.28.15" in out
    assert "1.36.3" not in out
    assert "tool      kubeadm is kubeadm; the images that it lists are carried" in out
    assert "the checksum at https://dl.k8s.io/release/v1.28.15/bin/linux/amd64/kubeadm.sha256" in out
    facts = json.loads(run("show", "kubernetes@1.28", "--json")[1])
    assert (facts["version"], facts["versions"], facts["provides"]["pause"]) == ("1.28", {}, "3.9")
    assert facts["tools"] == {"kubeadm": {"file": "kubeadm", "member": ""}}
    assert len(facts["files"]) == 3


def test_a_profile(run: Run) -> None:
    code, out, _ = run("show", "default")
    assert code == 0
    assert "packages   debian/bookworm" in out
    assert "  accept_license: [NVIDIA-CUDA-EULA, NVIDIA-Deep-Learning-Container, NVIDIA-Driver]" in out
    facts = json.loads(run("show", "seed-2025", "--json")[1])
    assert facts["packages"] == ["ubuntu/jammy", "debian/bookworm"]
    assert facts["missing_licenses"] == facts["licenses"]
    chosen = {each["component"]: each for each in facts["components"]}
    assert chosen["metallb"]["charts"][0]["version"] == "0.13.12"
    quickstart = run("show", "quickstart")[1]
    assert "accept" not in quickstart


@pytest.mark.parametrize("kind", ["component", "profile"])
def test_the_schema(run: Run, kind: str) -> None:
    code, out, _ = run("schema", kind)
    assert code == 0
    assert json.loads(out)["$schema"].endswith("2020-12/schema")
    assert out == (ROOT / "manifests" / "schema" / f"{kind}.json").read_text()


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("kubernets", 2, "Close to it: kubernetes"),
        ("nothing-like-it", 2, "`bundle catalog` lists the names"),
        ("kubernetes@1.27", 11, "expected kubernetes@1.28, kubernetes@1.35, kubernetes@1.36"),
        ("web@1", 11, "expected web, which has no versions"),
        ("Kubernetes", 11, "expected a name of [a-z0-9.-]"),
        ("default@1", 2, "no component or profile default"),
        ("no/such.yaml", 12, "cannot read no/such.yaml"),
    ],
)
def test_names_that_are_not_there(run: Run, name: str, code: int, said: str) -> None:
    got, out, err = run("show", name)
    assert (got, out) == (code, "")
    assert said in err


@pytest.mark.parametrize("place", ["before", "after"])
def test_own_manifests_come_first(run: Run, tmp_path: Path, place: str) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "metallb.yaml").write_text("component: metallb\nabout: Our own.\n")
    given = ("--manifests", str(tmp_path))
    arguments = (*given, "show", "metallb") if place == "before" else ("show", "metallb", *given)
    assert "Our own." in run(*arguments)[1]
    assert "Our own." in run(*given)[1]


def test_variants_silences_and_signed_checksums_are_shown(run: Run, tmp_path: Path) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "x.yaml").write_text(
        "component: x\n"
        "images: [{reference: 'a:1', from: 'oci:a', referrers: true}]\n"
        "charts: [{chart: c, repository: 'https://charts.example.com', variants: {big: {n: 1}}, license: L-1}]\n"
        "files:\n"
        "- name: f\n"
        "  url: https://files.example.com/f\n"
        f"  digest: sha256:{'0' * 64}\n"
        "  checksums: {url: file:sums, signature: file:sums.asc, keyring: file:keys.gpg}\n"
        "wheels: [numpy]\n"
        "silence: [{image: busybox, reason: a test}]\n"
    )
    out = run("--manifests", str(tmp_path), "show", "x")[1]
    for part in (
        "image     docker.io/library/a:1 from oci:a, with signatures and attestations",
        "chart     c * from https://charts.example.com, as c, licence L-1 must be accepted",
        "rendered once more with the variant big",
        f"is sha256:{'0' * 64} and the checksum at file:sums, signed by file:keys.gpg",
        "wheel     numpy",
        "silence   busybox: a test",
        "chosen by  no profile",
    ):
        assert part in out
    facts = json.loads(run("--manifests", str(tmp_path), "show", "x", "--json")[1])
    assert facts["charts"][0]["variants"] == {"big": {"n": 1}}
    assert facts["licenses"] == ["L-1"]


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_broken_manifests(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: Broken) -> None:
    """Every problem on a line of its own, exit code 10, whichever command meets it."""
    path = tmp_path / case.kind / "m.yaml"
    path.parent.mkdir()
    path.write_text(case.text)
    code, out, err = run("--manifests", str(tmp_path))
    assert (code, out) == (10, "")
    assert [line[2:] for line in err.splitlines()[1:-1]] == [f"{path}:{problem}" for problem in case.problems]
    if case.kind == "components":
        assert run("show", "m", "--manifests", str(tmp_path))[0] == 10
        return
    assert run("show", str(path))[0] == 10
    assert main(["lock", "-p", str(path), "-o", str(tmp_path / "lock"), "-q"]) == 10
    assert capsys.readouterr().err == err
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"component: \xff\n", 12),
        (b"\xff\xfec\0o\0m\0", 12),
        (b"component: m\nabout: a\0b\n", 10),
        (b"component: " + b"[" * 50_000, 10),
        (b"component: m\r\nabout: windows\r\n", 0),
        (b"\xef\xbb\xbfcomponent: m\n", 0),
    ],
    ids=["no UTF-8", "UTF-16", "a NUL", "deep", "CRLF", "a byte order mark"],
)
def test_bytes_that_are_odd(run: Run, tmp_path: Path, content: bytes, code: int) -> None:
    (tmp_path / "components").mkdir()
    (tmp_path / "components" / "m.yaml").write_bytes(content)
    assert run("show", "m", "--manifests", str(tmp_path))[0] == code


@pytest.mark.parametrize("kind", ["folder", "loop"])
def test_files_that_are_none(run: Run, tmp_path: Path, kind: str) -> None:
    (tmp_path / "components").mkdir()
    path = tmp_path / "components" / "m.yaml"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    code, _, err = run("show", "m", "--manifests", str(tmp_path))
    assert code == 12
    assert "cannot read" in err
