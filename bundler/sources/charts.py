"""Charts, wherever they come from: found, read and described for the lock, and found again when a bundle is made."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bundler.archive.oci import CHART_PROVENANCE_TYPE
from bundler.catalog.manifests import Manifests
from bundler.errors import (
    ChartChanged,
    InvalidDocument,
    Malformed,
    NotFound,
    Problem,
    ResolutionFailed,
    TooLarge,
    WrongBytes,
)
from bundler.model.chart import Dependency
from bundler.model.chart_versions import best_version, version_of
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import ChartDependency, LockedChart
from bundler.model.names import check_segment
from bundler.model.reference import Reference
from bundler.model.scalars import check_chart_name
from bundler.sources.chart_archive import Chart, pack, read_archive
from bundler.sources.chart_folder import Choose, Fetch, Folder, assemble
from bundler.sources.chart_provenance import check_provenance
from bundler.sources.chart_registry import chart_reference, check_bytes, read_blob, stored_chart, stored_versions
from bundler.sources.chart_repository import ChartRepositories
from bundler.sources.images import Registry
from bundler.transport import Request, Transport, Upstreams

_SHOWN = 8  # versions in an error


class Gone(Exception):
    """A pin whose bytes its source no longer serves; its text names the pin."""


class Places(Protocol):
    """Whom to ask; `bundler.resolve` and `bundler.fetch` have such."""

    @property
    def transport(self) -> Transport: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def upstreams(self) -> Upstreams: ...


class Charts:
    """A client of chart repositories, of charts in registries, and of those in the manifests' folders.

    Besides what is named at each method, everything that the transport raises can come.
    """

    def __init__(self, places: Places, manifests: Manifests) -> None:
        self._transport, self._registry, self._manifests = places.transport, places.registry, manifests
        self._repositories = ChartRepositories(places.transport, places.upstreams)

    def versions(self, repository: str, chart: str) -> tuple[str, ...]:
        """All versions that an HTTP repository or a registry has. Raises ResolutionFailed, InvalidDocument."""
        if repository.startswith("oci://"):
            return stored_versions(self._registry, repository, chart)
        return tuple(listed.version for listed in self._repositories.versions(repository, chart))

    def read(self, repository: str, name: str, version: str, *, keyring: str = "") -> tuple[LockedChart, bytes]:
        """One version of a chart from an HTTP repository or a registry, proved whole, and its archive.

        Raises ResolutionFailed for a chart without all that it depends on, InvalidDocument for a broken one,
        WrongBytes, BadSignature, NotFound, Unsupported.
        """
        if repository.startswith("oci://"):
            return self._from_registry(repository, name, chart_reference(repository, name, version), keyring)
        return self._from_repository(repository, name, version, keyring)

    def again(self, kept: LockedChart, *, keyring: str) -> LockedChart:
        """A locked chart as its source serves it now. Raises Gone, and what `read` raises."""
        try:
            if kept.manifest is not None:
                found = self._stored_again(kept, kept.manifest.digest, keyring)
            elif keyring:
                found, _ = self.read(kept.repository, kept.chart, kept.version, keyring=keyring)
            else:
                found = self._listed_again(kept)
        except NotFound:
            found = None
        resigned = found is not None and kept.provenance not in (None, found.provenance)
        if found is None or found.digest != kept.digest or resigned:
            raise Gone(f"{kept.name} of {kept.repository} ({kept.digest})")
        return found

    def _stored_again(self, kept: LockedChart, manifest: Digest, keyring: str) -> LockedChart | None:
        reference = chart_reference(kept.repository, kept.chart, kept.version)
        if keyring:  # the tag may name another manifest by now
            return self._from_registry(kept.repository, kept.chart, replace(reference, digest=manifest), keyring)[0]
        return kept if self._registry.still_there(reference, manifest) else None

    def _listed_again(self, kept: LockedChart) -> LockedChart | None:
        versions = self._repositories.versions(kept.repository, kept.chart)
        listed = next((each for each in versions if each.version == kept.version), None)
        if listed is None:
            return None
        if listed.digest is None:  # the index does not say whether these are the same bytes
            return self.read(kept.repository, kept.chart, kept.version)[0]
        if listed.digest != kept.digest:
            return None
        return kept if kept.url in listed.urls else replace(kept, url=(*listed.urls, kept.url)[0])

    def pack(self, repository: str, name: str, pins: Iterable[ChartDependency]) -> LockedChart:
        """A chart from a folder of the manifests; the `pins` that hold are kept for what it depends on.

        Raises Gone, what `assemble` raises, and what `read` raises for its dependencies.
        """
        pinned = _Pinned(self, pins)
        self._assembled(repository, name, pinned.found, pinned.fetch)
        # Two folders may ask for one chart in two ranges: what is packed follows from the pins alone, as in `packed`.
        used: dict[str, ChartDependency] = {}
        chart, data = self._assembled(repository, name, lambda each: _used(used, pinned.known(each)), pinned.fetch)
        _check(chart, name, chart.meta.version)
        return _locked(chart, repository, data, dependencies=tuple(used.values()))

    def packed(self, chart: LockedChart) -> bytes:
        """A locked chart from a folder, packed again. Raises ChartChanged when it is another one by now."""
        pinned = _Pinned(self, chart.dependencies)
        try:
            _, data = self._assembled(chart.repository, chart.chart, pinned.known, pinned.fetch)
        except ResolutionFailed as error:
            raise ChartChanged(chart=chart.name, folder=chart.repository, why=str(error)) from None
        if Digest.of(data) != chart.digest:
            why = f"it was packed as {chart.digest}, now it is {Digest.of(data)}"
            raise ChartChanged(chart=chart.name, folder=chart.repository, why=why)
        return data

    def locate(self, chart: LockedChart, descriptor: Descriptor) -> Request | bytes:
        """Where a blob of a locked chart comes from. Raises as `packed` does."""
        if chart.manifest is not None:
            reference = chart_reference(chart.repository, chart.chart, chart.version)
            ask = self._registry.manifest_request if descriptor == chart.manifest else self._registry.blob_request
            return ask(reference, descriptor)
        if not chart.url:
            return self.packed(chart)
        return self._repositories.request(f"{chart.url}.prov" if descriptor == chart.provenance else chart.url)

    def _assembled(self, repository: str, name: str, choose: Choose, fetch: Fetch) -> tuple[Chart, bytes]:
        path = self._manifests.chart(repository)
        bases = (folder.resolve() for folder in self._manifests.charts)
        base = next(base for base in bases if base in path.parents)
        chart, files = assemble(Folder(path=path, base=base), name=name, choose=choose, fetch=fetch)
        return chart, pack(files, chart=name)

    def dependency(self, pin: ChartDependency) -> bytes:
        """The archive of a pin. Raises WrongBytes, NotFound."""
        if pin.url.startswith("oci://"):
            descriptor = Descriptor(media_type="application/octet-stream", digest=pin.digest, size=pin.size)
            reference = Reference.parse(pin.url.removeprefix("oci://"))
            return read_blob(self._registry, self._transport, reference, descriptor)
        data = self._transport.get(self._repositories.request(pin.url), limit=pin.size).body
        return check_bytes(data, pin.digest, what=pin.url)

    def _from_repository(self, repository: str, name: str, version: str, keyring: str) -> tuple[LockedChart, bytes]:
        versions = self._repositories.versions(repository, name)
        listed = next((each for each in versions if each.version == version), None)
        if listed is None:
            raise NotFound(url=f"{repository}/index.yaml", what=f"{name} {version}")
        url, data = self._repositories.archive(listed)
        chart = read_archive(data, name=url)
        _check(chart, name, version)
        provenance = self._repositories.provenance(url)
        described = _proved(provenance, chart, data, self._ring(keyring))
        return _locked(chart, repository, data, url=url, provenance=described), data

    def _from_registry(
        self, repository: str, name: str, reference: Reference, keyring: str
    ) -> tuple[LockedChart, bytes]:
        stored = stored_chart(self._registry, reference)
        data = read_blob(self._registry, self._transport, reference, stored.archive)
        chart = read_archive(data, name=str(reference))
        _check(chart, name, reference.tag.replace("_", "+"))
        described = stored.provenance
        signed = read_blob(self._registry, self._transport, reference, described) if described else None
        _proved(signed, chart, data, self._ring(keyring))
        locked = _locked(chart, repository, data, provenance=described)
        return replace(locked, manifest=stored.manifest, config=stored.config), data

    def _ring(self, keyring: str) -> Path | None:
        return self._manifests.file(keyring) if keyring else None


class _Pinned:
    """Pins of what a folder depends on, each archive fetched once."""

    def __init__(self, charts: Charts, pins: Iterable[ChartDependency]) -> None:
        self._charts, self._pins, self._archives = charts, list(pins), dict[Digest, bytes]()

    def known(self, dependency: Dependency) -> ChartDependency:
        """The highest pin that will do. Raises ResolutionFailed."""
        fits = best_version((pin.version for pin in self._pins if pin.name == dependency.name), dependency.version)
        pin = next((pin for pin in self._pins if (pin.name, pin.version) == (dependency.name, fits)), None)
        if pin is None:
            raise ResolutionFailed(what=f"{dependency.name} {dependency.version}", output="no pin of the lock will do")
        return pin

    def found(self, dependency: Dependency) -> ChartDependency:
        """A pin that will do, asked for where there is none yet. Raises Gone, and what Charts.read raises."""
        name, repository = dependency.name, dependency.repository
        if not best_version((pin.version for pin in self._pins if pin.name == name), dependency.version):
            version = choose_version(self._charts, repository, name, dependency.version)
            locked, data = self._charts.read(repository, name, version)
            url = locked.url or f"oci://{chart_reference(repository, name, version)}"
            pin = ChartDependency(name=name, version=version, url=url, digest=locked.digest, size=locked.size)
            self._pins.append(pin)
            self._archives[pin.digest] = data
            return pin
        pin = self.known(dependency)
        try:
            self.fetch(pin)
        except (NotFound, TooLarge, WrongBytes):
            raise Gone(f"{pin.name}-{pin.version}.tgz at {pin.url} ({pin.digest})") from None
        return pin

    def fetch(self, pin: ChartDependency) -> bytes:
        if pin.digest not in self._archives:
            self._archives[pin.digest] = self._charts.dependency(pin)
        return self._archives[pin.digest]


def choose_version(charts: Charts, repository: str, name: str, wanted: str) -> str:
    """The highest version that a range admits; with a registry a version is asked for as it is, like Helm does.

    Raises ResolutionFailed, and what Charts.versions raises.
    """
    if repository.startswith("oci://") and version_of(wanted):
        return wanted
    versions = charts.versions(repository, name)
    fits = best_version(versions, wanted)
    if not fits:
        some = sorted(filter(None, map(version_of, versions)), reverse=True)[:_SHOWN]
        there = ", ".join(map(str, some)) or "none"
        raise ResolutionFailed(what=f"{name} {wanted}", output=f"{repository} has {len(versions)} versions: {there}")
    return fits


def _check(chart: Chart, name: str, version: str) -> None:
    """The chart is the one that was asked for, has a name for the site, and all that it depends on."""
    what = f"{name}-{version}.tgz"
    try:
        if (chart.meta.name, chart.meta.version) != (name, version):
            raise Malformed(found=f"{chart.meta.name} {chart.meta.version}", expected=f"{name} {version}")
        check_chart_name(name)
        Reference(registry="site", repository="chart", tag=version.replace("+", "_"))
        check_segment(what)
    except Malformed as error:
        problem = Problem(file=f"{what}: Chart.yaml", line=1, found=error.found, expected=error.expected)
        raise InvalidDocument(problems=(problem,)) from None
    if chart.missing:
        lacking = ", ".join(f"{each.name} {each.version} ({each.repository or 'no URL'})" for each in chart.missing)
        raise ResolutionFailed(what=what, output=f"it depends on charts that its charts/ lacks: {lacking}")


def _proved(provenance: bytes | None, chart: Chart, data: bytes, keyring: Path | None) -> Descriptor | None:
    """What describes the provenance file. Raises Malformed where one is asked for and not there."""
    file = f"{chart.meta.name}-{chart.meta.version}.tgz"
    if provenance is None:
        if keyring:
            raise Malformed(found=f"no provenance file of {file}", expected="one: a keyring is named for this chart")
        return None
    check_provenance(provenance, file=file, digest=Digest.of(data), keyring=keyring)
    return Descriptor(media_type=CHART_PROVENANCE_TYPE, digest=Digest.of(provenance), size=len(provenance))


def _locked(
    chart: Chart,
    repository: str,
    data: bytes,
    *,
    url: str = "",
    provenance: Descriptor | None = None,
    dependencies: tuple[ChartDependency, ...] = (),
) -> LockedChart:
    return LockedChart(
        chart=chart.meta.name,
        version=chart.meta.version,
        repository=repository,
        url=url,
        digest=Digest.of(data),
        size=len(data),
        metadata=chart.meta.text,
        provenance=provenance,
        manifest=None,
        config=None,
        dependencies=dependencies,
    )


def _used(used: dict[str, ChartDependency], pin: ChartDependency) -> ChartDependency:
    used[f"{pin.name}-{pin.version}"] = pin
    return pin
