"""Bundles in several files, and their way onto a medium. Exit codes 110-114."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class SliceMissing(BundleError):
    """Slices of a bundle that are in none of the folders that were given."""

    exit_code: ClassVar[int] = 110
    path: str
    missing: tuple[tuple[str, str], ...]  # file names, each with its digest
    folders: tuple[str, ...]

    @property
    def summary(self) -> str:
        names = ", ".join(name for name, _ in self.missing)
        return f"{self.path}: {names} {'is' if len(self.missing) == 1 else 'are'} missing"

    @property
    def detail(self) -> str:
        return "\n".join([*(f"{name}  {digest}" for name, digest in self.missing), f"not in {', '.join(self.folders)}"])

    @property
    def hint(self) -> str:
        return "Bring them, or name the folder of each disk with --disk DIR; the same command goes on."


@dataclass(kw_only=True, eq=False)
class SliceDamaged(BundleError):
    """Slices that are not what NAME.volumes.json says; the others may stay as they are."""

    exit_code: ClassVar[int] = 111
    path: str
    damaged: tuple[tuple[str, str], ...]  # file names, each with what is wrong

    @property
    def summary(self) -> str:
        names = ", ".join(name for name, _ in self.damaged)
        return f"{self.path}: {names} {'is' if len(self.damaged) == 1 else 'are'} damaged"

    @property
    def detail(self) -> str:
        return "\n".join(f"{name}: {why}" for name, why in self.damaged)

    @property
    def hint(self) -> str:
        return f"Copy only {', '.join(name for name, _ in self.damaged)} again from its source; `bundle verify` tells."


@dataclass(kw_only=True, eq=False)
class ReadBackDiffers(BundleError):
    """A medium that does not give back what was written to it."""

    exit_code: ClassVar[int] = 112
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} gives back other bytes than were written: {self.why}"

    @property
    def hint(self) -> str:
        return "Nothing of this file was left there. Use another medium, port or cable, and run the same command again."


@dataclass(kw_only=True, eq=False)
class TooLargeForDisk(BundleError):
    """A file that the medium's file system cannot hold, whatever room it has."""

    exit_code: ClassVar[int] = 113
    path: str
    size: int
    kind: str

    @property
    def summary(self) -> str:
        return f"{self.path} has {self.size} bytes, and {self.kind} takes no file of that size"

    @property
    def hint(self) -> str:
        return "Make volumes: `bundle create --volume-size fat32`. Or format the medium with exFAT or ext4."


@dataclass(kw_only=True, eq=False)
class SecondBundle(BundleError):
    """One bundle was expected on standard input, and another one follows it."""

    exit_code: ClassVar[int] = 114
    path: str
    at: int

    @property
    def summary(self) -> str:
        return f"{self.path}: a second bundle begins at byte {self.at}"

    @property
    def hint(self) -> str:
        return "Send one bundle at a time; the parts of one in their order."
