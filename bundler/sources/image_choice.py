"""From what a reference names to what is carried of it: the same for registries and for layouts in files."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from bundler.errors import InvalidDocument, Malformed, Problem, ResolutionFailed, Unsupported, WrongBytes
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import LockedImage
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.sources.registry_documents import (
    MANIFEST_TYPES,
    Index,
    IndexEntry,
    Manifest,
    parse_config,
    parse_document,
)

_UNSTATED = 16  # manifests of an index without platforms whose configurations are looked into


class Documents(Protocol):
    """Where the documents of one image are read. Bytes are those of the descriptor, or an error is raised."""

    def manifest(self, descriptor: Descriptor) -> bytes: ...

    def config(self, descriptor: Descriptor) -> bytes: ...

    def has_blob(self, descriptor: Descriptor) -> bool: ...


def choose(
    reference: Reference, root: Descriptor, data: bytes, platforms: Sequence[Platform], documents: Documents
) -> LockedImage:
    """The image whose root is `data`, for these platforms.

    Raises ResolutionFailed for a platform that it is not made for, Unsupported, InvalidDocument for a broken
    manifest, and what `documents` raises.
    """
    found = _Image(reference, documents)
    document = found.parse(data, root.media_type)
    if isinstance(document, Manifest):
        require(reference, platforms, [(found.platform(document), root)])
        chosen, manifests = [], [document]
    else:
        chosen = found.choose(document, platforms)
        manifests = [found.read(descriptor) for descriptor in chosen]
    blobs = [blob for manifest in manifests for blob in found.blobs(manifest)]
    with reading(reference):
        check_sizes((root, *chosen, *blobs))
    return LockedImage(reference=reference, root=root, manifests=distinct(chosen), blobs=distinct(blobs))


class _Image:
    def __init__(self, reference: Reference, documents: Documents) -> None:
        self._reference, self._documents = reference, documents

    def parse(self, data: bytes, declared: str) -> Manifest | Index:
        with reading(self._reference):
            return parse_document(data, declared=declared)

    def read(self, descriptor: Descriptor) -> Manifest:
        if descriptor.media_type not in MANIFEST_TYPES:
            why = f"{descriptor.digest} of {self._reference} is neither an OCI nor a Docker image manifest."
            raise Unsupported(what=f"{descriptor.media_type} in an index", why=why)
        manifest = self.parse(self._documents.manifest(descriptor), descriptor.media_type)
        assert isinstance(manifest, Manifest)  # by its declared type
        return manifest

    def platform(self, manifest: Manifest) -> Platform:
        with reading(self._reference):
            return parse_config(self._documents.config(manifest.config))

    def choose(self, index: Index, platforms: Sequence[Platform]) -> list[Descriptor]:
        """The manifests for these platforms; where an index does not say what they are for, their configurations do."""
        stated = [(each.platform, each.descriptor) for each in index.entries if each.platform is not None]
        if not stated:
            stated = list(self._look_into(index.entries))
        return require(self._reference, platforms, stated)

    def _look_into(self, entries: Sequence[IndexEntry]) -> Iterator[tuple[Platform, Descriptor]]:
        for entry in entries[:_UNSTATED]:
            if entry.descriptor.media_type in MANIFEST_TYPES:
                yield self.platform(self.read(entry.descriptor)), entry.descriptor

    def blobs(self, manifest: Manifest) -> Iterator[Descriptor]:
        """Configuration and layers. A foreign layer's `urls` are never fetched: its source has it, or nobody."""
        yield manifest.config
        for layer in manifest.layers:
            if layer.foreign and not self._documents.has_blob(layer.descriptor):
                why = f"{layer.descriptor.digest} of {self._reference} is kept at URLs of its own, not with the image."
                raise Unsupported(what="a foreign layer", why=why)
            yield layer.descriptor


def require(
    reference: Reference, platforms: Sequence[Platform], offered: Sequence[tuple[Platform, Descriptor]]
) -> list[Descriptor]:
    """The first offer for each platform, each once. Raises ResolutionFailed."""
    found: dict[Descriptor, None] = {}
    missing = []
    for wanted in platforms:
        match = next((descriptor for platform, descriptor in offered if wanted.matches(platform)), None)
        if match is None:
            missing.append(str(wanted))
        else:
            found[match] = None
    if missing:
        there = ", ".join(sorted({str(platform) for platform, _ in offered})) or "none"
        raise ResolutionFailed(what=f"{reference} for {', '.join(missing)}", output=f"it is made for: {there}")
    return list(found)


@contextlib.contextmanager
def reading(what: object) -> Iterator[None]:
    """Name the image in what is wrong with its documents."""
    try:
        yield
    except Malformed as error:
        problem = Problem(file=str(what), line=1, found=error.found, expected=error.expected)
        raise InvalidDocument(problems=(problem,)) from None
    except Unsupported as error:
        error.why = f"{error.why} It is in {what}."
        raise


def proved(data: bytes, descriptor: Descriptor, *, what: str) -> bytes:
    """The bytes, which are those of the descriptor. Raises WrongBytes."""
    found = Digest.of(data)
    if (len(data), found) != (descriptor.size, descriptor.digest):
        expected = f"{descriptor.size} bytes, {descriptor.digest}"
        raise WrongBytes(what=what, expected=expected, found=f"{len(data)} bytes, {found}")
    return data


def check_sizes(descriptors: Iterable[Descriptor]) -> None:
    """Raises Malformed for one digest with two sizes."""
    sizes: dict[Digest, int] = {}
    for each in descriptors:
        if sizes.setdefault(each.digest, each.size) != each.size:
            raise Malformed(found=f"{each.digest} with {sizes[each.digest]} and {each.size} bytes", expected="one size")


def distinct(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Each blob once, whatever media types it goes by."""
    return tuple(sorted({each.digest: each for each in descriptors}.values()))
