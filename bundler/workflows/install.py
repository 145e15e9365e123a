"""`bundle install --root`: from a bundle file to a site's store and views."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.form import owners_of
from bundler.archive.layout import Layout, Place
from bundler.archive.reader import BundleFile
from bundler.errors import DamagedContent, DiskFull, WrongBytes
from bundler.model.statement import BLOB_PREFIX, Entry, Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Accepted, Signed, Trust, judge, judge_release
from bundler.site import generation
from bundler.site.state import SiteState, read_state, settle_trust, write_state
from bundler.store.blobs import BlobStore
from bundler.support import clock, files, parallel
from bundler.support.progress import Progress
from bundler.verify.check import check_bootstrap_signatures, hash_body, layout_of, raise_damaged, thread_buffer

# Room for the views' own small files and for folders, beside the blobs.
_VIEW_ROOM = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """`changed` is False when the site had this release in use already; `new` counts bytes that the store lacked."""

    root: Path
    folder: Path
    statement: Statement
    signed: tuple[str, ...]
    new: int
    changed: bool


def install(
    path: Path,
    root: Path,
    *,
    keys: Sequence[PublicKey],
    threshold: int | None,
    jobs: int,
    progress: Progress,
) -> Installed:
    """Judge first, then write: nothing is made in `root` before the signatures hold and the file is whole in form."""
    with BundleFile(path) as file:
        signed = file.front()
        judged = _judge(read_state(root), root, tuple(keys), threshold, signed)
        layout = layout_of(file, judged[1].statement, len(signed.statement))
        check_bootstrap_signatures(file, judged[1].statement, layout)
        _make_root(root)
        with files.exclusive(root / ".lock", what=str(root)):
            state = read_state(root)  # once more, now that nobody else changes it
            trust, accepted = _judge(state, root, tuple(keys), threshold, signed)
            statement = accepted.statement
            store = BlobStore(root)
            new = _fill_store(file, statement, layout, store, jobs=jobs, progress=progress)
            in_use = generation.current(root)
            if new == 0 and in_use is not None and in_use.name == generation.name_of(statement):
                return Installed(
                    root=root, folder=in_use, statement=statement, signed=accepted.signed, new=0, changed=False
                )
            date = state.next_date(clock.now())
            folder = generation.build(root, statement, signed, store, date=date)
            write_state(root, state.after(statement, trust=trust, date=date))
            generation.switch(root, folder)
    return Installed(root=root, folder=folder, statement=statement, signed=accepted.signed, new=new, changed=True)


def _judge(
    state: SiteState, root: Path, keys: tuple[PublicKey, ...], threshold: int | None, signed: Signed
) -> tuple[Trust, Accepted]:
    trust = settle_trust(state, root=root, keys=keys, threshold=threshold)
    accepted = judge(trust, signed)
    judge_release(accepted.statement, state.releases)
    return trust, accepted


def _make_root(root: Path) -> None:
    with files.writing(root):
        for folder in (root, root / "state", root / "generations"):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(0o755)


def _fill_store(
    file: BundleFile, statement: Statement, layout: Layout, store: BlobStore, *, jobs: int, progress: Progress
) -> int:
    """Bring every blob into the store and prove the rest; gives the bytes that were new.

    Raises DamagedContent with all that is damaged, DiskFull before anything is written when it cannot fit.
    """
    store.prepare()
    places = {place.member.name: place for place in layout.places}
    wanted = [entry for entry in statement.entries if not _held(store, entry)]
    new = sum(entry.size for entry in wanted if entry.name.startswith(BLOB_PREFIX))
    missing = new + _VIEW_ROOM - files.free_space(store.folder)
    if new and missing > 0:
        raise DiskFull(path=str(store.folder), missing=missing)
    progress.expect(sum(entry.size for entry in wanted))
    owners = owners_of(statement)

    def bring(entry: Entry) -> None:
        label = owners.get(entry.name, (entry.name,))[0]
        progress.begin(label)
        try:
            if entry.name.startswith(BLOB_PREFIX):
                _store_blob(file, store, entry, places[entry.name], progress)
            elif hash_body(file, places[entry.name], progress.advance) != entry.digest:
                raise WrongBytes(what=entry.name, expected=str(entry.digest), found="other bytes")
        finally:
            progress.end(label)

    largest_first = sorted(wanted, key=lambda entry: (-entry.size, entry.name))
    failed = parallel.each(largest_first, bring, jobs=jobs, fatal=_is_fatal)
    raise_damaged(file, (entry.name for entry, _ in failed), owners)
    if new:
        store.settle()
    return new


def _held(store: BlobStore, entry: Entry) -> bool:
    return entry.name.startswith(BLOB_PREFIX) and store.holds(entry.digest, entry.size)


def _store_blob(file: BundleFile, store: BlobStore, entry: Entry, place: Place, progress: Progress) -> None:
    with files.writing(store.folder, missing=entry.size), store.incoming(entry.digest, entry.size) as incoming:

        def take(data: memoryview) -> None:
            parallel.check_stopping()
            incoming.write(data)
            progress.advance(len(data))

        file.stream(place, take, thread_buffer())
        incoming.publish()


def _is_fatal(error: Exception) -> bool:
    return not isinstance(error, (WrongBytes, DamagedContent))
