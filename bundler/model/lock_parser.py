"""Reading a lock: a value, or every problem with its line."""

from bundler.errors import Malformed
from bundler.model.asked import parse_asked, parse_target
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.limits import LIMITS
from bundler.model.lock import (
    METADATA_TYPE,
    VERSION,
    ChartDependency,
    Lock,
    LockedBootstrap,
    LockedChart,
    LockedDeb,
    LockedFile,
    LockedImage,
    LockedWheel,
)
from bundler.model.names import check_label, check_path, check_segment, check_version
from bundler.model.platform import Platform
from bundler.model.profile import check_glibc, check_suite, parse_python_version, parse_release
from bundler.model.reference import Reference
from bundler.model.scalars import (
    check_chart_name,
    check_line,
    parse_file_url,
    parse_image_source,
    parse_repository,
    parse_requirement,
)
from bundler.model.values import check_values


def parse_lock(text: str, *, file: str) -> Lock:
    """Read a lock. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    fields = reader.yaml(text)
    fields.value("lockVersion", _version)
    reader.finish()
    return fields.document(_lock)


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
        glibc=fields.value("glibc", check_glibc),
        pythons=fields.values("python", parse_python_version),
        constraints=fields.values("constraints", parse_requirement),
        bootstrap=fields.nested("bootstrap", _bootstrap),
        asked=fields.each("components", parse_asked, name=lambda asked: asked.name),
        targets=fields.each("targets", parse_target, name=lambda target: target.name),
        charts=fields.each("charts", _chart, name=lambda chart: chart.name),
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
    image = fields.build(
        LockedImage,
        reference=fields.value("reference", Reference.parse),
        root=fields.nested("root", _descriptor),
        manifests=fields.each("manifests", _descriptor),
        blobs=fields.each("blobs", _descriptor),
        referrers=fields.each("referrers", _descriptor, optional=True),
        source=fields.value("from", parse_image_source, default=""),
        synthesised=fields.value("synthesised", check_values, default=""),
    )
    if fields.ok and image.synthesised:
        fields.build(_check_synthesised, image)
    return image


def _check_synthesised(image: LockedImage) -> None:
    """What we wrote ourselves is what the reference names. Raises Malformed."""
    data = image.synthesised.encode()
    if (image.root.digest, image.root.size) != (Digest.of(data), len(data)) or not image.source or image.manifests:
        raise Malformed(found=f"the root {image.root.digest}", expected=f"{Digest.of(data)}, the synthesised manifest")


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
        requires=fields.values("requires", check_requires),
    )


def check_requires(text: str) -> str:
    """One line of METADATA that a resolver reads. Raises Malformed."""
    if not text.startswith(("Requires-Python: ", "Requires-Dist: ", "Provides-Extra: ")):
        raise Malformed(found=repr(text[:80]), expected="Requires-Python, Requires-Dist or Provides-Extra")
    return check_line(text)


def _chart(fields: Fields) -> LockedChart:
    return fields.build(
        LockedChart,
        chart=fields.value("chart", check_chart_name),
        version=fields.value("version", check_segment),
        repository=fields.value("repository", parse_repository),
        url=fields.value("url", parse_file_url, default=""),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
        metadata=fields.value("metadata", check_values),
        provenance=fields.nested("provenance", _descriptor) if fields.has("provenance") else None,
        manifest=fields.nested("manifest", _descriptor) if fields.has("manifest") else None,
        config=fields.nested("config", _descriptor) if fields.has("config") else None,
        dependencies=fields.each(
            "dependencies", _dependency, optional=True, name=lambda each: f"{each.name}-{each.version}"
        ),
    )


def _dependency(fields: Fields) -> ChartDependency:
    return fields.build(
        ChartDependency,
        name=fields.value("chart", check_chart_name),
        version=fields.value("version", check_segment),
        url=fields.value("url", _parse_archive_url),
        digest=fields.value("digest", Digest.parse),
        size=fields.integer("size"),
    )


def _parse_archive_url(text: str) -> str:
    return parse_repository(text) if text.startswith("oci://") else parse_file_url(text)


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
        suite=fields.value("suite", check_suite),
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
