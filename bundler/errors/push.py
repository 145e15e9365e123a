"""Sending to a registry that is not ours failed. Exit codes 100-109."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class PushFailed(BundleError):
    """Artifacts that could not be pushed, each with its own cause; all others were."""

    exit_code: ClassVar[int] = 100
    registry: str
    failures: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        return f"{len(self.failures)} artifact{'s' if len(self.failures) > 1 else ''} not pushed to {self.registry}"

    @property
    def detail(self) -> str:
        return "\n".join(f"{name}: {why}" for name, why in self.failures)

    @property
    def hint(self) -> str:
        return "What was pushed stays: run the same command again to go on from there."


@dataclass(kw_only=True, eq=False)
class IndexRefused(BundleError):
    """A registry that takes no multi-platform index of which it lacks some platforms; all else was pushed."""

    exit_code: ClassVar[int] = 101
    registry: str
    refused: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        count = len(self.refused)
        return f"{self.registry} refuses the index of {count} image{'s' if count > 1 else ''}: it lacks some platforms"

    @property
    def detail(self) -> str:
        return "\n".join(f"{name}: {why}" for name, why in self.refused)

    @property
    def hint(self) -> str:
        return (
            "Carry all platforms of these images, or push with `--sparse-index platform`: their tags then name the one "
            "platform that is carried, and digests of the index do not resolve there."
        )
