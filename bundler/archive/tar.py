"""Tar headers of the one shape that a bundle has: ustar with zeroed owners and times, pax records only for padding
and for names and sizes that ustar cannot hold (POSIX.1-2017 pax, IEEE 1003.1 `ustar` interchange format).

Everything here makes bytes from values; nothing parses a header, because that is where two programs can differ.
"""

BLOCK = 512
ALIGNMENT = 4096  # of bodies that a file system may share (reflink) with a store
ALIGNED_FROM = 64 << 10  # bodies of at least this many bytes are aligned
USTAR_LIMIT = 8 << 30  # the first size that eleven octal digits do not hold
END = bytes(2 * BLOCK)


def header(*, name: str, size: int, aligned: bool = False, offset: int = 0) -> bytes:
    """All bytes before the body of an entry that starts at `offset`.

    With `aligned`, a pax `comment` record pads them so that the body starts on a 4096-byte boundary.
    """
    records = b"" if _split(name) else _record("path", name)
    records += b"" if size < USTAR_LIMIT else _record("size", str(size))
    if aligned:
        records = _padded(records, offset)
    pax = b""
    if records:
        pax = _ustar("pax/" + name[-90:], len(records), b"x") + records + bytes(-len(records) % BLOCK)
    return pax + _ustar(name, size if size < USTAR_LIMIT else 0, b"0")


def padding(size: int) -> bytes:
    """The zeros after a body of `size` bytes."""
    return bytes(-size % BLOCK)


def sound(head: bytes) -> bool:
    """Whether a header block has the checksum of its own bytes, whoever wrote it."""
    return head[148:154] == b"%06o" % (sum(head[:148]) + sum(b" " * 8) + sum(head[156:]))


def _padded(records: bytes, offset: int) -> bytes:
    """Pax records for an aligned body: none when it is aligned already, else `comment` fills up whole blocks."""
    if not records and (offset + BLOCK) % ALIGNMENT == 0:
        return b""
    # The pax header and the ustar header take a block each; the records between take what is missing.
    space = -(offset + 2 * BLOCK) % ALIGNMENT
    while (comment := _comment(space - len(records))) is None:
        space += ALIGNMENT
    return records + comment


def _comment(length: int) -> bytes | None:
    """A comment record of exactly `length` bytes; there is none of 100, 1000 or fewer than 12 bytes."""
    value = length - len(f"{length} comment=\n")
    record = _record("comment", " " * value)
    return record if len(record) == length else None


def _record(key: str, value: str) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself."""
    rest = f" {key}={value}\n".encode("ascii")
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode("ascii") + rest


def _split(name: str) -> tuple[str, str] | None:
    """A name as ustar's prefix and name fields hold it, or None when it is too long for them."""
    if len(name) <= 100:
        return "", name
    prefix, slash, short = name[:156].rpartition("/")
    short += name[156:]
    return (prefix, short) if slash and 0 < len(short) <= 100 else None


def _ustar(name: str, size: int, kind: bytes) -> bytes:
    prefix, short = _split(name) or ("", name[-90:])  # else a pax record has the whole name
    fields = (
        short.encode("ascii").ljust(100, b"\0"),
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
        prefix.encode("ascii").ljust(155, b"\0"),
        bytes(12),
    )
    block = b"".join(fields)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]
