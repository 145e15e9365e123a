"""The front of a bundle file: its statement and the signatures over it, read before anything is trusted or parsed."""

import re
from collections.abc import Callable

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, SIGNATURE_SIZE, STATEMENT, signature_name
from bundler.errors import HeaderMismatch, NotABundle, TruncatedBundle
from bundler.model.limits import LIMITS

_SIZE = slice(124, 135)  # the size field of a ustar header, eleven octal digits
_OCTAL = re.compile(rb"[0-7]{11}")
_SIGNATURE_NAME = re.compile(rb"bundle\.json\.(ed25519-[0-9a-f]{64})\.sig")

Read = Callable[[int, int], bytes]  # (offset, count): so many bytes from there, fewer only at the end


def begins(head: bytes) -> bool:
    """Whether these 512 bytes are how a bundle begins."""
    size = _size_in(head)
    return size is not None and head == tar.header(name=STATEMENT, size=size)


def read_front(read: Read, *, path: str) -> tuple[bytes, tuple[tuple[str, bytes], ...]]:
    """The statement's exact bytes and the signatures inside the file; offsets only go up.

    Raises NotABundle, HeaderMismatch, TruncatedBundle.
    """
    head = read(0, tar.BLOCK)
    size = _size_in(head)
    named = head.startswith(STATEMENT.encode() + b"\0")
    # A sound header with another name is another tar; one whose checksum is off is our own, damaged.
    if len(head) < tar.BLOCK or (not named and (head[257:262] != b"ustar" or tar.sound(head))):
        raise NotABundle(path=path, why=f"it does not begin with a tar entry named {STATEMENT}")
    if size is None or head != tar.header(name=STATEMENT, size=size):
        raise HeaderMismatch(path=path, entry=STATEMENT, offset=0)
    if size > LIMITS.document:
        raise NotABundle(path=path, why=f"its statement would have {size} bytes")
    statement = read(tar.BLOCK, size)
    if len(statement) < size:
        raise TruncatedBundle(path=path, size=tar.BLOCK + len(statement), expected=tar.BLOCK + size)
    return statement, _signatures(read, tar.BLOCK + size + -size % tar.BLOCK, path)


def _signatures(read: Read, offset: int, path: str) -> tuple[tuple[str, bytes], ...]:
    """The signatures that follow the statement, up to the header of bootstrap.tar."""
    found: list[tuple[str, bytes]] = []
    while True:
        head = read(offset, tar.BLOCK)
        size = _size_in(head)
        if size is not None and head == tar.header(name=BOOTSTRAP, size=size):
            return tuple(found)
        match = _SIGNATURE_NAME.fullmatch(head[:100].rstrip(b"\0"))
        if len(head) < tar.BLOCK:
            raise TruncatedBundle(path=path, size=offset + len(head), expected=offset + tar.BLOCK)
        if match is None or head != tar.header(name=signature_name(STATEMENT, match[1].decode()), size=SIGNATURE_SIZE):
            raise HeaderMismatch(path=path, entry=f"what follows {STATEMENT}", offset=offset)
        if len(found) == LIMITS.signers:
            raise NotABundle(path=path, why=f"it has more than {LIMITS.signers} signatures")
        found.append((match[1].decode(), read(offset + tar.BLOCK, SIGNATURE_SIZE)))
        offset += 2 * tar.BLOCK


def _size_in(head: bytes) -> int | None:
    digits = head[_SIZE]
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None
