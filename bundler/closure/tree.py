"""YAML as Helm and kubectl write it, bounded: anchors and merge keys are followed, and a scalar keeps its text.

A tag `1.10` must not become the number 1.1; that something is a number or a truth value is still known, because
neither names an image.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from bundler.errors import InvalidDocument, Problem
from bundler.model.limits import LIMITS

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SEPARATOR = re.compile(r"^---(?:[ \t].*)?$\n?", re.MULTILINE)
_SOURCE = re.compile(r"^# Source: (.{1,255})$", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_BOOLEANS = {"true": True, "false": False}
_DEPTH = 128  # a CRD's schema of a pod template is some 70 deep


class Number(str):
    """A plain scalar that YAML reads as a number, as it is written."""

    __slots__ = ()


Tree = dict[str, Any] | list[Any] | str | bool | None
"""Mappings, sequences and scalars; shared where the YAML had an alias, never cyclic."""


class Budget:
    """How many nodes one scan may still look at: aliases can make a small text very large."""

    def __init__(self, *, source: str) -> None:
        self.source, self.left = source, LIMITS.nodes

    def spend(self, count: int = 1) -> None:
        """Raises InvalidDocument once it is used up."""
        self.left -= count
        if self.left < 0:
            raise broken(self.source, 1, "more content than is read of one source", f"at most {LIMITS.nodes} nodes")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a stream; its `source` is what Helm's `# Source:` comment names, else the stream's."""

    source: str
    root: Tree


def broken(source: str, line: int, found: str, expected: str) -> InvalidDocument:
    return InvalidDocument(problems=(Problem(file=source, line=line, found=found, expected=expected),))


def documents(text: str, budget: Budget) -> Iterator[Document]:
    """The documents of a stream, cut where kubectl cuts it. Raises InvalidDocument with the line."""
    if len(text) > LIMITS.document:
        raise broken(budget.source, 1, f"{len(text)} characters", f"at most {LIMITS.document}")
    start = 0
    cuts = [(match.start(), match.end()) for match in _SEPARATOR.finditer(text)]
    for stop, following in [*cuts, (len(text), len(text))]:
        part = text[start:stop]
        named = _SOURCE.search(part)
        lines = text.count("\n", 0, start)
        for root in _build(part, budget, lines):
            yield Document(f"{budget.source}: {named[1]}" if named else budget.source, root)
        start = following


def _build(text: str, budget: Budget, lines: int) -> list[Tree]:
    """Trees from the parser's events, without recursion."""
    stack = [_Open(table=False, anchor=None)]
    anchors: dict[str, Tree] = {}
    line = lines + 1
    try:
        for event in yaml.parse(text, Loader=_Loader):
            line = lines + (event.start_mark.line if event.start_mark else 0) + 1
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                if len(stack) > _DEPTH:
                    raise broken(budget.source, line, "a document too deep", f"{_DEPTH} levels at most")
                stack.append(_Open(table=isinstance(event, yaml.MappingStartEvent), anchor=event.anchor))
                continue
            if isinstance(event, yaml.ScalarEvent):
                tree, anchor = _scalar(event), event.anchor
            elif isinstance(event, yaml.AliasEvent):
                name = str(event.anchor)
                if name not in anchors:
                    raise broken(budget.source, line, f"the alias {name[:80]!r}", "an anchor before it")
                tree, anchor = anchors[name], None
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                done = stack.pop()
                tree, anchor = done.close(budget), done.anchor
            else:
                continue
            budget.spend()
            if anchor:
                anchors[anchor] = tree
            if not stack[-1].add(tree):
                raise broken(budget.source, line, "a collection as a key", "a plain key")
    except yaml.reader.ReaderError as error:
        raise broken(budget.source, line, f"the character {chr(error.character)!r}", "YAML") from None
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else 1
        raise broken(budget.source, lines + at, str(error.problem or "broken YAML")[:160], "YAML") from None
    return stack[0].items


def _scalar(event: yaml.ScalarEvent) -> Tree:
    text = event.value
    plain = event.implicit[0] and not event.style
    if plain and text.lower() in ("", "~", "null"):
        return None
    if plain and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    return Number(text) if plain and _NUMBER.fullmatch(text) else text


class _Open:
    """A collection whose end has not been seen yet."""

    def __init__(self, *, table: bool, anchor: str | None) -> None:
        self.table, self.anchor = table, anchor
        self.items: list[Tree] = []
        self.pairs: dict[str, Any] = {}
        self.merged: list[Tree] = []
        self.key: str | None = None

    def add(self, tree: Tree) -> bool:
        """Take a key, a value or an item; False for a key that is a collection."""
        if not self.table:
            self.items.append(tree)
        elif self.key == "<<" and isinstance(tree, (dict, list)):
            self.merged += tree if isinstance(tree, list) else [tree]
            self.key = None
        elif self.key is not None:
            self.pairs[self.key], self.key = tree, None
        elif isinstance(tree, (dict, list)):
            return False
        else:
            self.key = "null" if tree is None else str(tree).lower() if isinstance(tree, bool) else tree
        return True

    def close(self, budget: Budget) -> Tree:
        if not self.table:
            return self.items
        whole: dict[str, Any] = {}
        for each in reversed(self.merged):  # the first one named wins
            if isinstance(each, dict):
                budget.spend(len(each))
                whole |= each
        return whole | self.pairs
