"""Our own charts, rendered by the helm that renders them on a site; what comes out is parsed YAML."""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.lab import ROOT, require_go_tool

CHARTS = ROOT / "charts"
NAMES = sorted(folder.name for folder in CHARTS.iterdir())
KUBERNETES = "1.36.3"
_WORKLOADS = ("Deployment", "DaemonSet")


class NotRendered(AssertionError):
    """Helm's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What a chart makes."""

    all: tuple[dict[str, Any], ...]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        found = [each for each in self.all if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        assert len(found) == 1, f"{len(found)} of {kind} {name} among {sorted(self.names)}"
        return found[0]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.all if each["kind"] == kind]

    @property
    def names(self) -> set[tuple[str, str]]:
        return {(each["kind"], each["metadata"]["name"]) for each in self.all}

    @property
    def workloads(self) -> list[dict[str, Any]]:
        return [each for each in self.all if each["kind"] in _WORKLOADS]

    def containers(self) -> Iterator[dict[str, Any]]:
        for workload in self.workloads:
            spec = workload["spec"]["template"]["spec"]
            yield from (*spec.get("initContainers", ()), *spec["containers"])

    @property
    def images(self) -> set[str]:
        return {container["image"] for container in self.containers()}


def render(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "",
    namespace: str = "default",
    options: tuple[str, ...] = (),
) -> Objects:
    """What `helm template` makes of a chart. Raises NotRendered."""
    text = render_text(chart, values, release=release, namespace=namespace, options=options)
    return Objects(all=tuple(document for document in yaml.safe_load_all(text) if document))


def render_text(
    chart: str,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "",
    namespace: str = "default",
    options: tuple[str, ...] = (),
) -> str:
    words = ("template", release or chart, str(CHARTS / chart), "--namespace", namespace, "--kube-version", KUBERNETES)
    done = _helm(*words, *options, "--values", "-", given=yaml.safe_dump(dict(values or {})))
    if done.returncode:
        raise NotRendered(done.stderr)
    return done.stdout


def lint(chart: str, values: Mapping[str, Any]) -> str:
    """What `helm lint --strict` says, which is nothing where it is content."""
    words = ("lint", str(CHARTS / chart), "--strict", "--quiet", "--kube-version", KUBERNETES, "--values", "-")
    done = _helm(*words, given=yaml.safe_dump(dict(values)))
    return done.stdout + done.stderr if done.returncode else ""


@cache
def _helm(*words: str, given: str) -> subprocess.CompletedProcess[str]:
    command = [require_go_tool("helm"), *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)
