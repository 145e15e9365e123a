"""Free content, such as a chart's values: from YAML nodes to JSON text, where types count.

A plain scalar means what YAML 1.2's core schema says. Words and numbers that YAML 1.1 readers (Helm's is one) take for
something else are refused: quoted or spelled out, they are the same to everybody.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from bundler.errors import Malformed
from bundler.model.canonical import load
from bundler.model.limits import LIMITS
from bundler.model.nodes import Node, Scalar, Sequence

_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:e[-+]?[0-9]+)?")
_DOUBTFUL = re.compile(
    r"(?i:y|n|yes|no|on|off|true|false|null)|[-+]?0(?:[0-9_]+|b[01_]+|o[0-7_]+|x[0-9a-fA-F_]+)|\+[0-9.]+"
    r"|[0-9]+(?::[0-9]{1,2})+|[-+]?\.(?i:inf|nan)"
    r"|[0-9]+_[0-9_]+|[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+|[-+]?\.[0-9]+|[-+]?[0-9]+\."
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"
)


SPELLED_OUT = "quotes around it, or true, false, or a decimal number"


def doubtful(node: Node) -> Iterator[Scalar]:
    """The plain scalars that mean one thing to one reader and another to the next."""
    if isinstance(node, Scalar):
        if node.plain and _is_doubtful(node.text):
            yield node
        return
    for child in node.items if isinstance(node, Sequence) else node.pairs.values():
        yield from doubtful(child)


def json_of(node: Node) -> str:
    """The node as JSON: one line, sorted keys, equal text for equal values. Raises Malformed with the line."""
    return write_values(_value(node))


def check_values(text: str) -> str:
    """JSON text of an object, exactly as `json_of` writes it. Raises Malformed."""
    value = load(text.encode(), limit=LIMITS.metadata, floats=True)
    if not isinstance(value, dict) or write_values(value) != text:
        raise Malformed(found=repr(text[:80]), expected="a JSON object with sorted keys, without spaces")
    return text


def write_values(value: Any) -> str:
    """A finite JSON value in the one form that `check_values` takes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def overlay(base: str, over: str) -> str:
    """Two JSON objects as Helm merges values: mappings key by key, null takes away, anything else replaces."""
    return write_values(_merged(json.loads(base), json.loads(over)))


def _merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _merged(base.get(key), value) for key, value in over.items()}}


def _value(node: Node) -> Any:
    if isinstance(node, Scalar):
        return _plain(node) if node.plain else node.text
    if isinstance(node, Sequence):
        return [_value(item) for item in node.items]
    return {key: _value(child) for key, child in node.pairs.items()}


def _plain(node: Scalar) -> Any:
    text = node.text
    if text in _WORDS:
        return _WORDS[text]
    if _is_doubtful(text):
        raise Malformed(found=f"{text[:40]} in line {node.line}", expected=SPELLED_OUT)
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _is_doubtful(text: str) -> bool:
    if text in _WORDS:
        return False
    if _INTEGER.fullmatch(text):
        return len(text) > 17 or abs(int(text)) > LIMITS.integer
    if _FLOAT.fullmatch(text):
        return not math.isfinite(float(text))
    return _DOUBTFUL.fullmatch(text) is not None
