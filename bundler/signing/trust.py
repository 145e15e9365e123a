"""Trust: exact bytes in, a verdict out. No file, no clock, no parsing before the signatures hold."""

from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from bundler.errors import (
    BadSignature,
    DoubledKey,
    Malformed,
    MalformedStatement,
    OlderRelease,
    ReleaseConflict,
    RevokedKey,
    ThresholdNotMet,
    TrustExpired,
    Unsigned,
    UntrustedSigner,
)
from bundler.model.digest import Digest
from bundler.model.statement import Statement
from bundler.model.statement_parser import parse_statement
from bundler.model.volumes import Volumes, parse_volumes
from bundler.signing.keys import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Distinct keys, and how many of them must have signed.

    What rotations and revocations (bundler.signing.renewal) make of it: `retired` keys were trusted once and count for
    nothing new; `revoked` ones count for nothing, and never come back; until `expires` new releases are taken, when it
    is set; `renewed` is when the last rotation was issued.
    """

    keys: tuple[PublicKey, ...]
    threshold: int
    retired: tuple[PublicKey, ...] = ()
    revoked: tuple[PublicKey, ...] = ()
    expires: datetime | None = None
    renewed: datetime | None = None

    def __post_init__(self) -> None:
        doubled = [key for key, count in Counter(self.keys).items() if count > 1]
        if doubled:
            raise DoubledKey(keyid=doubled[0].keyid, where="the trusted keys")
        if not 1 <= self.threshold <= len(self.keys):
            raise Malformed(
                found=f"a threshold of {self.threshold} with {len(self.keys)} trusted keys",
                expected="at least 1 and at most the number of keys",
            )
        if not set(self.keys).isdisjoint(self.revoked):
            raise Malformed(found="a revoked key among the trusted ones", expected="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a bundle file says of itself before anything of it is parsed: exact bytes and raw signatures by keyid.

    `volumes` is what is said of the slices that it lies in: bytes and signatures of their own."""

    path: str
    statement: bytes
    inside: tuple[tuple[str, bytes], ...]  # signatures inside the file, in their order
    beside: Mapping[str, bytes]
    volumes: "Signed | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The parsed statement and the good signatures of trusted keys over it, by keyid."""

    statement: Statement
    signatures: Mapping[str, bytes]

    @property
    def signed(self) -> tuple[str, ...]:
        return tuple(self.signatures)


def judge(trust: Trust, signed: Signed, *, now: datetime | None = None) -> Accepted:
    """Whether enough trusted keys signed these very bytes, and every signature inside is good.

    `now` is the site's own time, where what expires matters. Raises Unsigned, UntrustedSigner, ThresholdNotMet,
    RevokedKey, TrustExpired, BadSignature, DoubledKey, MalformedStatement, NewerToolNeeded.
    """
    keyids = [keyid for keyid, _ in signed.inside]
    doubled = [keyid for keyid, count in Counter(keyids).items() if count > 1]
    if doubled:
        raise DoubledKey(keyid=doubled[0], where=signed.path)
    if signed.volumes is not None:
        judge_volumes(trust, signed.volumes, of=signed.statement)
    proofs = prove(trust, signed, what="bundle.json")
    if now is not None and trust.expires is not None and now > trust.expires:
        raise TrustExpired(expired=f"{trust.expires:%Y-%m-%d %H:%M} UTC", now=f"{now:%Y-%m-%d %H:%M} UTC")
    statement = parse_statement(signed.statement, path=signed.path)
    check_signers(statement, signed)
    return Accepted(statement=statement, signatures=proofs)


def prove(trust: Trust, signed: Signed, *, what: str) -> dict[str, bytes]:
    """The good signatures of trusted keys over these bytes, by keyid: at least as many as the threshold.

    Raises Unsigned, UntrustedSigner, ThresholdNotMet, RevokedKey, BadSignature (of `what`).
    """
    proofs = {key.keyid: proof for key in trust.keys if (proof := _proof(key, signed))}
    if len(proofs) < trust.threshold:
        _explain(trust, signed, set(proofs), what)
    return proofs


def check_signers(statement: Statement, signed: Signed) -> None:
    """Every signature inside the file must verify, trusted or not, and be one that the statement announces."""
    signers = [PublicKey(raw) for raw in statement.signers]
    found, announced = [keyid for keyid, _ in signed.inside], [key.keyid for key in signers]
    if found != announced:
        raise MalformedStatement(
            path=signed.path,
            where="signers",
            found=f"signatures of {', '.join(found) or 'no key'}",
            expected=f"signatures of {', '.join(announced) or 'no key'}",
        )
    for key, (keyid, signature) in zip(signers, signed.inside, strict=True):
        if not key.verifies(signature, signed.statement):
            raise BadSignature(keyid=keyid, what="bundle.json", why="the bytes or the signature were changed")


def _proof(key: PublicKey, signed: Signed) -> bytes | None:
    """A signature of the key that holds, from inside the file or from beside it."""
    candidates = [signature for keyid, signature in signed.inside if keyid == key.keyid]
    if key.keyid in signed.beside:
        candidates.append(signed.beside[key.keyid])
    return next((signature for signature in candidates if key.verifies(signature, signed.statement)), None)


def _explain(trust: Trust, signed: Signed, good: Set[str], what: str) -> None:
    """Raise the error that says best why there are too few signatures."""
    given = {keyid for keyid, _ in signed.inside} | set(signed.beside)
    trusted = {key.keyid for key in trust.keys}
    if not given:
        raise Unsigned(bundle=signed.path)
    bad = sorted((given & trusted) - good)
    if bad:
        raise BadSignature(keyid=bad[0], what=what, why="the bytes or the signature were changed")
    revoked = tuple(sorted(key.keyid for key in trust.revoked if _proof(key, signed)))
    if revoked:
        raise RevokedKey(what=signed.path, revoked=revoked, good=tuple(sorted(good)), threshold=trust.threshold)
    if not good:
        raise UntrustedSigner(bundle=signed.path, signed=tuple(sorted(given)), trusted=tuple(sorted(trusted)))
    raise ThresholdNotMet(
        bundle=signed.path,
        signed=tuple(sorted(good)),
        missing=tuple(sorted(trusted - good)),
        threshold=trust.threshold,
    )


def judge_release(statement: Statement, seen: Mapping[str, tuple[int, Digest]], *, downgrade: bool = False) -> None:
    """Refuse a release older than the highest seen of its line, unless told to go down; and the same number with other
    content in any case.

    `seen` maps a line to its highest number and that release's content. Raises OlderRelease, ReleaseConflict.
    """
    line, number = statement.release.line, statement.release.number
    if line not in seen:
        return
    highest, content = seen[line]
    if number < highest and not downgrade:
        raise OlderRelease(line=line, number=number, seen=highest)
    if number == highest and content != statement.content:
        raise ReleaseConflict(line=line, number=number, found=str(statement.content), seen=str(content))


def judge_volumes(trust: Trust, signed: Signed, *, of: bytes | None = None) -> Volumes:
    """Whether enough trusted keys signed what is said of a bundle's slices; `of` is that bundle's statement.

    Raises as `judge` does.
    """
    prove(trust, signed, what=PurePath(signed.path).name)
    volumes = parse_volumes(signed.statement, path=signed.path)
    if of is not None and volumes.statement != Digest.of(of):
        raise MalformedStatement(
            path=signed.path,
            where="statement",
            found=f"slices of another bundle, {volumes.statement}",
            expected=str(Digest.of(of)),
        )
    return volumes
