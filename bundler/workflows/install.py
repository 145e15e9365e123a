"""`bundle install --root`: from a bundle file to a site's store and views."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.form import owners_of
from bundler.archive.layout import Layout, Place
from bundler.archive.reader import BundleFile
from bundler.errors import DamagedContent, DiskFull, Malformed, MalformedStatement, WrongBytes
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock_parser import check_control
from bundler.model.sitenames import check_site_names
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
        _check_names(judged[1].statement)
        _check_controls(file, judged[1].statement, layout)
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
            folder = generation.build(root, accepted, signed.statement, store, date=date)
            write_state(root, state.after(statement, trust=trust, date=date))
            if state.trust is None:
                progress.note(
                    f"pinned from now on: the trusted keys ({len(trust.keys)}), the threshold ({trust.threshold})"
                )
            generation.switch(root, folder)
    return Installed(root=root, folder=folder, statement=statement, signed=accepted.signed, new=new, changed=True)


def _judge(
    state: SiteState, root: Path, keys: tuple[PublicKey, ...], threshold: int | None, signed: Signed
) -> tuple[Trust, Accepted]:
    trust = settle_trust(state, root=root, keys=keys, threshold=threshold)
    accepted = judge(trust, signed)
    judge_release(accepted.statement, state.releases)
    return trust, accepted


def _check_names(statement: Statement) -> None:
    """Raises NameConflict for what could not stand side by side here; `lock` refuses it too."""
    check_site_names(
        images=((image.reference, image.root) for image in statement.images),
        charts=((chart.name, chart.reference, chart.manifest) for chart in statement.charts),
        debs=((deb.archive, deb.release, deb.name, deb.digest) for deb in statement.debs),
        files=((entry.name, entry.digest) for entry in statement.files),
    )


def _check_controls(file: BundleFile, statement: Statement, layout: Layout) -> None:
    """A package's description is one stanza, of that very package, and leaves where it lies and its hashes to us.

    Raises MalformedStatement; DamagedContent for one that is not what was signed.
    """
    places = {place.member.name: place for place in layout.places}
    for deb in statement.debs:
        place = places[f"{BLOB_PREFIX}{deb.control.hex}"]
        data = file.body(place) if place.member.size <= LIMITS.metadata else b""
        if data and Digest.of(data) != deb.control:
            raise DamagedContent(path=file.path, damaged=((place.member.name, (deb.name,)),))
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
            raise MalformedStatement(path=file.path, where=deb.name, found="another description", expected=expected)


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
