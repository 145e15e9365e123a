"""Profiles and component manifests: what a site may contain (manifests/profiles, manifests/components)."""

import re
from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader
from bundler.model.names import check_label, check_segment
from bundler.model.platform import Platform
from bundler.model.reference import Reference

_PYTHON = re.compile(r"3\.(?:[89]|[1-9][0-9])")
_GLIBC = re.compile(r"manylinux_2_([1-9][0-9])|manylinux2014")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9]+)?(?:=[A-Za-z0-9.+~:-]+)?")
_URL = re.compile(r"(?:https?://[^\s/?#@]+/[^\s#]*|file:[^\s#?]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A line of releases and a number that only grows."""

    line: str
    number: int

    def __str__(self) -> str:
        return f"{self.line} {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTarget:
    """The release that OS packages are for: an archive by its role, and its release name."""

    archive: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    name: str
    release: Release
    platforms: tuple[Platform, ...]
    glibc: str  # the oldest among the hosts, as wheels name it: manylinux_2_36 for Debian 12
    bootstrap: tuple[str, ...]  # Python versions that may run the tool itself on the site
    python: tuple[str, ...]  # Python versions that the components' wheels are for
    packages: PackageTarget | None
    components: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    name: str
    url: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    name: str
    images: tuple[Reference, ...]
    wheels: tuple[str, ...]  # requirements (PEP 508)
    debs: tuple[str, ...]  # names, as apt takes them: NAME, NAME=VERSION or an aptitude-style ?pattern
    files: tuple[FileRequest, ...]


def parse_profile(text: str, *, file: str) -> Profile:
    """Read a profile. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    profile = reader.yaml(text).whole(_profile)
    reader.finish()
    return profile


def parse_component(text: str, *, file: str) -> Component:
    """Read a component manifest. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    component = reader.yaml(text).whole(_component)
    reader.finish()
    return component


def parse_release(fields: Fields) -> Release:
    line, number = fields.value("line", check_label), fields.integer("number")
    return fields.build(Release, line=line, number=number)


def parse_python_version(text: str) -> str:
    if not _PYTHON.fullmatch(text):
        raise Malformed(found=repr(text[:40]), expected="a Python version such as 3.11")
    return text


def _profile(fields: Fields) -> Profile:
    return fields.build(
        Profile,
        name=fields.value("profile", check_label),
        release=fields.nested("release", parse_release),
        platforms=fields.values("platforms", Platform.parse),
        glibc=fields.value("glibc", _glibc, default="manylinux2014"),
        bootstrap=fields.nested("bootstrap", _pythons),
        python=fields.values("python", parse_python_version, optional=True),
        packages=fields.nested("packages", _package_target) if fields.has("packages") else None,
        components=fields.values("components", check_label),
    )


def _pythons(fields: Fields) -> tuple[str, ...]:
    return fields.values("python", parse_python_version)


def _package_target(fields: Fields) -> PackageTarget:
    return fields.build(
        PackageTarget,
        archive=fields.value("archive", check_label),
        release=fields.value("release", check_label),
    )


def _glibc(text: str) -> str:
    if not _GLIBC.fullmatch(text):
        raise Malformed(found=repr(text[:40]), expected="manylinux_2_NN or manylinux2014 (PEP 600)")
    return text


def _component(fields: Fields) -> Component:
    return fields.build(
        Component,
        name=fields.value("component", check_label),
        images=fields.values("images", Reference.parse, optional=True),
        wheels=fields.values("wheels", _requirement, optional=True),
        debs=fields.nested("packages", _debs, default=()),
        files=fields.each("files", _file, optional=True),
    )


def _debs(fields: Fields) -> tuple[str, ...]:
    fields.value("format", _deb_format)
    return fields.values("names", _deb_name)


def _deb_format(text: str) -> str:
    if text != "deb":
        raise Malformed(found=repr(text[:40]), expected="deb (rpm is not built yet)")
    return text


def _deb_name(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise Malformed(found=repr(text[:80]), expected="a package name, or NAME=VERSION")
    return text


def _requirement(text: str) -> str:
    # What the resolver reads line by line must be one requirement: no option, no file, no URL, no second line.
    unsafe = not text.isprintable() or any(mark in text for mark in ("@", "\\", "#", "://"))
    if unsafe or text[:1] in ("", "-", ".", " "):
        raise Malformed(found=repr(text[:80]), expected="a requirement such as numpy>=2 (PEP 508, without a URL)")
    return text


def _file(fields: Fields) -> FileRequest:
    return fields.build(
        FileRequest,
        name=fields.value("name", check_segment),
        url=fields.value("url", parse_file_url),
        digest=fields.value("digest", Digest.parse),
    )


def parse_file_url(text: str) -> str:
    """An http(s) URL without credentials, or `file:RELATIVE` below the manifests' `files` folder."""
    if not _URL.fullmatch(text) or not (text.isascii() and text.isprintable()) or len(text) > 2048:
        raise Malformed(found=repr(text[:160]), expected="an http(s) URL without credentials, or file:NAME")
    return text
