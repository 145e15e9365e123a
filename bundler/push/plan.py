"""What a registry has to hold of a bundle: names, and an order in which it takes them. Pure.

A multi-platform index is sparse where manifests that it lists are not in the bundle. Its bytes, and so its digest, are
those that charts and manifests pin; but a registry may refuse it for what it lacks.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.errors import Malformed
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.statement import Artifact
from bundler.views.referrers import subject_of
from bundler.views.registry import Placement, placements

Read = Callable[[Digest], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One artifact in one repository. `manifests` come in the order in which a registry takes them: an index after what
    it lists, a referrer after its subject; `sparse` are those indexes that lack a part. `refers` are the pairs of a
    manifest and what refers to it. `unresolved` is the index that is not pushed, by the rule for sparse ones."""

    name: str
    repository: str
    tag: str
    root: Digest
    manifests: tuple[Digest, ...]
    sparse: frozenset[Digest]
    blobs: tuple[Digest, ...]
    refers: tuple[tuple[Digest, Digest], ...]
    unresolved: Digest | None

    @property
    def pin(self) -> str:
        return f"{self.repository}@{self.unresolved}"


def items_of(
    artifact: Artifact, *, repository: Callable[[str], str], read: Read, only_platform: bool
) -> Iterator[Item]:
    """An artifact at all its places. `read` gives a manifest; `only_platform`: where a sparse index carries exactly one
    platform, the tag names that platform's manifest, and the index is left out."""
    for place in placements(artifact):
        yield _item(artifact.name, place, repository(place.repository), read, only_platform)


def _item(name: str, place: Placement, repository: str, read: Read, only_platform: bool) -> Item:
    documents = {digest: read(digest) for digest in place.manifests}
    children = {digest: tuple(_children(data)) for digest, data in documents.items()}
    sparse = frozenset(digest for digest in documents if _is_sparse(digest, children))
    ordered = _in_order(children, place.referrers)
    root, unresolved = place.root, None
    carried = _platforms(documents, place.root)
    if only_platform and root in sparse and len(carried) == 1:
        unresolved, root = root, carried[0]
        ordered = tuple(digest for digest in ordered if digest != unresolved)
    subjects = ((subject_of(documents[digest]), digest) for digest in place.referrers if digest in documents)
    return Item(
        name=name,
        repository=repository,
        tag=place.tag,
        root=root,
        manifests=ordered,
        sparse=sparse,
        blobs=place.blobs,
        refers=tuple((subject, digest) for subject, digest in subjects if subject in documents),
        unresolved=unresolved,
    )


def _in_order(children: Mapping[Digest, Collection[Digest]], referrers: Collection[Digest]) -> tuple[Digest, ...]:
    return tuple(sorted(children, key=lambda digest: (digest in referrers, _height(digest, children), digest)))


def _height(digest: Digest, children: Mapping[Digest, Collection[Digest]], depth: int = 0) -> int:
    """0 for what lists nothing; a digest cannot list itself, but a chain of indexes can be long."""
    below = [child for child in children[digest] if child in children]
    if depth == LIMITS.depth:
        raise Malformed(found=f"indexes in indexes at {digest}", expected=f"{LIMITS.depth} of them at most")
    return 1 + max(_height(child, children, depth + 1) for child in below) if below else 0


def _is_sparse(digest: Digest, children: Mapping[Digest, Collection[Digest]], depth: int = 0) -> bool:
    """Also of an index that lists a sparse one: a registry that refuses that one lacks it."""
    below = children[digest]
    return any(child not in children for child in below) or (
        depth < LIMITS.depth and any(_is_sparse(child, children, depth + 1) for child in below)
    )


def _children(data: bytes) -> Iterator[Digest]:
    yield from (digest for digest, _ in _entries(data))


def _platforms(documents: Mapping[Digest, bytes], root: Digest) -> list[Digest]:
    """The carried manifests of a root index that are of a platform: attestations are of none."""
    entries = _entries(documents[root])
    found = (digest for digest, system in entries if digest in documents and system not in ("", "unknown"))
    return list(dict.fromkeys(found))


def _entries(data: bytes) -> Iterator[tuple[Digest, str]]:
    """What an index lists, each with the operating system that it is for; nothing for other documents."""
    document: Any = canonical.load(data, limit=LIMITS.manifest)
    listed = document.get("manifests") if isinstance(document, dict) else None
    for entry in listed if isinstance(listed, list) else ():
        if not isinstance(entry, dict):
            raise Malformed(found=f"{type(entry).__name__} in an index", expected="a descriptor")
        platform = entry.get("platform")
        system = platform.get("os") if isinstance(platform, dict) else None
        yield Digest.parse(str(entry.get("digest"))), system if isinstance(system, str) else ""
