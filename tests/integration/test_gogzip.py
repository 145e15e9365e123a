"""Go's compressor, as the tool carries it: it is what its sources give, and makes what programs in Go made."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from bundler.patch.bytes_at import of_bytes
from bundler.patch.explain import explained
from bundler.patch.parts import RAW, Part
from tests.lab import ROOT, require, require_go_tool
from tests.patched import text


def deflated(data: bytes) -> Part:
    (found,) = (part for part in explained(of_bytes(data)) if part.kind != RAW)
    return found


def test_the_programs_are_what_their_sources_give() -> None:
    done = subprocess.run([ROOT / "scripts/gogzip", "--check"], capture_output=True, text=True, check=False)
    require("go", done.returncode != 3, "there is none here", impossible=True)
    assert done.returncode == 0, done.stderr


def test_a_layer_that_crane_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(text(3, 2_000_000))
    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        archive.add(tmp_path / "file", "file")
    crane = require_go_tool("crane")
    line = [crane, "append", "-f", "layer.tar", "-t", "site.example/one:1", "-o", "image.tar"]
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True)
    with tarfile.open(tmp_path / "image.tar") as image:
        (name,) = (each for each in image.getnames() if each.endswith(".tar.gz"))
        packed = image.extractfile(name)
        assert packed
        assert deflated(packed.read()).coder in ("go-1", "go-6")


@pytest.mark.parametrize("chart", ["flannel", "cluster-dns"])
def test_a_chart_that_helm_packed(tmp_path: Path, chart: str) -> None:
    helm = require_go_tool("helm")
    folder = ROOT / "charts" / chart
    subprocess.run([helm, "package", folder, "-d", tmp_path], check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tgz")
    assert deflated(packed.read_bytes()).coder == "go-6"
