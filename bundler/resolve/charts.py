"""Charts: a version of each that its repository has, the pins that hold kept."""

import threading
from functools import partial

from bundler.errors import NameConflict, ResolutionFailed
from bundler.model.chart_versions import Range, Version
from bundler.model.component import ChartRequest
from bundler.model.lock import LockedChart
from bundler.resolve.run import Job, Run
from bundler.sources.charts import Charts, Gone, choose_version


def chart_jobs(run: Run) -> list[Job]:
    charts = Charts(run.resolvers, run.declared.manifests)
    finder = _Finder(run, charts)
    requests = (chart for component in run.declared.components for chart in component.content.charts)
    return [(f"chart {request.release}", partial(finder.find, request)) for request in requests]


class _Finder:
    def __init__(self, run: Run, charts: Charts) -> None:
        self._run, self._charts = run, charts
        self._lock = threading.Lock()

    def find(self, request: ChartRequest) -> None:
        """Add the chart to what is found, or to what is gone."""
        kept = self._kept(request)
        try:
            if _in_folder(request):
                chart = self._pack(request, kept)
            elif kept is not None:
                chart = self._charts.again(kept, keyring=request.keyring)
                self._note_newer(request, kept)
            else:
                version = choose_version(self._charts, request.repository, request.name, request.version)
                chart, _ = self._charts.read(request.repository, request.name, version, keyring=request.keyring)
        except Gone as error:
            self._run.found.gone.append(str(error))
        else:
            self._add(request, chart)
        self._run.progress.note(f"chart {request.release}")

    def _kept(self, request: ChartRequest) -> LockedChart | None:
        """The highest of the charts that were locked before which still is what is asked for."""
        if self._run.before is None or self._run.update.moves(request.name):
            return None
        wanted = Range.parse(request.version)
        fits = [
            (Version.parse(chart.version).key, chart)
            for chart in self._run.before.charts
            if (chart.chart, chart.repository) == (request.name, request.repository)
            and (_in_folder(request) or chart.version == request.version or wanted.admits(Version.parse(chart.version)))
        ]
        return max(fits, key=lambda pair: pair[0])[1] if fits else None

    def _pack(self, request: ChartRequest, kept: LockedChart | None) -> LockedChart:
        """A folder has one version: what is pinned is what it depends on."""
        moves = self._run.update.moves
        pins = [pin for pin in (kept.dependencies if kept else ()) if not moves(pin.name)]
        chart = self._charts.pack(request.repository, request.name, pins)
        wanted = Range.parse(request.version)
        if request.version not in ("*", chart.version) and not wanted.admits(Version.parse(chart.version)):
            there = f"{request.repository} holds version {chart.version}"
            raise ResolutionFailed(what=f"{request.name} {request.version}", output=there)
        return chart

    def _note_newer(self, request: ChartRequest, kept: LockedChart) -> None:
        newest = choose_version(self._charts, request.repository, request.name, request.version)
        if newest != kept.version:
            note = f"{request.name} {newest} is there by now; --update={request.name} takes it"
            self._run.progress.note(note)

    def _add(self, request: ChartRequest, chart: LockedChart) -> None:
        """Each chart once. Raises NameConflict for two of one name and version."""
        with self._lock:
            found = self._run.found
            known = next((each for each in found.charts if each.name == chart.name), None)
            if known is None:
                found.charts.append(chart)
            elif known.digest != chart.digest or known.repository != chart.repository:
                first, second = sorted(f"{each.name} of {each.repository}" for each in (known, chart))
                raise NameConflict(name=chart.name, first=first, second=second)
            found.chart_versions[request.release] = chart.version


def _in_folder(request: ChartRequest) -> bool:
    return request.repository.startswith("file:")
