"""The OCI documents that a bundle is made of (image-spec 1.1: index, manifest, artifact usage, image layout)."""

from collections.abc import Iterable, Mapping
from typing import Any

from bundler.model import canonical
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.platform import Platform

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
LAYOUT = canonical.dump({"imageLayoutVersion": "1.0.0"})
REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"
PLATFORMS = "vnd.bundle.platforms"
ARCHIVE = "vnd.bundle.archive"
RELEASE = "vnd.bundle.release"
SYNTHESISED = "vnd.bundle.synthesised"  # on the manifest of an image that has none of a registry


def describe(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


CHART_CONFIG_TYPE = "application/vnd.cncf.helm.config.v1+json"
CHART_TYPE = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
CHART_PROVENANCE_TYPE = "application/vnd.cncf.helm.chart.provenance.v1.prov"


def chart_manifest(*, config: Descriptor, layers: Iterable[Descriptor]) -> bytes:
    """The manifest of a Helm chart as Helm writes it (HIP-6): its config type says what it is."""
    return canonical.dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _plain(config),
            "layers": [_plain(layer) for layer in layers],
        }
    )


def artifact_manifest(
    *, artifact_type: str, config: Descriptor, layer: Descriptor, title: str, annotations: Mapping[str, str]
) -> bytes:
    """The manifest of something that is no image: one layer, titled with its file name.

    `annotations` say what else the site does by, so that another use of the same bytes has another digest.
    """
    return canonical.dump(
        {
            **({"annotations": dict(annotations)} if annotations else {}),
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": _plain(config),
            "layers": [_plain(layer, annotations={TITLE: title})],
        }
    )


def nested_index(manifests: Iterable[tuple[Descriptor, str]]) -> bytes:
    """The index of all artifacts that are no images: descriptors and artifact types, where they are known."""
    return _index(_plain(descriptor, **({"artifactType": kind} if kind else {})) for descriptor, kind in manifests)


def layout_index(
    images: Iterable[tuple[str, Descriptor]], nested: Descriptor, *, platforms: Iterable[Platform]
) -> bytes:
    """index.json: images under their full references, then the nested index, which has no name.

    A name on it would make containerd 1.6 try to unpack artifacts as an image.
    """
    named = [_plain(descriptor, annotations={REF_NAME: name}) for name, descriptor in images]
    annotations = {PLATFORMS: ",".join(map(str, platforms))}
    return _index([*named, _plain(nested)], annotations=annotations)


def _index(descriptors: Iterable[Mapping[str, Any]], **more: Any) -> bytes:
    manifests = [dict(each) for each in descriptors]
    return canonical.dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests, **more})


def _plain(descriptor: Descriptor, **more: Any) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        **more,
    }
