"""What a site remembers, durably, in `ROOT/state/site.json`: whom it trusts, the highest release of each line, the
last date its package indexes were signed with, the latest time it has seen, what is pinned, and its history. Written
before a switch, so that a power cut never lets it go back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bundler.errors import DoubledKey, InvalidDocument, NotReadable, StateDamaged, TrustChanged, Usage
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.limits import LIMITS
from bundler.model.names import check_label, check_segment
from bundler.model.renewal import parse_date, parse_date_or_none, parse_key, write_date
from bundler.model.statement import Statement
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust
from bundler.site import history
from bundler.site.history import Event
from bundler.support.files import read_file, write_file


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState:
    """`trust` is None before the first installation; `signed_at` is the last apt date; `latest` the latest time that
    the site has seen; `pins` are names of generations. All times are UTC."""

    trust: Trust | None = None
    releases: Mapping[str, tuple[int, Digest]] = field(default_factory=dict)
    signed_at: datetime | None = None
    latest: datetime | None = None
    pins: tuple[str, ...] = ()
    history: tuple[Event, ...] = ()

    def time(self, now: datetime) -> datetime:
        """The site's own time, in whole seconds: the machine's clock, unless the site has seen a later time. So a clock
        that was set back, or lost its battery, makes nothing valid again that has expired."""
        return max(filter(None, (now.replace(microsecond=0), self.latest, self.signed_at)))

    def next_date(self, now: datetime) -> datetime:
        """A date later than any signed before: max(the site's time, last + 1 s)."""
        time = self.time(now)
        return time if self.signed_at is None else max(time, self.signed_at + timedelta(seconds=1))

    def after(self, statement: Statement, *, trust: Trust, date: datetime, event: Event | None = None) -> "SiteState":
        """The state once `statement` is installed, as `event` says."""
        release = statement.release
        number, content = self.releases.get(release.line, (-1, statement.content))
        if release.number > number:
            number, content = release.number, statement.content
        releases = {**self.releases, release.line: (number, content)}
        state = replace(self, trust=trust, releases=releases, signed_at=date, latest=self.time(date))
        return state if event is None else replace(state, history=history.remember(self.history, event))

    def returned(self, *, date: datetime, event: Event) -> "SiteState":
        """The state once an older generation is in use again: the highest release of each line stays what it is."""
        past = history.remember(self.history, event)
        return replace(self, signed_at=date, latest=self.time(date), history=past)

    def renewed(self, trust: Trust, *, time: datetime, event: Event) -> "SiteState":
        """The state with another trust."""
        return replace(self, trust=trust, latest=self.time(time), history=history.remember(self.history, event))


def settle_trust(state: SiteState, *, root: Path, keys: tuple[PublicKey, ...], threshold: int | None) -> Trust:
    """The trust to judge by: what is given at the first installation, what was pinned then ever after.

    A key that was trusted once and was rotated away may still be given: it widens nothing, and counts for nothing.
    Raises TrustChanged when something else is given later, Usage when nothing is given at first.
    """
    pinned = state.trust
    if pinned is None:
        if not keys:
            raise Usage(message="the first installation of a site needs --trust NAME.pub")
        return Trust(keys=keys, threshold=1 if threshold is None else threshold)
    foreign = [key.keyid for key in keys if key not in (*pinned.keys, *pinned.retired)]
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
        state = reader.json(read_file(path, limit=LIMITS.document)).document(_state)
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
            "trust": _plain_trust(state.trust),
            "releases": [
                {"line": line, "number": number, "content": str(content)}
                for line, (number, content) in sorted(state.releases.items())
            ],
            "signedAt": write_date(state.signed_at),
            "latest": write_date(state.latest) if state.latest else "",
            "pins": list(state.pins),
            "history": [history.plain(event) for event in state.history],
        }
    )
    write_file(_path(root), data)


def _plain_trust(trust: Trust) -> dict[str, Any]:
    return {
        "keys": [key.raw.hex() for key in trust.keys],
        "threshold": trust.threshold,
        "retired": [key.raw.hex() for key in trust.retired],
        "revoked": [key.raw.hex() for key in trust.revoked],
        "expires": write_date(trust.expires) if trust.expires else "",
        "renewed": write_date(trust.renewed) if trust.renewed else "",
    }


def _path(root: Path) -> Path:
    return root / "state" / "site.json"


def _state(fields: Fields) -> SiteState:
    """What only later versions wrote may be absent."""
    releases = fields.each("releases", _release)
    trust = fields.nested("trust", _trust)
    signed_at = fields.value("signedAt", parse_date)
    latest = fields.value("latest", parse_date_or_none) if fields.has("latest") else None
    pins = fields.values("pins", check_segment, optional=True)
    events = fields.each("history", history.parse_event, optional=True)
    return fields.build(
        lambda: SiteState(
            trust=trust, releases=dict(releases), signed_at=signed_at, latest=latest, pins=pins, history=events
        )
    )


def _release(fields: Fields) -> tuple[str, tuple[int, Digest]]:
    line, number = fields.value("line", check_label), fields.integer("number")
    return line, (number, fields.value("content", Digest.parse))


def _trust(fields: Fields) -> Trust:
    return fields.build(
        Trust,
        keys=fields.values("keys", _key),
        threshold=fields.integer("threshold"),
        retired=fields.values("retired", _key, optional=True),
        revoked=fields.values("revoked", _key, optional=True),
        expires=fields.value("expires", parse_date_or_none) if fields.has("expires") else None,
        renewed=fields.value("renewed", parse_date_or_none) if fields.has("renewed") else None,
    )


def _key(text: str) -> PublicKey:
    return PublicKey(parse_key(text))
