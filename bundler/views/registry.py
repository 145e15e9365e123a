"""The registry view: the storage layout of `distribution` (registry/storage/paths.go), read-only, made of hard links.

Images lie under `<host>/<path>`; wheels, debs and files under `bundle/<kind>`, by digest only.
"""

from collections.abc import Iterable
from pathlib import Path

from bundler.model.digest import Digest
from bundler.model.sitenames import ARTIFACTS, check_site_names
from bundler.model.statement import Artifact, DebArtifact, FileArtifact, ImageArtifact, WheelArtifact
from bundler.store.blobs import BlobStore
from bundler.views.tree import Tree

ROOT = "registry/docker/registry/v2"
_KINDS = {WheelArtifact: "wheel", DebArtifact: "deb", FileArtifact: "file"}


def data_path(digest: Digest) -> str:
    return f"{ROOT}/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"


def repository_path(repository: str) -> str:
    return f"{ROOT}/repositories/{repository}"


def layer_path(repository: str, digest: Digest) -> str:
    """There is such a file when the repository has this blob."""
    return f"{repository_path(repository)}/_layers/sha256/{digest.hex}/link"


def revision_path(repository: str, digest: Digest) -> str:
    """There is such a file when the repository has this manifest."""
    return f"{repository_path(repository)}/_manifests/revisions/sha256/{digest.hex}/link"


def tags_path(repository: str) -> str:
    return f"{repository_path(repository)}/_manifests/tags"


def tag_path(repository: str, tag: str) -> str:
    """The file that names a tag's digest."""
    return f"{tags_path(repository)}/{tag}/current/link"


def build_registry(target: Path, artifacts: Iterable[Artifact], store: BlobStore) -> None:
    """Make `registry/` in the generation `target`. Raises NameConflict, StaleLink, CannotWrite."""
    view = _View(target, store)
    listed = tuple(artifacts)
    images = (artifact for artifact in listed if isinstance(artifact, ImageArtifact))
    check_site_names(images=((image.reference, image.root) for image in images))
    for artifact in listed:
        if isinstance(artifact, ImageArtifact):
            reference = artifact.reference
            view.add(reference.site_repository, manifests=artifact.manifests, blobs=artifact.blobs)
            if reference.tag:
                view.tag(reference.site_repository, reference.tag, artifact.root)
        else:
            blobs = [member for member in artifact.members if member != artifact.manifest]
            view.add(f"{ARTIFACTS}/{_KINDS[type(artifact)]}", manifests=[artifact.manifest], blobs=blobs)
    view.tree.folder(f"{ROOT}/repositories")


class _View:
    """Images share blobs and repositories share manifests: each file is made once."""

    def __init__(self, target: Path, store: BlobStore) -> None:
        self.tree = Tree(target)
        self._store = store
        self._done: set[str] = set()

    def add(self, repository: str, *, manifests: Iterable[Digest], blobs: Iterable[Digest]) -> None:
        for digest in manifests:
            self._blob(digest)
            self._link(revision_path(repository, digest), digest)
        for digest in blobs:
            self._blob(digest)
            self._link(layer_path(repository, digest), digest)

    def tag(self, repository: str, tag: str, digest: Digest) -> None:
        self._link(tag_path(repository, tag), digest)
        self._link(f"{tags_path(repository)}/{tag}/index/sha256/{digest.hex}/link", digest)

    def _blob(self, digest: Digest) -> None:
        path = data_path(digest)
        if path not in self._done:
            self.tree.blob(path, self._store, digest)
            self._done.add(path)

    def _link(self, path: str, digest: Digest) -> None:
        if path not in self._done:
            self.tree.write(path, str(digest).encode())
            self._done.add(path)
