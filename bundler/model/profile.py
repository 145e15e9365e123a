"""Profiles: which components a site has, in which versions, and for which machines (MANIFESTS/profiles/NAME.yaml)."""

import re
from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.document import Fields, Reader
from bundler.model.names import check_label, check_version
from bundler.model.platform import Platform
from bundler.model.scalars import check_license, check_line, check_local, parse_requirement

_PYTHON = re.compile(r"3\.(?:[89]|[1-9][0-9])")
_GLIBC = re.compile(r"manylinux_2_([1-9][0-9])|manylinux2014")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A line of releases and a number that only grows."""

    line: str
    number: int

    def __str__(self) -> str:
        return f"{self.line} {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageTarget:
    """A release that OS packages are for: an archive by its role, and its release name.

    `components` are the archive's parts (`main`, `universe`), empty for those that this machine's apt is set up with.
    `also` are further archives by role and suite (`cuda`, `/`). `status` is a host's dpkg status file (`file:NAME`):
    what is installed there need not be carried; without it the hosts start from nothing.
    """

    archive: str
    release: str
    components: tuple[str, ...] = ()
    also: tuple["ExtraArchive", ...] = ()
    status: str = ""

    @property
    def name(self) -> str:
        return f"{self.archive}/{self.release}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraArchive:
    """`suite` ends in a slash for a flat repository; `keyring` is a `file:` of its keys."""

    archive: str
    suite: str
    components: tuple[str, ...]
    keyring: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A component, in one of its versions where it has several: `NAME` or `NAME@VERSION`."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}" if self.version else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`values` are laid over those of a component's charts, by release name; JSON text."""

    name: str
    about: str
    release: Release
    platforms: tuple[Platform, ...]
    glibc: str  # the oldest among the hosts, as wheels name it: manylinux_2_36 for Debian 12
    bootstrap: tuple[str, ...]  # Python versions that may run the tool itself on the site
    python: tuple[str, ...]  # Python versions that the components' wheels are for
    constraints: tuple[str, ...]  # bounds on projects that somebody else may ask for (pip's constraints)
    packages: tuple[PackageTarget, ...]
    kernels: tuple[str, ...]  # the hosts' kernels, as uname -r says
    components: tuple[Choice, ...]
    values: tuple[tuple[str, str], ...]
    accepted: tuple[str, ...]  # licences that restrict redistribution, and are accepted


def parse_profile(text: str, *, file: str) -> Profile:
    """Read a profile. Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    return reader.yaml(text).document(_profile)


def parse_release(fields: Fields) -> Release:
    line, number = fields.value("line", check_label), fields.integer("number")
    return fields.build(Release, line=line, number=number)


def parse_python_version(text: str) -> str:
    if not _PYTHON.fullmatch(text):
        raise Malformed(found=repr(text[:40]), expected="a Python version such as 3.11")
    return text


def check_glibc(text: str) -> str:
    if not _GLIBC.fullmatch(text):
        raise Malformed(found=repr(text[:40]), expected="manylinux_2_NN or manylinux2014 (PEP 600)")
    return text


def _profile(fields: Fields) -> Profile:
    return fields.build(
        Profile,
        name=fields.value("profile", check_label),
        about=fields.value("about", check_line, default=""),
        release=fields.nested("release", parse_release),
        platforms=fields.values("platforms", Platform.parse),
        glibc=fields.value("glibc", check_glibc, default="manylinux2014"),
        bootstrap=fields.nested("bootstrap", _pythons),
        python=fields.values("python", parse_python_version, optional=True),
        constraints=fields.values("constraints", parse_requirement, optional=True),
        packages=_targets(fields),
        kernels=fields.values("kernels", check_version, optional=True),
        components=fields.values("components", parse_choice),
        values=fields.named("values", Fields.tree, check=check_label),
        accepted=fields.values("accept_license", check_license, optional=True),
    )


def _pythons(fields: Fields) -> tuple[str, ...]:
    return fields.values("python", parse_python_version)


def _targets(fields: Fields) -> tuple[PackageTarget, ...]:
    """A list of targets, or one as a mapping."""
    if not fields.has("packages"):
        return ()
    if fields.is_mapping("packages"):
        return (fields.nested("packages", _target),)
    return fields.each("packages", _target, name=lambda target: target.name)


def _target(fields: Fields) -> PackageTarget:
    return fields.build(
        PackageTarget,
        archive=fields.value("archive", check_label),
        release=fields.value("release", check_label),
        components=fields.values("components", check_label, optional=True),
        also=fields.each("also", _extra, optional=True, name=lambda extra: f"{extra.archive} {extra.suite}"),
        status=fields.value("status", check_local, default=""),
    )


def _extra(fields: Fields) -> ExtraArchive:
    return fields.build(
        ExtraArchive,
        archive=fields.value("archive", check_label),
        suite=fields.value("suite", check_suite),
        components=fields.values("components", check_label, optional=True),
        keyring=fields.value("keyring", check_local),
    )


def check_suite(text: str) -> str:
    """A suite of an archive, or the path of a flat repository. Raises Malformed."""
    if not re.fullmatch(r"[A-Za-z0-9./_-]{1,120}", text) or ".." in text:
        raise Malformed(found=repr(text[:80]), expected="a suite, or a path that ends in / (a flat repository)")
    return text


def parse_choice(text: str) -> Choice:
    """`NAME` or `NAME@VERSION`. Raises Malformed."""
    name, at, version = text.partition("@")
    if at and not version:
        raise Malformed(found=repr(text[:80]), expected="NAME or NAME@VERSION")
    return Choice(name=check_label(name), version=check_label(version) if at else "")
