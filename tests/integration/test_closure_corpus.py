"""The corpus of charts, each hiding images in another place, through the scanner and through three simpler ways.

`docs/closure.md` shows the table that is measured here. To see it:  pytest -s tests/integration/test_closure_corpus.py
"""

import io
import re
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bundler.closure.defaults import cephadm_images
from bundler.closure.render import Release, Rendered, render
from bundler.closure.use import Certainty
from bundler.errors import Malformed
from bundler.model.reference import Reference
from tests.lab import ROOT, require_go_tool, require_netns, unpacked

CORPUS = ROOT / "tests/data/closure"
CHARTS = sorted(folder.name for folder in CORPUS.iterdir())
PAGE = ROOT / "docs/closure.md"
RELEASE = Release(name="demo", namespace="shop", kube_version="1.36.0")
WORKLOADS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a chart's expected.yaml says: canonical names, and the texts that only look like one."""

    images: frozenset[str]
    computed: frozenset[str]
    decoys: frozenset[str]


def expected(name: str) -> Expected:
    facts = yaml.safe_load((CORPUS / name / "expected.yaml").read_text())
    return Expected(
        images=frozenset(canonical(text) for text in facts.get("images", ())),
        computed=frozenset(facts.get("computed", ())),
        decoys=frozenset(facts.get("decoys", ())),
    )


def canonical(text: str) -> str:
    try:
        return str(Reference.parse(text))
    except Malformed:
        return text


@pytest.fixture(scope="session")
def helm() -> Path:
    return Path(require_go_tool("helm"))


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Chart archives as helm takes them: one folder, named as the chart."""
    folder = tmp_path_factory.mktemp("charts")

    def pack(name: str) -> Path:
        path = folder / f"{name}-1.0.0.tgz"
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for file in sorted((CORPUS / name).rglob("*")):
                if file.is_file() and file.name != "expected.yaml":
                    archive.add(file, f"{name}/{file.relative_to(CORPUS / name)}")
        path.write_bytes(buffer.getvalue())
        return path

    return cache(pack)


@pytest.fixture(scope="session")
def rendered(helm: Path, packed: Callable[[str], Path]) -> Callable[[str], Rendered]:
    return cache(lambda name: render(packed(name), helm=helm, values="{}", release=RELEASE))


def test_the_corpus_is_large_enough() -> None:
    assert len(CHARTS) >= 40


@pytest.mark.parametrize("name", CHARTS)
def test_all_are_found_and_nothing_else_is_claimed(name: str, rendered: Callable[[str], Rendered]) -> None:
    uses = rendered(name).uses()
    want = expected(name)
    assert {use.image for use in uses} >= want.images | want.computed
    claimed = {use.image for use in uses if use.certainty > Certainty.GUESS}
    assert claimed <= want.images | want.computed
    assert not {use.text for use in uses if use.certainty > Certainty.GUESS} & want.decoys


def test_rendering_needs_no_network(helm: Path, packed: Callable[[str], Path], tmp_path: Path) -> None:
    require_netns()
    cut_off = tmp_path / "helm"
    cut_off.write_text(f'#!/bin/sh\nexec unshare -n {helm} "$@"\n')
    cut_off.chmod(0o755)
    done = render(packed("subchart"), helm=cut_off, values="{}", release=RELEASE)
    assert {use.image for use in done.uses()} == expected("subchart").images


def test_cephadm_as_debian_has_it() -> None:
    images = cephadm_images((unpacked("cephadm") / "usr/sbin/cephadm").read_bytes())
    assert {Reference.parse(image).repository.rpartition("/")[2] for image in images} == {
        *(
            "ceph",
            "prometheus",
            "node-exporter",
            "alertmanager",
            "ceph-grafana",
            "haproxy",
            "keepalived",
            "snmp-notifier",
        ),
    }


@dataclass(slots=True)
class Row:
    method: str
    found: int = 0
    charts: int = 0
    false: int = 0

    def count(self, names: set[str], want: Expected) -> None:
        self.found += len(names & want.images)
        self.charts += names >= want.images
        self.false += len(names - want.images)


def test_the_table(helm: Path, rendered: Callable[[str], Rendered]) -> None:
    rows = {method: Row(method) for method in ("source", "output", "pods", "claimed", "all")}
    total = 0
    for name in CHARTS:
        want = expected(name)
        total += len(want.images)
        output = plain_output(helm, name)
        uses = [use for use in rendered(name).uses() if use.reference]
        rows["source"].count(grep(chart_source(name)), want)
        rows["output"].count(grep(output), want)
        rows["pods"].count(pod_images(output), want)
        rows["claimed"].count({use.image for use in uses if use.certainty > Certainty.GUESS}, want)
        rows["all"].count({use.image for use in uses}, want)
    names = {
        "source": "`grep image:` over the chart's templates and values",
        "output": "`helm template`, then `grep image:`",
        "pods": "`helm template`, then the containers of the workload kinds",
        "claimed": "`bundle check`, what it counts as an error when missing",
        "all": "`bundle check`, with its guesses (warnings)",
    }
    lines = [
        f"| Method | Images found of {total} | Charts complete of {len(CHARTS)} | False alarms |",
        "|---|---|---|---|",
    ]
    lines += [f"| {names[row.method]} | {row.found} | {row.charts} | {row.false} |" for row in rows.values()]
    table = "\n".join(lines)
    print(f"\n{table}")
    assert rows["all"].found == total
    assert rows["claimed"].false == 0
    assert table in PAGE.read_text()


def chart_source(name: str) -> str:
    files = [*(CORPUS / name).rglob("templates/**/*"), *(CORPUS / name).rglob("values.yaml")]
    return "\n".join(file.read_text() for file in files if file.is_file())


def plain_output(helm: Path, name: str) -> str:
    command = [str(helm), "template", "demo", str(CORPUS / name), "--include-crds"]
    return subprocess.check_output(command, text=True)


def grep(text: str) -> set[str]:
    """What follows `image:` on a line, as people write it in a shell pipeline."""
    found = re.findall(r"""image:\s*["']?([\w./:@-]+)""", text)
    return {canonical(each) for each in found}


def pod_images(output: str) -> set[str]:
    found: set[str] = set()
    for document in yaml.safe_load_all(output):
        if isinstance(document, dict) and document.get("kind") in WORKLOADS:
            found |= {canonical(container["image"]) for container in containers(document)}
    return found


def containers(node: Any) -> list[dict[str, Any]]:
    """The containers and init containers of the pod template in a workload."""
    spec = node.get("spec", {})
    while "template" in spec or "jobTemplate" in spec:
        spec = spec.get("jobTemplate", spec.get("template", {})).get("spec", {})
    return [each for key in ("initContainers", "containers") for each in spec.get(key, ())]
