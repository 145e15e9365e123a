"""The lock (version 1): every blob that a bundle will hold, by digest and size, and nothing else.

`bundler.model.lock_text` writes it.
"""

from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.limits import LIMITS
from bundler.model.names import check_label, check_path, check_segment, check_version
from bundler.model.platform import Platform
from bundler.model.profile import Release, parse_file_url, parse_python_version, parse_release
from bundler.model.reference import Reference

VERSION = 1
METADATA_TYPE = "text/plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """An image by its canonical reference.

    `root` is what the reference names: an index or a manifest. `manifests` are the carried manifests below an
    index (none when root is a manifest); an index may name more than are carried. `blobs` are configs and layers.
    """

    reference: Reference
    root: Descriptor
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]

    @property
    def name(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """`project` is the normalised name (PEP 503); `metadata` describes the wheel's METADATA file (PEP 658)."""

    project: str
    version: str
    file: str
    digest: Digest
    size: int
    metadata: Descriptor
    pythons: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.file


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
    profile: str
    release: Release
    platforms: tuple[Platform, ...]
    bootstrap: LockedBootstrap
    images: tuple[LockedImage, ...]
    wheels: tuple[LockedWheel, ...]
    debs: tuple[LockedDeb, ...]
    files: tuple[LockedFile, ...]


def deb_file(package: str, version: str, architecture: str) -> str:
    """The file name as Debian writes it: the version without its epoch (Debian Policy 5.6.12)."""
    return f"{package}_{version.partition(':')[2] or version}_{architecture}.deb"


def parse_lock(text: str, *, file: str) -> Lock:
    """Read a lock. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    fields = reader.yaml(text)
    fields.value("lockVersion", _version)
    reader.finish()
    lock = fields.whole(_lock)
    reader.finish()
    return lock


def _version(text: str) -> str:
    if text != str(VERSION):
        raise Malformed(found=f"lockVersion {text[:20]}", expected=f"{VERSION}, the version this tool reads")
    return text


def _lock(fields: Fields) -> Lock:
    return fields.build(
        Lock,
        profile=fields.value("profile", check_label),
        release=fields.nested("release", parse_release),
        platforms=fields.values("platforms", Platform.parse),
        bootstrap=fields.nested("bootstrap", _bootstrap),
        images=fields.each("images", _image, name=lambda image: image.name),
        wheels=fields.each("wheels", _wheel, name=lambda wheel: wheel.name),
        debs=fields.each("debs", _deb, name=lambda deb: f"{deb.archive}/{deb.release}/{deb.name}"),
        files=fields.each("files", _file, name=lambda file: file.name),
    )


def _bootstrap(fields: Fields) -> LockedBootstrap:
    pythons = fields.values("python", parse_python_version)
    wheels = fields.each("wheels", _wheel, name=lambda wheel: wheel.name)
    return fields.build(LockedBootstrap, pythons=pythons, wheels=wheels)


def _image(fields: Fields) -> LockedImage:
    return fields.build(
        LockedImage,
        reference=fields.value("reference", Reference.parse),
        root=fields.nested("root", _descriptor),
        manifests=fields.each("manifests", _descriptor),
        blobs=fields.each("blobs", _descriptor),
    )


def _descriptor(fields: Fields) -> Descriptor:
    return fields.build(
        Descriptor,
        media_type=fields.text("mediaType"),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
    )


def _wheel(fields: Fields) -> LockedWheel:
    return fields.build(
        LockedWheel,
        project=fields.value("project", check_segment),
        version=fields.value("version", check_version),
        file=fields.value("file", check_segment),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
        metadata=fields.nested("metadata", _metadata),
        pythons=fields.values("python", parse_python_version),
    )


def _metadata(fields: Fields) -> Descriptor:
    digest, size = fields.value("digest", Digest.parse), fields.integer("size")
    return fields.build(Descriptor, media_type=METADATA_TYPE, digest=digest, size=size)


def _deb(fields: Fields) -> LockedDeb:
    deb = fields.build(
        LockedDeb,
        package=fields.value("package", check_segment),
        version=fields.value("version", check_version),
        architecture=fields.value("architecture", check_label),
        archive=fields.value("archive", check_label),
        suite=fields.value("suite", check_label),
        release=fields.value("release", check_label),
        path=fields.value("path", check_path),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
        control=fields.value("control", check_control),
    )
    if fields.ok:
        fields.build(check_segment, deb.file)
    return deb


def check_control(text: str) -> str:
    """One stanza in Debian's control format: no empty line, it would start another package. Raises Malformed."""
    lines = text.split("\n")
    if len(text.encode()) >= LIMITS.metadata or not all(line.strip() and _printable(line) for line in lines):
        raise Malformed(found="an empty or broken stanza", expected="one control stanza without empty lines")
    if lines[0][0] in " \t" or not all(line[0] in " \t" or ":" in line for line in lines):
        raise Malformed(found="a line that is no field", expected="`Field: value` lines")
    return text


def _printable(line: str) -> bool:
    return all(mark.isprintable() or mark == "\t" for mark in line)


def _file(fields: Fields) -> LockedFile:
    return fields.build(
        LockedFile,
        name=fields.value("name", check_segment),
        url=fields.value("url", parse_file_url),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
    )
