"""What a site remembers, durably, in `ROOT/state/site.json`: whom it trusts, the highest release of each line, the
last date its package indexes were signed with. Written before a switch, so that a power cut never lets it go back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bundler.errors import DoubledKey, InvalidDocument, Malformed, NotReadable, StateDamaged, TrustChanged, Usage
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.limits import LIMITS
from bundler.model.names import check_label
from bundler.model.statement import Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust
from bundler.support.files import read_file, write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """`trust` is None before the first installation; `signed_at` is the last apt date, in UTC."""

    trust: Trust | None = None
    releases: Mapping[str, tuple[int, Digest]] = field(default_factory=dict)
    signed_at: datetime | None = None

    def next_date(self, now: datetime) -> datetime:
        """A date later than any signed before: max(now, last + 1 s), in whole seconds."""
        now = now.replace(microsecond=0)
        return now if self.signed_at is None else max(now, self.signed_at + timedelta(seconds=1))

    def after(self, statement: Statement, *, trust: Trust, date: datetime) -> "SiteState":
        """The state once `statement` is installed."""
        release = statement.release
        number, content = self.releases.get(release.line, (-1, statement.content))
        if release.number > number:
            number, content = release.number, statement.content
        releases = {**self.releases, release.line: (number, content)}
        return replace(self, trust=trust, releases=releases, signed_at=date)


def settle_trust(state: SiteState, *, root: Path, keys: tuple[PublicKey, ...], threshold: int | None) -> Trust:
    """The trust to judge by: what is given at the first installation, what was pinned then ever after.

    Raises TrustChanged when something else is given later, Usage when nothing is given at first.
    """
    pinned = state.trust
    if pinned is None:
        if not keys:
            raise Usage(message="the first installation of a site needs --trust NAME.pub")
        return Trust(keys=keys, threshold=1 if threshold is None else threshold)
    foreign = [key.keyid for key in keys if key not in pinned.keys]
    if foreign:
        raise TrustChanged(root=str(root), why=f"{', '.join(foreign)} is not among them")
    if threshold not in (None, pinned.threshold):
        raise TrustChanged(root=str(root), why=f"the threshold is {pinned.threshold}, not {threshold}")
    return pinned


def read_state(root: Path) -> SiteState:
    """Raises StateDamaged for a state file that is not ours, or gone from a site that is in use; NotReadable."""
    path = _path(root)
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        if (root / "current").is_symlink():
            raise StateDamaged(path=str(path), why="the site is in use and has no such file") from None
        return SiteState()
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    reader = Reader(file=str(path))
    try:
        state = reader.json(read_file(path, limit=LIMITS.document)).whole(_state)
        reader.finish()
    except InvalidDocument as error:
        problem = error.problems[0]
        raise StateDamaged(path=str(path), why=f"found {problem.found}, expected {problem.expected}") from None
    except DoubledKey as error:
        raise StateDamaged(path=str(path), why=error.summary) from None
    return state


def write_state(root: Path, state: SiteState) -> None:
    if state.trust is None or state.signed_at is None:
        raise ValueError("a state is written only once something is installed")
    data = canonical.dump(
        {
            "trust": {"keys": [key.raw.hex() for key in state.trust.keys], "threshold": state.trust.threshold},
            "releases": [
                {"line": line, "number": number, "content": str(content)}
                for line, (number, content) in sorted(state.releases.items())
            ],
            "signedAt": state.signed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
    write_file(_path(root), data)


def _path(root: Path) -> Path:
    return root / "state" / "site.json"


def _state(fields: Fields) -> SiteState:
    releases = fields.each("releases", _release)
    trust = fields.nested("trust", _trust)
    signed_at = fields.value("signedAt", _date)
    return fields.build(lambda: SiteState(trust=trust, releases=dict(releases), signed_at=signed_at))


def _release(fields: Fields) -> tuple[str, tuple[int, Digest]]:
    line, number = fields.value("line", check_label), fields.integer("number")
    return line, (number, fields.value("content", Digest.parse))


def _trust(fields: Fields) -> Trust:
    keys = fields.values("keys", _key)
    return fields.build(Trust, keys=keys, threshold=fields.integer("threshold"))


def _key(text: str) -> PublicKey:
    return PublicKey(bytes.fromhex(Digest(text).hex))


def _date(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed(found=repr(text[:40]), expected="a UTC date such as 2026-01-02T03:04:05Z") from None
