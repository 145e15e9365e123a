"""SHA-256 digests, the only kind there is here. Always written `sha256:<hex>` (OCI image-spec, descriptor.md)."""

import hashlib
import re
from dataclasses import dataclass

from bundler.errors import Malformed

_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest. The constructor refuses anything but 64 lower-case hex digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.fullmatch(self.hex):
            raise Malformed(found=repr(self.hex[:80]), expected="64 lower-case hex digits")

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Read `sha256:<hex>`. Raises Malformed, naming another algorithm if there is one."""
        algorithm, colon, rest = text.partition(":")
        if algorithm != "sha256" or not colon:
            raise Malformed(found=repr(text[:80]), expected="sha256:<64 hex digits>; no other algorithm is taken")
        return cls(rest)

    @classmethod
    def of(cls, data: bytes) -> "Digest":
        return cls(hashlib.sha256(data).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
