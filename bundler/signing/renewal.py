"""Trust over time: a pure state machine. The old trust and a signed rotation or revocation in, the new trust out.

    rotation      the keys, the threshold and the expiry are those that it names; the keys before are retired
    revocation    the key is gone from the trusted ones, and no rotation brings it back

Both are signed by as many of the keys trusted now as the threshold says. A rotation older than the last one applied is
refused: whoever kept it back cannot bring its keys in later. A revocation only takes away, so it may come at any time.
"""

from dataclasses import replace

from bundler.errors import Malformed, StaleTrust, TrustRefused
from bundler.model.renewal import Renewal, Revocation, Rotation, parse_renewal, write_date
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Signed, Trust, prove


def renew(trust: Trust, signed: Signed) -> tuple[Trust, Renewal]:
    """Judge and apply; nothing is parsed before the signatures hold.

    Raises the errors of `prove`, MalformedStatement, NewerToolNeeded, StaleTrust, TrustRefused.
    """
    prove(trust, signed, what=signed.path)
    renewal = parse_renewal(signed.statement, path=signed.path)
    if isinstance(renewal, Rotation):
        return _rotate(trust, renewal, signed.path), renewal
    return _revoke(trust, renewal, signed.path), renewal


def _rotate(trust: Trust, rotation: Rotation, path: str) -> Trust:
    if trust.renewed is not None and rotation.issued <= trust.renewed:
        raise StaleTrust(path=path, issued=write_date(rotation.issued), applied=write_date(trust.renewed))
    if rotation.expires is not None and rotation.expires <= rotation.issued:
        raise TrustRefused(path=path, why="it expires before it was issued")
    keys = tuple(PublicKey(raw) for raw in rotation.keys)
    back = [key.keyid for key in keys if key in trust.revoked]
    if back:
        raise TrustRefused(path=path, why=f"{back[0]} is revoked")
    retired = tuple(key for key in dict.fromkeys((*trust.retired, *trust.keys)) if key not in keys)
    try:
        return Trust(
            keys=keys,
            threshold=rotation.threshold,
            retired=retired,
            revoked=trust.revoked,
            expires=rotation.expires,
            renewed=rotation.issued,
        )
    except Malformed as error:
        raise TrustRefused(path=path, why=error.found) from None


def _revoke(trust: Trust, revocation: Revocation, path: str) -> Trust:
    key = PublicKey(revocation.key)
    if key in trust.revoked:
        return trust
    keys = tuple(each for each in trust.keys if each != key)
    if len(keys) < trust.threshold:
        why = f"{len(keys)} trusted keys would be left, and {trust.threshold} must sign"
        raise TrustRefused(path=path, why=why)
    retired = tuple(each for each in trust.retired if each != key)
    return replace(trust, keys=keys, retired=retired, revoked=(*trust.revoked, key))
