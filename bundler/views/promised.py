"""What a path of a generation says of its content: the digest in its name, where it is that of the file itself."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bundler.model.digest import Digest
from bundler.views.registry import ROOT

_HEX = "([0-9a-f]{64})"
_PROMISES = re.compile(
    "|".join(
        (
            rf"{ROOT}/blobs/sha256/[0-9a-f]{{2}}/{_HEX}/data",
            rf"pypi/files/{_HEX}/[^/]+(?<!\.metadata)",
            rf"charts/files/{_HEX}/[^/]+(?<!\.prov)",
            rf"apt/[^/]+/pool/[0-9a-f]{{2}}/{_HEX}/[^/]+",
            rf"apt/[^/]+/dists/[^/]+/main/[^/]+/by-hash/SHA256/{_HEX}",
        )
    )
)


def promised(path: str) -> Digest | None:
    """The digest that the file at this path of a generation must have, if its name says so."""
    match = _PROMISES.fullmatch(path)
    return Digest(next(filter(None, match.groups()))) if match else None


def promises(generation: Path) -> Iterator[tuple[Path, Digest, int]]:
    """All such files of a generation, with what they must be and their inode numbers."""
    for folder, _, names in os.walk(generation):
        base = Path(folder)
        for name in names:
            path = base / name
            digest = promised(path.relative_to(generation).as_posix())
            if digest is not None:
                yield path, digest, path.lstat().st_ino
