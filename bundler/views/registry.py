"""The registry view: the storage layout of `distribution` (registry/storage/paths.go), read-only, made of hard links.

Images lie under `<host>/<path>`, charts from registries too; all charts under `bundle/chart/<name>` with their versions
as tags; wheels, debs and files under `bundle/<kind>`, by digest only. What refers to an image is found by the tag
`sha256-<hex>`, as on registries without an API for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.reference import Reference
from bundler.model.sitenames import ARTIFACTS, chart_tag, check_site_names
from bundler.model.statement import Artifact, ChartArtifact, DebArtifact, FileArtifact, ImageArtifact, WheelArtifact
from bundler.store.blobs import BlobStore
from bundler.views.referrers import referrers_index, referrers_tag, subject_of
from bundler.views.tree import Tree

ROOT = "registry/docker/registry/v2"
REPOSITORIES = f"{ROOT}/repositories"
_KINDS = {WheelArtifact: "wheel", DebArtifact: "deb", FileArtifact: "file"}


def data_path(digest: Digest) -> str:
    return f"{ROOT}/blobs/sha256/{digest.hex[:2]}/{digest.hex}/data"


def repository_path(repository: str) -> str:
    return f"{REPOSITORIES}/{repository}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a registry has an artifact: its repository, what lies there, and the tag of `root` or none. `referrers` are
    those of the manifests that are about others of them."""

    repository: str
    root: Digest
    tag: str = ""
    manifests: tuple[Digest, ...]
    referrers: tuple[Digest, ...] = ()
    blobs: tuple[Digest, ...]


def placements(artifact: Artifact) -> tuple[Placement, ...]:
    """All the places of an artifact: those of any registry that holds a bundle."""
    if isinstance(artifact, ImageArtifact):
        reference = artifact.reference
        place = Placement(
            repository=reference.site_repository,
            root=artifact.root,
            tag=reference.tag,
            manifests=artifact.manifests,
            referrers=artifact.referrers,
            blobs=artifact.blobs,
        )
        return (place,)
    blobs = tuple(member for member in artifact.members if member != artifact.manifest)
    if isinstance(artifact, ChartArtifact):
        names = _chart_names(artifact)
    else:
        names = [(f"{ARTIFACTS}/{_KINDS[type(artifact)]}", "")]
    return tuple(
        Placement(repository=repository, root=artifact.manifest, tag=tag, manifests=(artifact.manifest,), blobs=blobs)
        for repository, tag in names
    )


def _chart_names(chart: ChartArtifact) -> list[tuple[str, str]]:
    """Where Helm looks for it: by its own name on the site, and by that of its registry."""
    names = [(f"{ARTIFACTS}/chart/{chart.chart}", chart_tag(chart.version))]
    if chart.reference:
        reference = Reference.parse(chart.reference)
        names.append((reference.site_repository, reference.tag))
    return names


def check_registry_names(artifacts: Iterable[Artifact]) -> None:
    """Raises NameConflict where a registry could not have two of these side by side."""
    listed = tuple(artifacts)
    images = (artifact for artifact in listed if isinstance(artifact, ImageArtifact))
    charts = (artifact for artifact in listed if isinstance(artifact, ChartArtifact))
    check_site_names(
        images=((image.reference, image.root) for image in images),
        charts=((chart.name, chart.reference, chart.manifest) for chart in charts),
    )


def build_registry(target: Path, artifacts: Iterable[Artifact], store: BlobStore) -> None:
    """Make `registry/` in the generation `target`. Raises NameConflict, StaleLink, StoreDamaged, CannotWrite."""
    view = _View(target, store)
    listed = tuple(artifacts)
    check_registry_names(listed)
    for place in (place for artifact in listed for place in placements(artifact)):
        view.add(place.repository, manifests=place.manifests, blobs=place.blobs)
        if place.tag:
            view.tag(place.repository, place.tag, place.root)
        view.refer(place)
    view.tag_referrers()
    view.tree.folder(REPOSITORIES)


class _View:
    """Images share blobs and repositories share manifests: each file is made once."""

    def __init__(self, target: Path, store: BlobStore) -> None:
        self.tree = Tree(target)
        self._store = store
        self._done: set[str] = set()
        self._referrers: dict[tuple[str, Digest], set[bytes]] = {}

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

    def refer(self, place: Placement) -> None:
        """Note what refers to the manifests of an image; several images of a repository may share one."""
        for digest in place.referrers:
            manifest = self._store.read(digest, limit=LIMITS.manifest)
            subject = subject_of(manifest)
            if subject in place.manifests:
                self._referrers.setdefault((place.repository, subject), set()).add(manifest)

    def tag_referrers(self) -> None:
        """The index of each manifest's referrers, which nobody but us writes, under its tag."""
        for (repository, subject), manifests in self._referrers.items():
            index = referrers_index(manifests)
            digest = Digest.of(index)
            self._write(data_path(digest), index)
            self._link(revision_path(repository, digest), digest)
            self.tag(repository, referrers_tag(subject), digest)

    def _blob(self, digest: Digest) -> None:
        path = data_path(digest)
        if path not in self._done:
            self.tree.blob(path, self._store, digest)
            self._done.add(path)

    def _link(self, path: str, digest: Digest) -> None:
        self._write(path, str(digest).encode())

    def _write(self, path: str, data: bytes) -> None:
        if path not in self._done:
            self.tree.write(path, data)
            self._done.add(path)
