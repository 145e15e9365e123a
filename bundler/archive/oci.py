"""The OCI documents that a bundle is made of (image-spec 1.1: index, manifest, artifact usage, image layout)."""

from collections.abc import Iterable, Mapping
from typing import Any

from bundler.model import canonical
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
LAYOUT = canonical.dump({"imageLayoutVersion": "1.0.0"})
REF_NAME = "org.opencontainers.image.ref.name"
TITLE = "org.opencontainers.image.title"


def describe(media_type: str, data: bytes) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


def artifact_manifest(*, artifact_type: str, config: Descriptor, layer: Descriptor, title: str) -> bytes:
    """The manifest of something that is no image: one layer, titled with its file name."""
    return canonical.dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": _plain(config),
            "layers": [_plain(layer, annotations={TITLE: title})],
        }
    )


def nested_index(manifests: Iterable[tuple[Descriptor, str]]) -> bytes:
    """The index of all artifacts that are no images: descriptors and artifact types."""
    return _index(_plain(descriptor, artifactType=kind) for descriptor, kind in manifests)


def layout_index(images: Iterable[tuple[str, Descriptor]], nested: Descriptor | None) -> bytes:
    """index.json: images under their full references, then the nested index, which has no name.

    A name on it would make containerd 1.6 try to unpack artifacts as an image.
    """
    named = [_plain(descriptor, annotations={REF_NAME: name}) for name, descriptor in images]
    return _index([*named, *([_plain(nested)] if nested else [])])


def _index(descriptors: Iterable[Mapping[str, Any]]) -> bytes:
    return canonical.dump(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [dict(each) for each in descriptors]}
    )


def _plain(descriptor: Descriptor, **more: Any) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        **more,
    }
