"""From a lock to the contents of a bundle: every blob, every document that we write ourselves, every artifact.

Pure: the same lock gives the same contents, byte for byte, anywhere.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bundler.archive import oci
from bundler.errors import Malformed
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedChart, LockedDeb, LockedFile, LockedImage, LockedWheel
from bundler.model.lock_text import write_lock
from bundler.model.reference import Reference
from bundler.model.statement import ChartArtifact, DebArtifact, FileArtifact, ImageArtifact, WheelArtifact

WHEEL_TYPE = "application/vnd.bundle.wheel.v1"
WHEEL_METADATA_TYPE = "application/vnd.bundle.wheel.metadata.v1"
DEB_TYPE = "application/vnd.bundle.deb.v1"
DEB_CONTROL_TYPE = "application/vnd.bundle.deb.control.v1"
DEB_CONTENT_TYPE = "application/vnd.debian.binary-package"
FILE_TYPE = "application/vnd.bundle.file.v1"
CONTENT_TYPE = "application/octet-stream"
LOCK_TYPE = "application/vnd.bundle.lock.v1+yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """`blobs` are all blobs in file order, `payloads` the large ones, which come last; `ready` has the bytes of those
    that we write ourselves."""

    index: bytes
    blobs: tuple[Descriptor, ...]
    payloads: frozenset[Digest]
    ready: Mapping[Digest, bytes]
    lock: Digest
    images: tuple[ImageArtifact, ...]
    charts: tuple[ChartArtifact, ...]
    wheels: tuple[WheelArtifact, ...]
    debs: tuple[DebArtifact, ...]
    files: tuple[FileArtifact, ...]


class _Shelf:
    """Blobs seen so far: documents (small, first in the file) and payloads (large, after them)."""

    def __init__(self) -> None:
        self.documents: dict[Digest, Descriptor] = {}
        self.payloads: dict[Digest, Descriptor] = {}
        self.ready: dict[Digest, bytes] = {}

    def write(self, media_type: str, data: bytes) -> Descriptor:
        descriptor = oci.describe(media_type, data)
        self.ready[descriptor.digest] = data
        return self.document(descriptor)

    def document(self, descriptor: Descriptor) -> Descriptor:
        return self._put(self.documents, descriptor)

    def payload(self, descriptor: Descriptor) -> Descriptor:
        return self._put(self.payloads, descriptor)

    def _put(self, shelf: dict[Digest, Descriptor], descriptor: Descriptor) -> Descriptor:
        known = self.documents.get(descriptor.digest) or self.payloads.get(descriptor.digest)
        if known is None:
            shelf[descriptor.digest] = descriptor
        elif known.size != descriptor.size:
            raise Malformed(
                found=f"{descriptor.digest} with {known.size} and {descriptor.size} bytes", expected="one size"
            )
        return descriptor

    def known(self, digest: Digest) -> Descriptor:
        return self.documents.get(digest) or self.payloads[digest]

    def ordered(self) -> tuple[Descriptor, ...]:
        return tuple(shelf[digest] for shelf in (self.documents, self.payloads) for digest in sorted(shelf))


def contents_of(lock: Lock) -> Contents:
    """Raises Malformed when the lock gives one digest two sizes."""
    shelf = _Shelf()
    ordered = sorted(lock.images, key=lambda image: image.name)
    images = [_image(shelf, image) for image in ordered]
    # A signature under a name would be unpacked as an image.
    named = [(image.name, image.root) for image in ordered if image.reference.about is None]
    charts = [_chart(shelf, chart) for chart in sorted(lock.charts, key=lambda chart: chart.name)]
    wheels = [_wheel(shelf, wheel) for wheel in sorted(lock.wheels, key=lambda wheel: wheel.name)]
    debs = [_deb(shelf, deb) for deb in sorted(lock.debs, key=lambda deb: (deb.archive, deb.release, deb.name))]
    files = [_file(shelf, file) for file in sorted(lock.files, key=lambda file: file.name)]
    text, carried = _lock(shelf, lock)
    nested = shelf.write(
        oci.INDEX_TYPE,
        oci.nested_index(
            [
                (carried, LOCK_TYPE),
                *_listed(shelf, oci.CHART_CONFIG_TYPE, charts),
                *_listed(shelf, WHEEL_TYPE, wheels),
                *_listed(shelf, DEB_TYPE, debs),
                *_listed(shelf, FILE_TYPE, files),
                *((image.root, "") for image in ordered if image.reference.about is not None),
                *((shelf.known(digest), "") for image in images for digest in image.referrers),
            ]
        ),
    )
    return Contents(
        index=oci.layout_index(named, nested, platforms=lock.platforms),
        blobs=shelf.ordered(),
        payloads=frozenset(shelf.payloads),
        ready=shelf.ready,
        lock=text.digest,
        images=tuple(images),
        charts=tuple(charts),
        wheels=tuple(wheels),
        debs=tuple(debs),
        files=tuple(files),
    )


def _lock(shelf: _Shelf, lock: Lock) -> tuple[Descriptor, Descriptor]:
    """The lock itself, and its manifest: from it the bundle is proved complete without anything else."""
    text = shelf.write(LOCK_TYPE, write_lock(lock).encode())
    config = shelf.write(oci.EMPTY_TYPE, oci.EMPTY)
    manifest = oci.artifact_manifest(
        artifact_type=LOCK_TYPE, config=config, layer=text, title="images.lock", annotations={}
    )
    return text, shelf.write(oci.MANIFEST_TYPE, manifest)


def _listed(
    shelf: _Shelf, kind: str, artifacts: Iterable[ChartArtifact | WheelArtifact | DebArtifact | FileArtifact]
) -> list[tuple[Descriptor, str]]:
    return [(replace(shelf.known(artifact.manifest), media_type=oci.MANIFEST_TYPE), kind) for artifact in artifacts]


def is_config(media_type: str) -> bool:
    """Whether an image's blob is its config: a small document that readers want first."""
    return ".config." in media_type or media_type == "application/vnd.docker.container.image.v1+json"


def _image(shelf: _Shelf, image: LockedImage) -> ImageArtifact:
    others = (each for each in image.manifests if each.digest != image.root.digest)
    manifests = (image.root, *sorted(others), *sorted(image.referrers))
    if image.synthesised:
        shelf.write(image.root.media_type, image.synthesised.encode())
    for descriptor in manifests:
        shelf.document(descriptor)
    for descriptor in sorted(image.blobs):
        (shelf.document if is_config(descriptor.media_type) else shelf.payload)(descriptor)
    return ImageArtifact(
        name=image.name,
        root=image.root.digest,
        manifests=_digests(manifests),
        referrers=_digests(image.referrers),
        blobs=_digests(image.blobs),
    )


def _digests(descriptors: Iterable[Descriptor]) -> tuple[Digest, ...]:
    return tuple(sorted({descriptor.digest for descriptor in descriptors}))


def _chart(shelf: _Shelf, chart: LockedChart) -> ChartArtifact:
    layer = shelf.payload(Descriptor(media_type=oci.CHART_TYPE, digest=chart.digest, size=chart.size))
    provenance = [shelf.document(chart.provenance)] if chart.provenance else []
    if chart.manifest and chart.config:  # its registry's own: whoever pinned its digest finds it
        config, manifest = shelf.document(chart.config), shelf.document(chart.manifest)
    else:
        config = shelf.write(oci.CHART_CONFIG_TYPE, chart.metadata.encode())
        document = oci.chart_manifest(config=config, layers=[layer, *provenance])
        manifest = shelf.write(oci.MANIFEST_TYPE, document)
    return ChartArtifact(
        name=chart.name,
        chart=chart.chart,
        version=chart.version,
        reference=chart_reference(chart),
        digest=chart.digest,
        config=config.digest,
        provenance=tuple(each.digest for each in provenance),
        manifest=manifest.digest,
    )


def chart_reference(chart: LockedChart) -> str:
    """The canonical reference of a chart from an OCI registry; Helm writes `_` for a version's `+`."""
    if not chart.repository.startswith("oci://"):
        return ""
    name = f"{chart.repository.removeprefix('oci://')}/{chart.chart}:{chart.version.replace('+', '_')}"
    return str(Reference.parse(name))


def _wheel(shelf: _Shelf, wheel: LockedWheel) -> WheelArtifact:
    config = shelf.document(
        Descriptor(media_type=WHEEL_METADATA_TYPE, digest=wheel.metadata.digest, size=wheel.metadata.size)
    )
    layer = shelf.payload(Descriptor(media_type=CONTENT_TYPE, digest=wheel.digest, size=wheel.size))
    return WheelArtifact(
        name=wheel.file,
        project=wheel.project,
        version=wheel.version,
        digest=wheel.digest,
        metadata=wheel.metadata.digest,
        manifest=_artifact(shelf, WHEEL_TYPE, config, layer, wheel.file),
    )


def _deb(shelf: _Shelf, deb: LockedDeb) -> DebArtifact:
    config = shelf.write(DEB_CONTROL_TYPE, deb.control.encode() + b"\n")
    layer = shelf.payload(Descriptor(media_type=DEB_CONTENT_TYPE, digest=deb.digest, size=deb.size))
    return DebArtifact(
        name=deb.file,
        package=deb.package,
        version=deb.version,
        architecture=deb.architecture,
        archive=deb.archive,
        release=deb.release,
        digest=deb.digest,
        control=config.digest,
        manifest=_artifact(
            shelf, DEB_TYPE, config, layer, deb.file, **{oci.ARCHIVE: deb.archive, oci.RELEASE: deb.release}
        ),
    )


def _file(shelf: _Shelf, file: LockedFile) -> FileArtifact:
    config = shelf.write(oci.EMPTY_TYPE, oci.EMPTY)
    layer = shelf.payload(Descriptor(media_type=CONTENT_TYPE, digest=file.digest, size=file.size))
    return FileArtifact(
        name=file.name,
        digest=file.digest,
        config=config.digest,
        manifest=_artifact(shelf, FILE_TYPE, config, layer, file.name),
    )


def _artifact(
    shelf: _Shelf, kind: str, config: Descriptor, layer: Descriptor, title: str, **annotations: str
) -> Digest:
    data = oci.artifact_manifest(artifact_type=kind, config=config, layer=layer, title=title, annotations=annotations)
    return shelf.write(oci.MANIFEST_TYPE, data).digest
