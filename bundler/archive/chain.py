"""A chain of deltas as one: what the last release needs, who in the chain carries it, what is left to the site.

Pure: statements in, a statement out. Blobs are told apart by digest alone, as everywhere.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from bundler.archive.form import owners_of
from bundler.errors import ChainBroken, Usage
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX, FIXED_NAMES, Delta, Entry, Held, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A bundle of the chain: where it lies, for people, and what it says."""

    path: str
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The statement of the whole chain, and the number of the link that each of its entries is copied from."""

    statement: Statement
    sources: Mapping[str, int]


def merge(links: Sequence[Link], payloads: Set[Digest], *, signers: tuple[bytes, ...]) -> Merged:
    """The last release, against what the first link was made against; whole, where the first one is.

    `payloads` are the last release's large blobs, which come last in a file. Raises Usage for links that make no chain,
    ChainBroken.
    """
    _check_order(links)
    first, last = links[0].statement, links[-1].statement
    carried = _carried(links)
    left = [blob for blob in last.blobs if blob.digest not in carried]
    held = _held(links, left)
    blobs = sorted(
        (blob for blob in last.blobs if blob.digest in carried),
        key=lambda blob: (blob.digest in payloads, blob.digest),
    )
    statement = replace(
        last,
        signers=signers,
        entries=(*last.entries[: len(FIXED_NAMES)], *blobs),
        delta=Delta(bases=first.delta.bases, held=held) if first.delta else None,
    )
    sources = {name: len(links) - 1 for name in FIXED_NAMES} | {blob.name: carried[blob.digest] for blob in blobs}
    return Merged(statement=statement, sources=sources)


def _check_order(links: Sequence[Link]) -> None:
    """Raises Usage."""
    if len(links) < 2:
        raise Usage(message="a chain has two bundles at least")
    for before, after in pairwise(links):
        if after.statement.delta is None:
            advice = "What comes before it is not needed: begin with it."
            raise Usage(message=f"{after.path} is a whole bundle, and not the first one", advice=advice)
        one, other = before.statement.release, after.statement.release
        if one.line != other.line or one.number >= other.number:
            message = f"{after.path} ({other}) does not come after {before.path} ({one})"
            raise Usage(message=message, advice="Give the releases of one line in their order.")


def _carried(links: Sequence[Link]) -> dict[Digest, int]:
    """Which link to copy a blob from: the last that carries it. A blob that a link has only as a patch will have to be
    taken with what the patch is against; such links are refused before they come here."""
    return {
        entry.digest: number
        for number, link in enumerate(links)
        for entry in link.statement.entries
        if entry.name.startswith(BLOB_PREFIX)
    }


def _held(links: Sequence[Link], left: Iterable[Entry]) -> tuple[Held, ...]:
    """What the chain leaves to a site that has what the first link builds on. Raises ChainBroken."""
    first = links[0].statement
    bases = {base.content: number for number, base in enumerate(first.delta.bases)} if first.delta else {}
    known = {held.digest: held.base for held in first.delta.held} if first.delta else {}
    found, missing = [], []
    for blob in left:
        base = known.get(blob.digest)
        if base is None:
            base = next((bases[each] for each in _named(links, blob.digest) if each in bases), None)
        if base is None:
            missing.append(blob)
        else:
            found.append(Held(digest=blob.digest, size=blob.size, base=base))
    if missing:
        raise _broken(links, missing)
    return tuple(sorted(found, key=lambda held: held.digest))


def _named(links: Sequence[Link], digest: Digest) -> list[Digest]:
    """The contents of the bases that later links say a blob is from."""
    deltas = [link.statement.delta for link in links[1:]]
    return [d.bases[held.base].content for d in deltas if d for held in d.held if held.digest == digest]


def _broken(links: Sequence[Link], missing: Sequence[Entry]) -> ChainBroken:
    owners = owners_of(links[-1].statement)
    wanted = {blob.digest for blob in missing}
    brought = {link.statement.content for link in links}
    lacking: dict[str, str] = {}
    for link in links:
        delta = link.statement.delta
        for held in delta.held if delta else ():
            base = delta.bases[held.base] if delta else None
            if base and held.digest in wanted and base.content not in brought:
                lacking.setdefault(f"{base.release} ({str(base.content)[:19]}…)", link.path)
    return ChainBroken(
        first=links[0].path,
        lacking=tuple(sorted(lacking.items())),
        missing=tuple((str(blob.digest), owners.get(blob.name, ())) for blob in missing),
    )
