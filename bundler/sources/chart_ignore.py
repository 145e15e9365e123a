""".helmignore: which files of a chart's folder do not belong to it (Helm's pkg/ignore, Go's path/filepath.Match)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bundler.errors import InvalidDocument, Malformed, Problem

NAME = ".helmignore"
_ALWAYS = ("templates/.?*", "charts/[._]*")  # the second is a rule of Helm's loader of charts in charts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """`whole`: about the path; else about its last segment. `negated`: what does not match is left out."""

    pattern: re.Pattern[str]
    whole: bool
    folders: bool
    negated: bool

    def matches(self, path: str) -> bool:
        return self.pattern.fullmatch(path if self.whole else path.rpartition("/")[2]) is not None


@dataclass(frozen=True, slots=True)
class Ignored:
    rules: tuple[_Rule, ...]

    @classmethod
    def parse(cls, text: str, *, file: str) -> "Ignored":
        """The rules in a .helmignore, and Helm's own. Raises InvalidDocument."""
        rules, problems = [], []
        for at, line in enumerate((*text.removeprefix("\ufeff").split("\n"), *_ALWAYS)):
            line = line.strip()
            if line and not line.startswith("#"):
                try:
                    rules.append(_rule(line))
                except Malformed as error:
                    problems.append(Problem(file=file, line=at + 1, found=error.found, expected=error.expected))
        if problems:
            raise InvalidDocument(problems=tuple(problems))
        return cls(tuple(rules))

    def leaves_out(self, path: str, *, folder: bool) -> bool:
        """The first rule that decides does; a negated one decides on all that it does not match."""
        for rule in self.rules:
            if rule.negated:
                if (rule.folders and not folder) or not rule.matches(path):
                    return True
            elif (folder or not rule.folders) and rule.matches(path):
                return True
        return False


def _rule(line: str) -> _Rule:
    if "**" in line:
        raise Malformed(found=repr(line[:80]), expected="no **: Helm has no such pattern")
    negated, line = line.startswith("!"), line.removeprefix("!")
    folders, line = line.endswith("/"), line.removesuffix("/")
    pattern = re.compile("".join(_translated(line.removeprefix("/"))), re.DOTALL)
    return _Rule(pattern=pattern, whole="/" in line, folders=folders, negated=negated)


def _translated(pattern: str) -> Iterator[str]:
    """Go's pattern as a regular expression, piece by piece. Raises Malformed."""
    at = 0
    while at < len(pattern):
        mark, at = pattern[at], at + 1
        if mark == "*":
            yield "[^/]*"
        elif mark == "?":
            yield "[^/]"
        elif mark == "[":
            end = _end_of_class(pattern, at)
            yield _class(pattern[at:end])
            at = end + 1
        else:
            if mark == "\\":
                mark, at = pattern[at : at + 1], at + 1
            if not mark:
                raise Malformed(found=repr(pattern[:80]), expected="a character after the backslash")
            yield re.escape(mark)


def _end_of_class(pattern: str, at: int) -> int:
    """Where the bracket that was opened before `at` closes; the first character of a class may not be that one."""
    here = at + (pattern[at : at + 1] == "^")
    while here < len(pattern) and (pattern[here] != "]"):
        here += 2 if pattern[here] == "\\" else 1
    if here >= len(pattern) or here == at + (pattern[at : at + 1] == "^"):
        raise Malformed(found=repr(pattern[:80]), expected="a class such as [a-z]")
    return here


def _class(text: str) -> str:
    negated, text = text.startswith("^"), text.removeprefix("^")
    marks = re.findall(r"\\.|[^\\]", text, re.DOTALL)
    parts, at = [], 0
    while at < len(marks):
        first, at = marks[at][-1], at + 1
        last = first
        if at < len(marks) and marks[at] == "-":
            if at + 1 == len(marks):
                raise Malformed(found=f"[{text[:80]}]", expected="an end of the range")
            last, at = marks[at + 1][-1], at + 2
        if marks[at - 1] == "-" or first > last:
            raise Malformed(found=f"[{text[:80]}]", expected="a range from a lower to a higher character")
        parts.append(f"{re.escape(first)}-{re.escape(last)}")
    return f"[{'^' if negated else ''}{''.join(parts)}]"
