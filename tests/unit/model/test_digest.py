import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.model.digest import Digest

HEX = hashlib.sha256(b"").hexdigest()


@given(st.binary())
def test_round_trip(data: bytes) -> None:
    digest = Digest.of(data)
    assert digest.hex == hashlib.sha256(data).hexdigest()
    assert Digest.parse(str(digest)) == digest == Digest(digest.hex)


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f"sha256{HEX}",
        f"sha256:{HEX[1:]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"sha512:{HEX}{HEX}",
        f"sha256:sha256:{HEX}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha256:{'٠' * 64}",
        f"sha256:../../{HEX[6:]}",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Digest.parse(text)
