"""Small real artifacts, made here byte for byte: wheels, Debian packages, images, and a site that holds them."""

import base64
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from bundler.model.digest import Digest
from bundler.model.statement import Artifact, ChartArtifact, DebArtifact, FileArtifact, ImageArtifact, WheelArtifact
from bundler.store.blobs import BlobStore
from bundler.views.apt import build_apt, sign_apt
from bundler.views.charts import build_charts
from bundler.views.files import build_files
from bundler.views.pypi import build_pypi
from bundler.views.registry import build_registry

A = TypeVar("A", bound=Artifact)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
HELM = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
PROVENANCE = "application/vnd.cncf.helm.chart.provenance.v1.prov"
DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file, and the description that travels beside it (METADATA, a control stanza)."""

    name: str
    data: bytes
    description: bytes = b""


def make_wheel(
    project: str,
    version: str = "1.0",
    *,
    requires: Iterable[str] = (),
    requires_python: str = "",
    extras: Iterable[str] = (),
    body: str = "",
) -> Made:
    """A pure wheel with one module, which holds `VERSION` and `body`."""
    module = project.replace("-", "_").lower()
    lines = ["Metadata-Version: 2.1", f"Name: {project}", f"Version: {version}"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {other}" for other in requires]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    metadata = ("\n".join(lines) + "\n\nRequires-Python: <1, as the text of the description says\n").encode()
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n{body}".encode(),
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_urlsafe(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return Made(name=f"{module}-{version}-py3-none-any.whl", data=out.getvalue(), description=metadata)


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def make_deb(
    package: str,
    version: str = "1.0-1",
    architecture: str = "all",
    *,
    depends: str = "",
    body: bytes = b"hello\n",
    **more: str,
) -> Made:
    """A package of `more` fields too, with one file, /usr/share/<package>/hello (deb(5), members not compressed)."""
    fields = {"Package": package, "Version": version, "Architecture": architecture, "Maintainer": "T <t@example.com>"}
    fields |= {"Depends": depends} if depends else {}
    fields |= more
    stanza = "".join(f"{name}: {value}\n" for name, value in fields.items()) + "Description: a test package\n"
    members = {
        "debian-binary": b"2.0\n",
        "control.tar": make_tar({"./control": stanza.encode()}),
        "data.tar": make_tar({f"./usr/share/{package}/hello": body}),
    }
    data = b"!<arch>\n"
    for name, content in members.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    file = f"{package}_{version.partition(':')[2] or version}_{architecture}.deb"
    return Made(name=file, data=data, description=stanza.encode())


def make_tar(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files and the folders above them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
        for folder in sorted(folders):
            entry = tarfile.TarInfo(f"./{folder}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeImage:
    root: bytes
    manifests: tuple[bytes, ...]
    blobs: tuple[bytes, ...]


def make_image(files: Mapping[str, bytes], *, index: bool = False) -> MadeImage:
    """A one-layer linux/amd64 image; with `index` under an index that also names an absent arm64 child."""
    layer = make_tar(files)
    rootfs = {"type": "layers", "diff_ids": [str(Digest.of(layer))]}
    config = compact({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs})
    manifest = compact(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(config, CONFIG),
            "layers": [describe(layer, LAYER)],
        }
    )
    if not index:
        return MadeImage(root=manifest, manifests=(manifest,), blobs=(config, layer))
    children = [
        {**describe(manifest, MANIFEST), "platform": {"os": "linux", "architecture": "amd64"}},
        {**describe(b"absent", MANIFEST), "platform": {"os": "linux", "architecture": "arm64"}},
    ]
    root = compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": children})
    return MadeImage(root=root, manifests=(root, manifest), blobs=(config, layer))


def describe(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


@dataclass
class TestSite:
    """A root with a store; artifacts are added, then published as generations."""

    __test__ = False

    root: Path
    artifacts: list[Artifact] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = BlobStore(self.root)
        self.store.prepare()

    def put(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        if not self.store.holds(digest, len(data)):
            with self.store.incoming(digest, len(data)) as incoming:
                incoming.write(memoryview(data))
                incoming.publish()
        return digest

    def manifest(self, config: bytes, layer: bytes) -> Digest:
        value = {"config": describe(config, "text/plain"), "layers": [describe(layer, "application/octet-stream")]}
        return self.put(compact({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/plain", **value}))

    def wheel(self, made: Made, project: str, version: str = "1.0") -> WheelArtifact:
        return self._add(
            WheelArtifact(
                name=made.name,
                project=project,
                version=version,
                digest=self.put(made.data),
                metadata=self.put(made.description),
                manifest=self.manifest(made.description, made.data),
            )
        )

    def chart(self, data: bytes, name: str, version: str = "1.0.0", **more: Any) -> ChartArtifact:
        """`provenance` are the bytes of that file, `reference` is the name in its registry, `config` the config."""
        config = more.get("config", compact({"apiVersion": "v2", "name": name, "version": version}))
        layers = [describe(data, CHART)]
        provenance = [more["provenance"]] if "provenance" in more else []
        layers += [describe(each, PROVENANCE) for each in provenance]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": describe(config, HELM), "layers": layers}
        return self._add(
            ChartArtifact(
                name=f"{name}-{version}.tgz",
                chart=name,
                version=version,
                reference=more.get("reference", ""),
                digest=self.put(data),
                config=self.put(config),
                provenance=tuple(map(self.put, provenance)),
                manifest=self.put(compact(manifest)),
            )
        )

    def deb(self, made: Made, *, archive: str = "debian", release: str = "bookworm") -> DebArtifact:
        stanza = dict(line.split(": ", 1) for line in made.description.decode().splitlines())
        return self._add(
            DebArtifact(
                name=made.name,
                package=stanza["Package"],
                version=stanza["Version"],
                architecture=stanza["Architecture"],
                archive=archive,
                release=release,
                digest=self.put(made.data),
                control=self.put(made.description),
                manifest=self.manifest(made.description, made.data),
            )
        )

    def image(self, made: MadeImage, name: str) -> ImageArtifact:
        return self._add(
            ImageArtifact(
                name=name,
                root=self.put(made.root),
                manifests=tuple(self.put(each) for each in made.manifests),
                referrers=(),
                blobs=tuple(self.put(each) for each in made.blobs),
            )
        )

    def file(self, name: str, data: bytes) -> FileArtifact:
        config, manifest = self.put(b"{}"), self.manifest(b"{}", data)
        return self._add(FileArtifact(name=name, digest=self.put(data), config=config, manifest=manifest))

    def _add(self, artifact: A) -> A:
        self.artifacts.append(artifact)
        return artifact

    def publish(self, name: str, *, key: bytes = b"", date: datetime = DATE, switch: bool = True) -> Path:
        """A generation of all artifacts so far, without a fsync; the current one unless told otherwise."""
        target = self.root / "generations" / name
        target.mkdir(parents=True)
        build_registry(target, self.artifacts, self.store)
        build_pypi(target, [each for each in self.artifacts if isinstance(each, WheelArtifact)], self.store)
        build_charts(target, [each for each in self.artifacts if isinstance(each, ChartArtifact)], self.store)
        build_apt(target, [each for each in self.artifacts if isinstance(each, DebArtifact)], self.store)
        build_files(target, [each for each in self.artifacts if isinstance(each, FileArtifact)], self.store)
        if key:
            sign_apt(target, key, date)
        if switch:
            self.switch(target)
        return target

    def switch(self, target: Path) -> None:
        beside = self.root / ".current.new"
        beside.symlink_to(target.relative_to(self.root))
        beside.rename(self.root / "current")
