"""Component manifests: what one part of a site needs (MANIFESTS/components/NAME.yaml).

What all versions of a component need stands at the top; what one version needs, under `versions`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.names import check_label, check_path, check_segment, check_version
from bundler.model.reference import Reference, is_repository

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9]+)?(?:=[A-Za-z0-9.+~:-]+)?")
KERNEL = "{kernel}"  # in a package's name: one package for each kernel that the profile names
_URL = re.compile(r"(?:https?://[^\s/?#@]+/[^\s#]*|file:[^\s#?]+)")
_REPOSITORY = re.compile(r"https?://[^\s?#@]+|oci://[^\s/?#@]+/[^\s?#@]+|file:[^\s#?]+")
_IMAGE_SOURCE = re.compile(r"(?:oci|docker-archive):[^\s#?]+|docker-daemon:[^\s]+")


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


def parse_component(text: str, *, file: str) -> Component:
    """Read a component manifest. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    component = reader.yaml(text).whole(_component)
    reader.finish()
    return component


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


def parse_image_source(text: str) -> str:
    """Where an image comes from when it is no registry. Raises Malformed."""
    if not _IMAGE_SOURCE.fullmatch(text):
        raise Malformed(found=_shown(text), expected="oci:PATH, docker-archive:PATH or docker-daemon:NAME")
    if not text.startswith("docker-daemon:"):
        _check_below(text)
    return text


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


def check_package(text: str) -> str:
    """A Debian package's name, `NAME=VERSION`, or one with `{kernel}` in it. Raises Malformed."""
    if not _PACKAGE.fullmatch(text.replace(KERNEL, "kernel")):
        raise Malformed(found=repr(text[:80]), expected="a package name, or NAME=VERSION")
    return text


def parse_requirement(text: str) -> str:
    # What the resolver reads line by line must be one requirement: no option, no file, no URL, no second line.
    unsafe = not text.isprintable() or any(mark in text for mark in ("@", "\\", "#", "://"))
    if unsafe or text[:1] in ("", "-", ".", " "):
        raise Malformed(found=_shown(text), expected="a requirement such as numpy>=2 (PEP 508, without a URL)")
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


def parse_file_url(text: str) -> str:
    """An http(s) URL without credentials, or `file:RELATIVE` below the manifests' `files` folder."""
    if not _URL.fullmatch(text) or not (text.isascii() and text.isprintable()) or len(text) > 2048:
        raise Malformed(found=_shown(text), expected="an http(s) URL without credentials, or file:NAME")
    if text.startswith("file:"):
        _check_below(text)
    return text


def _check_below(text: str) -> None:
    """The path after the colon is relative and made of names. Raises Malformed."""
    scheme, _, path = text.partition(":")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise Malformed(found=_shown(text), expected=f"{scheme}:PATH below its folder, without . and ..")


def _shown(text: str) -> str:
    """A value in a message, which ends in logs: without what may be secret in a URL."""
    return repr(re.sub(r"\?[^\s]*", "?...", re.sub(r"//[^/@\s]*@", "//...@", text))[:160])


def parse_repository(text: str) -> str:
    """A chart repository: http(s), `oci://HOST/PATH`, or `file:RELATIVE` below the manifests' `charts` folder."""
    if not _REPOSITORY.fullmatch(text) or not (text.isascii() and text.isprintable()) or len(text) > 2048:
        raise Malformed(found=_shown(text), expected="an http(s) URL without credentials, oci://HOST/PATH or file:PATH")
    if text.startswith("file:"):
        _check_below(text)
    return text.rstrip("/")


def check_chart_name(text: str) -> str:
    """A label that can also be the last component of a repository path. Raises Malformed."""
    if not is_repository(text):
        raise Malformed(found=repr(text[:80]), expected="a chart's name: lower-case words, joined by - or .")
    return check_label(text)


def check_license(text: str) -> str:
    """The name of a licence, such as NVIDIA-Driver. Raises Malformed."""
    try:
        return check_segment(text)
    except Malformed as error:
        raise Malformed(found=error.found, expected="the name of a licence: [A-Za-z0-9][A-Za-z0-9._+~-]*") from None


def check_line(text: str) -> str:
    """One line of printable text. Raises Malformed."""
    if not text.strip() or not text.isprintable() or len(text) > 1000:
        raise Malformed(found=repr(text[:80]), expected="one line of text, 1000 characters at most")
    return text


def check_local(text: str) -> str:
    """`file:RELATIVE` below the manifests' `files` folder. Raises Malformed."""
    if not text.startswith("file:"):
        raise Malformed(found=repr(text[:80]), expected="file:NAME")
    return parse_file_url(text)


def parse_tool(source: Fields) -> ToolRequest:
    return source.build(
        ToolRequest,
        file=source.value("file", check_segment),
        member=source.value("member", check_path, default=""),
    )


def check_tool(text: str) -> str:
    if text not in ("helm", "kubeadm", "cephadm"):
        raise Malformed(found=repr(text[:40]), expected="helm, kubeadm or cephadm")
    return text


def parse_silence(source: Fields) -> Silence:
    return source.build(Silence, image=source.value("image", check_line), reason=source.value("reason", check_line))


def _fact(source: Fields) -> Fact:
    return source.build(Fact, text=source.value("fact", check_line), source=source.value("source", check_line))
