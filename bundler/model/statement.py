"""The statement (`bundle.json`, format 1): the exact list of a bundle's contents, and what it is.

It is canonical JSON. `bundler.model.statement_parser` reads it back: only bytes that `write_statement` writes.
"""

from dataclasses import dataclass
from typing import Any

from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.platform import Platform
from bundler.model.profile import Release
from bundler.model.reference import Reference

TYPE = "bundle-statement"
FORMAT = 1
DELTA, PATCH = "delta", "patch"
FEATURES = frozenset({DELTA, PATCH})  # what `requires` may name so far
FIXED_NAMES = ("bootstrap.tar", "README.txt", "oci-layout", "index.json")
BLOB_PREFIX, PATCH_PREFIX = "blobs/sha256/", "patches/sha256/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file in the bundle, in file order. A blob is `blobs/sha256/<hex>`, a patch `patches/sha256/<hex>`."""

    name: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageArtifact:
    """`manifests` are all carried manifests and indexes, `root` and `referrers` among them; `blobs` are configs and
    layers. A referrer is a manifest about another one, which it names as its subject."""

    name: str  # the canonical reference
    root: Digest
    manifests: tuple[Digest, ...]
    referrers: tuple[Digest, ...]
    blobs: tuple[Digest, ...]

    @property
    def reference(self) -> Reference:
        return Reference.parse(self.name)

    @property
    def members(self) -> tuple[Digest, ...]:
        return (*self.manifests, *self.blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartArtifact:
    """A Helm chart as Helm itself stores it: `config` is its Chart.yaml as JSON, `digest` the .tgz; `provenance` holds
    the .prov file's digest or nothing. `reference` is the canonical name of one that came from an OCI registry."""

    name: str  # the file name
    chart: str
    version: str
    reference: str
    digest: Digest
    config: Digest
    provenance: tuple[Digest, ...]
    manifest: Digest

    @property
    def members(self) -> tuple[Digest, ...]:
        return (self.manifest, self.config, self.digest, *self.provenance)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelArtifact:
    """`manifest` is its OCI artifact manifest, `metadata` the wheel's METADATA file."""

    name: str  # the file name
    project: str
    version: str
    digest: Digest
    metadata: Digest
    manifest: Digest

    @property
    def members(self) -> tuple[Digest, ...]:
        return (self.manifest, self.metadata, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class DebArtifact:
    """`control` is the Packages stanza without Filename, Size and hashes."""

    name: str  # the file name
    package: str
    version: str
    architecture: str
    archive: str
    release: str
    digest: Digest
    control: Digest
    manifest: Digest

    @property
    def members(self) -> tuple[Digest, ...]:
        return (self.manifest, self.control, self.digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileArtifact:
    """`config` is OCI's empty config, `{}`, which the manifest names."""

    name: str
    digest: Digest
    config: Digest
    manifest: Digest

    @property
    def members(self) -> tuple[Digest, ...]:
        return (self.manifest, self.config, self.digest)


Artifact = ImageArtifact | ChartArtifact | WheelArtifact | DebArtifact | FileArtifact


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A release that a delta was made against, for people: what counts is which blobs a site has."""

    release: Release
    content: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A blob that the site must have already; `base` is the number, among the delta's bases, of one that brought it."""

    digest: Digest
    size: int
    base: int

    @property
    def entry(self) -> Entry:
        return Entry(name=f"{BLOB_PREFIX}{self.digest.hex}", digest=self.digest, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """A blob that the site makes itself: of `patch`, which the file carries, and of blobs that it must have. `scratch`
    is how many bytes that takes on its disk meanwhile, beside the blob."""

    digest: Digest
    size: int
    patch: Digest
    scratch: int
    bases: tuple[Held, ...]

    @property
    def entry(self) -> Entry:
        return Entry(name=f"{BLOB_PREFIX}{self.digest.hex}", digest=self.digest, size=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What a delta leaves to the site: `held` are the release's blobs that it does not carry, `patches` those that come
    as patches, both by digest."""

    bases: tuple[Base, ...]
    held: tuple[Held, ...]
    patches: tuple[Patched, ...] = ()

    @property
    def needed(self) -> tuple[Held, ...]:
        """All blobs that the site must have."""
        found = {held.digest: held for patched in self.patches for held in patched.bases}
        return tuple((found | {held.digest: held for held in self.held}).values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`content` is the SHA-256 of index.json, the release's identity; `signers` are raw Ed25519 public keys; `lock` is
    the blob that holds the lock which the bundle was made from. `entries` are what the file carries: all of the release
    but for what `delta` says."""

    release: Release
    content: Digest
    signers: tuple[bytes, ...]
    platforms: tuple[Platform, ...]
    tool: str
    lock: Digest
    entries: tuple[Entry, ...]
    images: tuple[ImageArtifact, ...]
    charts: tuple[ChartArtifact, ...]
    wheels: tuple[WheelArtifact, ...]
    debs: tuple[DebArtifact, ...]
    files: tuple[FileArtifact, ...]
    delta: Delta | None = None

    @property
    def kind(self) -> str:
        return "delta" if self.delta else "full"

    @property
    def blobs(self) -> tuple[Entry, ...]:
        """All blobs of the release: those that the file carries, then those that the site must have, or makes."""
        carried = (entry for entry in self.entries if entry.name.startswith(BLOB_PREFIX))
        left: tuple[Held | Patched, ...] = (*self.delta.held, *self.delta.patches) if self.delta else ()
        return (*carried, *(each.entry for each in left))

    @property
    def patches(self) -> tuple[Patched, ...]:
        return self.delta.patches if self.delta else ()

    @property
    def requires(self) -> tuple[str, ...]:
        """The features that a reader must know."""
        return () if self.delta is None else (DELTA, PATCH) if self.patches else (DELTA,)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return (*self.images, *self.charts, *self.wheels, *self.debs, *self.files)


def write_statement(statement: Statement) -> bytes:
    """The canonical bytes: what is signed."""
    return canonical.dump(
        {
            "type": TYPE,
            "format": FORMAT,
            "requires": list(statement.requires),
            "release": {"line": statement.release.line, "number": statement.release.number},
            "content": str(statement.content),
            "kind": statement.kind,
            "signers": [key.hex() for key in statement.signers],
            "platforms": [str(platform) for platform in statement.platforms],
            "tool": statement.tool,
            "lock": str(statement.lock),
            "entries": [
                {"name": entry.name, "digest": str(entry.digest), "size": entry.size} for entry in statement.entries
            ],
            "images": [_plain(image) for image in statement.images],
            "charts": [_plain(chart) for chart in statement.charts],
            "wheels": [_plain(wheel) for wheel in statement.wheels],
            "debs": [_plain(deb) for deb in statement.debs],
            "files": [_plain(entry) for entry in statement.files],
            **({"delta": _delta(statement.delta)} if statement.delta else {}),
        }
    )


def _delta(delta: Delta) -> dict[str, Any]:
    return {
        "bases": [plain_base(base) for base in delta.bases],
        "held": [plain_held(held) for held in delta.held],
        **({"patches": [_patched(patched) for patched in delta.patches]} if delta.patches else {}),
    }


def _patched(patched: Patched) -> dict[str, Any]:
    return {
        "digest": str(patched.digest),
        "size": patched.size,
        "patch": str(patched.patch),
        "scratch": patched.scratch,
        "bases": [plain_held(held) for held in patched.bases],
    }


def plain_base(base: Base) -> dict[str, Any]:
    return {"release": {"line": base.release.line, "number": base.release.number}, "content": str(base.content)}


def plain_held(held: Held) -> dict[str, Any]:
    return {"digest": str(held.digest), "size": held.size, "base": held.base}


def _plain(artifact: Artifact) -> dict[str, Any]:
    values = ((name, getattr(artifact, name)) for name in artifact.__slots__)
    return {name: [str(each) for each in value] if isinstance(value, tuple) else str(value) for name, value in values}
