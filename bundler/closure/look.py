"""What a component will ask a registry for: its charts rendered, its tools asked."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.closure.defaults import cephadm_images, kubeadm_images
from bundler.closure.inputs import is_manifest, program
from bundler.closure.judge import covers
from bundler.closure.render import Release, read_chart, render
from bundler.closure.scan import scan, scan_chart_sources
from bundler.closure.use import Certainty, Found, Place, Use
from bundler.errors import InvalidDocument, NotReadable
from bundler.model.asked import Asked, AskedChart
from bundler.model.component import ToolRequest
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import LockedChart, LockedFile
from bundler.model.reference import Reference
from bundler.support.files import read_text

KUBERNETES = "kubernetes"  # whose version, where a component provides it, charts are rendered for
_NEWEST = "1.36.0"  # what charts are rendered for on a cluster that the profile does not install


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """`uses` by everything that was rendered or asked; `notes` say what cannot be seen this way."""

    uses: tuple[Use, ...]
    notes: tuple[str, ...]
    renders: int


class Looker:
    """Looks into the charts and tools of a lock. `paths` are their files by digest."""

    def __init__(
        self,
        asked: Iterable[Asked],
        charts: Iterable[LockedChart],
        files: Iterable[LockedFile],
        paths: Mapping[Digest, Path],
    ) -> None:
        asked = tuple(asked)
        self._charts = {(chart.chart, chart.version): paths[chart.digest] for chart in charts if chart.digest in paths}
        self._files = {file.name: paths[file.digest] for file in files if file.digest in paths}
        self._provides = {name: version for each in asked for name, version in each.provides}
        self._helm = next((tool for each in asked for name, tool in each.tools if name == "helm"), None)

    def look(self, asked: Asked) -> Seen:
        """A chart or tool that is not locked is left out with a note: that it is missing has been found before.

        Raises ChartNotRendered, NeedsUnknown, InvalidDocument, and NotReadable where no helm is carried.
        """
        uses: dict[Use, None] = {}
        notes: dict[str, None] = {}
        renders = 0
        for chart in asked.charts:
            if (chart.chart, chart.version) not in self._charts or (self._helm and self._helm.file not in self._files):
                notes[f"{chart.chart}-{chart.version}: not rendered, it or helm is not in the lock"] = None
                continue
            seen = self._chart(chart)
            uses |= dict.fromkeys(seen.uses)
            notes |= dict.fromkeys(seen.notes)
            renders += seen.renders
        for file in filter(is_manifest, asked.files):
            if file in self._files:
                try:
                    uses |= dict.fromkeys(scan(read_text(self._files[file], limit=LIMITS.document), source=file))
                except (InvalidDocument, NotReadable) as error:
                    notes[f"{file}: {error}"] = None  # whatever it is, it is no manifest that kubectl takes
        for name, tool in asked.tools:
            if tool.file in self._files:
                uses |= dict.fromkeys(self._named(name, tool))
            else:
                notes[f"{name}: not asked, {tool.file} is not in the lock"] = None
        return Seen(uses=tuple(uses), notes=tuple(notes), renders=renders)

    def _chart(self, chart: AskedChart) -> Seen:
        if self._helm is None:
            why = "no component of the profile carries helm (tools: {helm: …})"
            advice = "Choose a component that does, as the catalog's `helm` does, in the profile."
            raise NotReadable(path=f"the chart {chart.chart}", why=why, advice=advice)
        helm, path = program(self._helm, self._files[self._helm.file]), self._charts[chart.chart, chart.version]
        release = Release(
            name=chart.release,
            namespace=chart.namespace,
            kube_version=self._provides.get(KUBERNETES, _NEWEST),
        )
        cases = [("", chart.values), *((variant.name, variant.values) for variant in chart.variants)]
        label = f"{chart.chart}-{chart.version}"
        done = [
            render(path, helm=helm, values=values, release=release, label=label, variant=name) for name, values in cases
        ]
        uses = tuple(use for rendered in done for use in rendered.uses())
        unused = [
            use
            for file, text in read_chart(path).values
            for use in scan_chart_sources(text, source=f"{label}: {file}", rendered=uses)
        ]
        notes = tuple(f"{label}: {note}" for rendered in done for note in rendered.notes)
        return Seen(uses=(*uses, *unused), notes=notes, renders=sum(len(rendered.texts) for rendered in done))

    def _named(self, name: str, tool: ToolRequest) -> Iterator[Use]:
        """The images that a component's own installer brings up."""
        if name == "helm":
            return
        path = program(tool, self._files[tool.file])
        if name == "kubeadm":
            images = kubeadm_images(path, version=self._provides.get(KUBERNETES, _NEWEST))
        else:
            images = cephadm_images(path.read_bytes())
        for image in images:
            place = Place(source=f"{name} ({tool.file})")
            reference = Reference.parse(image)
            yield Use(text=image, reference=reference, place=place, found=Found.POD, certainty=Certainty.CERTAIN)


def surely(seen: Seen, asked: Asked) -> tuple[Reference, ...]:
    """The images that are to be carried for this: all that is more than a guess and not silenced, sorted."""
    found = {
        use.reference
        for use in seen.uses
        if use.reference
        and use.certainty > Certainty.GUESS
        and not any(covers(silence, use) for silence in asked.silences)
    }
    return tuple(sorted(found, key=str))
