"""`bundle receive`: a site's store filled from a stream, and what a site says of itself to the one who fills it.

A machine that has the bundle file asks what is missing, sends only that (bundler.archive.sending), and may ask at any
time what is in use. All of it runs on the site; the sender is believed nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bundler.archive.form import owners_of
from bundler.archive.receiving import Arriving
from bundler.archive.sending import front_of
from bundler.errors import DamagedContent, NotASite, StoreDamaged, WrongBytes
from bundler.model.statement import Entry, Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Signed
from bundler.site import generation
from bundler.site.kept import judge_again
from bundler.site.state import read_state, write_state
from bundler.store.blobs import BlobStore
from bundler.support import clock, files
from bundler.support.progress import Progress, counted
from bundler.workflows.install import (
    Installed,
    blobs_of,
    check_controls,
    check_held,
    fill,
    front_file,
    incoming_of,
    judge_for,
    wanted_of,
)
from bundler.workflows.release import read_front


def receive(
    descriptor: int, root: Path, *, keys: Sequence[PublicKey], threshold: int | None, progress: Progress
) -> Installed:
    """Install what comes on a descriptor: as `install` does from a file, but only the missing blobs come.

    Raises as `fill`, and NotABundle, WrongBytes, TruncatedBundle and TrailingBytes for a stream that is not what
    it must be: then the store keeps what was whole and the durable beginning of the blob that was on its way.
    """
    return fill(FromStream(Arriving(descriptor)), root, keys=keys, threshold=threshold, progress=progress)


def rebuild(root: Path) -> Installed:
    """Make the views of the release in use again, from the store alone; nothing of them that is there is believed.

    Raises NotASite without a release, StoreDamaged when the store lacks blobs, and the errors of trust.
    """
    signed = read_front(front_file(root))
    if signed is None:
        raise NotASite(root=str(root), why="it does not remember a release")
    with files.exclusive(root / ".lock", what=str(root)):
        state, store = read_state(root), BlobStore(root)
        accepted = judge_again(state, signed, serving=True)
        statement = accepted.statement
        gone = [entry for entry in statement.blobs if not store.holds(entry.digest, entry.size)]
        if gone:
            why = f"{counted(len(gone), 'blob')} of the release {statement.release} are gone; only its bundle has them"
            raise StoreDamaged(path=str(store.folder), why=why)
        date = state.next_date(clock.now())
        front = front_of(signed)
        folder = generation.build(root, accepted, signed.statement, store, date=date, anew=True, front=front)
        write_state(root, replace(state, signed_at=date, latest=state.time(date)))
        generation.switch(root, folder)
    return Installed(root=root, folder=folder, statement=statement, signed=accepted.signed, new=0, changed=True)


def ask_missing(descriptor: int, root: Path, *, keys: Sequence[PublicKey], threshold: int | None) -> dict[str, Any]:
    """What the site lacks of the bundle whose front comes on a descriptor; `bundler.archive.sending` reads it.

    Changes nothing. Raises the errors of trust, and NotABundle, TruncatedBundle, TrailingBytes.
    """
    arriving = Arriving(descriptor)
    signed = arriving.front()
    arriving.finish()
    statement = judge_for(read_state(root), root, keys, threshold, signed)[1].statement
    store = BlobStore(root)
    check_held(root, statement, store)
    wanted, _ = wanted_of(statement, store)
    missing = [(entry, store.begun(entry.digest, entry.size)) for entry in blobs_of(wanted)]
    now = in_use(root)
    return {
        "generation": now["generation"] and {key: now[key] for key in ("generation", "release", "content")},
        "content": str(statement.content),
        "installed": now["generation"] == generation.name_of(statement),
        "missing": [{"name": entry.name, "offset": begun} for entry, begun in missing],
        "bytes": sum(entry.size - begun for entry, begun in missing),
        "free": files.free_space(_existing(root)),
    }


def in_use(root: Path) -> dict[str, Any]:
    """What the site uses and whom it trusts; null and empty where nothing is installed. Fast: no blob is read.

    Raises StateDamaged, NotReadable.
    """
    state, folder = read_state(root), generation.current(root)
    release, content = generation.release_of(folder, state.releases) if folder else (None, None)
    return {
        "root": str(root),
        "generation": folder.name if folder else None,
        "release": {"line": release.line, "number": release.number} if release else None,
        "content": str(content) if content else None,
        "keys": [key.keyid for key in state.trust.keys] if state.trust else [],
        "threshold": state.trust.threshold if state.trust else None,
    }


def _existing(path: Path) -> Path:
    """The nearest folder above that is there, or the path itself."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.is_dir())


class FromStream:
    """The stream as a source. Its blobs come one after the other in the order of the bundle, each proved on its way."""

    def __init__(self, arriving: Arriving) -> None:
        self._arriving = arriving

    def front(self) -> Signed:
        return self._arriving.front()

    def check(self, statement: Statement, statement_size: int) -> None:
        """The bodies are still to come: what depends on them is checked before the views are made."""

    def bring(self, statement: Statement, wanted: Sequence[Entry], store: BlobStore, progress: Progress) -> None:
        blobs, owners = blobs_of(wanted), owners_of(statement)
        progress.expect(sum(entry.size for entry in blobs))
        for entry in blobs:
            self._store(entry, owners.get(entry.name, ()), store, progress)
        self._arriving.end()
        check_controls(self._arriving.path, statement, lambda entry: store.read(entry.digest, limit=entry.size))

    def _store(self, entry: Entry, owners: tuple[str, ...], store: BlobStore, progress: Progress) -> None:
        with files.writing(store.folder, missing=entry.size), incoming_of(store, entry) as incoming:
            progress.advance(incoming.position)

            def take(data: memoryview) -> None:
                incoming.write(data)
                progress.advance(len(data))

            self._arriving.body(entry.name, incoming.position, entry.size, take)
            try:
                incoming.publish()
            except WrongBytes:
                raise DamagedContent(path=self._arriving.path, damaged=((entry.name, owners),)) from None
