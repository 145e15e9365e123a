"""Single values of manifests and locks, each read in one place."""

import re
from datetime import UTC, datetime

from bundler.errors import Malformed
from bundler.model.names import check_label, check_segment
from bundler.model.reference import is_repository

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](?::[a-z0-9]+)?(?:=[A-Za-z0-9.+~:-]+)?")
_URL = re.compile(r"(?:https?://[^\s/?#@]+/[^\s#]*|file:[^\s#?]+)")
_REPOSITORY = re.compile(r"https?://[^\s?#@]+|oci://[^\s/?#@]+/[^\s?#@]+|file:[^\s#?]+")
_IMAGE_SOURCE = re.compile(r"(?:oci|docker-archive):[^\s#?]+|docker-daemon:[^\s]+")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
KERNEL = "{kernel}"  # in a package's name: one package for each kernel that the profile names


def check_line(text: str) -> str:
    """One line of printable text. Raises Malformed."""
    if not text.strip() or not text.isprintable() or len(text) > 1000:
        raise Malformed(found=repr(text[:80]), expected="one line of text, 1000 characters at most")
    return text


def check_license(text: str) -> str:
    """The name of a licence, such as NVIDIA-Driver. Raises Malformed."""
    try:
        return check_segment(text)
    except Malformed as error:
        raise Malformed(found=error.found, expected="the name of a licence: [A-Za-z0-9][A-Za-z0-9._+~-]*") from None


def check_chart_name(text: str) -> str:
    """A label that can also be the last component of a repository path. Raises Malformed."""
    if not is_repository(text):
        raise Malformed(found=repr(text[:80]), expected="a chart's name: lower-case words, joined by - or .")
    return check_label(text)


def check_tool(text: str) -> str:
    if text not in ("helm", "kubeadm", "cephadm"):
        raise Malformed(found=repr(text[:40]), expected="helm, kubeadm or cephadm")
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


def parse_image_source(text: str) -> str:
    """Where an image comes from when it is no registry. Raises Malformed."""
    if not _IMAGE_SOURCE.fullmatch(text):
        raise Malformed(found=_shown(text), expected="oci:PATH, docker-archive:PATH or docker-daemon:NAME")
    if not text.startswith("docker-daemon:"):
        _check_below(text)
    return text


def parse_repository(text: str) -> str:
    """A chart repository: http(s), `oci://HOST/PATH`, or `file:RELATIVE` below the manifests' `charts` folder."""
    if not _REPOSITORY.fullmatch(text) or not (text.isascii() and text.isprintable()) or len(text) > 2048:
        raise Malformed(found=_shown(text), expected="an http(s) URL without credentials, oci://HOST/PATH or file:PATH")
    if text.startswith("file:"):
        _check_below(text)
    return text.rstrip("/")


def parse_file_url(text: str) -> str:
    """An http(s) URL without credentials, or `file:RELATIVE` below the manifests' `files` folder."""
    if not _URL.fullmatch(text) or not (text.isascii() and text.isprintable()) or len(text) > 2048:
        raise Malformed(found=_shown(text), expected="an http(s) URL without credentials, or file:NAME")
    if text.startswith("file:"):
        _check_below(text)
    return text


def check_local(text: str) -> str:
    """`file:RELATIVE` below the manifests' `files` folder. Raises Malformed."""
    if not text.startswith("file:"):
        raise Malformed(found=repr(text[:80]), expected="file:NAME")
    return parse_file_url(text)


def _check_below(text: str) -> None:
    """The path after the colon is relative and made of names. Raises Malformed."""
    scheme, _, path = text.partition(":")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise Malformed(found=_shown(text), expected=f"{scheme}:PATH below its folder, without . and ..")


def _shown(text: str) -> str:
    """A value in a message, which ends in logs: without what may be secret in a URL."""
    return repr(re.sub(r"\?[^\s]*", "?...", re.sub(r"//[^/@\s]*@", "//...@", text))[:160])


def parse_time(text: str) -> datetime:
    """A time in whole seconds. Raises Malformed."""
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise Malformed(found=repr(text[:40]), expected="a UTC time such as 2026-01-02T03:04:05Z") from None


def write_time(time: datetime) -> str:
    return time.astimezone(UTC).strftime(_TIME)
