"""Versions and ranges against a table that Helm's own library made."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import Malformed
from bundler.model.chart_versions import Range, Version
from tests.lab import ROOT

ROWS = [
    line.split("\t")
    for line in Path(ROOT / "tests/data/charts/ranges.tsv").read_text().splitlines()
    if not line.startswith("#")
]
VERSIONS = ROWS[0][1].split()


@pytest.mark.parametrize(("text", "admitted"), ROWS[1:])
def test_ranges(text: str, admitted: str) -> None:
    if admitted == "refused":
        with pytest.raises(Malformed):
            Range.parse(text)
    else:
        found = Range.parse(text)
        assert [each for each in VERSIONS if found.admits(Version.parse(each))] == admitted.split()


def test_no_text_means_any_release() -> None:
    assert [each for each in ("0.0.0", "1.2.3-a", "9.9.9") if Range.parse("").admits(Version.parse(each))] == [
        "0.0.0",
        "9.9.9",
    ]


def test_precedence() -> None:
    """Semantic Versioning 2.0.0, section 11.4.4."""
    prereleases = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    written = [*(f"1.0.0-{each}" for each in prereleases), "1.0.0"]
    assert [str(each) for each in sorted(map(Version.parse, reversed(written)))] == written
    assert Version.parse("1.0.0+a") == Version.parse("v1.0.0+b") == Version.parse("1")
    assert hash(Version.parse("1.0.0+a")) == hash(Version.parse("1"))


@pytest.mark.parametrize(
    "text", ["", "a", "1.2.3.4", "1.2.3-", "1.2.3-01", "1..2", "-1", "1.2.3+", "9" * 300, f"{1 << 64}.0.0"]
)
def test_no_versions(text: str) -> None:
    with pytest.raises(Malformed):
        Version.parse(text)


numbers = st.integers(0, 20)


@given(numbers, numbers, numbers)
def test_a_version_is_in_the_ranges_that_it_makes(major: int, minor: int, patch: int) -> None:
    text = f"{major}.{minor}.{patch}"
    version = Version.parse(text)
    for form in (text, f"={text}", f"~{text}", f"^{text}", f">={text} <={text}", f"{text} - {text}", f"{major}.x", "*"):
        assert Range.parse(form).admits(version), form
    for form in (f"!={text}", f">{text}", f"<{text}", f"{major + 1}.x || <{text}"):
        assert not Range.parse(form).admits(version), form


@given(st.text(alphabet="0123456789.xX*<>=!~^|- ,v+ab", max_size=40))
def test_any_text_is_a_range_or_is_refused(text: str) -> None:
    try:
        found = Range.parse(text)
    except Malformed:
        return
    assert found.admits(Version.parse("1.2.3")) in (True, False)
