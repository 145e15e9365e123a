"""Versions that do not work together, by a table with sources (skew.yaml). Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bundler.errors import Malformed
from bundler.model.document import Fields, Reader
from bundler.model.names import check_label

_NUMBERS = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)")
_BOUND = re.compile(r"(?:>=|<)[0-9]+(?:\.[0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """When all of `when` are there: `needs` are in their ranges if they are there, `required` are there."""

    when: tuple[tuple[str, str], ...]
    needs: tuple[tuple[str, str], ...]
    required: tuple[tuple[str, str], ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """`name` is what silences it (`kubernetes/containerd`); `found` is empty when the other one is not there."""

    name: str
    having: str
    found: str
    expected: str
    source: str

    def __str__(self) -> str:
        found = f"{self.found} is not" if self.found else "nothing provides it"
        other = self.name.rpartition("/")[2]
        return f"{self.having} needs {other} {self.expected}, and {found}  ({self.source})"


def find_skew(provided: Mapping[str, str], rows: Iterable[Row] | None = None) -> tuple[Skew, ...]:
    """`provided` are versions by name, as the chosen components provide them; `rows` the table in skew.yaml."""
    found = []
    for row in table() if rows is None else rows:
        if not all(name in provided and _within(provided[name], range_) for name, range_ in row.when):
            continue
        having = " and ".join(f"{name} {provided[name]}" for name, _ in row.when)
        for name, range_ in (*row.needs, *row.required):
            version = provided.get(name, "")
            if (version and not _within(version, range_)) or (not version and (name, range_) in row.required):
                key = f"{row.when[0][0]}/{name}"
                found.append(Skew(name=key, having=having, found=version, expected=range_, source=row.source))
    return tuple(found)


@cache
def table() -> tuple[Row, ...]:
    """The rows of skew.yaml."""
    path = Path(__file__).with_name("skew.yaml")
    return parse_table(path.read_text(encoding="utf-8"), file=str(path))


def parse_table(text: str, *, file: str) -> tuple[Row, ...]:
    """Raises InvalidDocument with every problem."""
    reader = Reader(file=file)
    return reader.yaml(text).document(lambda fields: fields.each("rows", _row))


def _row(fields: Fields) -> Row:
    def ranges(key: str) -> tuple[tuple[str, str], ...]:
        return fields.named(key, lambda inner, name: inner.value(name, _range), check=check_label)

    return fields.build(
        Row, when=ranges("when"), needs=ranges("needs"), required=ranges("required"), source=fields.text("source")
    )


def _range(text: str) -> str:
    for part in text.split("||"):
        if not all(_BOUND.fullmatch(bound) for bound in part.split(",")):
            raise Malformed(found=repr(text[:80]), expected="a range such as >=1.2,<2||>=3")
    return text


def _within(version: str, range_: str) -> bool:
    """By the numbers at the front of the version: `6.1.0-28-amd64` is 6.1.0."""
    numbers = _NUMBERS.match(version)
    if numbers is None:
        return False
    found = _numbers(numbers[1])
    return any(all(_holds(found, bound) for bound in part.split(",")) for part in range_.split("||"))


def _holds(found: tuple[int, ...], bound: str) -> bool:
    least = bound.startswith(">=")
    limit = _numbers(bound.lstrip("<>="))
    return found >= limit if least else found < limit


def _numbers(text: str) -> tuple[int, ...]:
    """Of a version, so that 1.2 and 1.2.0 are one."""
    found = [int(number) for number in text.split(".")]
    while found and not found[-1]:
        found.pop()
    return tuple(found)
