"""What refers to an image: signatures, attestations, SBOMs.

Two ways to find them are in use: a manifest that names its subject (OCI distribution-spec 1.1, "Listing Referrers",
with its fallback tag `sha256-<hex>` on registries without that API), and cosign's tags `sha256-<hex>.sig`, `.att` and
`.sbom`, whose manifests name no subject: the tag alone says what they are about, so each is an image of its own name.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from bundler.errors import Malformed, NotFound
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import LockedImage
from bundler.model.reference import Reference
from bundler.sources.image_choice import check_sizes, distinct, reading
from bundler.sources.images import Registry
from bundler.sources.registry_documents import INDEX_TYPES, parse_artifact, parse_listing

COSIGN = ("sig", "att", "sbom")
_PAGES = 100  # of one listing
_MOST = 1000  # referrers of one manifest
_NO_API = (400, 404, 405)  # how registries say that they do not know the path
_NEXT = re.compile(r'<[^<>?]*\?([^<>#\s]*)>\s*;\s*rel="?next"?', re.IGNORECASE)

Listing = Callable[[Digest], tuple[Descriptor, ...]]
Reading = Callable[[Descriptor], bytes]


def with_referrers(image: LockedImage, listed: Listing, read: Reading) -> LockedImage:
    """The image with the manifests whose subject is its root or one of its manifests, and with their blobs.

    Raises InvalidDocument for one that is about something else, Unsupported for an index, and what the two raise.
    """
    found: dict[Digest, Descriptor] = {}
    blobs = list(image.blobs)
    for subject in dict.fromkeys(each.digest for each in (image.root, *image.manifests)):
        for descriptor in listed(subject):
            data = read(descriptor)
            with reading(f"{descriptor.digest}, which refers to {image.reference}"):
                artifact = parse_artifact(data, declared=descriptor.media_type)
                if artifact.subject != subject:
                    raise Malformed(found=f"the subject {artifact.subject}", expected=str(subject))
            found[descriptor.digest] = descriptor
            blobs += artifact.blobs
    with reading(image.reference):
        check_sizes((image.root, *image.manifests, *found.values(), *blobs))
    return replace(image, referrers=distinct(found.values()), blobs=distinct(blobs))


def registry_referrers(registry: Registry, image: LockedImage) -> LockedImage:
    """`with_referrers`, asked of the image's registry."""
    return with_referrers(
        image,
        lambda subject: _listed(registry, image.reference, subject),
        lambda descriptor: registry.small(image.reference, descriptor, manifest=True),
    )


def attached_images(registry: Registry, image: LockedImage) -> Iterator[LockedImage]:
    """What cosign's tags name for the root and each manifest of an image."""
    for subject in dict.fromkeys(each.digest for each in (image.root, *image.manifests)):
        for kind in COSIGN:
            reference = replace(image.reference, tag=f"sha256-{subject.hex}.{kind}", digest=None)
            try:
                root, data = registry.manifest(reference)
            except NotFound:
                continue
            with reading(reference):
                blobs = parse_artifact(data, declared=root.media_type).blobs
                check_sizes((root, *blobs))
            yield LockedImage(reference=reference, root=root, manifests=(), blobs=distinct(blobs))


def _listed(registry: Registry, reference: Reference, subject: Digest) -> tuple[Descriptor, ...]:
    found: list[Descriptor] = []
    what = f"the referrers of {subject} in {reference.name}"
    tail = f"referrers/{subject}"
    for _ in range(_PAGES):
        answer = registry.get(reference, tail, accept=INDEX_TYPES[0], statuses=(200, *_NO_API))
        if answer.status != 200:
            return _tagged(registry, reference, subject)
        with reading(what):
            found += _checked(parse_listing(answer.body), known=len(found))
        following = _NEXT.search(answer.headers.get("link", ""))
        if following is None:
            return tuple(found)
        tail = f"referrers/{subject}?{following[1]}"  # its query alone: no other path and no other host
    with reading(what):
        raise Malformed(found=f"more than {_PAGES} pages", expected="fewer")


def _tagged(registry: Registry, reference: Reference, subject: Digest) -> tuple[Descriptor, ...]:
    tail = f"manifests/sha256-{subject.hex}"
    answer = registry.get(reference, tail, accept=INDEX_TYPES[0], statuses=(200, 404))
    if answer.status != 200:
        return ()
    with reading(f"the referrers of {subject} in {reference.name}"):
        return _checked(parse_listing(answer.body))


def _checked(found: tuple[Descriptor, ...], *, known: int = 0) -> tuple[Descriptor, ...]:
    if known + len(found) > _MOST:
        raise Malformed(found=f"more than {_MOST} referrers", expected="fewer")
    return found
