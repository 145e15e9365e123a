"""The nodes of a YAML or JSON document: scalars as text with their lines, read strictly and without recursion.

The YAML taken is the plain kind: mappings, sequences and scalars; no anchors, aliases, tags, or second document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from bundler.errors import Malformed
from bundler.model.limits import LIMITS

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """`plain`: written without quotes, so that `3` may mean a number."""

    text: str
    line: int
    plain: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple["Node", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Table:
    pairs: Mapping[str, "Node"]
    line: int


Node = Scalar | Sequence | Table


class Problems(Protocol):
    """Whom problems are told: `note` goes on, `refuse` does not come back."""

    def note(self, *, line: int, found: str, expected: str) -> None: ...

    def refuse(self, *, line: int, found: str, expected: str) -> Any: ...


def kind_of(node: Node) -> str:
    if isinstance(node, Scalar):
        return repr(node.text[:40])
    return "a mapping" if isinstance(node, Table) else "a list"


def from_json(value: Any) -> Node:
    """A parsed JSON value (bounded in depth by `canonical.load`) as nodes of line 1."""
    if isinstance(value, dict):
        return Table({key: from_json(child) for key, child in value.items()}, 1)
    if isinstance(value, list):
        return Sequence(tuple(from_json(child) for child in value), 1)
    if isinstance(value, bool):
        return Scalar("true" if value else "false", 1, plain=True)
    return Scalar("" if value is None else str(value), 1, plain=not isinstance(value, str))


def read_yaml(reader: Problems, text: str) -> Node:
    """Build nodes from the parser's events, without recursion."""
    if len(text) > LIMITS.document:
        raise Malformed(found=f"{len(text)} characters", expected=f"at most {LIMITS.document}")
    stack: list[_Open] = [_Open(line=1, table=False)]
    count = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            count += 1
            line = event.start_mark.line + 1 if event.start_mark else 1
            _refuse_features(reader, event, line, deep=count > LIMITS.nodes or len(stack) > LIMITS.depth)
            if isinstance(event, yaml.ScalarEvent):
                stack[-1].add(reader, Scalar(event.value, line, plain=event.style in (None, "")))
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                stack.append(_Open(line=line, table=isinstance(event, yaml.MappingStartEvent)))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                done = stack.pop().close()
                stack[-1].add(reader, done)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, text.find(chr(error.character))) + 1  # its first occurrence stops the parser
        reader.refuse(line=line, found=f"the character {chr(error.character)!r}", expected="YAML")
    except UnicodeEncodeError as error:
        reader.refuse(line=text.count("\n", 0, error.start) + 1, found="half of a surrogate pair", expected="YAML")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reader.refuse(line=line, found=f"broken YAML ({error.problem})", expected="YAML")
    items = stack[0].items
    if len(items) != 1:
        line = items[1].line if items else 1
        reader.refuse(line=line, found=f"{len(items)} documents", expected="one YAML document")
    return items[0]


def _refuse_features(reader: Problems, event: Any, line: int, *, deep: bool) -> None:
    if deep:
        reader.refuse(line=line, found="a document too deep or too long", expected="less")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        reader.refuse(line=line, found="an anchor or alias", expected="plain YAML without them")
    if getattr(event, "tag", None) not in (None, "!"):
        reader.refuse(line=line, found=f"the tag {event.tag!r}", expected="plain YAML without tags")


class _Open:
    """A collection whose end has not been seen yet."""

    def __init__(self, *, line: int, table: bool) -> None:
        self.line, self.table = line, table
        self.items: list[Node] = []
        self.pairs: dict[str, Node] = {}
        self.key: str | None = None

    def add(self, reader: Problems, node: Node) -> None:
        if not self.table:
            self.items.append(node)
        elif self.key is not None:
            self.pairs[self.key], self.key = node, None
        elif not isinstance(node, Scalar):
            reader.refuse(line=node.line, found=f"{kind_of(node)} as a key", expected="a plain key")
        else:
            if node.text in self.pairs:
                reader.note(line=node.line, found=f"the key {node.text[:80]!r} twice", expected="each key once")
            self.key = node.text

    def close(self) -> Node:
        return Table(self.pairs, self.line) if self.table else Sequence(tuple(self.items), self.line)
