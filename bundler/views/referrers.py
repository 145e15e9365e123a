"""What refers to what, for registries: the index of a manifest's referrers (OCI distribution-spec 1.1, "Listing
Referrers"), which a registry without that API has under the tag `sha256-<hex>` ("Referrers Tag Schema").

The manifests belong to a signed bundle, but others wrote them: what is not as it must be is left out.
"""

from collections.abc import Iterable
from typing import Any

from bundler.errors import Malformed
from bundler.model import canonical
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def referrers_tag(subject: Digest) -> str:
    return f"sha256-{subject.hex}"


def media_type(manifest: bytes) -> str:
    """What the manifest says it is; else an index when it lists manifests (image-spec leaves mediaType optional)."""
    try:
        value = _load(manifest)
        stated = value.get("mediaType") if isinstance(value, dict) else None
        if isinstance(stated, str):
            return Descriptor(media_type=stated, digest=Digest.of(manifest), size=len(manifest)).media_type
    except Malformed:
        return MANIFEST_TYPE
    return INDEX_TYPE if isinstance(value, dict) and "manifests" in value else MANIFEST_TYPE


def subject_of(manifest: bytes) -> Digest | None:
    """The manifest that this one says that it is about."""
    try:
        return Digest.parse(str(_object(_object(_load(manifest)).get("subject")).get("digest")))
    except Malformed:
        return None


def referrers_index(manifests: Iterable[bytes]) -> bytes:
    """The index of these manifests: the same for the same, in any order."""
    entries = sorted((_entry(manifest) for manifest in set(manifests)), key=lambda entry: str(entry["digest"]))
    return canonical.dump({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries})


def merged_index(index: bytes | None, manifests: Iterable[bytes]) -> bytes:
    """The index with these manifests too; what it lists already stays. No index, or nonsense, lists nothing."""
    added = _object(_load(referrers_index(manifests)))
    try:
        known = _object(_load(index or b"{}")).get("manifests")
    except Malformed:
        known = None
    entries = [each for each in known if isinstance(each, dict)] if isinstance(known, list) else []
    listed = {each.get("digest") for each in entries}
    fresh = [each for each in added["manifests"] if each["digest"] not in listed]
    return canonical.dump({**added, "manifests": [*entries, *fresh]})


def only_of_type(index: bytes, artifact_type: str) -> bytes:
    """The index with the entries of one artifact type (the API's filter). Raises Malformed."""
    value = _object(_load(index))
    entries = [each for each in value["manifests"] if each.get("artifactType") == artifact_type]
    return canonical.dump({**value, "manifests": entries})


def _entry(manifest: bytes) -> dict[str, Any]:
    """The descriptor, with the artifact's type (of its own, or that of its config) and its annotations."""
    value = _object(_load(manifest))
    said, config, annotations = value.get("mediaType"), value.get("config"), value.get("annotations")
    kind = value.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else None)
    return {
        "mediaType": said if isinstance(said, str) else MANIFEST_TYPE,
        "digest": str(Digest.of(manifest)),
        "size": len(manifest),
        **({"artifactType": kind} if isinstance(kind, str) else {}),
        **({"annotations": annotations} if isinstance(annotations, dict) and annotations else {}),
    }


def _load(manifest: bytes) -> Any:
    return canonical.load(manifest, limit=LIMITS.manifest)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(found=type(value).__name__, expected="an object")
    return value
