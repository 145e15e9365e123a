"""Pack the charts that the lab's upstream serves: from the sources of a Go module, or the lab's own (charts/)."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from scripts.lab.build import go_version, module
from scripts.lab.common import CACHE, LAB, Recipe, digest_of, filled, key_of, locked, say
from scripts.lab.images import image_manifest
from scripts.lab.key import key_id, signed_text
from scripts.lab.storage import Storage
from scripts.lab.tars import write_tar

MADE_BY = 1  # raised when the same recipe gives other bytes
CREATED = "2026-07-01T00:00:00Z"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"


def packed(name: str, chart: Recipe) -> Path:
    """A folder with `files` (HOST/PATH), `storage` (of a registry), `entry.json` for the index. Raises CannotBuild."""
    source = chart["source"]
    if "folder" in source:
        content = key_of([(path.name, digest_of(path)) for path in sorted((LAB / source["folder"]).rglob("*.*"))])
    else:
        go_version()
        content = source["version"]
    key = key_of(MADE_BY, chart, content, key_id() if chart.get("signed") else "")
    target = CACHE / "lab/charts" / f"{name}-{key}"
    with locked(target.name):
        if not target.is_dir():
            say(f"chart: {name}")
            with filled(target) as scratch:
                pack(scratch, chart, sources(source))
    return target


def sources(source: Recipe) -> Path:
    if "folder" in source:
        return LAB / str(source["folder"])
    return Path(module(source["module"], source["version"])["Dir"], source["path"])


def pack(scratch: Path, chart: Recipe, folder: Path) -> None:
    about = yaml.safe_load((folder / "Chart.yaml").read_text())
    url = chart["url"] if "://" in chart["url"] else f"https://{chart['repository']}/{chart['url']}"
    archive = scratch / "files" / url.removeprefix("https://")
    archive.parent.mkdir(parents=True)
    paths = (path for path in folder.rglob("*") if path.is_file())
    write_tar(archive, {PurePosixPath(about["name"], path.relative_to(folder)): path for path in paths})
    provenance = archive.with_name(f"{archive.name}.prov")
    if chart.get("signed"):
        digests = yaml.safe_dump({"files": {archive.name: f"sha256:{digest_of(archive)}"}})
        provenance.write_bytes(signed_text(f"{yaml.safe_dump(about, sort_keys=True)}\n...\n{digests}"))
    entry = {**about, "created": CREATED, "digest": digest_of(archive), "urls": [chart["url"]]}
    (scratch / "entry.json").write_text(json.dumps({"repository": chart["repository"], "entry": entry}))
    if name := chart.get("oci"):
        push(Storage(scratch / "storage"), name, about, [archive, *([provenance] if chart.get("signed") else [])])


def push(storage: Storage, name: str, about: Mapping[str, Any], layers: list[Path]) -> None:
    """As `helm push` does: Chart.yaml as JSON for a configuration, the archive and its provenance for layers."""
    config = storage.blob(name, CONFIG, json.dumps(about, sort_keys=True).encode())
    types = [CONTENT, PROVENANCE]
    described = [storage.blob(name, kind, path.read_bytes()) for kind, path in zip(types, layers, strict=False)]
    # A + has no place in a tag; helm writes _ for it.
    storage.manifest(name, image_manifest(config, described, {}), about["version"].replace("+", "_"))


def indexes(charts: Iterable[Path]) -> Mapping[str, str]:
    """The index.yaml of each repository, by HOST/PATH."""
    found: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for chart in charts:
        about = json.loads((chart / "entry.json").read_text())
        found[about["repository"]][about["entry"]["name"]].append(about["entry"])
    texts = {}
    for repository, entries in found.items():
        index = {"apiVersion": "v1", "entries": {name: entries[name] for name in entries}, "generated": CREATED}
        texts[f"{repository}/index.yaml"] = yaml.safe_dump(index)
    return texts
