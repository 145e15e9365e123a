"""`bundle create`: from a lock to one signed file."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial as bound
from pathlib import Path

from bundler.archive import tar
from bundler.archive.draft import Draft, draft_of
from bundler.archive.form import BOOTSTRAP, STATEMENT, signature_name
from bundler.archive.layout import Layout
from bundler.errors import DoubledKey, Incomplete
from bundler.fetch.bases import bundles_among, read_known
from bundler.fetch.bootstrap import digest_of, write_known
from bundler.fetch.partial import Partial, refuse_folder
from bundler.fetch.pool import fetch_all
from bundler.fetch.tasks import slots_of, tasks_of
from bundler.fetch.volumes import volumes_beside
from bundler.model.statement import Statement, write_statement
from bundler.signing.keys import PublicKey, SigningKey
from bundler.support.progress import Progress
from bundler.transport import Transport
from bundler.workflows.check import input_tasks, prove_before, prove_within
from bundler.workflows.patching import NONE, Choice, Patcher, choices
from bundler.workflows.places import Places, read_lock, sources_of
from bundler.workflows.tool import tool_sources


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """`received` counts bytes from the network in this run; `resumed` says that an earlier run had begun; `slices` are
    the files of volumes, none of a bundle in one file; `choices` say how each large blob of a delta travels."""

    out: Path
    statement: Statement
    size: int
    received: int
    resumed: bool
    slices: tuple[Path, ...] = ()
    choices: tuple[Choice, ...] = ()


def create(
    lock_path: Path,
    out: Path,
    *,
    keys: Sequence[SigningKey],
    places: Places,
    jobs: int,
    progress: Progress,
    volume: int | None = None,
    bases: Sequence[Path] = (),
    sites: Sequence[str] = (),
    patch: bool = True,
) -> Created:
    """Fetch everything that the lock names into its place, sign, and give the file its name at the very end. With
    `bases`, bundles that the site was given or its receipts, it is a delta: what they brought is left out. `sites` are
    the keyids by which receipts are believed. With `patch` blobs that are much like what the site has travel as
    patches, where the bytes of both are at hand.

    With `volume` it becomes raw slices of that many bytes, each written in its own file from the beginning.

    A lock that comes up short is refused before anything large is fetched (Incomplete).
    """
    refuse_folder(out)
    lock = read_lock(lock_path)
    prove_before(lock, progress)
    refuse_doubled([key.public for key in keys], where="--key")
    known = read_known(bases, sites=sites) if bases else None
    draft_with = bound(draft_of, lock, sources=tool_sources(), signers=tuple(key.public for key in keys), known=known)
    draft, made = draft_with(), NONE
    tasks = tasks_of(lock, draft.contents, draft.bootstrap, draft.layout)
    transport = Transport()
    places = replace(places, reuse=(*places.reuse, *bundles_among(bases)))
    sources = sources_of(places, transport, progress, replaced=out)
    refresh = f"bundle lock -p {lock.profile} -o {lock_path} --update"
    with ExitStack() as stack:
        patcher = stack.enter_context(Patcher(out, sources=sources, jobs=jobs, progress=progress, refresh=refresh))
        if known and patch:
            made = patcher.make(lock, draft, tasks, known, places.reuse)
            draft = draft_with(patches=made.patchings)
            tasks = tasks_of(lock, draft.contents, draft.bootstrap, draft.layout, made.ready)
        partial = stack.enter_context(
            Partial(out, plan=draft.plan, size=draft.layout.size, blobs=slots_of(tasks), volume=volume)
        )
        if partial.resumed:
            progress.note(f"going on with {partial.path}")
        _write_known(partial, draft)
        first = input_tasks(lock, tasks)
        fetch_all(first, partial, sources, jobs=jobs, progress=progress, refresh=refresh)
        try:
            prove_within(lock, first, partial, sources, progress)
        except Incomplete:
            partial.discard()
            patcher.done()
            raise
        fetch_all(tasks, partial, sources, jobs=jobs, progress=progress, refresh=refresh)
        statement = _sign(partial, draft, keys)
        partial.publish(volumes_beside(partial, statement, keys, progress) if volume else None)
        patcher.done()
        resumed, slices = partial.resumed, tuple(out.with_name(name) for name in partial.parts.names if volume)
    transport.close()
    received, size = transport.received, draft.layout.size
    return Created(
        out=out,
        statement=statement,
        size=size,
        received=received,
        resumed=resumed,
        slices=slices,
        choices=choices(draft.contents, statement, made) if statement.delta else (),
    )


def refuse_doubled(keys: Sequence[PublicKey], *, where: str) -> None:
    """Raises DoubledKey."""
    for at, key in enumerate(keys):
        if key in keys[:at]:
            raise DoubledKey(keyid=key.keyid, where=where)


def write_frame(partial: Partial, layout: Layout) -> None:
    """Headers, padding and the end: all that is around the bodies."""
    for place in layout.places:
        partial.write(place.header, place.start)
        partial.write(place.padding, place.body + place.member.size)
    partial.write(tar.END, layout.size - len(tar.END))


def write_signed(partial: Partial, layout: Layout, data: bytes, keys: Sequence[SigningKey]) -> None:
    """The statement, and with keys the signatures over it and over bootstrap.tar, which is there already."""
    partial.write(data, layout.place(STATEMENT).body)
    place = layout.place(BOOTSTRAP)
    bootstrap = partial.read(place.member.size, place.body) if keys else b""
    for key in keys:
        for name, signed in ((STATEMENT, data), (BOOTSTRAP, bootstrap)):
            partial.write(key.sign(signed), layout.place(signature_name(name, key.public.keyid)).body)


def _write_known(partial: Partial, draft: Draft) -> None:
    """All that we write ourselves; the statement and the signatures come last."""
    write_frame(partial, draft.layout)
    for place in draft.layout.places:
        partial.write(draft.ready.get(place.member.name, b""), place.body)
    write_known(partial, draft.bootstrap, draft.layout.place(BOOTSTRAP).body)


def _sign(partial: Partial, draft: Draft, keys: Sequence[SigningKey]) -> Statement:
    """Finish the statement by what bootstrap.tar has become, and write it with its signatures."""
    place = draft.layout.place(BOOTSTRAP)
    statement = draft.finished(digest_of(partial, place.body, place.member.size))
    write_signed(partial, draft.layout, write_statement(statement), keys)
    return statement
