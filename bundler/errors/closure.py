"""What comes up short, and charts and programs that do not say what they need. Exit codes 70-79."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError

_SHOWN = 40  # problems


@dataclass(kw_only=True, eq=False)
class ChartNotRendered(BundleError):
    """A chart that the locked helm cannot render with the profile's values."""

    exit_code: ClassVar[int] = 70
    chart: str
    variant: str
    output: str

    @property
    def summary(self) -> str:
        return f"cannot render the chart {self.chart}" + (f" as {self.variant}" if self.variant else "")

    @property
    def detail(self) -> str:
        return self.output

    @property
    def hint(self) -> str:
        return "Correct the values of the component manifest; helm's own words are above."


@dataclass(kw_only=True, eq=False)
class NeedsUnknown(BundleError):
    """A program (kubeadm, cephadm) that does not say which images it needs."""

    exit_code: ClassVar[int] = 71
    program: str
    output: str

    @property
    def summary(self) -> str:
        return f"{self.program} does not say which images it needs"

    @property
    def detail(self) -> str:
        return self.output

    @property
    def hint(self) -> str:
        return "Check that the file is the program of the locked version, for this machine."


@dataclass(kw_only=True, eq=False)
class Incomplete(BundleError):
    """A lock from which a site would come up short: something will be asked for that is not in it."""

    exit_code: ClassVar[int] = 72
    profile: str
    problems: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.profile} comes up short ({len(self.problems)})"

    @property
    def detail(self) -> str:
        more = len(self.problems) - _SHOWN
        return "\n".join((*self.problems[:_SHOWN], *([f"and {more} more: `bundle check`"] if more > 0 else [])))

    @property
    def hint(self) -> str:
        return (
            "Name what is missing in a component manifest and run `bundle lock` again; a false alarm is silenced "
            "there, by name and with a reason (docs/closure.md)."
        )


@dataclass(kw_only=True, eq=False)
class StaleLock(BundleError):
    """A lock that is not what its profile and its sources give now (`bundle lock --check`)."""

    exit_code: ClassVar[int] = 73
    lock: str
    changes: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.lock} is stale: {len(self.changes)} changes" if self.changes else f"{self.lock} is stale"

    @property
    def detail(self) -> str:
        return "\n".join(self.changes)

    @property
    def hint(self) -> str:
        return "`bundle lock` without --check writes it."
