"""docs/errors.md from the classes. Write it anew:  python -m tests.errors_table"""

import inspect
import re

from bundler.errors import BundleError
from tests.lab import ROOT

PAGE = ROOT / "docs/errors.md"
_HEAD = """\
# Errors

Every error has a class and an exit code of its own; scripts may rely on both. The command line prints what happened,
where and why, and what to do. 0 is success; 2 is the command line's own (options that do not exist or do not go
together).

| Code | Name | Meaning |
|---|---|---|
"""


def classes() -> list[type[BundleError]]:
    """All errors that a user can meet, by their codes."""
    found = list(BundleError.__subclasses__())
    for each in found:
        found += each.__subclasses__()
    return sorted(found, key=lambda each: each.exit_code)


def meaning(error: type[BundleError]) -> str:
    """The first paragraph of its docstring, on one line."""
    return re.sub(r"\s+", " ", inspect.cleandoc(error.__doc__ or "").split("\n\n")[0]).replace("|", "\\|")


def page() -> str:
    return _HEAD + "".join(f"| {each.exit_code} | `{each.__name__}` | {meaning(each)} |\n" for each in classes())


if __name__ == "__main__":
    PAGE.write_text(page())
