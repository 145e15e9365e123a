from pathlib import Path

import pytest

from bundler.errors import MalformedKey
from bundler.signing.openpgp import clear_sign, create_apt_key, fingerprint, public_armored, public_binary
from bundler.support.run import run
from tests.lab import require_program

TEXT = b"Origin: bundle\n- a dash\nFrom here\n trailing  \n"


def verify(folder: Path, keyring: bytes, signed: bytes) -> tuple[int, str, bytes]:
    require_program("gpgv")
    (folder / "k.pgp").write_bytes(keyring)
    (folder / "in").write_bytes(signed)
    outcome = run(
        ["gpgv", "--keyring", str(folder / "k.pgp"), "--output", str(folder / "out"), str(folder / "in")],
        needed_for="tests",
        timeout=20,
    )
    out = folder / "out"
    return outcome.code, outcome.stderr, out.read_bytes() if out.exists() else b""


def test_gpgv_takes_the_signature_and_gives_the_text_back(tmp_path: Path) -> None:
    key = create_apt_key("Site example <apt@example.com>")
    code, said, text = verify(tmp_path, public_binary(key), clear_sign(key, TEXT))
    assert code == 0, said
    assert "Site example" in said
    assert [line.rstrip() for line in text.splitlines()] == [line.rstrip() for line in TEXT.splitlines()]


def test_gpgv_refuses_a_changed_text_and_another_key(tmp_path: Path) -> None:
    key = create_apt_key("t")
    signed = clear_sign(key, TEXT)
    assert verify(tmp_path, public_binary(key), signed.replace(b"From", b"from"))[0] != 0
    assert verify(tmp_path, public_binary(create_apt_key("t")), signed)[0] != 0


def test_the_key_has_no_end_and_its_public_part_no_secret() -> None:
    import pysequoia

    key = create_apt_key("t")
    assert b"PRIVATE KEY" in key
    public = public_armored(key)
    assert b"PRIVATE" not in public
    parsed = pysequoia.Cert.from_bytes(public)
    assert parsed.expiration is None
    assert bytes(parsed) == public_binary(key)
    assert fingerprint(key) == parsed.fingerprint.upper()
    assert len(fingerprint(key)) == 40  # version 4, which gpgv 2.2 knows


@pytest.mark.parametrize("data", [b"", b"junk", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n"])
def test_what_is_no_key_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(MalformedKey) as caught:
        fingerprint(data)
    assert "\n" not in caught.value.summary


def test_a_public_key_cannot_sign() -> None:
    with pytest.raises(MalformedKey):
        clear_sign(public_armored(create_apt_key("t")), TEXT)
