"""On the side that makes patches: which settings of which compressor made a blob's parts."""

from dataclasses import replace

from bundler.errors import Malformed
from bundler.patch.bytes_at import Bytes
from bundler.patch.coders import encoder, usable
from bundler.patch.dissect import dissect
from bundler.patch.parts import RAW, Part, joined, raw
from bundler.patch.plain import decoded
from bundler.support import parallel

_SAMPLE = 256 << 10  # plain bytes by which settings are told apart


def explained(file: Bytes) -> tuple[Part, ...]:
    """The parts of a blob with the settings that make exactly these bytes again; what no known compressor makes stands
    as it is."""
    found: list[Part] = []
    likely: dict[str, str] = {}
    at = 0
    for part in dissect(file):
        coder = _coder(file, at, part, likely.get(part.kind, "")) if part.kind != RAW else ""
        if coder:
            likely[part.kind] = coder
        found.append(replace(part, coder=coder) if coder else raw(part.size))
        at += part.size
    return joined(found)


def _coder(file: Bytes, start: int, part: Part, likely: str) -> str:
    """The settings of a part; those of its neighbour first. Empty when none makes these bytes."""
    try:
        plain, made = _first(file, start, part), file.read(min(part.size, 2 * _SAMPLE), start)
        for coder in dict.fromkeys((likely, *usable(part.kind))):
            if coder and _begins(part, coder, plain, made):
                whole = len(plain) == part.plain and len(made) == part.size
                if whole or _makes(file, start, part, coder):
                    return coder
    except Malformed:  # what follows the front of it is damaged
        pass
    return ""


def _first(file: Bytes, start: int, part: Part) -> bytes:
    found = b""
    for data in decoded(file, start, part):
        found += data
        if len(found) >= _SAMPLE:
            break
    return found[:_SAMPLE]


def _begins(part: Part, coder: str, plain: bytes, made: bytes) -> bool:
    """Whether what the settings make of the first plain bytes begins as the part does."""
    parallel.check_stopping()
    one = encoder(part.kind, coder, part.plain)
    out = one.compress(plain)
    if len(plain) == part.plain:
        out += one.flush()
        return len(out) == part.size and out[: len(made)] == made
    count = min(len(out), len(made))
    return out[:count] == made[:count]


def _makes(file: Bytes, start: int, part: Part, coder: str) -> bool:
    """The same of the whole part."""
    one, at, end = encoder(part.kind, coder, part.plain), start, start + part.size
    for data in decoded(file, start, part):
        parallel.check_stopping()
        out = one.compress(data)
        if at + len(out) > end or file.read(len(out), at) != out:
            return False
        at += len(out)
    out = one.flush()
    return at + len(out) == end and file.read(len(out), at) == out
