"""Charts in `create`: packed again from their folders, fetched from repositories, refused when they changed."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.archive.draft import draft_of
from bundler.catalog.manifests import Manifests
from bundler.errors import BundleError, ChartChanged, NotReadable, PinGone, WrongBytes
from bundler.fetch.partial import Partial
from bundler.fetch.pool import fetch_all
from bundler.fetch.tasks import PartOf, slots_of, tasks_of
from bundler.model.digest import Digest
from bundler.model.lock import ChartDependency, LockedChart
from bundler.sources.chart_archive import pack, read_chart
from bundler.support import files
from bundler.support.progress import Silent
from bundler.transport import Transport, Upstreams
from bundler.workflows.places import Places, sources_of
from tests.bundles import SOURCES, Blobs, bare_lock
from tests.charts import TinyCharts, chart_files, dependency, make_chart, write_chart
from tests.content import Made
from tests.hostile_server import HostileServer, ok, status


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def repository() -> Iterator[TinyCharts]:
    with HostileServer() as server:
        yield TinyCharts(server=server)


def fetch(chart: LockedChart, folder: Path, repository: TinyCharts, transport: Transport) -> dict[Digest, bytes]:
    """What create would write for a chart."""
    draft = draft_of(bare_lock(charts=(chart,)), sources=SOURCES, signers=())
    tasks = tasks_of(bare_lock(charts=(chart,)), draft.contents, draft.bootstrap, draft.layout)
    folder.mkdir(exist_ok=True)
    upstreams = Upstreams.parse([f"charts.example={repository.url}"])
    places = Places(manifests=Manifests(folders=(folder,)), upstreams=upstreams)
    with Partial(folder / "out", plan=draft.plan, size=draft.layout.size, blobs=slots_of(tasks)) as partial:
        sources = sources_of(places, transport, Silent())
        fetch_all(tasks, partial, sources, jobs=2, progress=Silent(), refresh="bundle lock -p p")
        assert all(isinstance(task.origin, PartOf) for task in tasks)
        return {task.digest: partial.read(task.size, task.offset) for task in tasks}


def packed(folder: Path, repository: TinyCharts) -> LockedChart:
    """The lock of charts/own, which depends on a chart of the repository."""
    needs = [dependency("common", "^1", "https://charts.example")]
    write_chart(folder / "charts", "own", dependencies=needs)
    common = repository.add("common", "1.1.0")
    contents = chart_files("own", dependencies=needs) | {"charts/common-1.1.0.tgz": common}
    data = pack(contents, chart="own")
    pin = ChartDependency(
        name="common",
        version="1.1.0",
        url="https://charts.example/common-1.1.0.tgz",
        digest=Digest.of(common),
        size=len(common),
    )
    return LockedChart(
        chart="own",
        version="1.0.0",
        repository="file:own",
        url="",
        digest=Digest.of(data),
        size=len(data),
        metadata=read_chart(contents, name="own").meta.text,
        provenance=None,
        manifest=None,
        config=None,
        dependencies=(pin,),
    )


def test_a_folder_is_packed_as_it_was(tmp_path: Path, repository: TinyCharts, transport: Transport) -> None:
    chart = packed(tmp_path, repository)
    (data,) = fetch(chart, tmp_path, repository, transport).values()
    assert Digest.of(data) == chart.digest


def test_an_archive_and_its_provenance(tmp_path: Path, repository: TinyCharts, transport: Transport) -> None:
    chart = Blobs().chart(Made(name="web-1.0.0.tgz", data=repository.add("web"), description=b"proof"))
    repository.server.on("/charts/web-1.0.0.tgz.prov", ok(b"proof"))
    found = fetch(chart, tmp_path, repository, transport)
    assert set(found.values()) == {b"proof", make_chart("web")}
    repository.server.on("/charts/web-1.0.0.tgz.prov", ok(b"Proof"))
    with pytest.raises(WrongBytes):
        fetch(replace(chart, metadata=chart.metadata), tmp_path / "again", repository, transport)
    repository.server.on("/charts/web-1.0.0.tgz", status(404))
    repository.server.on("/charts/web-1.0.0.tgz.prov", ok(b"proof"))
    with pytest.raises(PinGone):
        fetch(chart, tmp_path / "gone", repository, transport)


Change = Callable[[Path, TinyCharts], None]


def more_files(folder: Path, repository: TinyCharts) -> None:
    (folder / "charts/own/more.txt").write_text("more")


def another_dependency(folder: Path, repository: TinyCharts) -> None:
    needs = [dependency("common", "^2", "https://charts.example")]
    write_chart(folder / "charts", "own", dependencies=needs)


def gone_dependency(folder: Path, repository: TinyCharts) -> None:
    repository.server.on("/charts/common-1.1.0.tgz", status(404))


def wrong_dependency(folder: Path, repository: TinyCharts) -> None:
    repository.server.on("/charts/common-1.1.0.tgz", ok(make_chart("evil")[:200]))


def no_folder(folder: Path, repository: TinyCharts) -> None:
    (folder / "charts/own").rename(folder / "charts/other")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (more_files, ChartChanged),
        (another_dependency, ChartChanged),
        (no_folder, NotReadable),
        (gone_dependency, PinGone),
        (wrong_dependency, WrongBytes),
    ],
)
def test_what_changed_is_refused(
    tmp_path: Path, repository: TinyCharts, transport: Transport, change: Change, kind: type[BundleError]
) -> None:
    chart = packed(tmp_path, repository)
    change(tmp_path, repository)
    with pytest.raises(kind) as caught:
        fetch(chart, tmp_path, repository, transport)
    if isinstance(caught.value, ChartChanged):
        assert (caught.value.chart, caught.value.folder) == ("own-1.0.0.tgz", "file:own")
        assert caught.value.hint.endswith("bundle lock -p p")
