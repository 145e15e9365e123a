"""Statements about keys: a rotation names all the keys that are trusted from then on, a revocation one that counts for
nothing any more. Canonical JSON with types of their own, so that a signature never means two things."""

from dataclasses import dataclass
from datetime import UTC, datetime

from bundler.errors import Malformed, MalformedStatement
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields
from bundler.model.exact import check_kind, parse_exact
from bundler.model.limits import LIMITS

ROTATION, REVOCATION = "bundle-rotation", "bundle-revocation"
FORMAT = 1
REASON = 500  # characters at most, of any reason that a site keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """`keys` are raw Ed25519 public keys; a site takes new releases by them until `expires`, where that is set."""

    issued: datetime
    keys: tuple[bytes, ...]
    threshold: int
    expires: datetime | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    issued: datetime
    key: bytes
    reason: str


Renewal = Rotation | Revocation


def write_renewal(renewal: Renewal) -> bytes:
    """The canonical bytes: what is signed."""
    facts = {"format": FORMAT, "issued": write_date(renewal.issued), "reason": renewal.reason}
    if isinstance(renewal, Revocation):
        return canonical.dump({**facts, "type": REVOCATION, "key": renewal.key.hex()})
    return canonical.dump(
        {
            **facts,
            "type": ROTATION,
            "keys": [key.hex() for key in renewal.keys],
            "threshold": renewal.threshold,
            "expires": write_date(renewal.expires) if renewal.expires else "",
        }
    )


def parse_renewal(data: bytes, *, path: str) -> Renewal:
    """Read signed bytes, only as `write_renewal` writes them. Raises MalformedStatement, NewerToolNeeded."""

    def read(fields: Fields) -> Renewal:
        kind = check_kind(fields, path=path, types=(ROTATION, REVOCATION), form=FORMAT)
        return fields.document(_rotation if kind == ROTATION else _revocation)

    try:
        return parse_exact(data, path=path, read=read, write=write_renewal)
    except Malformed as error:
        raise MalformedStatement(path=path, where="its fields", found=error.found, expected=error.expected) from None


def _rotation(fields: Fields) -> Renewal:
    rotation = fields.build(
        Rotation,
        issued=fields.value("issued", parse_date),
        keys=fields.values("keys", parse_key),
        threshold=fields.integer("threshold"),
        expires=fields.value("expires", parse_date_or_none),
        reason=fields.value("reason", check_reason),
    )
    if fields.ok and not 1 <= rotation.threshold <= len(set(rotation.keys)) == len(rotation.keys) <= LIMITS.signers:
        fields.fail(
            found=f"a threshold of {rotation.threshold} with {len(rotation.keys)} keys", expected="distinct keys"
        )
    return rotation


def _revocation(fields: Fields) -> Renewal:
    return fields.build(
        Revocation,
        issued=fields.value("issued", parse_date),
        key=fields.value("key", parse_key),
        reason=fields.value("reason", check_reason),
    )


def parse_key(text: str) -> bytes:
    """A raw key, 32 bytes; it is written like a digest's hexadecimal half."""
    return bytes.fromhex(Digest(text).hex)


def write_date(date: datetime) -> str:
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_date(text: str) -> datetime:
    try:
        date = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Malformed(found=repr(text[:40]), expected="a UTC date such as 2026-01-02T03:04:05Z") from None
    if write_date(date) != text:  # strptime takes one digit for two
        raise Malformed(found=repr(text[:40]), expected="a UTC date such as 2026-01-02T03:04:05Z")
    return date


def parse_date_or_none(text: str) -> datetime | None:
    return parse_date(text) if text else None


def check_reason(text: str) -> str:
    """One line for people. Raises Malformed."""
    if len(text) > REASON or not text.isprintable():
        raise Malformed(found=repr(text[:80]), expected=f"one line of {REASON} characters at most")
    return text
