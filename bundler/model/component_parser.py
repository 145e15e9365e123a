"""Reading component manifests: a value, or every problem with its line."""

from collections.abc import Iterator

from bundler.errors import Malformed
from bundler.model.component import (
    ChartRequest,
    Checksums,
    Component,
    Content,
    Fact,
    FileRequest,
    ImageRequest,
    PackageSet,
    Silence,
    ToolRequest,
    Variant,
)
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.names import check_label, check_path, check_segment, check_version
from bundler.model.reference import Reference
from bundler.model.scalars import (
    check_chart_name,
    check_license,
    check_line,
    check_local,
    check_package,
    check_tool,
    parse_file_url,
    parse_image_source,
    parse_repository,
    parse_requirement,
)


def parse_component(text: str, *, file: str) -> Component:
    """Read a component manifest. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    return reader.yaml(text).document(_component)


def _component(source: Fields) -> Component:
    content = _content(source)
    if not source.has("versions"):
        _check_whole(source, content)
    return source.build(
        Component,
        name=source.value("component", check_label),
        about=source.value("about", check_line, default=""),
        content=content,
        versions=source.named(
            "versions",
            lambda inner, name: inner.nested(name, lambda version: _version(version, shared=content)),
            check=check_label,
        ),
    )


def _version(source: Fields, *, shared: Content | None) -> Content:
    content = _content(source)
    if source.ok and shared is not None:
        for name in sorted(set(_names(shared)) & set(_names(content))):
            source.fail(found=f"{name} at the top and in a version", expected="it in one of them")
        _check_whole(source, shared + content)
    return content


def _names(content: Content) -> Iterator[str]:
    """What a component may have once."""
    yield from (f"the image {image.reference}" for image in content.images)
    yield from (f"the release {chart.release}" for chart in content.charts)
    yield from (f"the file {file.name}" for file in content.files)
    yield from (f"the tool {name}" for name, _ in content.tools)
    yield from (f"the version of {name}" for name, _ in content.provides)


def _check_whole(source: Fields, content: Content) -> None:
    """A tool is a file of its own component."""
    if not source.ok:
        return
    files = {file.name for file in content.files}
    for name, tool in content.tools:
        if tool.file not in files:
            source.fail(found=f"the tool {name} in {tool.file}, which is no file here", expected="the name of a file")


def _content(source: Fields) -> Content:
    return source.build(
        Content,
        images=source.each("images", _image, optional=True, short="reference", name=lambda image: str(image.reference)),
        charts=source.each("charts", _chart, optional=True, name=lambda chart: chart.release),
        wheels=source.values("wheels", parse_requirement, optional=True),
        packages=_packages(source),
        files=source.each("files", _file, optional=True, name=lambda entry: entry.name),
        provides=source.named("provides", lambda inner, name: inner.value(name, check_version), check=check_label),
        tools=source.named("tools", lambda inner, name: inner.nested(name, parse_tool), check=check_tool),
        silences=source.each("silence", parse_silence, optional=True, name=lambda silence: silence.image),
        facts=source.each("facts", _fact, optional=True),
    )


def _image(source: Fields) -> ImageRequest:
    return source.build(
        ImageRequest,
        reference=source.value("reference", Reference.parse),
        source=source.value("from", parse_image_source, default=""),
        referrers=source.flag("referrers", default=False),
        license=source.value("license", check_license, default=""),
    )


def _chart(source: Fields) -> ChartRequest:
    name = source.value("chart", check_chart_name)
    return source.build(
        ChartRequest,
        name=name,
        repository=source.value("repository", parse_repository),
        version=source.value("version", check_line, default="*"),
        release=source.value("release", check_label, default=name or "unnamed"),
        namespace=source.value("namespace", check_label, default="default"),
        values=source.tree("values"),
        variants=tuple(
            Variant(name=each, values=values)
            for each, values in source.named("variants", Fields.tree, check=check_label)
        ),
        keyring=source.value("keyring", check_local, default=""),
        license=source.value("license", check_license, default=""),
    )


def _packages(source: Fields) -> tuple[PackageSet, ...]:
    """A list of sets, or one set as a mapping."""
    if not source.has("packages"):
        return ()
    if source.is_mapping("packages"):
        return (source.nested("packages", _package_set),)
    return source.each("packages", _package_set)


def _package_set(source: Fields) -> PackageSet:
    source.value("format", _deb_format)
    return source.build(
        PackageSet,
        names=source.values("names", check_package),
        roles=source.values("roles", check_label, optional=True),
        releases=source.values("releases", check_label, optional=True),
    )


def _deb_format(text: str) -> str:
    if text == "rpm":
        raise Malformed(found="the format rpm, which is not built yet", expected="deb")
    if text != "deb":
        raise Malformed(found=repr(text[:40]), expected="deb (rpm is known, and not built yet)")
    return text


def _file(source: Fields) -> FileRequest:
    return source.build(
        FileRequest,
        name=source.value("name", check_segment),
        url=source.value("url", parse_file_url),
        digest=source.value("digest", Digest.parse) if source.has("digest") else None,
        checksums=source.nested("checksums", _checksums) if source.has("checksums") else None,
        license=source.value("license", check_license, default=""),
    )


def _checksums(source: Fields) -> Checksums:
    checksums = source.build(
        Checksums,
        url=source.value("url", parse_file_url),
        signature=source.value("signature", parse_file_url, default=""),
        keyring=source.value("keyring", check_local, default=""),
    )
    if source.ok and checksums.signature and not checksums.keyring:
        source.fail(found="a signature without a keyring", expected="both; a clearsigned list needs the keyring alone")
    return checksums


def parse_tool(source: Fields) -> ToolRequest:
    return source.build(
        ToolRequest,
        file=source.value("file", check_segment),
        member=source.value("member", check_path, default=""),
    )


def parse_silence(source: Fields) -> Silence:
    return source.build(Silence, image=source.value("image", check_line), reason=source.value("reason", check_line))


def _fact(source: Fields) -> Fact:
    return source.build(Fact, text=source.value("fact", check_line), source=source.value("source", check_line))
