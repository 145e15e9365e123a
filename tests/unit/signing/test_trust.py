from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.archive.reader import BundleFile
from bundler.errors import (
    BadSignature,
    BundleError,
    DoubledKey,
    Malformed,
    MalformedStatement,
    NewerToolNeeded,
    OlderRelease,
    ReleaseConflict,
    ThresholdNotMet,
    Unsigned,
    UntrustedSigner,
)
from bundler.model.digest import Digest
from bundler.model.profile import Release
from bundler.model.statement import Statement, write_statement
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import SigningKey
from bundler.signing.trust import Signed, Trust, judge, judge_release
from tests.bundles import ALICE, BOB, CAROL, tiny_bundle

KEYS = {"A": ALICE, "B": BOB, "C": CAROL}


@pytest.fixture(scope="module")
def statement(tmp_path_factory: pytest.TempPathFactory) -> Statement:
    return tiny_bundle(tmp_path_factory.mktemp("trust"), keys=()).statement


def announcing(statement: Statement, signers: str) -> bytes:
    return write_statement(replace(statement, signers=tuple(KEYS[name].public.raw for name in signers)))


def signature(name: str, data: bytes) -> tuple[str, bytes]:
    """By the key of that name; in lower case, a bad one under its keyid."""
    key: SigningKey = KEYS[name.upper()]
    return key.public.keyid, key.sign(data if name.isupper() else data + b"x")


def trust_of(names: str, threshold: int) -> Trust:
    return Trust(keys=tuple(KEYS[name].public for name in names), threshold=threshold)


# trusted, threshold; signers announced, signatures inside and beside (a: a bad one of A); what comes of it
VERDICTS = [
    ("A", 1, "A", "A", "", "A"),
    ("AB", 1, "A", "A", "", "A"),
    ("AB", 1, "AB", "AB", "", "AB"),
    ("AB", 2, "AB", "AB", "", "AB"),
    ("AB", 2, "BA", "BA", "", "AB"),
    ("AB", 2, "ABC", "ABC", "", "AB"),
    ("A", 1, "", "", "A", "A"),
    ("AB", 2, "A", "A", "B", "AB"),
    ("AB", 2, "", "", "AB", "AB"),
    ("AB", 1, "A", "A", "b", "A"),  # a bad one beside the file does no harm when there are enough
    ("A", 1, "A", "A", "a", "A"),
    ("A", 1, "A", "A", "A", "A"),
    ("A", 1, "A", "A", "C", "A"),
    # too few
    ("A", 1, "", "", "", Unsigned),
    ("A", 1, "A", "", "", Unsigned),
    ("A", 1, "B", "B", "", UntrustedSigner),
    ("A", 1, "", "", "B", UntrustedSigner),
    ("A", 1, "B", "b", "", UntrustedSigner),
    ("AB", 2, "A", "A", "", ThresholdNotMet),
    ("AB", 2, "AC", "AC", "", ThresholdNotMet),
    ("AB", 2, "A", "A", "A", ThresholdNotMet),  # one key in two places is one key
    ("ABC", 3, "A", "A", "B", ThresholdNotMet),
    # bad ones
    ("A", 1, "A", "a", "", BadSignature),
    ("A", 1, "", "", "a", BadSignature),
    ("AB", 2, "AB", "Ab", "", BadSignature),
    ("AB", 2, "A", "A", "b", BadSignature),
    ("A", 1, "A", "a", "A", BadSignature),  # enough, but every signature inside must hold
    ("A", 1, "AB", "Ab", "", BadSignature),  # also that of a key nobody trusts
    # not what the statement announces
    ("A", 1, "AB", "A", "", MalformedStatement),
    ("A", 1, "A", "AB", "", MalformedStatement),
    ("A", 1, "", "A", "", MalformedStatement),
    ("AB", 1, "AB", "BA", "", MalformedStatement),
    ("A", 1, "B", "", "A", MalformedStatement),
    # doubled
    ("A", 1, "A", "AA", "", DoubledKey),
    ("A", 1, "A", "Aa", "", DoubledKey),
    ("A", 1, "AB", "ABB", "", DoubledKey),
]


@pytest.mark.parametrize(("trusted", "threshold", "signers", "inside", "beside", "verdict"), VERDICTS)
def test_judge(
    statement: Statement,
    trusted: str,
    threshold: int,
    signers: str,
    inside: str,
    beside: str,
    verdict: str | type[BundleError],
) -> None:
    data = announcing(statement, signers)
    signed = Signed(
        path="x.bundle",
        statement=data,
        inside=tuple(signature(name, data) for name in inside),
        beside=dict(signature(name, data) for name in beside),
    )
    if isinstance(verdict, str):
        accepted = judge(trust_of(trusted, threshold), signed)
        assert accepted.statement == parse_statement(data, path="x")
        assert accepted.signed == tuple(KEYS[name].public.keyid for name in verdict)
    else:
        with pytest.raises(verdict) as caught:
            judge(trust_of(trusted, threshold), signed)
        assert type(caught.value) is verdict


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedStatement),
        (b"{" * 1000, MalformedStatement),
        (b'{"format":2,"requires":[],"type":"bundle-statement"}\n', NewerToolNeeded),
        (b'{"format":1,"requires":[],"type":"bundle-receipt"}\n', MalformedStatement),
    ],
)
def test_nothing_is_parsed_before_it_is_signed(data: bytes, error: type[BundleError]) -> None:
    signed = Signed(path="x", statement=data, inside=(), beside={})
    with pytest.raises(Unsigned):
        judge(trust_of("A", 1), signed)
    with pytest.raises(UntrustedSigner):
        judge(trust_of("A", 1), replace(signed, beside=dict([signature("B", data)])))
    with pytest.raises(error):
        judge(trust_of("A", 1), replace(signed, beside=dict([signature("A", data)])))


def test_a_good_signature_under_another_keyid(statement: Statement) -> None:
    """What counts is the key that verifies, never the name beside it."""
    data = announcing(statement, "")
    beside = {BOB.public.keyid: ALICE.sign(data)}
    with pytest.raises(BadSignature):
        judge(trust_of("AB", 1), Signed(path="x", statement=data, inside=(), beside=beside))
    with pytest.raises(UntrustedSigner):
        judge(trust_of("A", 1), Signed(path="x", statement=data, inside=(), beside=beside))


def test_facts_of_too_few(statement: Statement) -> None:
    data = announcing(statement, "A")
    with pytest.raises(ThresholdNotMet) as caught:
        judge(trust_of("ABC", 2), Signed(path="x", statement=data, inside=(signature("A", data),), beside={}))
    error = caught.value
    assert (error.signed, error.threshold) == ((ALICE.public.keyid,), 2)
    assert error.missing == tuple(sorted((BOB.public.keyid, CAROL.public.keyid)))


@pytest.mark.parametrize(
    ("names", "threshold", "error"),
    [
        ("", 0, Malformed),
        ("", 1, Malformed),
        ("A", 0, Malformed),
        ("A", 2, Malformed),
        ("A", -1, Malformed),
        ("AA", 1, DoubledKey),
        ("ABA", 2, DoubledKey),
    ],
)
def test_no_trust(names: str, threshold: int, error: type[BundleError]) -> None:
    with pytest.raises(error):
        trust_of(names, threshold)


def test_every_flipped_bit_of_a_signed_statement(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path)
    with BundleFile(made.path) as file:
        signed = file.front()
    judge(made.trust, signed)
    for at in range(0, len(signed.statement), 13):
        changed = bytearray(signed.statement)
        changed[at] ^= 1 << at % 8
        with pytest.raises(BadSignature):
            judge(made.trust, replace(signed, statement=bytes(changed)))


OURS, OTHER = Digest.of(b"ours"), Digest.of(b"other")


@pytest.mark.parametrize(
    ("seen", "error"),
    [
        ({}, None),
        ({"other": (9, OTHER)}, None),
        ({"tiny": (4, OTHER)}, None),
        ({"tiny": (5, OURS)}, None),
        ({"tiny": (5, OTHER)}, ReleaseConflict),
        ({"tiny": (6, OURS)}, OlderRelease),
        ({"tiny": (6, OTHER), "other": (1, OURS)}, OlderRelease),
    ],
)
def test_judge_release(
    statement: Statement, seen: Mapping[str, tuple[int, Digest]], error: type[BundleError] | None
) -> None:
    release = replace(statement, release=Release(line="tiny", number=5), content=OURS)
    if error is None:
        judge_release(release, seen)
    else:
        with pytest.raises(error) as caught:
            judge_release(release, seen)
        assert (caught.value.line, caught.value.number) == ("tiny", 5)  # type: ignore[attr-defined]
