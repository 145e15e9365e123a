"""`bundle install --root`: from a bundle file to a site's store and views."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundler.archive.form import owners_of
from bundler.archive.layout import Place
from bundler.archive.reader import BundleFile
from bundler.archive.sending import front_of
from bundler.errors import (
    BaseMissing,
    DamagedContent,
    DiskFull,
    Malformed,
    MalformedStatement,
    StoreDamaged,
    WrongBytes,
)
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock_parser import check_control
from bundler.model.sitenames import check_site_names
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Entry, Patched, Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Accepted, Signed, Trust, judge, judge_release
from bundler.site import fronts, generation, history
from bundler.site.history import Event
from bundler.site.state import SiteState, read_state, settle_trust, write_state
from bundler.store.blobs import BlobStore, Incoming
from bundler.support import clock, files, parallel
from bundler.support.progress import Progress
from bundler.verify.check import check_bootstrap_signatures, hash_body, layout_of, raise_damaged, thread_buffer
from bundler.workflows.gc import reclaimable
from bundler.workflows.rebuild import JOBS as REBUILD_JOBS
from bundler.workflows.rebuild import rebuild as rebuild_blobs

# Room for the views' own small files and for folders, beside the blobs.
_VIEW_ROOM = 16 << 20
# Fields of a package's stanza that the view writes.
_OURS = frozenset({"filename", "size", "sha256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """`changed` is False when the site had this release in use already; `new` counts bytes that the store lacked."""

    root: Path
    folder: Path
    statement: Statement
    signed: tuple[str, ...]
    new: int
    changed: bool


class Source(Protocol):
    """Where a bundle's bytes come from: its file, or a stream from a machine that has the file."""

    def front(self) -> Signed: ...

    def check(self, statement: Statement, statement_size: int) -> None:
        """Everything that can be known of the form before the first write."""

    def bring(self, statement: Statement, wanted: Sequence[Entry], store: BlobStore, progress: Progress) -> None:
        """Put the wanted blobs and patches, in the order of the statement, into the store; prove all else."""


def install(
    path: Path,
    root: Path,
    *,
    keys: Sequence[PublicKey],
    threshold: int | None,
    jobs: int,
    progress: Progress,
    folders: Sequence[Path] = (),
    downgrade: str = "",
) -> Installed:
    """From a bundle file; every byte of it is proved. Raises as `fill`, and DamagedContent with all that is damaged."""
    with BundleFile(path, folders) as file:
        source = FromFile(file, jobs=jobs)
        return fill(source, root, keys=keys, threshold=threshold, progress=progress, downgrade=downgrade)


def fill(
    source: Source,
    root: Path,
    *,
    keys: Sequence[PublicKey],
    threshold: int | None,
    progress: Progress,
    downgrade: str = "",
) -> Installed:
    """Judge first, then write: nothing is made in `root` before the signatures hold and the form is right.

    `downgrade` is why a release older than one that the site has seen is taken; without a reason it is refused.
    """
    signed = source.front()
    statement = judge_for(read_state(root), root, keys, threshold, signed, downgrade=downgrade)[1].statement
    source.check(statement, len(signed.statement))
    _check_names(statement)
    check_held(root, statement, BlobStore(root))
    _make_root(root)
    with files.exclusive(root / ".lock", what=str(root)):
        state = read_state(root)  # once more, now that nobody else changes it
        trust, accepted = judge_for(state, root, keys, threshold, signed, downgrade=downgrade)
        store = BlobStore(root)
        new = _fill_store(source, statement, store, progress, signed=signed)
        in_use = generation.current(root)
        if new == 0 and in_use is not None and in_use.name == generation.name_of(statement):
            fronts.write(front_file(root), signed)  # the same content may have another tool, or other signatures
            return Installed(
                root=root, folder=in_use, statement=statement, signed=accepted.signed, new=0, changed=False
            )
        fronts.begin(root, signed)
        date = state.next_date(clock.now())
        folder = generation.build(root, accepted, signed.statement, store, date=date, front=front_of(signed))
        fronts.write(front_file(root), signed)
        event = _event(state, trust, accepted, signed=signed, in_use=in_use, downgrade=downgrade)
        write_state(root, state.after(statement, trust=trust, date=date, event=event))
        if state.trust is None:
            progress.note(
                f"pinned from now on: the trusted keys ({len(trust.keys)}), the threshold ({trust.threshold})"
            )
        generation.switch(root, folder)
        fronts.end(root)
    return Installed(root=root, folder=folder, statement=statement, signed=accepted.signed, new=new, changed=True)


def front_file(root: Path) -> Path:
    """Where a site keeps the signed statement of the release in use: enough to make its views again from the store."""
    return fronts.in_use_path(root)


def judge_for(
    state: SiteState,
    root: Path,
    keys: Sequence[PublicKey],
    threshold: int | None,
    signed: Signed,
    *,
    downgrade: str = "",
) -> tuple[Trust, Accepted]:
    """By what the site has pinned, or by what is given to a new one. Raises the errors of trust.

    The release in use is no step back, also where a rollback led to it.
    """
    trust = settle_trust(state, root=root, keys=tuple(keys), threshold=threshold)
    accepted = judge(trust, signed, now=state.time(clock.now()))
    folder, name = generation.current(root), generation.name_of(accepted.statement)
    if folder is None or folder.name != name:
        judge_release(accepted.statement, state.releases, downgrade=bool(downgrade))
        history.check_known(state.history, accepted.statement, name)
    return trust, accepted


def _event(
    state: SiteState, trust: Trust, accepted: Accepted, *, signed: Signed, in_use: Path | None, downgrade: str
) -> Event:
    """What the site remembers of this installation."""
    statement = accepted.statement
    name, (highest, _) = generation.name_of(statement), state.releases.get(statement.release.line, (0, None))
    lower = statement.release.number < highest
    before = in_use.name if in_use else ""
    if before == name:  # its blobs were mended: what was before it is what it was
        known = history.brought(state.history, name)
        before = known.before if known else ""
    return Event(
        at=state.time(clock.now()),
        what=history.DOWNGRADE if lower and downgrade else history.INSTALL,
        generation=name,
        before=before,
        statement=Digest.of(signed.statement),
        signers=accepted.signed,
        threshold=trust.threshold,
        reason=downgrade if lower else "",
    )


def check_held(root: Path, statement: Statement, store: BlobStore) -> None:
    """What a delta leaves to the site must be there. Raises BaseMissing."""
    if statement.delta is None:
        return
    missing = [held for held in statement.delta.needed if not store.holds(held.digest, held.size)]
    if missing:
        owners = owners_of(statement)
        bases = [statement.delta.bases[number] for number in sorted({held.base for held in missing})]
        raise BaseMissing(
            root=str(root),
            bases=tuple(f"{base.release} ({str(base.content)[:19]}…)" for base in bases),
            missing=tuple((str(held.digest), owners.get(held.entry.name, ())) for held in missing),
        )


def _check_names(statement: Statement) -> None:
    """Raises NameConflict for what could not stand side by side here; `lock` refuses it too."""
    check_site_names(
        images=((image.reference, image.root) for image in statement.images),
        charts=((chart.name, chart.reference, chart.manifest) for chart in statement.charts),
        debs=((deb.archive, deb.release, deb.name, deb.digest) for deb in statement.debs),
        files=((entry.name, entry.digest) for entry in statement.files),
    )


def check_controls(path: str, statement: Statement, read: Callable[[Entry], bytes]) -> None:
    """A package's description is one stanza, of that very package, and leaves where it lies and its hashes to us.

    `read` gives a blob's bytes. Raises MalformedStatement; DamagedContent for one that is not what was signed.
    """
    entries = {entry.digest: entry for entry in statement.entries}
    for deb in statement.debs:
        entry = entries[deb.control]
        data = read(entry) if entry.size <= LIMITS.metadata else b""
        if data and Digest.of(data) != deb.control:
            raise DamagedContent(path=path, damaged=((entry.name, (deb.name,)),))
        try:
            lines = check_control(data.decode().removesuffix("\n")).split("\n")
        except (Malformed, UnicodeDecodeError):
            lines = []
        names = [line.partition(":")[0].lower() for line in lines if line[0] not in " \t"]
        wanted = {f"Package: {deb.package}", f"Version: {deb.version}", f"Architecture: {deb.architecture}"}
        if not wanted <= set(lines) or len(set(names)) < len(names) or not _OURS.isdisjoint(names):
            expected = (
                f"one stanza of {deb.package} {deb.version} {deb.architecture}, without {', '.join(sorted(_OURS))}"
            )
            raise MalformedStatement(path=path, where=deb.name, found="another description", expected=expected)


def _make_root(root: Path) -> None:
    with files.writing(root):
        for folder in (root, root / "state", root / "generations"):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                folder.chmod(0o755)


def _fill_store(source: Source, statement: Statement, store: BlobStore, progress: Progress, *, signed: Signed) -> int:
    """Bring every blob into the store; gives the bytes of those that were new.

    Raises DiskFull before anything is written when it cannot fit, and what the source raises.
    """
    wanted, patched = wanted_of(statement, store)
    blobs = blobs_of(wanted)
    store.prepare((*(entry.digest for entry in blobs), *(each.patch for each in patched)))
    new = sum(entry.size for entry in blobs) + sum(each.size for each in patched)
    scratch = sorted((each.scratch for each in patched), reverse=True)[:REBUILD_JOBS]
    missing = new - sum(store.begun(entry.digest, entry.size) for entry in blobs) + sum(scratch) + _VIEW_ROOM
    missing -= files.free_space(store.folder)
    if new and missing > 0:
        raise DiskFull(path=str(store.folder), missing=missing, advice=_how_to_make_room(store.root, missing))
    if new:
        fronts.begin(store.root, signed)
    source.bring(statement, wanted, store, progress)
    rebuild_blobs(patched, store, jobs=parallel.cores(), progress=progress, owners=owners_of(statement))
    if new:
        store.settle()
    return new


def _how_to_make_room(root: Path, missing: int) -> str:
    freed = reclaimable(root)
    if not freed:
        return ""
    enough = "" if freed >= missing else ", which is not all"
    return f"`bundle gc --root {root}` gives back {freed / 1e6:.1f} MB{enough}. Then run the same command again."


def wanted_of(statement: Statement, store: BlobStore) -> tuple[list[Entry], list[Patched]]:
    """What of a bundle's entries must come, and which blobs are then made of patches."""
    patched = [each for each in statement.patches if not store.holds(each.digest, each.size)]
    patches = {each.patch for each in patched}

    def is_held(entry: Entry) -> bool:
        if entry.name.startswith(PATCH_PREFIX):
            return entry.digest not in patches or store.has_patch(entry.digest, entry.size)
        return entry.name.startswith(BLOB_PREFIX) and store.holds(entry.digest, entry.size)

    return [entry for entry in statement.entries if not is_held(entry)], patched


def blobs_of(entries: Iterable[Entry]) -> list[Entry]:
    """Those that go to the store: blobs and patches."""
    return [entry for entry in entries if entry.name.startswith((BLOB_PREFIX, PATCH_PREFIX))]


def incoming_of(store: BlobStore, entry: Entry) -> Incoming:
    """Where a blob or a patch goes to."""
    into = store.incoming_patch if entry.name.startswith(PATCH_PREFIX) else store.incoming
    return into(entry.digest, entry.size)


class FromFile:
    """A bundle file as a source: what is no blob is proved too, and everything damaged is named at once."""

    def __init__(self, file: BundleFile, *, jobs: int) -> None:
        self._file, self._jobs = file, jobs
        self._places: dict[str, Place] = {}

    def front(self) -> Signed:
        return self._file.front()

    def check(self, statement: Statement, statement_size: int) -> None:
        layout = layout_of(self._file, statement, statement_size)
        check_bootstrap_signatures(self._file, statement, layout)
        self._places = {place.member.name: place for place in layout.places}
        check_controls(self._file.path, statement, lambda entry: self._file.body(self._places[entry.name]))

    def bring(self, statement: Statement, wanted: Sequence[Entry], store: BlobStore, progress: Progress) -> None:
        progress.expect(sum(entry.size for entry in wanted))
        owners = owners_of(statement)

        def bring(entry: Entry) -> None:
            label = owners.get(entry.name, (entry.name,))[0]
            progress.begin(label)
            try:
                if entry.name.startswith((BLOB_PREFIX, PATCH_PREFIX)):
                    self._store(store, entry, progress)
                elif hash_body(self._file, self._places[entry.name], progress.advance) != entry.digest:
                    raise WrongBytes(what=entry.name, expected=str(entry.digest), found="other bytes")
            finally:
                progress.end(label)

        largest_first = sorted(wanted, key=lambda entry: (-entry.size, entry.name))
        failed = parallel.each(largest_first, bring, jobs=self._jobs, fatal=_is_fatal)
        raise_damaged(self._file, (entry.name for entry, _ in failed), owners)

    def _store(self, store: BlobStore, entry: Entry, progress: Progress) -> None:
        try:
            _store_blob(self._file, store, entry, self._places[entry.name], progress)
        except StoreDamaged:  # what was held of it is thrown away now: once more, from the beginning
            progress.advance(-entry.size)
            _store_blob(self._file, store, entry, self._places[entry.name], progress)


def _store_blob(file: BundleFile, store: BlobStore, entry: Entry, place: Place, progress: Progress) -> None:
    with files.writing(store.folder, missing=entry.size), incoming_of(store, entry) as incoming:
        progress.advance(incoming.position)

        def take(data: memoryview) -> None:
            parallel.check_stopping()
            incoming.write(data)
            progress.advance(len(data))

        file.stream(place, take, thread_buffer(), skip=incoming.position)
        incoming.publish()


def _is_fatal(error: Exception) -> bool:
    return not isinstance(error, (WrongBytes, DamagedContent))
