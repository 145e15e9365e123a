"""Where the blocks of an .xz file lie (https://tukaani.org/xz/xz-file-format.txt, version 1.1.0)."""

from collections.abc import Iterator

from bundler.patch.bytes_at import Bytes

_CHECKS = {0: 0, 1: 4, 4: 8, 10: 32}  # bytes of each kind of check
_LZMA2 = 0x21
_INDEX = 4 << 20  # bytes of the largest index that is looked at
_BLOCKS = 50_000


def blocks(file: Bytes, start: int, end: int) -> list[tuple[int, int, int]]:
    """For each block of the one stream that the bytes are: where its LZMA2 data begins, their length, and how many
    plain bytes they are. Nothing for what is not such a stream."""
    head, foot = file.read(12, start), file.read(12, max(start, end - 12))
    if len(foot) < 12 or foot[10:] != b"YZ" or foot[8:10] != head[6:8] or head[7] not in _CHECKS:
        return []
    index_size = (int.from_bytes(foot[4:8], "little") + 1) * 4
    index_at = end - 12 - index_size
    if index_at < start + 12 or index_size > _INDEX:
        return []
    found, at = [], start + 12
    for unpadded, plain in _records(file.read(index_size, index_at)):
        length = (file.read(1, at)[0] + 1) * 4 if at < index_at else 0
        size = unpadded - length - _CHECKS[head[7]]
        if not _is_lzma2(file.read(length, at)) or size <= 0:
            return []
        found.append((at + length, size, plain))
        at += unpadded + -unpadded % 4
    return found if at == index_at else []


def _records(index: bytes) -> list[tuple[int, int]]:
    """(unpadded size, plain size) of each block; nothing for what is no index."""
    values = _numbers(index[1:-4])
    count = next(values, 0) if index[:1] == b"\0" else 0
    found = [] if count > _BLOCKS else [(next(values, 0), next(values, 0)) for _ in range(count)]
    return found if all(unpadded and plain for unpadded, plain in found) else []


def _numbers(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0
        elif shift > 63:
            return


def _is_lzma2(head: bytes) -> bool:
    """Whether a block has LZMA2 and nothing else (such as a filter for machine code)."""
    if len(head) < 8 or head[1] & 0x03:
        return False
    at = 2
    for flag in (0x40, 0x80):
        if head[1] & flag:
            while at < len(head) and head[at] & 0x80:
                at += 1
            at += 1
    return at + 2 < len(head) and head[at] == _LZMA2 and head[at + 1] == 1
