"""What the user gave us is wrong: documents, names, requests that cannot be met. Exit codes 10-19."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError, Problem


@dataclass(kw_only=True, eq=False)
class InvalidDocument(BundleError):
    """A profile, component manifest, lock or key list that does not parse: every problem at once."""

    exit_code: ClassVar[int] = 10
    problems: tuple[Problem, ...]

    @property
    def summary(self) -> str:
        files = sorted({problem.file for problem in self.problems})
        count = len(self.problems)
        return f"{count} problem{'s' if count > 1 else ''} in {', '.join(files)}"

    @property
    def detail(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    @property
    def hint(self) -> str:
        return "Correct the lines named and run the command again."


@dataclass(kw_only=True, eq=False)
class Malformed(BundleError):
    """A single value that is not what it must be. Parsers of documents turn it into a `Problem`."""

    exit_code: ClassVar[int] = 11
    found: str
    expected: str

    @property
    def summary(self) -> str:
        return f"found {self.found}, expected {self.expected}"


@dataclass(kw_only=True, eq=False)
class NotReadable(BundleError):
    """A file that the user named and that cannot be read."""

    exit_code: ClassVar[int] = 12
    path: str
    why: str
    advice: str = "Check the path and its permissions."

    @property
    def summary(self) -> str:
        return f"cannot read {self.path}: {self.why}"

    @property
    def hint(self) -> str:
        return self.advice


@dataclass(kw_only=True, eq=False)
class NameConflict(BundleError):
    """Two things that would have one name on the site."""

    exit_code: ClassVar[int] = 13
    name: str
    first: str
    second: str

    @property
    def summary(self) -> str:
        return f"{self.first} and {self.second} would both be {self.name} on the site"

    @property
    def hint(self) -> str:
        return "Leave one of them out, or rename it at its source."


@dataclass(kw_only=True, eq=False)
class Unsupported(BundleError):
    """Something well formed that this version does not do."""

    exit_code: ClassVar[int] = 14
    what: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.what} is not supported"

    @property
    def detail(self) -> str:
        return self.why


@dataclass(kw_only=True, eq=False)
class PinGone(BundleError):
    """Locked entries that their source no longer serves."""

    exit_code: ClassVar[int] = 15
    gone: tuple[str, ...]
    command: str

    @property
    def summary(self) -> str:
        count = len(self.gone)
        return f"{count} locked entr{'ies are' if count > 1 else 'y is'} no longer served"

    @property
    def detail(self) -> str:
        return "\n".join(self.gone)

    @property
    def hint(self) -> str:
        return f"Sources drop and replace what they had. Move the pins with:  {self.command}"


@dataclass(kw_only=True, eq=False)
class ResolutionFailed(BundleError):
    """A resolver (uv, apt, a registry) could not meet what the profile asks for."""

    exit_code: ClassVar[int] = 16
    what: str
    output: str

    @property
    def summary(self) -> str:
        return f"cannot resolve {self.what}"

    @property
    def detail(self) -> str:
        return self.output

    @property
    def hint(self) -> str:
        return "Correct the names or versions in the component manifest, or the source's configuration."


@dataclass(kw_only=True, eq=False)
class ToolMissing(BundleError):
    """A program or library that this step runs and that is not on the machine."""

    exit_code: ClassVar[int] = 17
    tool: str
    needed_for: str

    @property
    def summary(self) -> str:
        return f"{self.tool} is needed for {self.needed_for} and is not installed"

    @property
    def hint(self) -> str:
        return f"Install {self.tool} and run the command again."


@dataclass(kw_only=True, eq=False)
class NoSuchArtifact(BundleError):
    """A name that the bundle does not hold."""

    exit_code: ClassVar[int] = 18
    name: str
    close: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        return f"the bundle holds no artifact named {self.name}"

    @property
    def detail(self) -> str:
        return f"close to it: {', '.join(self.close)}" if self.close else ""

    @property
    def hint(self) -> str:
        return "`bundle inspect FILE` lists the names."


@dataclass(kw_only=True, eq=False)
class ChartChanged(BundleError):
    """A chart's folder is not what was locked: packed again it is another archive, or none at all."""

    exit_code: ClassVar[int] = 19
    chart: str
    folder: str
    why: str
    command: str = "bundle lock"

    @property
    def summary(self) -> str:
        return f"the folder of {self.chart} ({self.folder}) has changed since the lock"

    @property
    def detail(self) -> str:
        return self.why

    @property
    def hint(self) -> str:
        return f"Put the folder back as it was, or lock it as it is:  {self.command}"


@dataclass(kw_only=True, eq=False)
class Usage(BundleError):
    """Options that do not go together; the same code as click's own usage errors."""

    exit_code: ClassVar[int] = 2
    message: str
    advice: str = ""

    @property
    def summary(self) -> str:
        return self.message

    @property
    def hint(self) -> str:
        return self.advice
