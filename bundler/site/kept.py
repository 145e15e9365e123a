"""The generations that a site keeps, each with the statement that it was made from."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from bundler.archive.form import SIGNATURE_SIZE, owners_of
from bundler.errors import (
    BundleError,
    Malformed,
    NoSuchRelease,
    ReleaseIncomplete,
    RevokedKey,
    StateDamaged,
    StoreDamaged,
)
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.profile import Release
from bundler.model.statement import Statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Accepted, Signed, judge
from bundler.site import fronts, generation, history
from bundler.site.state import SiteState
from bundler.store.blobs import BlobStore
from bundler.support import files


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A whole generation. `data` are its statement's exact bytes."""

    folder: Path
    statement: Statement
    data: bytes

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def release(self) -> Release:
        return self.statement.release

    @property
    def short(self) -> str:
        """`quickstart-3`: what people type."""
        return f"{self.release.line}-{self.release.number}"

    @property
    def digests(self) -> frozenset[Digest]:
        """The blobs that it needs."""
        return frozenset(entry.digest for entry in self.statement.blobs)

    def signed(self) -> Signed:
        """With the signatures that came with it. Raises the errors of damaged fronts, NotReadable."""
        evidence = self.folder / generation.EVIDENCE
        signed = fronts.read(evidence / fronts.FRONT)
        if signed is not None and signed.statement == self.data:
            return replace(signed, path=self.short)
        # An earlier version kept the trusted signatures only.
        found = {
            path.name.removeprefix("bundle.json.").removesuffix(".sig"): files.read_file(path, limit=SIGNATURE_SIZE)
            for path in sorted(evidence.glob("bundle.json.ed25519-*.sig"))
        }
        inside = tuple((keyid, found.pop(keyid)) for keyid in _announced(self.statement) if keyid in found)
        return Signed(path=self.short, statement=self.data, inside=inside, beside=found)


def _announced(statement: Statement) -> list[str]:
    return [PublicKey(raw).keyid for raw in statement.signers]


def kept(root: Path) -> tuple[Kept, ...]:
    """All whole generations, by line and number. Raises StoreDamaged for one that does not say what it is.

    Folders that are not ours (no statement, another name) are nobody's generation and are never touched.
    """
    try:
        folders = sorted(path for path in (root / generation.GENERATIONS).iterdir() if is_generation(path))
    except (FileNotFoundError, NotADirectoryError):
        return ()
    found = (_read(folder) for folder in folders)
    mine = (each for each in found if each.name == generation.name_of(each.statement))
    return tuple(sorted(mine, key=lambda each: (each.release.line, each.release.number, each.name)))


def is_generation(path: Path) -> bool:
    return not path.name.startswith(".") and not path.is_symlink() and _statement(path).exists()


def _statement(folder: Path) -> Path:
    return folder / generation.EVIDENCE / "bundle.json"


def _read(folder: Path) -> Kept:
    path = _statement(folder)
    try:
        data = files.read_file(path, limit=LIMITS.document)
        return Kept(folder=folder, statement=parse_statement(data, path=str(path)), data=data)
    except BundleError as error:
        why = f"nobody can tell which blobs this release needs ({error.summary})"
        raise StoreDamaged(path=str(path), why=why) from None


def in_use(root: Path, found: Iterable[Kept]) -> Kept | None:
    """The one that is served."""
    folder = generation.current(root)
    return next((each for each in found if folder is not None and each.name == folder.name), None)


def unfinished(root: Path) -> Statement | None:
    """The release of an installation that was interrupted. Raises StateDamaged."""
    return statement_at(fronts.unfinished_path(root))


def statement_at(path: Path) -> Statement | None:
    """Of a signed statement that the site itself keeps, and judged when it put it there. Raises StateDamaged."""
    try:
        signed = fronts.read(path)
        return parse_statement(signed.statement, path=str(path)) if signed else None
    except BundleError as error:
        raise StateDamaged(path=str(path), why=error.summary) from None


def choose(root: Path, found: Iterable[Kept], text: str) -> Kept:
    """By `LINE-NUMBER`, `LINE NUMBER`, NUMBER, the generation's name or a beginning of its content. Raises
    NoSuchRelease, also when several are meant."""
    found = tuple(found)
    wanted = text.strip()
    exact = [each for each in found if wanted in (each.name, each.short, str(each.release))]
    loose = [
        each
        for each in found
        if wanted == str(each.release.number)
        or (len(wanted) >= 8 and each.statement.content.hex.startswith(wanted.removeprefix("sha256:")))
    ]
    meant = exact or loose
    if len(meant) != 1:
        named = meant or found
        raise NoSuchRelease(root=str(root), wanted=text[:80], kept=tuple(each.name for each in named))
    return meant[0]


def check_complete(root: Path, one: Kept, store: BlobStore) -> None:
    """Raises ReleaseIncomplete when the store lacks a blob of it, or has one of another length."""
    missing = [entry for entry in one.statement.blobs if not store.holds(entry.digest, entry.size)]
    if missing:
        owners = owners_of(one.statement)
        named = tuple((str(entry.digest), owners.get(entry.name, ())) for entry in missing)
        raise ReleaseIncomplete(root=str(root), release=str(one.release), missing=named)


def judge_again(state: SiteState, signed: Signed, *, serving: bool = False, now: datetime | None = None) -> Accepted:
    """A statement that this site has installed before is still good, though its keys may be retired by now, unless too
    many of them were revoked since; what is `serving` goes on in any case. One that the site does not remember is
    judged as new. Raises the errors of trust.
    """
    if state.trust is None:
        raise Malformed(found="a site that trusts nobody", expected="an installed one")
    event = history.accepted(state.history, Digest.of(signed.statement))
    if event is None:
        return judge(state.trust, signed, now=now)
    revoked = {key.keyid for key in state.trust.revoked}
    good = tuple(keyid for keyid in event.signers if keyid not in revoked)
    if len(good) < event.threshold and not serving:
        bad = tuple(keyid for keyid in event.signers if keyid in revoked)
        raise RevokedKey(what=signed.path, revoked=bad, good=good, threshold=event.threshold)
    signatures = {**dict(signed.inside), **signed.beside}
    known = {keyid: signatures[keyid] for keyid in event.signers if keyid in signatures}
    return Accepted(statement=parse_statement(signed.statement, path=signed.path), signatures=known)
