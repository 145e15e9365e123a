"""Tar headers of the one shape that a bundle has: ustar with zeroed owners and times, pax records only for padding
and for sizes that ustar cannot hold (POSIX.1-2017 pax, IEEE 1003.1 `ustar` interchange format).

Everything here makes bytes from values; nothing reads a header, because reading is where two programs can differ.
"""

from bundler.errors import Malformed

BLOCK = 512
ALIGNMENT = 4096  # of bodies that a file system may share (reflink) with a store
ALIGNED_FROM = 64 << 10  # bodies of at least this many bytes are aligned
USTAR_LIMIT = 8 << 30  # the first size that eleven octal digits do not hold
END = bytes(2 * BLOCK)


def header(*, name: str, size: int, aligned: bool = False, offset: int = 0) -> bytes:
    """All bytes before the body of an entry that starts at `offset`.

    With `aligned`, a pax `comment` record pads them so that the body starts on a 4096-byte boundary.
    """
    records = b"" if size < USTAR_LIMIT else _record("size", str(size))
    if aligned:
        records = _padded(records, offset)
    pax = b""
    if records:
        pax = _ustar("pax/" + name[-90:], len(records), b"x") + records + bytes(-len(records) % BLOCK)
    return pax + _ustar(name, size if size < USTAR_LIMIT else 0, b"0")


def padding(size: int) -> bytes:
    """The zeros after a body of `size` bytes."""
    return bytes(-size % BLOCK)


def _padded(records: bytes, offset: int) -> bytes:
    """Pax records for an aligned body: none when it is aligned already, else `comment` fills up whole blocks."""
    if not records and (offset + BLOCK) % ALIGNMENT == 0:
        return b""
    # The pax header and the ustar header take a block each; the records between take what is missing.
    space = -(offset + 2 * BLOCK) % ALIGNMENT
    while space < len(records) + _shortest_comment():
        space += ALIGNMENT
    return records + _comment(space - len(records))


def _shortest_comment() -> int:
    return len(_record("comment", ""))


def _comment(length: int) -> bytes:
    """A comment record of exactly `length` bytes."""
    value = length
    while value >= 0:
        record = _record("comment", " " * value)
        if len(record) == length:
            return record
        value -= max(1, (len(record) - length) // 2)
    raise Malformed(found=f"{length} bytes", expected="room for a pax comment")


def _record(key: str, value: str) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = f" {key}={value}\n".encode("ascii")
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode("ascii") + rest


def _ustar(name: str, size: int, kind: bytes) -> bytes:
    encoded = name.encode("ascii")
    prefix = b""
    if len(encoded) > 100:
        at = encoded.rfind(b"/", 0, 156)
        prefix, encoded = encoded[:at], encoded[at + 1 :]
    if len(encoded) > 100 or len(prefix) > 155 or not encoded:
        raise Malformed(found=repr(name[:80]), expected="a name that fits a ustar header")
    fields = (
        encoded.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,  # the checksum counts as spaces
        kind,
        bytes(100),
        b"ustar\00000",
        bytes(32),
        bytes(32),
        b"0000000\0",
        b"0000000\0",
        prefix.ljust(155, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
