"""Charts through the locked helm: every text that it can print with these values."""

import os
import re
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.closure.scan import scan
from bundler.closure.use import Use
from bundler.errors import ChartNotRendered, NotReadable
from bundler.model.limits import LIMITS
from bundler.support.run import Outcome, run

_TIMEOUT = 120.0  # seconds for one render
_ALONE = 8  # API versions that are also tried one by one
_HAS = re.compile(r"\.APIVersions\.Has\s*\(?\s*(?:[\"`](?P<version>[^\"`\s]{1,200})[\"`])?")
_HAS_IN = re.compile(r"\bhas\s+[\"`](?P<version>[^\"`\s]{1,200})[\"`]\s+\S{0,200}Capabilities\.APIVersions\b")
_API = re.compile(r"[\"`](?P<version>[a-z0-9-]+(?:\.[a-z0-9-]+)+/v\d+(?:(?:alpha|beta)\d+)?(?:/[A-Z]\w*)?)[\"`]")
_LOOKUP = re.compile(r"\{\{[^}]*\blookup\s")
_UPGRADE = re.compile(r"\.Release\.Is(?:Upgrade|Install)\b")
_FORGOTTEN = re.compile(r"(?:HELM_|KUBE|XDG_).*|.*_proxy", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What helm is told beside the values."""

    name: str
    namespace: str
    kube_version: str
    api_versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartText:
    """What a packed chart says by itself: its templates together, and each values.yaml (path in the chart, text)."""

    templates: str
    values: tuple[tuple[str, str], ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """The API versions that templates make something depend on; where one is computed, all that they name."""
        patterns = [_HAS, _HAS_IN, *([_API] if self.computes else [])]
        found = {match["version"] for pattern in patterns for match in pattern.finditer(self.templates)}
        return tuple(sorted(filter(None, found)))

    @property
    def computes(self) -> bool:
        """Whether a template asks for an API version that it does not write out."""
        return any(match["version"] is None for match in _HAS.finditer(self.templates))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The different texts that helm printed, each with what it was told; `notes` say what no render can show."""

    chart: str
    texts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def uses(self) -> tuple[Use, ...]:
        """What any of the texts uses, each place once. Raises InvalidDocument."""
        found = {use: None for _, text in self.texts for use in scan(text, source=self.chart)}
        return tuple(found)


def read_chart(chart: Path) -> ChartText:
    """A chart's archive, bounded. Raises NotReadable."""
    templates: list[str] = []
    values: list[tuple[str, str]] = []
    left = LIMITS.document
    try:
        with tarfile.open(chart, "r:*") as archive:
            for count, member in enumerate(archive):
                left -= member.size
                if left < 0 or count > LIMITS.entries:
                    raise NotReadable(path=str(chart), why="it is too large for a chart")
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None or not ("/templates/" in member.name or member.name.endswith("/values.yaml")):
                    continue
                text = stream.read(member.size).decode(errors="replace")
                if "/templates/" in member.name:
                    templates.append(text)
                else:
                    values.append((member.name.partition("/")[2], text))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise NotReadable(path=str(chart), why=str(error)) from error
    return ChartText(templates="\n".join(templates), values=tuple(values))


def render(chart: Path, *, helm: Path, values: str, release: Release, label: str = "", variant: str = "") -> Rendered:
    """Render a packed chart with its hooks, tests and CRDs, in every way that its templates distinguish.

    A template may ask which APIs the cluster has and whether this is an upgrade: without the APIs, with all of them,
    with each alone (of at most 8) and as an upgrade are rendered, and the union of what they print counts. One way may
    fail (a chart may insist on an API); if all do, raises ChartNotRendered with helm's message. Also NotReadable.
    `label` is what the chart is called in findings and errors, its file's name by itself.
    """
    text, label = read_chart(chart), label or chart.name
    texts: dict[str, str] = {}
    failures: list[str] = []
    notes = list(_notes(text))
    for way, options in _ways(text, release):
        outcome = _template(chart, helm, values, release, options)
        if outcome.code == 0 and len(outcome.stdout) <= LIMITS.document:
            texts.setdefault(outcome.stdout, way)
        else:
            failures.append(outcome.tail() if outcome.code else f"helm printed more than {LIMITS.document} characters")
            notes.append(f"not rendered {way}: {failures[-1].splitlines()[-1][:300] if failures[-1] else 'no message'}")
    if not texts:
        raise ChartNotRendered(chart=label, variant=variant, output=failures[0])
    return Rendered(chart=label, texts=tuple((way, printed) for printed, way in texts.items()), notes=tuple(notes))


def _ways(text: ChartText, release: Release) -> list[tuple[str, list[str]]]:
    """Each way to render: how it is called, and helm's options for it."""
    asked = [version for version in text.asked if version not in release.api_versions]
    sets = [[], asked, *([version] for version in asked[:_ALONE] if len(asked) > 1)] if asked else [[]]
    ways = [(f"with {', '.join(each)}" if each else "as it is", _apis([*release.api_versions, *each])) for each in sets]
    if _UPGRADE.search(text.templates):
        ways.append(("as an upgrade", ["--is-upgrade", *_apis([*release.api_versions, *asked])]))
    return ways


def _apis(versions: list[str]) -> list[str]:
    return [option for version in versions for option in ("--api-versions", version)]


def _notes(text: ChartText) -> list[str]:
    notes = []
    if _LOOKUP.search(text.templates):
        notes.append("a template looks objects up in the cluster: what it makes of them is not seen here")
    if text.computes:
        notes.append("a template asks for an API version that it computes: only those that it names were tried")
    return notes


def _template(chart: Path, helm: Path, values: str, release: Release, options: list[str]) -> Outcome:
    """One `helm template` in a home of its own, without repositories, plugins, cluster or proxy."""
    with tempfile.TemporaryDirectory(prefix="bundle-helm.") as home:
        return run(
            [
                *(str(helm), "template", release.name, str(chart.resolve()), "--namespace", release.namespace),
                *("--kube-version", release.kube_version, "--include-crds", "--values", "-", *options),
            ],
            needed_for="rendering charts",
            timeout=_TIMEOUT,
            stdin=values,
            environment=_environment(home),
            directory=Path(home),
        )


def _environment(home: str) -> Mapping[str, str | None]:
    forgotten: dict[str, str | None] = {name: None for name in os.environ if _FORGOTTEN.fullmatch(name)}
    return {**forgotten, "HOME": home, "KUBECONFIG": "/dev/null"}
