"""YAML that others wrote: index.yaml, Chart.yaml. Anchors and aliases are taken, and what they stand for is bounded."""

from collections.abc import Sequence as Listing
from dataclasses import dataclass, field

import yaml

from bundler.errors import InvalidDocument, Malformed, Problem
from bundler.model.limits import LIMITS
from bundler.model.nodes import Node, Scalar, Sequence, Table

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_EVENTS = 8_000_000  # of one document: libyaml makes some 300,000 a second


def read_yaml(data: bytes, *, file: str, below: Listing[str] = ()) -> Node | None:
    """A document, or of a large one only what is below these keys: None when it has none of them. `file` is for errors.

    Raises InvalidDocument, also for more than LIMITS.nodes values with each alias counted for what it stands for.
    """
    builder = _Builder(tuple(below))
    line = skipped = 0
    try:
        if len(data) > LIMITS.document:
            raise Malformed(found=f"{len(data)} bytes", expected=f"at most {LIMITS.document}")
        for count, event in enumerate(yaml.parse(data, Loader=_Loader)):
            if count > _EVENTS:
                raise Malformed(found="a longer document", expected=f"{_EVENTS} tokens at most")
            if skipped:  # most of an index: nothing is made of it
                skipped += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                continue
            line = event.start_mark.line + 1 if event.start_mark else line
            skipped = not builder.take(event, line)
        if not builder.documents:
            raise Malformed(found="no document", expected="one")
        return builder.found
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark.line + 1 if error.problem_mark else line
        problem = Problem(file=file, line=at, found=str(error.problem)[:200], expected="YAML")
    except (yaml.YAMLError, UnicodeError) as error:
        problem = Problem(file=file, line=line + 1, found=str(error).partition("\n")[0][:200], expected="YAML")
    except Malformed as error:
        problem = Problem(file=file, line=max(line, 1), found=error.found, expected=error.expected)
    raise InvalidDocument(problems=(problem,)) from None


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen. `weight` counts its values; `kept` unless it is only on the way to what
    is looked for."""

    table: bool
    line: int
    anchor: str | None
    kept: bool
    weight: int = 1
    items: list[Node] = field(default_factory=list)
    pairs: dict[str, Node] = field(default_factory=dict)
    key: str | None = None


class _Builder:
    """Takes the parser's events; keeps nodes only from where it is told to."""

    def __init__(self, below: tuple[str, ...]) -> None:
        self._below = below
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self.found: Node | None = None
        self.documents = 0

    def take(self, event: yaml.Event, line: int) -> bool:
        """False for the start of a collection that is not looked for: up to its end nothing more is to be taken."""
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise Malformed(found="a second document", expected="one")
        elif isinstance(event, yaml.ScalarEvent):
            self._add(Scalar(event.value, line, plain=event.style in (None, "")), 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._add(*(self._aliased(str(event.anchor)) if self._kept() else (Scalar("", line), 1)), None)
        elif isinstance(event, yaml.CollectionStartEvent):
            return self._open(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            node: Node = Table(done.pairs, done.line) if done.table else Sequence(tuple(done.items), done.line)
            self._add(node, done.weight, done.anchor)
        return True

    def _aliased(self, anchor: str) -> tuple[Node, int]:
        if anchor not in self._anchors:
            raise Malformed(found=f"the alias {anchor[:40]!r}", expected="an anchor before it")
        return self._anchors[anchor]

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> bool:
        top = self._stack[-1] if self._stack else None
        if top is not None and top.table and top.key is None:
            raise Malformed(found="a collection as a key", expected="a plain key")
        kept = self._kept()
        table = isinstance(event, yaml.MappingStartEvent)
        if not kept and not (table and self._on_the_way()):
            if top is not None:
                top.key = None
            return False
        self._stack.append(_Open(table=table, line=line, anchor=event.anchor, kept=kept))
        if len(self._stack) > LIMITS.depth:
            raise Malformed(found=f"nesting deeper than {LIMITS.depth}", expected="less")
        return True

    def _on_the_way(self) -> bool:
        """Whether what comes now is a mapping that has what is looked for somewhere below it."""
        return not self._stack or self._stack[-1].key == self._below[len(self._stack) - 1]

    def _kept(self) -> bool:
        if not self._stack or self._stack[-1].kept:
            return not self._below or bool(self._stack)
        return len(self._stack) == len(self._below) and self._on_the_way()

    def _add(self, node: Node, weight: int, anchor: str | None) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and top.table and top.key is None:
            if not isinstance(node, Scalar):
                raise Malformed(found="a collection as a key", expected="a plain key")
            if node.text in top.pairs:
                raise Malformed(found=f"the key {node.text[:80]!r} twice", expected="each key once")
            top.key = node.text
            return
        if self._kept():
            if anchor is not None:
                self._anchors[anchor] = (node, weight)
            if top is not None and top.kept:
                self._keep(top, node, weight)
            else:
                self.found = node
        if top is not None:
            top.key = None

    def _keep(self, top: _Open, node: Node, weight: int) -> None:
        top.weight += weight
        if top.weight > LIMITS.nodes:
            raise Malformed(found=f"more than {LIMITS.nodes} values", expected="fewer")
        if top.key is not None:
            top.pairs[top.key] = node
        else:
            top.items.append(node)
