"""docs/preflight.md has every kind of finding as the code has it."""

import re

from bundler.components.machine import kinds
from tests.lab import ROOT

TEXT = (ROOT / "docs" / "preflight.md").read_text()


def shown(template: str) -> str:
    """What the page writes for a template: HOLES in capitals."""
    return re.sub(r"\{(\w+)\}", lambda hole: hole[1].upper(), template)


def row(kind: kinds.Kind) -> str:
    stops = "warning" if kind.warning else "stops"
    return f"| {kind.name} | {stops} | {shown(kind.found)} | {shown(kind.fix)} |"


def test_the_tables_are_the_code() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| Check")]
    assert rows == [row(kind) for kind in kinds.ALL]
