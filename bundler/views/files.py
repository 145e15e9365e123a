"""Plain files: `files/<name>` and `files/SHA256SUMS`, which `sha256sum -c` reads."""

from collections.abc import Iterable
from pathlib import Path

from bundler.model.sitenames import CHECKSUMS, check_site_names
from bundler.model.statement import FileArtifact
from bundler.store.blobs import BlobStore
from bundler.views.tree import Tree, lines


def build_files(target: Path, files: Iterable[FileArtifact], store: BlobStore) -> None:
    """Make `files/` in the generation `target`. Raises NameConflict, StaleLink, CannotWrite."""
    tree = Tree(target)
    listed = sorted(files, key=lambda file: file.name)
    check_site_names(files=((file.name, file.digest) for file in listed))
    for file in listed:
        tree.blob(f"files/{file.name}", store, file.digest)
    tree.write(f"files/{CHECKSUMS}", lines(f"{file.digest.hex}  {file.name}" for file in listed))
