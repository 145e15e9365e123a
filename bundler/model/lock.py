"""The lock (version 1): every blob that a bundle will hold, by digest and size, and nothing else.

`bundler.model.lock_text` writes it.
"""

from dataclasses import dataclass

from bundler.model.asked import Asked, LockedTarget
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.platform import Platform
from bundler.model.profile import Release
from bundler.model.reference import Reference

VERSION = 1
METADATA_TYPE = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """An image by its canonical reference.

    `root` is what the reference names: an index or a manifest. `manifests` are the carried manifests below an
    index (none when root is a manifest); an index may name more than are carried. `blobs` are configs and layers.
    `referrers` are manifests whose subject is root or one of `manifests`; what they name is among `blobs`.
    `source` is where the image comes from when it is no registry; then `synthesised` may hold the text of a manifest
    that we wrote ourselves, because that source has none.
    """

    reference: Reference
    root: Descriptor
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    referrers: tuple[Descriptor, ...] = ()
    source: str = ""
    synthesised: str = ""

    @property
    def name(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """`project` is the normalised name (PEP 503); `metadata` describes the wheel's METADATA file (PEP 658), `requires`
    are its lines that a resolver reads: Requires-Python, Requires-Dist and Provides-Extra."""

    project: str
    version: str
    file: str
    digest: Digest
    size: int
    metadata: Descriptor
    pythons: tuple[str, ...]
    requires: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartDependency:
    """A chart archive that is packed into the `charts/` of a chart folder; one from a registry has `oci://REFERENCE`
    as its URL."""

    name: str
    version: str
    url: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedChart:
    """A chart archive: `digest` and `size` are those of the .tgz, `metadata` is its Chart.yaml as JSON text.

    One from an HTTP repository has the archive's `url`. One from an OCI registry has `manifest` and `config`, which
    keep their bytes. One from a folder (`file:PATH`) is packed by us, with its `dependencies`.
    """

    chart: str
    version: str
    repository: str
    url: str
    digest: Digest
    size: int
    metadata: str
    provenance: Descriptor | None
    manifest: Descriptor | None
    config: Descriptor | None
    dependencies: tuple[ChartDependency, ...]

    @property
    def name(self) -> str:
        return f"{self.chart}-{self.version}.tgz"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedDeb:
    """`archive` and `suite` say where it comes from (roles, never hosts), `release` whom it is for, `path` its place
    in the archive's pool; `control` is the Packages stanza without Filename, Size and hashes."""

    package: str
    version: str
    architecture: str
    archive: str
    suite: str
    release: str
    path: str
    digest: Digest
    size: int
    control: str

    @property
    def file(self) -> str:
        return deb_file(self.package, self.version, self.architecture)

    @property
    def name(self) -> str:
        return self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedFile:
    name: str
    url: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBootstrap:
    """The tool's own wheels for each Python version named."""

    pythons: tuple[str, ...]
    wheels: tuple[LockedWheel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """`glibc`, `pythons` and `constraints` are what wheels were resolved with; `asked` and `targets` are what the proof
    of completeness starts from; the rest is what a bundle holds."""

    profile: str
    release: Release
    platforms: tuple[Platform, ...]
    glibc: str
    constraints: tuple[str, ...]
    bootstrap: LockedBootstrap
    asked: tuple[Asked, ...]
    targets: tuple[LockedTarget, ...]
    charts: tuple[LockedChart, ...]
    images: tuple[LockedImage, ...]
    wheels: tuple[LockedWheel, ...]
    debs: tuple[LockedDeb, ...]
    files: tuple[LockedFile, ...]
    pythons: tuple[str, ...] = ()


def deb_file(package: str, version: str, architecture: str) -> str:
    """The file name as Debian writes it: the version without its epoch (Debian Policy 5.6.12)."""
    return f"{package}_{version.partition(':')[2] or version}_{architecture}.deb"
