import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.model import canonical
from tests import strategies

LARGEST = (1 << 53) - 1
scalars = st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@strategies.fewer(2)
@given(values)
def test_round_trip(value: canonical.Json) -> None:
    data = canonical.dump(value)
    assert data.isascii()
    assert data.index(b"\n") == len(data) - 1
    loaded = canonical.load(data)
    assert loaded == value
    assert canonical.dump(loaded) == data


@given(st.dictionaries(st.text(), st.integers(0, 9)), st.randoms(use_true_random=False))
def test_one_value_one_serialisation(value: dict[str, int], random: object) -> None:
    keys = list(value)
    random.shuffle(keys)  # type: ignore[attr-defined]
    assert canonical.dump({key: value[key] for key in keys}) == canonical.dump(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"\\u0061":2}}]',
        b"1.0",
        b"1e3",
        b"-0.0",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        str(LARGEST + 1).encode(),
        str(-LARGEST - 1).encode(),
        b"1" + b"0" * 100_000,
        b'"\n"',
        b"[" * 100_000,
        b"[" * 66 + b"]" * 66,
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        canonical.load(data)


def test_bounds() -> None:
    assert canonical.load(b"[" * 64 + b"1" + b"]" * 64)
    assert canonical.load(b"[" * 64 + b"]" * 64)
    for deep in (b"[" * 65 + b"]" * 65, b"[" * 65 + b"1" + b"]" * 65, b"[" + b"1," * 2_000_000 + b"1]"):
        with pytest.raises(Malformed):
            canonical.load(deep)
    assert canonical.load(str(LARGEST).encode()) == LARGEST
    assert canonical.load(b"[]\n", limit=3) == []
    with pytest.raises(Malformed):
        canonical.load(b"[]\n", limit=2)


def test_a_doubled_key_among_many_is_found_at_once() -> None:
    data = json.dumps({f"k{number}": 0 for number in range(50_000)})[:-1] + ', "k49999": 0}'
    start = time.monotonic()
    with pytest.raises(Malformed, match="k49999"):
        canonical.load(data.encode())
    assert time.monotonic() - start < 2


def test_no_float_is_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical.dump(float("nan"))  # type: ignore[arg-type]


@given(st.binary())
def test_total(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        canonical.load(data)
