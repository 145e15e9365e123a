"""The local disk, its locks and the site's store. Exit codes 50-54."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class DiskFull(BundleError):
    """There is no room for what has to be written."""

    exit_code: ClassVar[int] = 50
    path: str
    missing: int
    advice: str = ""

    @property
    def summary(self) -> str:
        return f"no space at {self.path}: {self.missing} more bytes ({self.missing / 1e6:.1f} MB) are needed"

    @property
    def hint(self) -> str:
        return self.advice or "Make room and run the same command again: it goes on where it stopped."


@dataclass(kw_only=True, eq=False)
class Busy(BundleError):
    """Another process works on the same file or site."""

    exit_code: ClassVar[int] = 51
    path: str
    holder: str

    @property
    def summary(self) -> str:
        return f"{self.path} is in use by {self.holder}"

    @property
    def hint(self) -> str:
        return "Wait until it ends, then run the command again."


@dataclass(kw_only=True, eq=False)
class CannotWrite(BundleError):
    """The system refuses a write: permissions, a read-only disk, a file that exists."""

    exit_code: ClassVar[int] = 52
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"cannot write {self.path}: {self.why}"


@dataclass(kw_only=True, eq=False)
class StateDamaged(BundleError):
    """What a site remembers is gone or unreadable: without it, it would trust anyone and go back to any release."""

    exit_code: ClassVar[int] = 54
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} is damaged: {self.why}"

    @property
    def hint(self) -> str:
        return "Restore it from a backup of the site. Nothing was changed."


@dataclass(kw_only=True, eq=False)
class StoreDamaged(BundleError):
    """The site's store or state is not as we left it."""

    exit_code: ClassVar[int] = 53
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} is damaged: {self.why}"

    @property
    def hint(self) -> str:
        return "Install a bundle that holds this content again; it replaces what is damaged."
