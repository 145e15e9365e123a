"""Documents that count byte by byte, for they are signed: canonical JSON that says first what it is."""

from collections.abc import Callable
from typing import TypeVar

from bundler.errors import InvalidDocument, Malformed, NewerToolNeeded
from bundler.model.document import Fields, Reader

T = TypeVar("T")


def parse_exact(data: bytes, *, path: str, read: Callable[[Fields], T], write: Callable[[T], bytes]) -> T:
    """The value that `read` makes of the fields, of bytes as `write` would write it and no others. Raises Malformed
    with the first problem, and what else `read` raises."""
    try:
        value = read(Reader(file=path).json(data))
    except InvalidDocument as error:
        first = error.problems[0]
        raise Malformed(found=first.found, expected=first.expected) from None
    if write(value) != data:
        raise Malformed(found="another serialisation", expected="canonical JSON")
    return value


def check_kind(
    fields: Fields, *, path: str, types: tuple[str, ...], form: int, features: frozenset[str] = frozenset()
) -> str:
    """Its type, once that, the format and the features that it requires are known here: nothing else has a meaning
    before they are. Raises InvalidDocument, Malformed, NewerToolNeeded."""
    kind, found = fields.text("type"), fields.integer("format")
    requires = fields.values("requires", str, optional=True)
    fields.reader.finish()
    if kind not in types:
        raise Malformed(found=f"the type {kind[:40]!r}", expected=" or ".join(types))
    if found != form:
        raise NewerToolNeeded(path=path, needs=f"format {found}")
    if unknown := sorted(set(requires) - features):
        raise NewerToolNeeded(path=path, needs=f"the features {', '.join(map(repr, unknown))[:200]}")
    return kind
