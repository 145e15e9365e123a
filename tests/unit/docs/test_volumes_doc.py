"""docs/volumes.md against the code."""

import re

import pytest

from bundler import errors
from bundler.model.volumes import MOST, SIZES, parse_size
from tests.lab import ROOT

PAGE = (ROOT / "docs/volumes.md").read_text()


def test_sizes() -> None:
    for name, size in SIZES.items():
        assert f"`{name}`" in PAGE
        assert name == "fat32" or str(size >> 20) in PAGE
    for text in ("4GB", "4G", "700M", "8kB", "4GiB", "650MiB", "64KiB", "1000000"):
        assert f"`{text}`" in PAGE
        assert parse_size(text) > 0
    assert f"There are {MOST} slices at most" in PAGE


@pytest.mark.parametrize(("name", "code"), re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE))
def test_exit_codes(name: str, code: str) -> None:
    assert getattr(errors, name).exit_code == int(code)
