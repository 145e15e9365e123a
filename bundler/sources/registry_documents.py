"""Registry manifests, read: OCI image-spec 1.1 (manifest.md, image-index.md) and Docker's schema 2.

Pure: bytes in, a value or Malformed or Unsupported out. Registries and builders add keys and annotations of their
own, so keys that mean nothing here are left alone; those that do are read strictly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundler.errors import Malformed, Unsupported
from bundler.model import canonical
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.platform import Platform

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_SCHEMA1_TYPES = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
_CONFIG_TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_LAYERS = ("application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar")
_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_COMPRESSIONS = ("", "+gzip", "+zstd", ".gzip", ".zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """`foreign`: it may be kept elsewhere than in the registry."""

    descriptor: Descriptor
    foreign: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    media_type: str
    config: Descriptor
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """`platform` is None where the index does not say it."""

    descriptor: Descriptor
    platform: Platform | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    media_type: str
    entries: tuple[IndexEntry, ...]


def parse_document(data: bytes, *, declared: str) -> Manifest | Index:
    """A manifest or an index. `declared` is its media type by the descriptor or Content-Type, "" if there is none.

    Two readers must not take one document for two things (CVE-2021-41190): what it says of itself, what was
    declared and what it holds have to agree. Raises Malformed, or Unsupported for schema 1 and for artifacts.
    """
    document = _object(canonical.load(data, limit=LIMITS.manifest), "the document")
    media_type = _media_type(document, declared)
    if media_type in INDEX_TYPES:
        if "layers" in document or "config" in document:
            raise Malformed(found="an index with layers", expected="manifests only")
        return Index(media_type=media_type, entries=tuple(_entries(_list(document, "manifests"))))
    if "manifests" in document:
        raise Malformed(found="a manifest with manifests", expected="config and layers only")
    return _manifest(document, media_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A manifest of whatever is stored as OCI content: the manifest that it is about, and the blobs that it names."""

    subject: Digest | None
    blobs: tuple[Descriptor, ...]


def media_type_of(data: bytes, *, declared: str) -> str:
    """The type of a manifest or index, by what it says of itself and what was declared. Raises as above."""
    return _media_type(_object(canonical.load(data, limit=LIMITS.manifest), "the document"), declared)


def parse_artifact(data: bytes, *, declared: str) -> Artifact:
    """A manifest whose configuration and layers may be of any type. Raises Malformed, Unsupported for an index."""
    document = _object(canonical.load(data, limit=LIMITS.manifest), "the document")
    media_type = _media_type(document, declared)
    if media_type not in MANIFEST_TYPES:
        raise Unsupported(what="an index that refers to an image", why="Only manifests are carried with an image.")
    if "manifests" in document:
        raise Malformed(found="a manifest with manifests", expected="config and layers only")
    layers = _list(document, "layers")
    if len(layers) > LIMITS.segments:
        raise Malformed(found=f"{len(layers)} layers", expected=f"{LIMITS.segments} at most")
    return Artifact(
        subject=_descriptor(document["subject"], "subject").digest if "subject" in document else None,
        blobs=(
            _descriptor(document.get("config"), "config"),
            *(_descriptor(value, f"layers[{at}]") for at, value in enumerate(layers)),
        ),
    )


def parse_listing(data: bytes) -> tuple[Descriptor, ...]:
    """The manifests of an index of any things (distribution-spec, listing referrers). Raises Malformed."""
    document = _object(canonical.load(data, limit=LIMITS.manifest), "the list of referrers")
    return tuple(_descriptor(value, f"manifests[{at}]") for at, value in enumerate(_list(document, "manifests")))


def parse_layout(data: bytes) -> tuple[tuple[Descriptor, tuple[str, ...]], ...]:
    """An image layout's index.json: manifests and the names that they have there (image-layout.md, annotations of
    containerd). Raises Malformed."""
    document = _object(canonical.load(data, limit=LIMITS.manifest), "index.json")
    return tuple(
        (_descriptor(value, f"manifests[{at}]"), _names(value.get("annotations")))
        for at, value in enumerate(_list(document, "manifests"))
    )


def _names(annotations: Any) -> tuple[str, ...]:
    keys = ("org.opencontainers.image.ref.name", "io.containerd.image.name")
    found = (annotations.get(key) for key in keys) if isinstance(annotations, dict) else ()
    return tuple(name for name in found if isinstance(name, str) and name)


def parse_config(data: bytes) -> Platform:
    """The platform that an image configuration is for (config.md). Raises Malformed."""
    return _platform(_object(canonical.load(data, limit=LIMITS.manifest), "the configuration"))


def _media_type(document: dict[str, Any], declared: str) -> str:
    known = (*INDEX_TYPES, *MANIFEST_TYPES, *_SCHEMA1_TYPES)
    declared = declared if declared in known else ""
    said = _text(document, "mediaType") if "mediaType" in document else ""
    if said and declared and said != declared:
        raise Malformed(found=f"the media type {said[:80]!r}", expected=declared)
    media_type = said or declared or (INDEX_TYPES if "manifests" in document else MANIFEST_TYPES)[0]
    if media_type in _SCHEMA1_TYPES or document.get("schemaVersion") == 1:
        raise Unsupported(what="a manifest of Docker's schema 1", why="It is obsolete and not addressed by content.")
    if media_type not in known:
        raise Unsupported(what=f"the manifest type {media_type[:80]!r}", why="It is no container image.")
    if document.get("schemaVersion") != 2:
        raise Malformed(found=f"schemaVersion {str(document.get('schemaVersion'))[:20]}", expected="2")
    return media_type


def _manifest(document: dict[str, Any], media_type: str) -> Manifest:
    config = _descriptor(document.get("config"), "config")
    if config.media_type not in _CONFIG_TYPES:
        raise Unsupported(what=f"the configuration type {config.media_type!r}", why="It is no container image.")
    layers = _list(document, "layers")
    if len(layers) > LIMITS.segments:
        raise Malformed(found=f"{len(layers)} layers", expected=f"{LIMITS.segments} at most")
    return Manifest(
        media_type=media_type,
        config=config,
        layers=tuple(_layer(value, f"layers[{at}]") for at, value in enumerate(layers)),
    )


def _layer(value: Any, where: str) -> Layer:
    descriptor = _descriptor(value, where)
    base = next((each for each in (*_LAYERS, *_FOREIGN) if descriptor.media_type.startswith(each)), None)
    if base is None or descriptor.media_type.removeprefix(base) not in _COMPRESSIONS:
        raise Unsupported(
            what=f"the layer type {descriptor.media_type!r}",
            why=f"{descriptor.digest} is no plain, gzip or zstd compressed layer.",
        )
    return Layer(descriptor=descriptor, foreign=base in _FOREIGN or "urls" in value)


def _entries(values: list[Any]) -> Iterator[IndexEntry]:
    """An entry whose platform nobody can ask for (such as an attestation's) is left out."""
    for at, value in enumerate(values):
        descriptor = _descriptor(value, f"manifests[{at}]")
        if "platform" not in value:
            yield IndexEntry(descriptor=descriptor, platform=None)
            continue
        platform = _object(value["platform"], f"manifests[{at}].platform")
        if (platform.get("os"), platform.get("architecture")) in (("unknown", "unknown"), ("", "")):
            continue
        yield IndexEntry(descriptor=descriptor, platform=_platform(platform))


def _platform(value: dict[str, Any]) -> Platform:
    variant = _text(value, "variant") if "variant" in value else ""
    return Platform(os=_text(value, "os"), architecture=_text(value, "architecture"), variant=variant)


def _descriptor(value: Any, where: str) -> Descriptor:
    fields = _object(value, where)
    size = fields.get("size")
    if not isinstance(size, int) or isinstance(size, bool):
        raise Malformed(found=f"no size in {where}", expected="a descriptor: mediaType, digest and size")
    return Descriptor(media_type=_text(fields, "mediaType"), digest=Digest.parse(_text(fields, "digest")), size=size)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(found=f"{type(value).__name__} for {where}", expected="an object")
    return value


def _list(fields: dict[str, Any], key: str) -> list[Any]:
    value = fields.get(key)
    if not isinstance(value, list):
        raise Malformed(found=f"no list {key!r}", expected="one")
    return value


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise Malformed(found=f"no text {key!r}", expected="one")
    return value
