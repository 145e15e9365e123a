"""`bundle squash`: a chain of deltas as one, out of their files alone. What is made of patches is in `chain_making`."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.archive.chain import Link, Merged, merge
from bundler.archive.contents import contents_of
from bundler.archive.form import bundle_layout, owners_of
from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.archive.recipe import recipe
from bundler.errors import CannotWrite, DamagedContent, DiskFull, PatchFailed, Usage
from bundler.fetch.partial import Partial
from bundler.fetch.volumes import volumes_beside
from bundler.model.digest import Digest
from bundler.model.statement import Entry, Statement, write_statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey, SigningKey
from bundler.signing.trust import Trust, judge
from bundler.support import parallel
from bundler.support.progress import Progress
from bundler.verify.carried import carried_lock
from bundler.verify.check import check_bootstrap_signatures, layout_of, thread_buffer
from bundler.workflows.chain_making import Maker, Opened, prove_patches
from bundler.workflows.create import refuse_doubled, write_frame, write_signed

_README = "README.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Squashed:
    """`written` is False after a dry run; `made` is the number of blobs that are made of patches; `slices` are the
    files of volumes, none of a bundle in one file."""

    out: Path
    statement: Statement
    size: int
    made: int
    written: bool
    slices: tuple[Path, ...] = ()


def squash(
    paths: Sequence[Path],
    out: Path,
    *,
    keys: Sequence[SigningKey],
    trust: Trust,
    jobs: int,
    progress: Progress,
    volume: int | None = None,
    dry_run: bool = False,
) -> Squashed:
    """Merge `paths`, the oldest first, into `out`: the last release against what the first one was made against, signed
    by `keys`. Each byte is hashed and written into its place; what the chain has as patches of its own blobs is made
    of them. Killed at any point, the same again goes on.

    What these keys vouch for then is what `trust` vouches for now: every bundle is judged by it. Raises Usage,
    ChainBroken, PatchOutside, PatchFailed, the errors of trust and of bundles, DiskFull, CannotWrite.
    """
    refuse_doubled([key.public for key in keys], where="--key")
    if any(out.exists() and path.exists() and out.samefile(path) for path in paths):
        raise Usage(message=f"{out} is one of the bundles to be read")
    keys = sorted(keys, key=lambda key: key.public.keyid)
    with ExitStack() as stack:
        opened = [_open(stack.enter_context(BundleFile(path)), trust) for path in paths]
        merged, ready = _merge(opened, [key.public for key in keys])
        statement = merged.statement
        data = write_statement(statement)
        parse_statement(data, path="the squashed bundle")  # what no reader would take is not begun
        layout = bundle_layout(len(data), [key.public.keyid for key in keys], statement.entries)
        made = len(merged.makes.keys() & {entry.digest for entry in statement.entries})
        if dry_run:
            return Squashed(out=out, statement=statement, size=layout.size, made=made, written=False)
        prove_patches(merged, opened, progress)  # before anything is begun
        slots = max(1, len(statement.entries))
        with Partial(out, plan=Digest.of(b"squash\n" + data), size=layout.size, blobs=slots, volume=volume) as partial:
            if partial.resumed:
                progress.note(f"going on with {partial.path}")
            _fill(partial, layout, merged, opened, ready, jobs=jobs, progress=progress)
            write_signed(partial, layout, data, keys)
            partial.publish(volumes_beside(partial, statement, keys, progress) if volume else None)
            slices = tuple(out.with_name(name) for name in partial.parts.names if volume)
    return Squashed(out=out, statement=statement, size=layout.size, made=made, written=True, slices=slices)


def _open(file: BundleFile, trust: Trust) -> Opened:
    signed = file.front()
    statement = judge(trust, signed).statement
    layout = layout_of(file, statement, len(signed.statement))
    check_bootstrap_signatures(file, statement, layout)
    places = {place.member.name: place for place in layout.places}
    return Opened(file=file, statement=statement, layout=layout, places=places)


def _merge(opened: Sequence[Opened], signers: Sequence[PublicKey]) -> tuple[Merged, dict[str, bytes]]:
    """The merged statement, and the bytes of what is written anew."""
    links = [Link(path=each.file.path, statement=each.statement) for each in opened]
    last = opened[-1]
    payloads = contents_of(carried_lock(last.file, last.statement, last.layout)).payloads
    merged = merge(links, payloads, signers=tuple(key.raw for key in signers))
    if bool(signers) is bool(last.statement.signers):
        return merged, {}
    return _with_readme(merged, recipe(signed=bool(signers)))


def _with_readme(merged: Merged, text: bytes) -> tuple[Merged, dict[str, bytes]]:
    """The recipe says how the bundle is proved: another one, where the last bundle was signed otherwise."""
    entries = tuple(
        Entry(name=_README, digest=Digest.of(text), size=len(text)) if entry.name == _README else entry
        for entry in merged.statement.entries
    )
    statement = replace(merged.statement, entries=entries)
    return replace(merged, statement=statement), {_README: text}


def _fill(
    partial: Partial,
    layout: Layout,
    merged: Merged,
    opened: Sequence[Opened],
    ready: dict[str, bytes],
    *,
    jobs: int,
    progress: Progress,
) -> None:
    """All but what is signed. What cannot be made at all leaves nothing behind; what lacks room, nothing new."""
    maker = Maker(merged, opened, partial, layout, progress)
    try:
        maker.check_room()
    except DiskFull:
        if not partial.resumed:
            partial.discard()
        raise
    write_frame(partial, layout)
    _copy(partial, layout, merged, opened, ready, jobs=jobs, progress=progress)
    try:
        maker.run()
    except PatchFailed:
        partial.discard()
        raise


def _copy(
    partial: Partial,
    layout: Layout,
    merged: Merged,
    opened: Sequence[Opened],
    ready: dict[str, bytes],
    *,
    jobs: int,
    progress: Progress,
) -> None:
    """Every body that a link has into its place, proved on its way. Raises DamagedContent for the first that is not
    what was signed."""
    bodies = {place.member.name: place.body for place in layout.places}
    slots = {entry.name: slot for slot, entry in enumerate(merged.statement.entries)}
    owners = owners_of(merged.statement)
    copied = [entry for entry in merged.statement.entries if entry.name in merged.sources]
    wanted = [entry for entry in copied if not partial.whole(slots[entry.name])]
    progress.expect(sum(entry.size for entry in wanted))

    def bring(entry: Entry) -> None:
        number, label, at = merged.sources[entry.name], owners.get(entry.name, (entry.name,))[0], bodies[entry.name]
        sha256 = hashlib.sha256()

        def take(piece: memoryview | bytes) -> None:
            nonlocal at
            parallel.check_stopping()
            sha256.update(piece)
            partial.write(piece, at)
            at += len(piece)
            progress.advance(len(piece))

        progress.begin(label)
        try:
            if entry.name in ready:
                take(ready[entry.name])
            else:
                opened[number].file.stream(opened[number].places[entry.name], take, thread_buffer())
        finally:
            progress.end(label)
        if sha256.hexdigest() != entry.digest.hex:
            damaged = ((entry.name, owners.get(entry.name, ())),)
            raise DamagedContent(path=opened[number].file.path, damaged=damaged)
        partial.finish(slots[entry.name])

    largest_first = sorted(wanted, key=lambda entry: (-entry.size, entry.name))
    failed = parallel.each(largest_first, bring, jobs=jobs, fatal=lambda e: isinstance(e, (DiskFull, CannotWrite)))
    if failed:
        raise failed[0][1]
