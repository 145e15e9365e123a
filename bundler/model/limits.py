"""Bounds for everything that is read from outside, in one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes in bytes, the rest in counts. Integers stay below 2^53, where every JSON reader is exact."""

    document: int = 64 << 20  # a lock, a profile, a statement
    manifest: int = 4 << 20  # one registry manifest; what distribution accepts
    metadata: int = 8 << 20  # a wheel's METADATA, a Packages stanza
    index_page: int = 64 << 20  # one project page of a package index
    token: int = 64 << 10  # an authentication answer
    depth: int = 64  # nesting of any document
    nodes: int = 2_000_000  # scalars and collections in one document
    entries: int = 200_000  # entries in a bundle
    signers: int = 16
    problems: int = 100  # findings shown of one document
    name: int = 255  # one path segment
    integer: int = (1 << 53) - 1
    segments: int = 127  # layers of an image


LIMITS = Limits()
