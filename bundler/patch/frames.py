"""Where zstd frames end, told from their heads alone (RFC 8878): nothing is decompressed for it."""

from bundler.patch.bytes_at import Bytes

MAGIC = b"\x28\xb5\x2f\xfd"
WINDOW = 128 << 20  # the largest that is taken: what `zstd --ultra` makes without --long
_BLOCK_MAX = 128 << 10


def frame(file: Bytes, start: int, end: int) -> tuple[int, int] | None:
    """The length of the frame that begins here, and the most plain bytes that it can have; None when it is none, needs
    a dictionary, or has too large a window."""
    head = file.read(18, start)
    if not head.startswith(MAGIC) or len(head) < 9:
        return None
    flags = head[4]
    single, checksum = flags >> 5 & 1, flags >> 2 & 1
    size_field = (single, 2, 4, 8)[flags >> 6]
    if flags & 0b1011:  # what is reserved, and a dictionary
        return None
    window = 0 if single else (1 << 10 + (head[5] >> 3)) + (1 << 10 + (head[5] >> 3)) // 8 * (head[5] & 7)
    if single:
        window = int.from_bytes(head[5 : 5 + size_field], "little") + (256 if size_field == 2 else 0)
    if window > WINDOW:
        return None
    at, most, last = start + 5 + (not single) + size_field, 0, 0
    while not last:
        head = file.read(3, at)
        if len(head) < 3 or at + 3 > end:
            return None
        block = int.from_bytes(head, "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        if kind == 3 or (size > _BLOCK_MAX and kind != 1):
            return None
        at += 3 + (1 if kind == 1 else size)
        most += _BLOCK_MAX if kind == 2 else size
    at += 4 * checksum
    return (at - start, most) if at <= end else None
