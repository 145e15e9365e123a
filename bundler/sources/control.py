"""Debian control data: stanzas of `Field: value` (deb822(5)), and what the lock keeps of a package's."""

from collections.abc import Iterable, Iterator, Mapping

# In this order, each as the archive has it. apt tells two builds of one version apart by Installed-Size and the
# relations, so none of them may be left out or respelt.
_KEPT = (
    "Package",
    "Version",
    "Architecture",
    "Multi-Arch",
    "Essential",
    "Protected",
    "Important",
    "Priority",
    "Section",
    "Source",
    "Maintainer",
    "Installed-Size",
    "Provides",
    "Pre-Depends",
    "Depends",
    "Recommends",
    "Suggests",
    "Enhances",
    "Conflicts",
    "Breaks",
    "Replaces",
    "Homepage",
)

Stanza = Mapping[str, str]


def stanzas(lines: Iterable[str]) -> Iterator[Stanza]:
    """Stanzas by field name as written; a value keeps its further lines, without the space after the colon."""
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if fields:
                yield fields
            fields, last = {}, ""
        elif line[0] in " \t":
            if last:
                fields[last] += f"\n{line}"
        elif line[0] != "#":
            last, _, value = line.partition(":")
            fields[last] = value.strip()
    if fields:
        yield fields


def parse_control(text: str) -> Stanza:
    """The one stanza of a package in the lock."""
    return next(stanzas(text.splitlines()), {})


def control(stanza: Stanza) -> str:
    """The lock's form of a package's stanza: known fields in a fixed order, one line of description."""
    lines = [f"{name}: {stanza[name]}" for name in _KEPT if stanza.get(name)]
    description = stanza.get("Description", "").partition("\n")[0]
    if description:
        lines.append(f"Description: {description}")
    return "".join(mark if mark.isprintable() or mark in "\n\t" else " " for mark in "\n".join(lines))
