"""A chain of deltas as one: what the last release needs, who in the chain carries it, what is made of patches, what is
left to the site.

Pure: statements in, a statement out. Blobs are told apart by digest alone, as everywhere.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise

from bundler.archive.chain_patches import Make, makes_of, patches_of, steps_of
from bundler.archive.form import owners_of
from bundler.errors import ChainBroken, PatchOutside, Usage
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX, FIXED_NAMES, Delta, Entry, Held, Patched, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A bundle of the chain: where it lies, for people, and what it says."""

    path: str
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The statement of the whole chain. `sources` has the number of the link that an entry is copied from; the others
    are among `makes`, which are made of patches, each behind what it is made of: blobs that the result has not, too.
    `carried` says which link has a blob that something is made of."""

    statement: Statement
    sources: Mapping[str, int]
    makes: Mapping[Digest, Make]
    carried: Mapping[Digest, int]


@dataclass(slots=True, kw_only=True)
class _Left:
    """What the chain neither carries nor makes: held by the site, made there of a patch, or not to be had."""

    held: list[Held] = field(default_factory=list)
    travels: list[Make] = field(default_factory=list)
    lacking: list[Entry] = field(default_factory=list)


def merge(links: Sequence[Link], payloads: Set[Digest], *, signers: tuple[bytes, ...]) -> Merged:
    """The last release, against what the first link was made against; whole, where the first one is.

    `payloads` are the last release's large blobs, which come last in a file. Raises Usage for links that make no chain,
    ChainBroken, PatchOutside.
    """
    _check_order(links)
    first, last = links[0].statement, links[-1].statement
    carried = _carried(links)
    makes = makes_of(patches_of([link.statement for link in links]), carried.keys())
    blobs = [blob for blob in last.blobs if blob.digest in carried or blob.digest in makes]
    brought = {blob.digest for blob in blobs}
    left = _left(links, [blob for blob in last.blobs if blob.digest not in brought], brought)
    if left.lacking:
        raise _refusal(links, left.lacking, {*carried, *makes})
    blobs.sort(key=lambda blob: (blob.digest in payloads, blob.digest))
    patches = {make.name: (make.link, _entry(links[make.link].statement, make.name)) for make in left.travels}
    entries = (*last.entries[: len(FIXED_NAMES)], *blobs, *(patches[name][1] for name in sorted(patches)))
    copied = {blob.name: carried[blob.digest] for blob in blobs if blob.digest in carried}
    return Merged(
        statement=replace(last, signers=signers, entries=entries, delta=_delta(first, left)),
        sources=dict.fromkeys(FIXED_NAMES, len(links) - 1) | copied | {name: at for name, (at, _) in patches.items()},
        makes={step.digest: step.make for step in steps_of(makes, sorted(brought), kept=brought)},
        carried=carried,
    )


def _entry(statement: Statement, name: str) -> Entry:
    return next(entry for entry in statement.entries if entry.name == name)


def _delta(first: Statement, left: _Left) -> Delta | None:
    if first.delta is None:
        return None
    held = sorted(left.held, key=lambda each: each.digest)
    patches = sorted((make.patched for make in left.travels), key=lambda each: each.digest)
    return Delta(bases=first.delta.bases, held=tuple(held), patches=tuple(patches))


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
    """Which link to copy a blob from: the last that carries it."""
    return {
        entry.digest: number
        for number, link in enumerate(links)
        for entry in link.statement.entries
        if entry.name.startswith(BLOB_PREFIX)
    }


def _left(links: Sequence[Link], blobs: Sequence[Entry], brought: Set[Digest]) -> _Left:
    """What becomes of these blobs of the last release, which the chain does not bring whole as it does `brought`."""
    site = _on_site(links)
    patches: dict[Digest, list[Make]] = {}
    for make in reversed(patches_of([link.statement for link in links])):
        patches.setdefault(make.patched.digest, []).append(make)
    left, usable = _Left(), site.keys() - brought
    for blob in blobs:
        if blob.digest in site:
            left.held.append(Held(digest=blob.digest, size=blob.size, base=site[blob.digest]))
            continue
        # A patch goes on as it is where the site has all its bases before, and none of them is brought with it.
        sound = (
            make for make in patches.get(blob.digest, ()) if usable.issuperset(h.digest for h in make.patched.bases)
        )
        if (found := next(sound, None)) is None:
            left.lacking.append(blob)
        else:
            left.travels.append(replace(found, patched=_rebased(found.patched, site)))
    return left


def _rebased(patched: Patched, site: Mapping[Digest, int]) -> Patched:
    """The same patch, by the numbers of the first link's bases."""
    return replace(patched, bases=tuple(replace(held, base=site[held.digest]) for held in patched.bases))


def _on_site(links: Sequence[Link]) -> dict[Digest, int]:
    """What a site has that has what the first link builds on, as far as the chain says so, and from which base. Later
    links say it of blobs that come from the same releases."""
    first = links[0].statement.delta
    if first is None:
        return {}
    bases = {base.content: number for number, base in enumerate(first.bases)}
    known = {held.digest: held.base for held in first.needed}
    for delta in (link.statement.delta for link in links[1:]):
        for held in delta.needed if delta else ():
            if delta and (base := bases.get(delta.bases[held.base].content)) is not None:
                known.setdefault(held.digest, base)
    return known


def _refusal(links: Sequence[Link], lacking: Sequence[Entry], known: Set[Digest]) -> ChainBroken | PatchOutside:
    """Why blobs are not to be had: something is in no bundle of the chain; or all is there, but as patches against what
    only the first link's base has."""
    owners, site = owners_of(links[-1].statement), _on_site(links)
    patches = {make.patched.digest: make for make in patches_of([link.statement for link in links])}
    missing: dict[Entry, tuple[str, ...]] = {}
    seen: set[Digest] = set()
    stack = [(blob, owners.get(blob.name, ())) for blob in lacking]
    while stack:
        blob, whose = stack.pop()
        if blob.digest in seen or blob.digest in known or blob.digest in site:
            continue
        seen.add(blob.digest)
        if blob.digest in patches:
            stack += [(held.entry, whose) for held in patches[blob.digest].patched.bases]
        else:
            missing[blob] = whose
    if missing:
        return _broken(links, missing)
    first = links[0].statement.delta
    return PatchOutside(
        first=links[0].path,
        bases=tuple(str(base.release) for base in first.bases) if first else (),
        blobs=tuple(
            (str(blob.digest), owners.get(blob.name, ()), links[patches[blob.digest].link].path) for blob in lacking
        ),
    )


def _broken(links: Sequence[Link], missing: Mapping[Entry, tuple[str, ...]]) -> ChainBroken:
    wanted = {blob.digest for blob in missing}
    brought = {link.statement.content for link in links}
    lacking: dict[str, str] = {}
    for link in links:
        delta = link.statement.delta
        for held in delta.needed if delta else ():
            base = delta.bases[held.base] if delta else None
            if base and held.digest in wanted and base.content not in brought:
                lacking.setdefault(f"{base.release} ({str(base.content)[:19]}…)", link.path)
    return ChainBroken(
        first=links[0].path,
        lacking=tuple(sorted(lacking.items())),
        missing=tuple((str(blob.digest), whose) for blob, whose in missing.items()),
    )
