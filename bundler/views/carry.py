"""What stays reachable of the generation before: every path whose content its name fixes.

A client that read an index just before a switch still finds what it names just after.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bundler.support.files import write_file, writing
from bundler.views.registry import ROOT
from bundler.views.tree import Tree, lines

CARRIED = "carried"  # the list of what a generation has only from the one before; it is not carried further
_HEX = "[0-9a-f]{64}"
# Patterns of the paths whose content their name fixes.
CONTENT_ADDRESSED = (
    rf"pypi/files/{_HEX}/[^/]+",
    rf"charts/files/{_HEX}/[^/]+",
    rf"apt/[^/]+/pool/[0-9a-f]{{2}}/{_HEX}/[^/]+",
    rf"apt/[^/]+/dists/[^/]+/main/[^/]+/by-hash/SHA256/{_HEX}",
    rf"{ROOT}/blobs/sha256/[0-9a-f]{{2}}/{_HEX}/data",
    rf"{ROOT}/repositories/.+/_layers/sha256/{_HEX}/link",
    rf"{ROOT}/repositories/.+/_manifests/revisions/sha256/{_HEX}/link",
)
_CONTENT_ADDRESSED = re.compile("|".join(CONTENT_ADDRESSED))


def content_addressed(path: str) -> bool:
    """Whether a path of a generation always has the same content."""
    return _CONTENT_ADDRESSED.fullmatch(path) is not None


def carry_over(previous: Path, target: Path) -> None:
    """Link the content-addressed files that `previous` itself published into `target`, where it lacks them.

    `target` may be a new generation or an older one that a rollback returns to; doing it again changes nothing.
    Raises CannotWrite.
    """
    missing = sorted(path for path in published(previous) if not (target / path).exists())
    if not missing:
        return
    # The list first: a file that is there and not listed would count as the target's own for ever.
    write_file(target / CARRIED, lines(sorted(carried(target).union(missing))))
    tree = Tree(target)
    for path in missing:
        tree.link(path, previous / path)


def carried(generation: Path) -> frozenset[str]:
    """The paths that a generation has from the one before."""
    try:
        return frozenset((generation / CARRIED).read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return frozenset()


def published(generation: Path) -> Iterator[str]:
    """The content-addressed paths that a generation itself published."""
    foreign = carried(generation)
    return (path for path in _walk(generation) if path not in foreign)


def uncarry(generation: Path, paths: Iterable[str]) -> None:
    """Take paths that are gone from the list of what is carried. Raises CannotWrite, DiskFull."""
    left = carried(generation).difference(paths)
    with writing(generation / CARRIED):
        if left:
            write_file(generation / CARRIED, lines(sorted(left)))
        else:
            (generation / CARRIED).unlink(missing_ok=True)


def _walk(generation: Path) -> Iterator[str]:
    for folder, _, names in os.walk(generation):
        base = os.path.relpath(folder, generation)
        for name in names:
            path = f"{base}/{name}"
            if content_addressed(path):
                yield path
