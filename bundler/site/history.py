"""What happened on a site, as its state remembers it: installations, rollbacks, changes of trust."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bundler.errors import Malformed, ReleaseConflict
from bundler.model.digest import Digest
from bundler.model.document import Fields
from bundler.model.renewal import check_reason, parse_date, write_date
from bundler.model.statement import Statement

INSTALL, DOWNGRADE, ROLLBACK = "install", "downgrade", "rollback"
ROTATE, REVOKE = "rotate", "revoke"
BROUGHT = (INSTALL, DOWNGRADE)  # these bring a release; a rollback returns to one
KINDS = (*BROUGHT, ROLLBACK, ROTATE, REVOKE)
_KEPT = 4096  # events: more than ten years of one a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`generation` is the name of what came into use, `before` of what was in use until then. Of an installation and of
    a change of trust, `statement` is what was signed, `signers` the keyids that counted, of which `threshold` were
    needed."""

    at: datetime
    what: str
    generation: str = ""
    before: str = ""
    statement: Digest | None = None
    signers: tuple[str, ...] = ()
    threshold: int = 0
    reason: str = ""

    def happened_as(self, other: "Event") -> bool:
        """Whether this is the other once more: what was killed before its end is done again."""
        facts = ("what", "generation", "before", "statement", "reason")
        return all(getattr(self, fact) == getattr(other, fact) for fact in facts)


def remember(history: Sequence[Event], event: Event) -> tuple[Event, ...]:
    """With one more event; the same one directly after itself counts once."""
    past = history[:-1] if history and event.happened_as(history[-1]) else history
    return (*past, event)[-_KEPT:]


def brought(history: Sequence[Event], generation: str) -> Event | None:
    """The last installation of a generation."""
    return next((each for each in reversed(history) if each.generation == generation and each.what in BROUGHT), None)


def accepted(history: Sequence[Event], statement: Digest) -> Event | None:
    """The last installation or change of trust with this very statement."""
    return next((each for each in reversed(history) if each.statement == statement), None)


def before(history: Sequence[Event], generation: str) -> Iterator[str]:
    """What was in use before a generation was installed, then what before that, and so on: each once."""
    seen = {generation}
    while (event := brought(history, generation)) is not None and event.before not in ("", *seen):
        generation = event.before
        seen.add(generation)
        yield generation


def check_known(history: Sequence[Event], statement: Statement, generation: str) -> None:
    """A number that the site has used stands for one content, also below the highest. Raises ReleaseConflict."""
    release, stem = statement.release, generation.rpartition("-")[0]
    for event in history:
        if event.what in BROUGHT and event.generation != generation and event.generation.rpartition("-")[0] == stem:
            found = str(statement.content)
            raise ReleaseConflict(line=release.line, number=release.number, found=found, seen=event.generation)


def plain(event: Event) -> dict[str, Any]:
    """For JSON: the state file, the command line, a receipt."""
    return {
        "at": write_date(event.at),
        "what": event.what,
        "generation": event.generation,
        "before": event.before,
        "statement": str(event.statement) if event.statement else "",
        "signers": list(event.signers),
        "threshold": event.threshold,
        "reason": event.reason,
    }


def parse_event(fields: Fields) -> Event:
    return fields.build(
        Event,
        at=fields.value("at", parse_date),
        what=fields.value("what", _kind),
        generation=fields.text("generation"),
        before=fields.text("before"),
        statement=fields.value("statement", _digest_or_none),
        signers=fields.values("signers", str),
        threshold=fields.integer("threshold"),
        reason=fields.value("reason", check_reason),
    )


def _kind(text: str) -> str:
    if text not in KINDS:
        raise Malformed(found=repr(text[:40]), expected=", ".join(KINDS))
    return text


def _digest_or_none(text: str) -> Digest | None:
    return Digest.parse(text) if text else None
