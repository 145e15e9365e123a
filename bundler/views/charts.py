"""A chart repository: `charts/index.yaml`, and at `charts/files/<sha256>/<file>` each archive, its provenance beside.

The index is JSON, which is YAML too: any reader of the one takes the other.
"""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from bundler.errors import Malformed
from bundler.model import canonical
from bundler.model.chart import metadata_of
from bundler.model.limits import LIMITS
from bundler.model.nodes import from_json
from bundler.model.statement import ChartArtifact
from bundler.store.blobs import BlobStore
from bundler.views.tree import Tree


def build_charts(target: Path, charts: Iterable[ChartArtifact], store: BlobStore) -> None:
    """Make `charts/` in the generation `target`. Raises StaleLink, CannotWrite, and what the store raises."""
    tree = Tree(target)
    listed = sorted(charts, key=lambda chart: (chart.chart, chart.name))
    for chart in listed:
        place = _place(chart)
        tree.blob(f"charts/{place}", store, chart.digest)
        for provenance in chart.provenance:
            tree.blob(f"charts/{place}.prov", store, provenance)
    entries = {
        name: [_entry(chart, store) for chart in group]
        for name, group in groupby(listed, key=lambda chart: chart.chart)
    }
    tree.write("charts/index.yaml", canonical.dump({"apiVersion": "v1", "entries": entries}))


def _place(chart: ChartArtifact) -> str:
    return f"files/{chart.digest.hex}/{chart.name}"


def _entry(chart: ChartArtifact, store: BlobStore) -> dict[str, Any]:
    named = {"name": chart.chart, "version": chart.version, "urls": [_place(chart)], "digest": chart.digest.hex}
    return {**_metadata(store.read(chart.config, limit=LIMITS.metadata)), **named}


def _metadata(config: bytes) -> dict[str, Any]:
    """What Helm's index says of a chart; a registry's config that Helm would stumble over says nothing."""
    try:
        return metadata_of(from_json(canonical.load(config, limit=LIMITS.metadata, floats=True)))
    except Malformed:
        return {"apiVersion": "v2"}
