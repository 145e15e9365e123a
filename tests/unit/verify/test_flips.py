"""Every byte of the file is covered: whatever bit changes, the file is refused, and for its own reason.

A sample; tests/integration/test_attacks.py flips every bit of the frame.
"""

from pathlib import Path

import pytest

from bundler.errors import BadSignature, DamagedContent
from bundler.signing.keys import SigningKey
from tests.bundles import ALICE, BOB, tiny_bundle
from tests.campaigns import flip_all, refusal, regions_of, some_bits


@pytest.mark.parametrize("keys", [(ALICE,), (ALICE, BOB)], ids=["one key", "two keys"])
def test_bits_of_the_frame(tmp_path: Path, keys: tuple[SigningKey, ...]) -> None:
    made = tiny_bundle(tmp_path, keys=keys, images={}, wheels=(), debs=(), files={"a": b"a"}, sources={"a.py": b""})
    frame, _ = regions_of(made.layout)
    assert flip_all(made, some_bits(frame, 1000, seed=1)) > 1000


def test_bits_of_bodies_are_named(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path)
    _, bodies = regions_of(made.layout)
    assert flip_all(made, some_bits(bodies, 100, seed=2)) > 100


def test_all_that_is_damaged_is_named_at_once(tmp_path: Path) -> None:
    made = tiny_bundle(tmp_path)
    data = bytearray(made.path.read_bytes())
    names = [place.member.name for place in made.layout.places if place.member.name.startswith("blobs/")]
    for place in made.layout.places:
        if place.member.name in names:
            data[place.body : place.body + place.member.size] = bytes(place.member.size)
    made.path.write_bytes(data)
    error = refusal(made)
    assert isinstance(error, DamagedContent)
    empty = {entry.name for entry in made.statement.entries if entry.size == 0}
    assert [name for name, _ in error.damaged] == sorted(set(names) - empty)


def test_a_signature_of_a_stranger_inside_must_hold_too(tmp_path: Path) -> None:
    """One good signature of a trusted key does not excuse a bad one beside it in the file."""
    made = tiny_bundle(tmp_path, keys=(ALICE, BOB))
    place = made.layout.place(f"bundle.json.{BOB.public.keyid}.sig")
    data = bytearray(made.path.read_bytes())
    data[place.body] ^= 1
    made.path.write_bytes(data)
    error = refusal(made, keys=(ALICE.public,))
    assert isinstance(error, BadSignature)
    assert error.keyid == BOB.public.keyid
