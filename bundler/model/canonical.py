"""Canonical JSON: one value, one serialisation. Statements are signed in this form and must come back in it."""

import json
import math
from collections import Counter
from typing import Any

from bundler.errors import Malformed
from bundler.model.limits import LIMITS

Json = dict[str, Any] | list[Any] | str | int | bool | None


def dump(value: Json) -> bytes:
    """Sorted keys, no spaces, ASCII only, one newline at the end."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def load(data: bytes, *, limit: int = LIMITS.document, floats: bool = False) -> Any:
    """Parse JSON within bounds: size, depth, no duplicate keys, integers below 2^53, floats only where asked for.

    Raises Malformed.
    """
    if len(data) > limit:
        raise Malformed(found=f"{len(data)} bytes", expected=f"at most {limit}")
    if sum(map(data.count, (b",", b"[", b"{"))) > LIMITS.nodes:
        raise Malformed(found=f"more than {LIMITS.nodes} values", expected="fewer")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_finite if floats else _no_float,
            parse_constant=_no_float,
            parse_int=_bounded,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Malformed(found=str(error)[:200], expected="JSON") from None
    _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """The parser itself is stopped by the interpreter's recursion guard; this is the bound that we promise."""
    level = [value]
    for _ in range(LIMITS.depth):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise Malformed(found=f"nesting deeper than {LIMITS.depth}", expected="less")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        double = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Malformed(found=f"the key {double[:80]!r} twice", expected="each key once")
    return found


def _no_float(text: str) -> Any:
    raise Malformed(found=text[:40], expected="integers only")


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise Malformed(found=text[:40], expected="a finite number")
    return float(text)


def _bounded(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > LIMITS.integer:
        raise Malformed(found=text[:40], expected="an integer below 2^53")
    return int(text)
