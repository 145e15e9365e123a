"""Strict reading of YAML and JSON documents: every problem at once, each with its line.

The YAML taken is the plain kind: mappings, sequences and scalars; no anchors, aliases, tags, or second
document. A scalar is its text: what it means is decided by the field that holds it, so that the version `3.10`
never becomes the number 3.1.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

import yaml

from bundler.errors import InvalidDocument, Malformed, Problem
from bundler.model import canonical
from bundler.model.limits import LIMITS

T = TypeVar("T")
P = ParamSpec("P")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,16}")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple["Node", ...]
    line: int


@dataclass(frozen=True, slots=True)
class Table:
    pairs: Mapping[str, "Node"]
    line: int


Node = Scalar | Sequence | Table


class Reader:
    """Collects the problems of one document; `finish` raises them all as InvalidDocument."""

    def __init__(self, *, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def note(self, *, line: int, found: str, expected: str) -> None:
        if len(self.problems) < LIMITS.problems:
            self.problems.append(Problem(file=self.file, line=line, found=found, expected=expected))

    def yaml(self, text: str) -> "Fields":
        """The fields of a YAML document whose root is a mapping. Raises InvalidDocument when it is none."""
        return self._root(lambda: _read_yaml(self, text))

    def json(self, data: bytes, *, limit: int = LIMITS.document) -> "Fields":
        """The fields of a JSON document whose root is an object. Raises InvalidDocument when it is none."""
        return self._root(lambda: _from_json(canonical.load(data, limit=limit)))

    def refuse(self, *, line: int, found: str, expected: str) -> NoReturn:
        """Give up on the whole document. Raises InvalidDocument."""
        raise InvalidDocument(
            problems=(*self.problems, Problem(file=self.file, line=line, found=found, expected=expected))
        )

    def _root(self, read: Callable[[], Node]) -> "Fields":
        try:
            node = read()
        except Malformed as error:
            self.refuse(line=1, found=error.found, expected=error.expected)
        if not isinstance(node, Table):
            self.refuse(line=node.line, found=_kind(node), expected="a mapping")
        self.finish()
        return Fields(reader=self, table=node, path="")

    def finish(self) -> None:
        if self.problems:
            raise InvalidDocument(problems=tuple(sorted(self.problems, key=lambda problem: problem.line)))


class Fields:
    """The keys of one mapping, read one by one.

    A reader that fails notes the problem and gives back None under the type asked for; `build` makes the value only
    when nothing in this mapping failed, so a None never gets into a value.
    """

    def __init__(self, *, reader: Reader, table: Table, path: str) -> None:
        self.reader, self.table, self.path = reader, table, path
        self.line = table.line
        self.ok = True
        self.seen: set[str] = set()

    def fail(self, *, found: str, expected: str, line: int = 0) -> None:
        self.ok = False
        self.reader.note(line=line or self.line, found=found, expected=expected)

    def has(self, key: str) -> bool:
        self.seen.add(key)
        return key in self.table.pairs

    def value(self, key: str, parse: Callable[[str], T], *, default: T | None = None) -> T:
        """One scalar through its parser, which raises Malformed."""
        node = self._take(key, optional=default is not None)
        if node is None:
            return cast(T, default)
        return self._scalar(node, key, parse)

    def text(self, key: str, *, default: str | None = None) -> str:
        return self.value(key, str, default=default)

    def integer(self, key: str, *, default: int | None = None) -> int:
        """A whole number from 0 to 2^53-1."""
        return self.value(key, parse_integer, default=default)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        return self.value(key, _parse_flag, default=default)

    def values(self, key: str, parse: Callable[[str], T], *, optional: bool = False) -> tuple[T, ...]:
        """A list of scalars, each through its parser."""
        return tuple(self._scalar(node, f"{key}[{at}]", parse) for at, node in self._sequence(key, optional))

    def each(
        self,
        key: str,
        build: Callable[["Fields"], T],
        *,
        optional: bool = False,
        name: Callable[[T], str] | None = None,
    ) -> tuple[T, ...]:
        """A list of mappings, each made into a value; a mapping's keys that `build` did not ask for are problems,
        and so is a second value with the same `name`."""
        found: list[T] = []
        names: set[str] = set()
        for at, node in self._sequence(key, optional):
            fields = self._table(node, f"{key}[{at}]")
            if fields is not None:
                found.append(fields.whole(build))
                if name and fields.ok and name(found[-1]) in names:
                    fields.fail(found=f"{name(found[-1])[:160]} a second time", expected="each name once")
                elif name and fields.ok:
                    names.add(name(found[-1]))
                self.ok = self.ok and fields.ok
        return tuple(found)

    def nested(self, key: str, build: Callable[["Fields"], T], *, default: T | None = None) -> T:
        """A mapping under one key, made into a value."""
        node = self._take(key, optional=default is not None)
        fields = self._table(node, key) if node is not None else None
        if fields is None:
            return cast(T, default)
        value = fields.whole(build)
        self.ok = self.ok and fields.ok
        return value

    def whole(self, build: Callable[["Fields"], T]) -> T:
        """`build` over these fields, then a problem for each key that it did not ask for."""
        value = build(self)
        unknown = set(self.table.pairs) - self.seen
        for key in sorted(unknown):
            known = ", ".join(sorted(self.seen))
            self.fail(found=f"the unknown key {self._name(key)!r}", expected=known, line=self.table.pairs[key].line)
        return value

    def build(self, make: Callable[P, T], *args: P.args, **facts: P.kwargs) -> T:
        """Call `make` if nothing failed so far; its Malformed becomes a problem of this mapping."""
        if not self.ok:
            return cast(T, None)
        try:
            return make(*args, **facts)
        except Malformed as error:
            self.fail(found=error.found, expected=error.expected)
            return cast(T, None)

    def _name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _take(self, key: str, *, optional: bool) -> Node | None:
        self.seen.add(key)
        node = self.table.pairs.get(key)
        if node is None and not optional:
            self.fail(found=f"no key {self._name(key)!r}", expected="it to be there")
        return node

    def _scalar(self, node: Node, key: str, parse: Callable[[str], T]) -> T:
        if not isinstance(node, Scalar):
            self.fail(found=f"{_kind(node)} at {self._name(key)!r}", expected="a single value", line=node.line)
            return cast(T, None)
        try:
            return parse(node.text)
        except Malformed as error:
            self.fail(found=f"{error.found} at {self._name(key)!r}", expected=error.expected, line=node.line)
            return cast(T, None)

    def _sequence(self, key: str, optional: bool) -> Iterable[tuple[int, Node]]:
        node = self._take(key, optional=optional)
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.fail(found=f"{_kind(node)} at {self._name(key)!r}", expected="a list", line=node.line)
            return ()
        return enumerate(node.items)

    def _table(self, node: Node, key: str) -> "Fields | None":
        if not isinstance(node, Table):
            self.fail(found=f"{_kind(node)} at {self._name(key)!r}", expected="a mapping", line=node.line)
            return None
        return Fields(reader=self.reader, table=node, path=self._name(key))


def parse_integer(text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > LIMITS.integer:
        raise Malformed(found=repr(text[:40]), expected="a whole number from 0 to 2^53-1")
    return int(text)


def _parse_flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise Malformed(found=repr(text[:40]), expected="true or false")
    return text == "true"


def _kind(node: Node) -> str:
    if isinstance(node, Scalar):
        return repr(node.text[:40])
    return "a mapping" if isinstance(node, Table) else "a list"


def _from_json(value: Any) -> Node:
    """A parsed JSON value (bounded in depth by `canonical.load`) as nodes of line 1."""
    if isinstance(value, dict):
        return Table({key: _from_json(child) for key, child in value.items()}, 1)
    if isinstance(value, list):
        return Sequence(tuple(_from_json(child) for child in value), 1)
    if isinstance(value, bool):
        return Scalar("true" if value else "false", 1)
    return Scalar("" if value is None else str(value), 1)


def _read_yaml(reader: Reader, text: str) -> Node:
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
                stack[-1].add(reader, Scalar(event.value, line))
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
        reader.refuse(line=line, found=str(error.problem), expected="YAML")
    items = stack[0].items
    if len(items) != 1:
        line = items[1].line if items else 1
        reader.refuse(line=line, found=f"{len(items)} documents", expected="one YAML document")
    return items[0]


def _refuse_features(reader: Reader, event: Any, line: int, *, deep: bool) -> None:
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

    def add(self, reader: Reader, node: Node) -> None:
        if not self.table:
            self.items.append(node)
        elif self.key is not None:
            self.pairs[self.key], self.key = node, None
        elif not isinstance(node, Scalar):
            reader.refuse(line=node.line, found=f"{_kind(node)} as a key", expected="a plain key")
        else:
            if node.text in self.pairs:
                reader.note(line=node.line, found=f"the key {node.text[:80]!r} twice", expected="each key once")
            self.key = node.text

    def close(self) -> Node:
        return Table(self.pairs, self.line) if self.table else Sequence(tuple(self.items), self.line)
