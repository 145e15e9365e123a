"""Small real charts, and a chart repository on loopback."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hostile_server import HostileServer, ok

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-{{ .Chart.Name }}}\n"


def chart_yaml(name: str, version: str = "1.0.0", **more: Any) -> bytes:
    """A Chart.yaml (JSON is YAML); a key without a value is left out."""
    values = {"apiVersion": "v2", "name": name, "version": version, "description": f"The chart {name}"} | more
    return json.dumps({key: value for key, value in values.items() if value is not None}).encode()


def chart_files(name: str, version: str = "1.0.0", **more: Any) -> dict[str, bytes]:
    return {
        "Chart.yaml": chart_yaml(name, version, **more),
        "values.yaml": b"image: docker.io/library/app:1\n",
        "templates/map.yaml": CONFIG_MAP.encode(),
    }


def dependency(name: str, version: str = "1.0.0", repository: str = "") -> dict[str, str]:
    return {"name": name, "version": version, "repository": repository}


def make_chart(name: str, version: str = "1.0.0", *, add: Mapping[str, bytes] | None = None, **more: Any) -> bytes:
    """A chart's archive as others make it: compressed, with folders and times."""
    files = chart_files(name, version, **more) | dict(add or {})
    return make_archive([(f"{name}/{path}", data) for path, data in files.items()])


def make_archive(members: Iterable[tuple[str | tarfile.TarInfo, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size, entry.mtime = len(data), 1_700_000_000
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(out.getvalue(), compresslevel=1, mtime=0)


def write_chart(
    folder: Path, name: str, version: str = "1.0.0", *, add: Mapping[str, bytes] | None = None, **more: Any
) -> Path:
    """A chart's folder below `folder`."""
    for path, data in (chart_files(name, version, **more) | dict(add or {})).items():
        place = folder / name / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return folder / name


@dataclass(kw_only=True)
class TinyCharts:
    """An HTTP chart repository at /charts."""

    server: HostileServer
    entries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.server.url}/charts"

    def add(self, name: str, version: str = "1.0.0", *, data: bytes | None = None, **entry: Any) -> bytes:
        """Serve a chart and list it; `entry` goes over what the index says of it, None leaves a key out."""
        data = make_chart(name, version) if data is None else data
        file = f"{name}-{version}.tgz"
        self.server.on(f"/charts/{file}", ok(data))
        said = {"name": name, "version": version, "urls": [file], "digest": hashlib.sha256(data).hexdigest()} | entry
        self.entries.setdefault(name, []).append({key: value for key, value in said.items() if value is not None})
        self.publish()
        return data

    def drop(self, name: str, version: str) -> None:
        self.entries[name] = [entry for entry in self.entries[name] if entry["version"] != version]
        self.publish()

    def publish(self) -> None:
        index = {"apiVersion": "v1", "entries": self.entries}
        self.server.on("/charts/index.yaml", ok(json.dumps(index).encode()))
