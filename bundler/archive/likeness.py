"""Which blobs of older releases a new one is most likely made from: pure, by what the statements say of them."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from bundler.model.digest import Digest
from bundler.model.statement import Artifact, DebArtifact, FileArtifact, ImageArtifact, Statement, WheelArtifact

_MOST = 2  # bases of one patch
_ALIKE = 4  # times larger or smaller, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """`sure`: an older version of the same thing; else it is only of the same kind and about as large."""

    digest: Digest
    size: int
    sure: bool


def likes(
    new: Iterable[Artifact], sizes: Mapping[Digest, int], old: Iterable[Statement], there: Container[Digest]
) -> dict[Digest, list[Like]]:
    """For each of the new blobs whose `sizes` are given, some of the old releases' that are still `there`, best first;
    nothing for one that is there itself."""
    known: dict[tuple[str, ...], dict[Digest, int]] = {}
    for statement in old:
        blobs = {blob.digest: blob.size for blob in statement.blobs if blob.digest in there}
        for artifact in statement.artifacts:
            for key in _keys(artifact):
                found = {digest: blobs[digest] for digest in _payloads(artifact) if digest in blobs}
                known.setdefault(key, {}).update(found)
    new = tuple(new)
    stays = {digest for artifact in new for digest in _payloads(artifact)}
    best: dict[Digest, list[Like]] = {}
    for artifact in new:
        for digest in _payloads(artifact):
            if digest in sizes and digest not in there and digest not in best:
                best[digest] = list(_best(_keys(artifact), sizes[digest], known, stays))
    return {digest: each for digest, each in best.items() if each}


def _best(
    keys: tuple[tuple[str, ...], ...],
    size: int,
    known: Mapping[tuple[str, ...], Mapping[Digest, int]],
    stays: set[Digest],
) -> Iterator[Like]:
    """By the first key that finds anything: those that the new release no longer has come first, then the nearest in
    size."""
    for number, key in enumerate(keys):
        alike = [each for each in known.get(key, {}).items() if size <= _ALIKE * each[1] and each[1] <= _ALIKE * size]
        if alike:
            nearest = sorted(alike, key=lambda each: (each[0] in stays, abs(each[1] - size), each[0]))
            yield from (Like(digest=digest, size=there, sure=number == 0) for digest, there in nearest[:_MOST])
            return


def _payloads(artifact: Artifact) -> tuple[Digest, ...]:
    """The large blobs; of images the configs too, which are never patched and so never asked for."""
    return artifact.blobs if isinstance(artifact, ImageArtifact) else (artifact.digest,)


def _keys(artifact: Artifact) -> tuple[tuple[str, ...], ...]:
    """What tells that two artifacts are versions of one thing; the best one first."""
    if isinstance(artifact, WheelArtifact):
        return (("wheel", artifact.project, *artifact.name.rsplit("-", 3)[1:]), ("wheel", artifact.project))
    if isinstance(artifact, DebArtifact):
        kind = (artifact.architecture, artifact.release)
        return (("deb", artifact.package, *kind), ("deb", re.sub(r"[\d.]+", "0", artifact.package), *kind))
    if isinstance(artifact, ImageArtifact):
        reference = artifact.reference
        return (("image", reference.registry, reference.repository), ("image",))
    if isinstance(artifact, FileArtifact):
        return (("file", artifact.name), ("file", re.sub(r"\d+", "0", artifact.name)), ("file",))
    return ()
