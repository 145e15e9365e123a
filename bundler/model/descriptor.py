"""OCI content descriptors: what a blob is, its digest and its size (image-spec, descriptor.md)."""

import re
from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS

# RFC 6838 section 4.2, as image-spec asks.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Descriptor:
    """`size` is in bytes."""

    media_type: str
    digest: Digest
    size: int

    def __post_init__(self) -> None:
        if not _MEDIA_TYPE.fullmatch(self.media_type):
            raise Malformed(found=repr(self.media_type[:80]), expected="a media type (RFC 6838)")
        if not 0 <= self.size <= LIMITS.integer:
            raise Malformed(found=str(self.size), expected="a size from 0 to 2^53-1")
