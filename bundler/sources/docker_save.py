"""What `docker save` writes, read: manifest.json, configurations and layers (docker image spec v1.2, "Combined Image
JSON + Filesystem Changeset Format"), and the OCI manifest that we write for it, because it has none of a registry."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bundler.archive.oci import SYNTHESISED
from bundler.errors import Malformed, ResolutionFailed, WrongBytes
from bundler.model import canonical
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import LockedImage
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.model.values import write_values
from bundler.sources.image_choice import check_sizes, distinct, reading, require
from bundler.sources.registry_documents import parse_config

MANIFEST = "manifest.json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MAGIC = ((b"\x1f\x8b", "+gzip"), (b"\x28\xb5\x2f\xfd", "+zstd"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedImage:
    """An entry of manifest.json: names of members, and the names that the image has."""

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A member's digest and size in bytes; `head` are its first bytes."""

    digest: Digest
    size: int
    head: bytes


class Saved(Protocol):
    """The members of a `docker save`."""

    def read(self, name: str) -> bytes:
        """A small member. Raises Malformed where there is none, or a large one."""

    def measure(self, name: str) -> Measured:
        """Raises Malformed where there is none."""


def parse_saved(data: bytes) -> tuple[SavedImage, ...]:
    """manifest.json. Raises Malformed."""
    entries = canonical.load(data, limit=LIMITS.manifest)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Malformed(found=f"another {MANIFEST}", expected="a list of images, as `docker save` writes it")
    return tuple(
        SavedImage(config=_text(entry.get("Config")), layers=_texts(entry, "Layers"), names=_texts(entry, "RepoTags"))
        for entry in entries
    )


def choose_saved(images: Sequence[SavedImage], name: str, *, source: str) -> SavedImage:
    """The image of this name, or the only one. Raises ResolutionFailed, naming those that are there."""
    wanted = str(Reference.parse(name)) if name else ""
    found = [each for each in images if not name or wanted in map(_canonical, each.names)]
    if len(found) != 1:
        there = ", ".join(each for image in images for each in image.names) or f"{len(images)} without a name"
        raise ResolutionFailed(what=f"one image in {source}", output=f"it holds: {there}")
    return found[0]


def synthesise(
    reference: Reference, source: str, image: SavedImage, platforms: Sequence[Platform], saved: Saved
) -> LockedImage:
    """The image with an OCI manifest of its own: Docker's configuration and the layers as they are.

    The same image gives the same manifest. Raises ResolutionFailed for another platform, InvalidDocument,
    WrongBytes for a layer that is not the one its configuration names.
    """
    with reading(source):
        data = saved.read(image.config)
        config = Descriptor(media_type=_CONFIG_TYPE, digest=Digest.of(data), size=len(data))
        platform = parse_config(data)
        measured = [saved.measure(name) for name in image.layers]
        layers = [_layer(each) for each in measured]
        check_sizes((config, *layers))
        _check_layers(source, data, layers)
        if len(layers) > LIMITS.segments:
            raise Malformed(found=f"{len(layers)} layers", expected=f"{LIMITS.segments} at most")
    text = manifest_text(config, layers)
    root = Descriptor(media_type=_MANIFEST_TYPE, digest=Digest.of(text.encode()), size=len(text))
    require(reference, platforms, [(platform, root)])
    return LockedImage(
        reference=reference,
        root=root,
        manifests=(),
        blobs=distinct((config, *layers)),
        source=source,
        synthesised=text,
    )


def manifest_text(config: Descriptor, layers: Iterable[Descriptor]) -> str:
    """The manifest, canonical; an image of the same content has the same digest wherever it was saved."""
    value = {
        "annotations": {SYNTHESISED: "true"},
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": _plain(config),
        "layers": [_plain(layer) for layer in layers],
    }
    return write_values(value)


def parts_of(text: str) -> tuple[Digest, ...]:
    """The digests that a manifest of ours names: configuration, then layers. Raises Malformed."""
    value = canonical.load(text.encode(), limit=LIMITS.manifest)
    try:
        return tuple(Digest.parse(each["digest"]) for each in (value["config"], *value["layers"]))
    except (KeyError, TypeError, AttributeError):
        raise Malformed(found="another synthesised manifest", expected="one that this tool wrote") from None


def _layer(measured: Measured) -> Descriptor:
    """Archives hold plain tars; Docker's containerd store saves what it pulled, compressed as it was."""
    packed = next((ending for magic, ending in _MAGIC if measured.head.startswith(magic)), "")
    return Descriptor(media_type=_LAYER_TYPE + packed, digest=measured.digest, size=measured.size)


def _check_layers(source: str, config: bytes, layers: Sequence[Descriptor]) -> None:
    """The configuration names each layer by the digest of its plain tar."""
    rootfs = canonical.load(config, limit=LIMITS.manifest).get("rootfs")
    named = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(named, list) or len(named) != len(layers):
        raise Malformed(found=f"{len(layers)} layers", expected="those of the configuration's rootfs.diff_ids")
    for diff_id, layer in zip(named, layers, strict=True):
        if layer.media_type == _LAYER_TYPE and diff_id != str(layer.digest):
            raise WrongBytes(what=f"a layer in {source}", expected=str(diff_id)[:80], found=str(layer.digest))


def _plain(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def _canonical(name: str) -> str:
    try:
        return str(Reference.parse(name))
    except Malformed:
        return name


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    values = entry.get(key) or []
    if not isinstance(values, list):
        raise Malformed(found=f"{key} that is no list", expected="a list of texts")
    return tuple(_text(value) for value in values)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Malformed(found=f"{type(value).__name__} in {MANIFEST}", expected="a text")
    return value
