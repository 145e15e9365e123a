"""`bundle install` of what is no one file: a stream on standard input, or slices that lie on several disks.

One pass and no seek. Of a stream that was cut, or a disk that was damaged, the store keeps what was whole; the same
again goes on: what is held is read over.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from bundler.archive.form import BOOTSTRAP, STATEMENT, bundle_layout, owners_of, signature_name
from bundler.archive.layout import Layout, Place
from bundler.archive.passing import Disks, Passing, Pipe
from bundler.archive.receiving import Arriving
from bundler.archive.sending import MAGIC
from bundler.archive.slices import volumes_of
from bundler.errors import BadSignature, DamagedContent, MalformedStatement, SliceMissing, StoreDamaged, WrongBytes
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Entry, Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Signed, Trust, judge
from bundler.store.blobs import BlobStore
from bundler.support import files
from bundler.support.buffers import page_buffer
from bundler.support.progress import Progress
from bundler.verify.check import bootstrap_is_signed
from bundler.workflows.install import Installed, check_controls, fill, incoming_of, install
from bundler.workflows.receive import FromStream
from bundler.workflows.verify import Verified


def nobody(missing: SliceMissing) -> bool:
    """Nobody can be asked for another disk."""
    return False


def install_any(
    path: Path,
    root: Path,
    *,
    keys: Sequence[PublicKey],
    threshold: int | None,
    jobs: int,
    progress: Progress,
    folders: Sequence[Path] = (),
    ask: Callable[[SliceMissing], bool] = nobody,
    downgrade: str = "",
) -> Installed:
    """From a file, or from slices in several folders. Where some are missing they are gone through in their order, and
    `ask` is told of each that is wanted: it says whether to look again.

    Raises as `install`; SliceMissing and SliceDamaged name slices.
    """
    volumes = volumes_of(path, folders)
    if volumes is None or not volumes.missing():
        return install(
            path,
            root,
            keys=keys,
            threshold=threshold,
            jobs=jobs,
            progress=progress,
            folders=folders,
            downgrade=downgrade,
        )
    with closing(Disks(volumes, ask)) as disks:
        passing = Passing(disks)
        try:
            return fill(FromTape(passing), root, keys=keys, threshold=threshold, progress=progress, downgrade=downgrade)
        except (BadSignature, MalformedStatement) as error:
            if getattr(error, "what", STATEMENT) in (STATEMENT, BOOTSTRAP):
                raise passing.explain_front(error) from None
            raise


def install_stream(
    descriptor: int,
    root: Path,
    *,
    keys: Sequence[PublicKey],
    threshold: int | None,
    progress: Progress,
    downgrade: str = "",
) -> Installed:
    """From a bundle, or its slices in their order, on a descriptor; also from what `bundle receive` reads.

    Raises as `fill`, TruncatedBundle for half a stream, TrailingBytes and SecondBundle for more than one bundle.
    """
    begun = _first(descriptor, len(MAGIC))
    if begun == MAGIC:
        source: FromTape | FromStream = FromStream(Arriving(descriptor, begun=begun))
    else:
        source = FromTape(Passing(Pipe(descriptor, begun)))
    return fill(source, root, keys=keys, threshold=threshold, progress=progress, downgrade=downgrade)


def verify_stream(descriptor: int, *, keys: Sequence[PublicKey], threshold: int, progress: Progress) -> Verified:
    """As `verify`, from a descriptor and in one pass."""
    source = FromTape(Passing(Pipe(descriptor)))
    signed = source.front()
    accepted = judge(Trust(keys=tuple(keys), threshold=threshold), signed)
    source.check(accepted.statement, len(signed.statement))
    source.prove(accepted.statement, progress)
    return Verified(statement=accepted.statement, layout=source.layout, signed=accepted.signed)


class FromTape:
    """A whole bundle that passes by, as a source: each blob that is wanted is proved on its way into the store.

    What is damaged is left out, and named when all has passed by: the rest need not come again."""

    layout: Layout

    def __init__(self, passing: Passing) -> None:
        self._passing = passing

    def front(self) -> Signed:
        return self._passing.front()

    def check(self, statement: Statement, statement_size: int) -> None:
        """The bodies are still to come: what depends on them is checked before the views are made."""
        keyids = [PublicKey(raw).keyid for raw in statement.signers]
        self.layout = bundle_layout(statement_size, keyids, statement.entries)

    def bring(self, statement: Statement, wanted: Sequence[Entry], store: BlobStore, progress: Progress) -> None:
        def take(entry: Entry) -> None:
            if entry.name.startswith((BLOB_PREFIX, PATCH_PREFIX)):
                self._store(entry, store, progress)
            else:
                self._prove(entry, progress)

        self._pass(statement, wanted, take, progress)
        check_controls(self._passing.path, statement, lambda entry: store.read(entry.digest, limit=entry.size))

    def prove(self, statement: Statement, progress: Progress) -> None:
        """Every byte, and keep nothing."""
        self._pass(statement, statement.entries, lambda entry: self._prove(entry, progress), progress)

    def _pass(
        self, statement: Statement, wanted: Sequence[Entry], take: Callable[[Entry], None], progress: Progress
    ) -> None:
        entries, owners = {entry.name: entry for entry in wanted}, owners_of(statement)
        progress.expect(sum(entry.size for entry in wanted))
        kept: dict[str, memoryview] = {}
        damaged: list[tuple[Place, str]] = []
        for place in self._passing.places(self.layout):
            name = place.member.name
            if name.startswith(BOOTSTRAP):
                kept[name] = self._whole(place.member.size)
                progress.advance(place.member.size if name in entries else 0)
                if name in entries and hashlib.sha256(kept[name]).hexdigest() != entries[name].digest.hex:
                    damaged.append((place, name))
            elif name in entries:
                progress.begin(owners.get(name, (name,))[0])
                try:
                    take(entries[name])
                except (WrongBytes, StoreDamaged):
                    damaged.append((place, name))
                finally:
                    progress.end(owners.get(name, (name,))[0])
        if damaged:
            names = tuple((name, owners.get(name, ())) for _, name in damaged)
            error = DamagedContent(path=self._passing.path, damaged=names)
            raise self._passing.explain(error, [place for place, _ in damaged])
        bootstrap_is_signed(statement, kept[BOOTSTRAP], lambda keyid: kept[signature_name(BOOTSTRAP, keyid)])

    def _whole(self, size: int) -> memoryview:
        buffer, at = page_buffer(max(1, size)), 0

        def take(data: memoryview) -> None:
            nonlocal at
            buffer[at : at + len(data)] = data
            at += len(data)

        self._passing.body(size, take)
        return buffer[:size]

    def _prove(self, entry: Entry, progress: Progress) -> None:
        sha256 = hashlib.sha256()

        def take(data: memoryview) -> None:
            sha256.update(data)
            progress.advance(len(data))

        self._passing.body(entry.size, take)
        if sha256.hexdigest() != entry.digest.hex:
            raise WrongBytes(what=entry.name, expected=str(entry.digest), found="other bytes")

    def _store(self, entry: Entry, store: BlobStore, progress: Progress) -> None:
        with files.writing(store.folder, missing=entry.size), incoming_of(store, entry) as incoming:
            progress.advance(incoming.position)

            def take(data: memoryview) -> None:
                incoming.write(data)
                progress.advance(len(data))

            self._passing.over(incoming.position)
            self._passing.body(entry.size - incoming.position, take)
            incoming.publish()


def _first(descriptor: int, count: int) -> bytes:
    """The first bytes of a stream; fewer only where it ends."""
    found = b""
    while len(found) < count and (more := os.read(descriptor, count - len(found))):
        found += more
    return found
