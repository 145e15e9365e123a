"""Strict reading of YAML and JSON documents: every problem at once, each with its line.

A scalar is its text: what it means is decided by the field that holds it, so that the version `3.10` never becomes
the number 3.1.
"""

import re
from collections.abc import Callable, Iterable
from typing import NoReturn, ParamSpec, TypeVar, cast

from bundler.errors import InvalidDocument, Malformed, Problem
from bundler.model import canonical
from bundler.model.limits import LIMITS
from bundler.model.nodes import Node, Scalar, Sequence, Table, from_json, kind_of, read_yaml
from bundler.model.values import SPELLED_OUT, doubtful, json_of

T = TypeVar("T")
P = ParamSpec("P")
_INTEGER = re.compile(r"0|[1-9][0-9]{0,16}")


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
        return self._root(lambda: read_yaml(self, text))

    def json(self, data: bytes, *, limit: int = LIMITS.document) -> "Fields":
        """The fields of a JSON document whose root is an object. Raises InvalidDocument when it is none."""
        return self._root(lambda: from_json(canonical.load(data, limit=limit)))

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
            self.refuse(line=node.line, found=kind_of(node), expected="a mapping")
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

    def line_of(self, key: str) -> int:
        """The line of a key's value; of the mapping itself where it lacks the key."""
        node = self.table.pairs.get(key)
        return self.line if node is None else node.line

    def fail_at(self, key: str, *, found: str, expected: str) -> None:
        """A problem of one key's value that only its context shows, at that value's line."""
        self.fail(found=f"{found} at {self._name(key)!r}", expected=expected, line=self.line_of(key))

    def has(self, key: str) -> bool:
        self.seen.add(key)
        return key in self.table.pairs

    def is_mapping(self, key: str) -> bool:
        return isinstance(self.table.pairs.get(key), Table)

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
        short: str = "",
    ) -> tuple[T, ...]:
        """A list of mappings, each made into a value; a mapping's keys that `build` did not ask for are problems,
        and so is a second value with the same `name`. A scalar stands for a mapping with `short` as its one key."""
        found: list[T] = []
        names: set[str] = set()
        for at, node in self._sequence(key, optional):
            if short and isinstance(node, Scalar):
                node = Table({short: node}, node.line)
            fields = self._table(node, f"{key}[{at}]")
            if fields is not None:
                found.append(fields.whole(build))
                if name and fields.ok and name(found[-1]) in names:
                    fields.fail(found=f"{name(found[-1])[:160]} a second time", expected="each name once")
                elif name and fields.ok:
                    names.add(name(found[-1]))
                self.ok = self.ok and fields.ok
        return tuple(found)

    def named(
        self, key: str, read: Callable[["Fields", str], T], *, check: Callable[[str], str]
    ) -> tuple[tuple[str, T], ...]:
        """An optional mapping from names, which pass `check`, to what `read` takes under each name; by name."""
        node = self._take(key, optional=True)
        inner = self._table(node, key) if node is not None else None
        if inner is None:
            return ()
        for name, child in inner.table.pairs.items():
            inner._scalar(Scalar(name, child.line), name, check)
        found = tuple((name, read(inner, name)) for name in sorted(inner.table.pairs))
        self.ok = self.ok and inner.ok
        return found

    def tree(self, key: str) -> str:
        """An optional mapping of free content, as JSON text (bundler.model.values); `{}` when it is absent."""
        node = self._take(key, optional=True)
        if node is None or self._table(node, key) is None:
            return "{}"
        for scalar in doubtful(node):
            self.fail(found=f"{scalar.text[:40]} in {self._name(key)!r}", expected=SPELLED_OUT, line=scalar.line)
        return self.build(json_of, node)

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

    def document(self, build: Callable[["Fields"], T]) -> T:
        """`whole`, of a document's root. Raises InvalidDocument with all problems."""
        value = self.whole(build)
        self.reader.finish()
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
            self.fail(found=f"{kind_of(node)} at {self._name(key)!r}", expected="a single value", line=node.line)
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
            self.fail(found=f"{kind_of(node)} at {self._name(key)!r}", expected="a list", line=node.line)
            return ()
        return enumerate(node.items)

    def _table(self, node: Node, key: str) -> "Fields | None":
        if not isinstance(node, Table):
            self.fail(found=f"{kind_of(node)} at {self._name(key)!r}", expected="a mapping", line=node.line)
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
