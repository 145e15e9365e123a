"""`bundle keys rotate`, `bundle keys revoke`, `bundle trust`: statements about keys, made on one side, applied on the
other. The signatures lie beside the statement, as FILE.<keyid>.sig: raw Ed25519 over its exact bytes, as openssl makes
them too."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.form import SIGNATURE_SIZE
from bundler.errors import NotASite
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.renewal import Renewal, Rotation, parse_renewal, write_renewal
from bundler.signing.keys import PublicKey, SigningKey
from bundler.signing.renewal import renew
from bundler.signing.trust import Signed, Trust
from bundler.site import history
from bundler.site.history import REVOKE, ROTATE, Event
from bundler.site.state import SiteState, read_state, write_state
from bundler.support import clock, files
from bundler.workflows.releases import changing

_LIMIT = 1 << 20
_SIGNATURE = re.compile(r"(ed25519-[0-9a-f]{64})\.sig")


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """`changed` is False for a statement that the site has applied before."""

    renewal: Renewal
    trust: Trust
    signed: tuple[str, ...]
    changed: bool


def write_statement_of_keys(out: Path, renewal: Renewal, keys: Sequence[SigningKey]) -> tuple[Path, ...]:
    """The statement as a new file, and a signature of each key beside it. Raises CannotWrite."""
    data = write_renewal(renewal)
    parse_renewal(data, path=str(out))  # what a site would refuse is not written
    files.create_file(out, data, mode=0o644)
    return tuple(_put(out, key, data) for key in keys)


def sign_statement_of_keys(path: Path, key: SigningKey) -> Path:
    """One more signature beside it. Raises NotReadable, MalformedStatement."""
    data = files.read_file(path, limit=_LIMIT)
    parse_renewal(data, path=str(path))
    return _put(path, key, data)


def _put(path: Path, key: SigningKey, data: bytes) -> Path:
    beside = path.with_name(f"{path.name}.{key.public.keyid}.sig")
    files.write_file(beside, key.sign(data))
    return beside


def apply(path: Path, root: Path, *, dry_run: bool = False) -> Renewed:
    """Judge a rotation or revocation by the trust that the site has now, and take it over.

    Raises NotASite, Busy, NotReadable, and the errors of `renew`.
    """
    signed = signed_renewal(path)
    data = signed.statement
    with changing(root):
        state, trust = trusting(root)
        known = history.accepted(state.history, Digest.of(data))
        if known is not None and known.what in (ROTATE, REVOKE):
            renewal = parse_renewal(data, path=str(path))
            return Renewed(renewal=renewal, trust=trust, signed=known.signers, changed=False)
        after, renewal = renew(trust, signed)
        by = tuple(key.keyid for key in trust.keys if _signs(key, signed))
        if not dry_run:
            _write(root, state, after, renewal, by)
    return Renewed(renewal=renewal, trust=after, signed=by, changed=True)


def signed_renewal(path: Path) -> Signed:
    """A rotation or revocation with the signatures beside it; nothing of it is judged. Raises NotReadable."""
    data = files.read_file(path, limit=_LIMIT)
    return Signed(path=str(path), statement=data, inside=(), beside=_beside(path))


def _beside(path: Path) -> dict[str, bytes]:
    """FILE.<keyid>.sig in the file's own folder. Raises NotReadable."""
    found: dict[str, bytes] = {}
    for beside in sorted(path.parent.iterdir()):
        match = _SIGNATURE.fullmatch(beside.name.removeprefix(f"{path.name}."))
        if match and beside.name.startswith(f"{path.name}.") and len(found) < LIMITS.signers:
            found[match[1]] = files.read_file(beside, limit=SIGNATURE_SIZE)
    return found


def trusting(root: Path) -> tuple[SiteState, Trust]:
    """What a site remembers, and whom it trusts. Raises NotASite, StateDamaged."""
    state = read_state(root)
    if state.trust is None:
        raise NotASite(root=str(root), why="nothing was ever installed there")
    return state, state.trust


def _signs(key: PublicKey, signed: Signed) -> bool:
    return key.verifies(signed.beside.get(key.keyid, b""), signed.statement)


def _write(root: Path, state: SiteState, after: Trust, renewal: Renewal, by: tuple[str, ...]) -> None:
    time = max(state.time(clock.now()), renewal.issued)
    event = Event(
        at=time,
        what=ROTATE if isinstance(renewal, Rotation) else REVOKE,
        statement=Digest.of(write_renewal(renewal)),
        signers=by,
        threshold=after.threshold,
        reason=renewal.reason,
    )
    write_state(root, state.renewed(after, time=time, event=event))
