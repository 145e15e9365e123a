"""What of a release a delta leaves to the site: the blobs that a base brought, told apart by digest alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bundler.archive.contents import Contents
from bundler.model.digest import Digest
from bundler.model.statement import Base, Delta, Held, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a site has: `blobs` by digest, each with the number of the base that brought it."""

    bases: tuple[Base, ...]
    blobs: Mapping[Digest, Held]


def known_of(statements: Iterable[Statement]) -> Known:
    """Of bundles that a site was given. One that carries a blob counts for it before one that only needs it."""
    statements = sorted(statements, key=lambda each: (each.release.line, each.release.number, str(each.content)))
    blobs: dict[Digest, Held] = {}
    for carried in (False, True):
        for number, statement in enumerate(statements):
            left = {held.digest for held in statement.delta.held} if statement.delta else set()
            for entry in statement.blobs:
                if (entry.digest not in left) is carried:
                    blobs[entry.digest] = Held(digest=entry.digest, size=entry.size, base=number)
    bases = tuple(Base(release=statement.release, content=statement.content) for statement in statements)
    return Known(bases=bases, blobs=blobs)


def known_to_all(sites: Sequence[Known]) -> Known:
    """What every one of these sites has; the first site's releases name where it is from."""
    first, *others = sites
    blobs = {digest: held for digest, held in first.blobs.items() if all(digest in each.blobs for each in others)}
    return Known(bases=first.bases, blobs=blobs)


def delta_of(contents: Contents, known: Known) -> Delta:
    """Large blobs that are known are left to the site. Documents and charts always travel: they are small, and what is
    read before the store is filled, or looked into, is then at hand. A wheel's METADATA goes with its wheel."""
    held = {digest for digest in contents.payloads if digest in known.blobs}
    held -= {chart.digest for chart in contents.charts}
    for wheel in contents.wheels:
        if wheel.digest in held and wheel.metadata in known.blobs:
            held.add(wheel.metadata)
    for wheel in contents.wheels:  # METADATA is read out of the wheel
        if wheel.metadata not in held:
            held.discard(wheel.digest)
    return Delta(bases=known.bases, held=tuple(known.blobs[digest] for digest in sorted(held)))
