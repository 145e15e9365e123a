"""The base of all errors: what went wrong, where and why, what to do."""

from dataclasses import dataclass
from typing import ClassVar


class BundleError(Exception):
    """An error for the user: `summary` says what, `detail` where and why, `hint` what to do.

    Subclasses are dataclasses of facts; they word these three from the facts, so that callers and tests
    look at attributes and never at text. `temporary` says whether trying again may help.
    """

    exit_code: ClassVar[int]
    temporary: ClassVar[bool] = False

    @property
    def summary(self) -> str:
        raise NotImplementedError

    @property
    def detail(self) -> str:
        return ""

    @property
    def hint(self) -> str:
        return ""

    def __str__(self) -> str:
        return "\n".join(part for part in (self.summary, self.detail) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One finding in a document: the file, the line (from 1), what was found and what was expected."""

    file: str
    line: int
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: found {self.found}, expected {self.expected}"
