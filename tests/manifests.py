"""Broken documents as tables: tests/data/manifests/broken-*.txt, tests/data/site/broken-sites.txt.

A case is a line `=== TITLE`, the document, a line `--- problems`, and the problems, each as
`LINE: found …, expected …`.
"""

from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    kind: str  # components, profiles, sites
    title: str
    text: str
    problems: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}: {self.title}"


def broken(kind: str, *, folder: str = "manifests") -> list[Broken]:
    parts = ("\n" + (_DATA / folder / f"broken-{kind}.txt").read_text()).split("\n=== ")[1:]
    cases = []
    for part in parts:
        title, _, rest = part.partition("\n")
        text, mark, problems = ("\n" + rest).partition("\n--- problems\n")
        assert mark, f"{title} has no problems"
        cases.append(
            Broken(kind=kind, title=title, text=text[1:] + "\n" * bool(text[1:]), problems=tuple(problems.splitlines()))
        )
    return cases
