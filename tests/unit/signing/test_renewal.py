"""Trust over time: what a rotation and a revocation change, and everything that they are refused for."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import (
    BadSignature,
    BundleError,
    Malformed,
    MalformedStatement,
    NewerToolNeeded,
    RevokedKey,
    StaleTrust,
    ThresholdNotMet,
    TrustExpired,
    TrustRefused,
    Unsigned,
    UntrustedSigner,
)
from bundler.model.renewal import Renewal, Revocation, Rotation, parse_renewal, write_renewal
from bundler.signing.renewal import renew
from bundler.signing.trust import Signed, Trust, judge
from tests.bundles import ALICE, BOB, CAROL, signing_key, tiny_bundle

KEYS = {"A": ALICE, "B": BOB, "C": CAROL, "D": signing_key("dave")}
DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = timedelta(days=1)


def trust_of(names: str, threshold: int, **facts: object) -> Trust:
    return Trust(keys=tuple(KEYS[name].public for name in names), threshold=threshold, **facts)  # type: ignore[arg-type]


def rotation(names: str, threshold: int = 1, *, issued: datetime = DATE, expires: datetime | None = None) -> Rotation:
    keys = tuple(KEYS[name].public.raw for name in names)
    return Rotation(issued=issued, keys=keys, threshold=threshold, expires=expires, reason="a new year")


def revocation(name: str) -> Revocation:
    return Revocation(issued=DATE, key=KEYS[name].public.raw, reason="stolen")


def signed(data: bytes, names: str) -> Signed:
    """By the keys of those names; in lower case, badly."""
    beside = {}
    for name in names:
        key = KEYS[name.upper()]
        beside[key.public.keyid] = key.sign(data if name.isupper() else data + b"x")
    return Signed(path="x.json", statement=data, inside=(), beside=beside)


def step(trust: Trust, renewal: Renewal, by: str) -> Trust:
    return renew(trust, signed(write_renewal(renewal), by))[0]


def names_of(trust: Trust) -> tuple[str, str, str]:
    names = {key.public: name for name, key in KEYS.items()}
    return tuple("".join(names[key] for key in keys) for keys in (trust.keys, trust.retired, trust.revoked))  # type: ignore[return-value]


# trusted, threshold; what is wanted, by whom it is signed; trusted, retired, revoked after it
STEPS = [
    ("A", 1, rotation("B"), "A", ("B", "A", "")),
    ("A", 1, rotation("AB", 2), "A", ("AB", "", "")),
    ("AB", 2, rotation("BC", 2), "AB", ("BC", "A", "")),
    ("AB", 1, rotation("C"), "B", ("C", "AB", "")),
    ("ABC", 2, revocation("C"), "AB", ("AB", "", "C")),
    ("ABC", 2, revocation("C"), "AC", ("AB", "", "C")),  # its own signature still counts for that
    ("AB", 1, revocation("D"), "A", ("AB", "", "D")),  # one that was never trusted here
    # not enough of them
    ("A", 1, rotation("B"), "", Unsigned),
    ("A", 1, rotation("B"), "B", UntrustedSigner),
    ("AB", 2, rotation("C"), "A", ThresholdNotMet),
    ("AB", 2, rotation("C"), "AC", ThresholdNotMet),
    ("A", 1, rotation("B"), "a", BadSignature),
    ("A", 1, revocation("A"), "a", BadSignature),
    # what would leave too few
    ("A", 1, revocation("A"), "A", TrustRefused),
    ("AB", 2, revocation("B"), "AB", TrustRefused),
    ("A", 1, rotation("B", expires=DATE), "A", TrustRefused),
]


@pytest.mark.parametrize(("names", "threshold", "renewal", "by", "after"), STEPS)
def test_a_step(
    names: str, threshold: int, renewal: Renewal, by: str, after: tuple[str, str, str] | type[BundleError]
) -> None:
    trust = trust_of(names, threshold)
    if isinstance(after, tuple):
        assert names_of(step(trust, renewal, by)) == after
    else:
        with pytest.raises(after):
            step(trust, renewal, by)


def test_a_revoked_key_never_comes_back() -> None:
    trust = step(trust_of("AB", 1), revocation("B"), "A")
    with pytest.raises(TrustRefused):
        step(trust, rotation("AB"), "A")
    with pytest.raises(RevokedKey):
        step(trust, rotation("C"), "B")
    assert step(trust, revocation("B"), "A") == trust
    assert names_of(step(trust, rotation("C"), "A")) == ("C", "A", "B")
    with pytest.raises(Malformed):
        replace(trust, keys=(BOB.public,))


def test_an_old_rotation_is_refused() -> None:
    """Whoever kept the first one back cannot bring C in again, though A is trusted still."""
    first, second = rotation("AC", issued=DATE), rotation("AD", issued=DATE + DAY)
    trust = step(step(trust_of("AB", 1), first, "A"), second, "A")
    assert names_of(trust) == ("AD", "BC", "")
    for late in (first, rotation("AC", issued=DATE + DAY)):
        with pytest.raises(StaleTrust):
            step(trust, late, "A")
    # A site that was not told of the first takes the second all the same.
    assert names_of(step(trust_of("AB", 1), second, "A")) == ("AD", "B", "")


def test_every_field_is_covered() -> None:
    """Each field changed in turn, with the signature of what it was."""
    for renewal in (rotation("BC", 2, expires=DATE + DAY), revocation("B")):
        data = write_renewal(renewal)
        good = signed(data, "A")
        for name, value in json.loads(data).items():
            other = json.loads(data) | {name: value + 1 if isinstance(value, int) else value * 2 or "x"}
            changed = replace(good, statement=json.dumps(other).encode())
            with pytest.raises(BadSignature):
                renew(trust_of("A", 1), changed)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"type": "bundle-statement"}, MalformedStatement),
        ({"format": 2}, NewerToolNeeded),
        ({"threshold": 0}, MalformedStatement),
        ({"threshold": 3}, MalformedStatement),
        ({"keys": []}, MalformedStatement),
        ({"keys": [ALICE.public.raw.hex()] * 2}, MalformedStatement),
        ({"keys": ["00"]}, MalformedStatement),
        ({"issued": "today"}, MalformedStatement),
        ({"issued": "2026-1-2T3:4:5Z"}, MalformedStatement),
        ({"expires": "never"}, MalformedStatement),
        ({"reason": "two\nlines"}, MalformedStatement),
        ({"more": 1}, MalformedStatement),
    ],
    ids=str,
)
def test_a_signed_one_that_says_nothing(change: dict[str, object], error: type[BundleError]) -> None:
    document = json.loads(write_renewal(rotation("BC", 2))) | change
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(error):
        renew(trust_of("A", 1), signed(data, "A"))


def test_it_is_read_back() -> None:
    for renewal in (rotation("ABC", 2, expires=DATE + DAY), rotation("A"), revocation("A")):
        data = write_renewal(renewal)
        assert parse_renewal(data, path="x") == renewal
        with pytest.raises(MalformedStatement):
            parse_renewal(data.rstrip() + b"  \n", path="x")


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(MalformedStatement):
        parse_renewal(data, path="x")


steps = st.one_of(
    st.builds(
        lambda names, threshold, days: rotation(
            "".join(sorted(names)), min(threshold, len(names)), issued=DATE + days * DAY
        ),
        st.sets(st.sampled_from("ABCD"), min_size=1),
        st.integers(1, 3),
        st.integers(0, 9),
    ),
    st.sampled_from("ABCD").map(revocation),
)


@given(st.lists(st.tuples(steps, st.sets(st.sampled_from("ABCD")).map("".join)), max_size=12))
def test_any_past(past: list[tuple[Renewal, str]]) -> None:
    """Whatever comes: what is revoked stays so, rotations only go forward, enough keys are left, and nothing is taken
    that too few of the keys trusted at that moment signed."""
    trust = trust_of("AB", 1)
    for renewal, by in past:
        before = trust
        try:
            trust = step(trust, renewal, by)
        except BundleError:
            continue
        signers = {KEYS[name].public for name in by}
        assert len(signers & set(before.keys)) >= before.threshold
        assert set(before.revoked) <= set(trust.revoked)
        assert set(trust.revoked).isdisjoint(trust.keys)
        assert trust.threshold <= len(trust.keys)
        if isinstance(renewal, Rotation):
            assert before.renewed is None or renewal.issued > before.renewed


def test_judging_over_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    made = tiny_bundle(tmp_path_factory.mktemp("judged"), keys=(ALICE, BOB), images={}, debs=())
    from bundler.archive.reader import BundleFile

    with BundleFile(made.path) as file:
        front = file.front()
    trust = trust_of("A", 1, expires=DATE)
    assert judge(trust, front, now=DATE).signed == (ALICE.public.keyid,)
    assert judge(trust, front).signed  # where time does not matter
    with pytest.raises(TrustExpired):
        judge(trust, front, now=DATE + timedelta(seconds=1))
    without = trust_of("C", 1, revoked=(ALICE.public,))
    with pytest.raises(RevokedKey):
        judge(without, front)
    assert judge(trust_of("B", 1, revoked=(ALICE.public,)), front).signed == (BOB.public.keyid,)
    with pytest.raises(RevokedKey) as caught:
        judge(trust_of("BC", 2, revoked=(ALICE.public,)), front)
    assert (caught.value.good, caught.value.revoked) == ((BOB.public.keyid,), (ALICE.public.keyid,))
    with pytest.raises(UntrustedSigner):
        judge(trust_of("C", 1, retired=(ALICE.public,)), front)
