"""Running other programs: the only place that does."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import ToolMissing


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    def tail(self, lines: int = 20) -> str:
        """The last lines of what it said, for an error's detail."""
        return "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-lines:])


def run(
    command: Sequence[str],
    *,
    needed_for: str,
    timeout: float,
    stdin: str = "",
    environment: Mapping[str, str | None] | None = None,
    directory: Path | None = None,
) -> Outcome:
    """Run a program to its end with the C.UTF-8 locale; `environment` is added to our own, None takes away.

    A timeout gives code 124, as timeout(1) does; a program that cannot be run here gives 126. Raises ToolMissing when
    there is no such program.
    """
    if shutil.which(command[0]) is None:
        raise ToolMissing(tool=command[0], needed_for=needed_for)
    variables = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            cwd=directory,
            env={name: value for name, value in variables.items() if value is not None},
        )
    except OSError as error:  # for another machine, say
        return Outcome(code=126, stdout="", stderr=f"{command[0]} cannot be run here: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Outcome(code=124, stdout="", stderr=f"{command[0]} did not end within {timeout:g} s")
    return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
