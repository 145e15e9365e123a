"""Platforms as OCI and Docker write them: os/architecture[/variant]."""

import re
from dataclasses import dataclass

from bundler.errors import Malformed

_PART = re.compile(r"[a-z0-9][a-z0-9_.]*")
# What a registry leaves out: arm64 is v8, and so is arm64/v8 (containerd platforms, normalizeArch).
_IMPLIED_VARIANT = {"arm64": "v8"}


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __post_init__(self) -> None:
        parts = (self.os, self.architecture, *([self.variant] if self.variant else []))
        if not all(_PART.fullmatch(part) for part in parts):
            raise Malformed(found=repr(str(self)[:80]), expected="os/architecture[/variant], such as linux/amd64")

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """Read `linux/amd64` or `linux/arm/v7`. Raises Malformed."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or (len(parts) == 3 and not parts[2]):
            raise Malformed(found=repr(text[:80]), expected="os/architecture[/variant], such as linux/amd64")
        return cls(*parts)

    def matches(self, other: "Platform") -> bool:
        """Whether an image made for `other` is one for this platform; an absent variant is the implied one."""
        implied = _IMPLIED_VARIANT.get(self.architecture, "")
        return (self.os, self.architecture, self.variant or implied) == (
            other.os,
            other.architecture,
            other.variant or implied,
        )

    def __str__(self) -> str:
        return "/".join((self.os, self.architecture, *([self.variant] if self.variant else [])))
