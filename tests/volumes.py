"""A tiny bundle in slices, cut here independently of the tool."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from bundler.model.statement import write_statement
from tests.bundles import TinyBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliced:
    """Slices of a bundle in `folder`, and the document that names them, signed by the bundle's keys."""

    made: TinyBundle
    folder: Path
    data: tuple[bytes, ...]

    @property
    def document(self) -> Path:
        return self.folder / f"{self.made.path.name}.volumes.json"

    def path(self, number: int, folder: Path | None = None) -> Path:
        return (folder or self.folder) / f"{self.made.path.name}.{number:03d}"

    def put(self, number: int, folder: Path | None = None) -> Path:
        path = self.path(number, folder)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.data[number - 1])
        return path

    def flip(self, number: int, at: int) -> None:
        data = bytearray(self.data[number - 1])
        data[at] ^= 1
        self.path(number).write_bytes(data)

    @property
    def numbers(self) -> range:
        return range(1, len(self.data) + 1)


def sliced(made: TinyBundle, folder: Path, count: int, *, put: bool = True) -> Sliced:
    """`count` slices, the last one shorter than the others."""
    whole = made.path.read_bytes()
    each = -(-len(whole) // count) + (count > 1)
    data = tuple(whole[at : at + each] for at in range(0, len(whole), each))
    assert len(data) == count
    folder.mkdir(exist_ok=True)
    found = Sliced(made=made, folder=folder, data=data)
    release = {"line": made.statement.release.line, "number": made.statement.release.number}
    facts = {
        "type": "bundle-volumes",
        "format": 1,
        "requires": [],
        "release": release,
        "content": str(made.statement.content),
        "statement": f"sha256:{hashlib.sha256(write_statement(made.statement)).hexdigest()}",
        "slices": [{"digest": f"sha256:{hashlib.sha256(each).hexdigest()}", "size": len(each)} for each in data],
    }
    document = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    found.document.write_bytes(document)
    for key in made.keys:
        found.document.with_name(f"{found.document.name}.{key.public.keyid}.sig").write_bytes(key.sign(document))
    if put:
        for number in found.numbers:
            found.put(number)
    return found
