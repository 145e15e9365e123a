"""The release that a site is brought to: from a bundle file, or as the last one is remembered beside site.yaml."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.reader import BundleFile
from bundler.archive.sending import front_of
from bundler.errors import NotASite, NotReadable, Usage
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.model.statement import Statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey, read_public_key
from bundler.signing.trust import Signed, Trust, judge
from bundler.site import fronts
from bundler.site.kept import judge_again
from bundler.site.state import read_state
from bundler.steps.step import Source
from bundler.store.blobs import BlobStore
from bundler.support.files import read_text, write_file
from bundler.verify.carried import carried_lock
from bundler.verify.check import check_bootstrap_signatures, layout_of
from bundler.workflows.install import front_file

_FOLDER = "release"
_FRONT = "release.front"
_JUDGED = "judged"  # the digest of a statement that was judged when it came, by keys that may be retired by now


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A judged release. `source` is the open bundle file, where there is one."""

    statement: Statement
    lock: Lock
    signed: Signed
    trust: Trust
    source: Source | None


@contextlib.contextmanager
def release_of(
    bundle: Path | None, state: Path, *, keys: Sequence[PublicKey], threshold: int | None
) -> Iterator[Release]:
    """The release of a bundle file, judged by `keys` or by those remembered; without a file the one remembered.

    Raises the errors of trust and of bundles; Usage when there is nothing to judge by or nothing remembered.
    """
    trust = _trust(state / _FOLDER, tuple(keys), threshold)
    if bundle is None:
        yield _remembered(state / _FOLDER, trust)
        return
    with BundleFile(bundle) as file:
        signed = file.front()
        statement = judge(trust, signed).statement
        layout = layout_of(file, statement, len(signed.statement))
        check_bootstrap_signatures(file, statement, layout)
        lock = carried_lock(file, statement, layout)
        source = Source(file=file, signed=signed, layout=layout)
        yield Release(statement=statement, lock=lock, signed=signed, trust=trust, source=source)


def installed_release(root: Path) -> Release:
    """The release in use on this site host, judged by the keys that are pinned there; its lock is a blob of the store.

    Raises NotASite, StoreDamaged and the errors of trust.
    """
    signed = read_front(front_file(root))
    state = read_state(root)
    if signed is None or state.trust is None:
        raise NotASite(root=str(root), why="it does not remember a release")
    statement = judge_again(state, signed, serving=True).statement
    text = BlobStore(root).read(statement.lock, limit=LIMITS.document).decode()
    lock = parse_lock(text, file=f"{root}: images.lock")
    return Release(statement=statement, lock=lock, signed=signed, trust=state.trust, source=None)


def read_front(path: Path) -> Signed | None:
    """A signed statement as it was kept; None when there is none. Raises NotABundle, TruncatedBundle."""
    return fronts.read(path)


def remember(release: Release, state: Path) -> None:
    """Keep what later commands need: the signed statement, the lock, and who was trusted; the statement last."""
    folder = state / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    remember_trust(state, release.trust)
    write_file(folder / "images.lock", write_lock(release.lock).encode())
    write_file(folder / _JUDGED, f"{Digest.of(release.signed.statement)}\n".encode())
    write_file(folder / _FRONT, front_of(release.signed))


def remember_trust(state: Path, trust: Trust) -> None:
    """By whom bundles are judged from now on."""
    folder = state / _FOLDER
    for number, key in enumerate(trust.keys):
        write_file(folder / f"trust-{number}.pub", key.pem())
    for path in folder.glob("trust-*.pub"):
        if path.name not in {f"trust-{number}.pub" for number in range(len(trust.keys))}:
            path.unlink()
    write_file(folder / "threshold", f"{trust.threshold}\n".encode())


def is_remembered(state: Path) -> bool:
    """Whether a release was installed from here."""
    return (state / _FOLDER / _FRONT).exists()


def _trust(folder: Path, keys: tuple[PublicKey, ...], threshold: int | None) -> Trust:
    if keys:
        return Trust(keys=keys, threshold=1 if threshold is None else threshold)
    known = tuple(read_public_key(path) for path in sorted(folder.glob("trust-*.pub")))
    if not known:
        raise Usage(message="the first installation of a site needs --trust NAME.pub")
    return Trust(keys=known, threshold=int(read_text(folder / "threshold", limit=16)))


def _judged(folder: Path, signed: Signed) -> Statement | None:
    """What was judged when it was remembered is not judged again: its keys may have been rotated away since."""
    path = folder / _JUDGED
    if not path.exists() or read_text(path, limit=128).strip() != str(Digest.of(signed.statement)):
        return None
    return parse_statement(signed.statement, path=signed.path)


def _remembered(folder: Path, trust: Trust) -> Release:
    signed = read_front(folder / _FRONT)
    if signed is None:
        advice = "Give the bundle: `bundle install FILE --trust NAME.pub --site site.yaml`."
        raise Usage(message=f"no release was installed from here: {folder} has none", advice=advice)
    statement = _judged(folder, signed) or judge(trust, signed).statement
    text = read_text(folder / "images.lock", limit=LIMITS.document)
    if Digest.of(text.encode()) != statement.lock:
        raise NotReadable(path=str(folder / "images.lock"), why="it is not the lock of the release beside it")
    lock = parse_lock(text, file=str(folder / "images.lock"))
    return Release(statement=statement, lock=lock, signed=signed, trust=trust, source=None)
