from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.model.names import check_label, check_path, check_segment, check_version

UNSAFE = [
    "",
    ".",
    "..",
    "../x",
    "/x",
    "a/../b",
    "a\\b",
    "a\0b",
    "a\nb",
    "a b",
    ".hidden",
    "-option",
    "é",
    "a\n",
    "a\u202eb",
]


@pytest.mark.parametrize("check", [check_segment, check_label, check_path])
@pytest.mark.parametrize("text", UNSAFE)
def test_unsafe(check: Callable[[str], str], text: str) -> None:
    with pytest.raises(Malformed):
        check(text)


@pytest.mark.parametrize(
    ("check", "text", "taken"),
    [
        (check_segment, "libstdc++6_12.2.0-14+deb12u1_amd64.deb", True),
        (check_segment, "a~b", True),
        (check_segment, "x" * 255, True),
        (check_segment, "x" * 256, False),
        (check_segment, "a/b", False),
        (check_label, "bookworm-security", True),
        (check_label, "2025.1", True),
        (check_label, "x" * 63, True),
        (check_label, "x" * 64, False),
        (check_label, "Debian", False),
        (check_label, "a-", False),
        (check_label, "a_b", False),
        (check_path, "pool/main/n/nginx/nginx_1.22.1-9_amd64.deb", True),
        (check_path, "a//b", False),
        (check_path, "a/", False),
        (check_path, "a/" * 511 + "ab", True),
        (check_path, "a/" * 512 + "a", False),
        (check_version, "1:2.3~rc1+b2", True),
        (check_version, "1.0+ü", False),
        (check_version, "x" * 256, False),
        (check_version, "", False),
        (check_version, "1 0", False),
        (check_version, "1\x1b[2J", False),
        (check_version, "1\ud800", False),
    ],
)
def test_table(check: Callable[[str], str], text: str, taken: bool) -> None:
    if taken:
        assert check(text) == text
    else:
        with pytest.raises(Malformed):
            check(text)


@given(st.text())
def test_a_segment_stays_in_its_folder(text: str) -> None:
    try:
        name = check_segment(text)
    except Malformed:
        return
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("/\\ ")
    assert name[0] not in ".-"
