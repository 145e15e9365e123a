"""Component manifests: what one part of a site needs (MANIFESTS/components/NAME.yaml).

What all versions of a component need stands at the top; what one version needs, under `versions`.
"""

from dataclasses import dataclass, fields, replace

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.reference import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """`source` is where the image comes from when it is no registry: `oci:PATH`, `docker-archive:PATH` (below the
    manifests' `files`), or `docker-daemon:NAME`. `referrers`: signatures and attestations travel with it."""

    reference: Reference
    source: str
    referrers: bool
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Other values that a site may choose: rendered too when the closure is proved. JSON text."""

    name: str
    values: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartRequest:
    """`repository` is an HTTP chart repository, `oci://HOST/PATH` (without the chart's name) or `file:PATH` below the
    manifests' `charts`; `version` a range as Helm reads it; `keyring` a `file:` of the keys for its provenance."""

    name: str
    repository: str
    version: str
    release: str
    namespace: str
    values: str
    variants: tuple[Variant, ...]
    keyring: str
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSet:
    """OS packages for hosts with one of `roles` (every host when there are none), in these `releases` (all)."""

    names: tuple[str, ...]
    roles: tuple[str, ...]
    releases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksums:
    """A vendor's list of checksums at `url`, and a detached OpenPGP signature over it by a key in `keyring`; with the
    keyring alone, the list is clearsigned."""

    url: str
    signature: str
    keyring: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """`digest` or `checksums`, or both, say what the bytes are; with neither the first lock pins what it finds."""

    name: str
    url: str
    digest: Digest | None
    checksums: Checksums | None
    license: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRequest:
    """A program that the proof of completeness runs: a carried file, or `member` of it when that is a tar."""

    file: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """A finding about `image` that its author knows to be false, and why."""

    image: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that this manifest relies on, and where it can be read."""

    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a component needs. `provides` are versions by which components are matched with one another; `tools` are
    `helm`, `kubeadm` and `cephadm`."""

    images: tuple[ImageRequest, ...] = ()
    charts: tuple[ChartRequest, ...] = ()
    wheels: tuple[str, ...] = ()  # requirements (PEP 508)
    packages: tuple[PackageSet, ...] = ()
    files: tuple[FileRequest, ...] = ()
    provides: tuple[tuple[str, str], ...] = ()
    tools: tuple[tuple[str, ToolRequest], ...] = ()
    silences: tuple[Silence, ...] = ()
    facts: tuple[Fact, ...] = ()

    def __add__(self, other: "Content") -> "Content":
        return Content(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """`content` is of the chosen version, or what all versions have while none is chosen."""

    name: str
    about: str
    content: Content
    versions: tuple[tuple[str, Content], ...]
    version: str = ""

    def at(self, version: str) -> "Component":
        """The component with everything that this version needs. Raises Malformed for one that it does not have."""
        known = dict(self.versions)
        if version not in known and (version or known):
            has = ", ".join(f"{self.name}@{each}" for each in known) or f"{self.name}, which has no versions"
            raise Malformed(found=f"{self.name}@{version}" if version else self.name, expected=has)
        return replace(self, content=self.content + known.get(version, Content()), versions=(), version=version)
