"""Names that become one path segment somewhere."""

import re

from bundler.errors import Malformed
from bundler.model.limits import LIMITS

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def check_segment(text: str) -> str:
    """A file name that is safe everywhere: one path segment `[A-Za-z0-9][A-Za-z0-9._+~-]*`. Raises Malformed."""
    if len(text) > LIMITS.name or not _SEGMENT.fullmatch(text):
        raise Malformed(found=repr(text[:80]), expected="a file name of [A-Za-z0-9][A-Za-z0-9._+~-]*")
    return text


def check_label(text: str) -> str:
    """A name of a profile, component, archive, suite or release line: lower case, digits, dot and dash."""
    if len(text) > 63 or not _LABEL.fullmatch(text):
        raise Malformed(found=repr(text[:80]), expected="a name of [a-z0-9.-], 63 characters at most")
    return text


def check_version(text: str) -> str:
    """A version as it is shown and written into file formats: ASCII from `!` to `~`. Raises Malformed."""
    if not text or len(text) > LIMITS.name or any(not "!" <= mark <= "~" for mark in text):
        raise Malformed(found=repr(text[:80]), expected="a version, without spaces")
    return text


def check_path(text: str) -> str:
    """A relative path of safe segments (an archive's pool path). Raises Malformed."""
    if len(text) > 1024:
        raise Malformed(found=repr(text[:80]), expected="a path of 1024 characters at most")
    for segment in text.split("/"):
        check_segment(segment)
    return text
