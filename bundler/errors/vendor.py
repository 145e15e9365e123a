"""What vendors say about their files, and under which terms. Exit codes 80-89."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class LicenseNotAccepted(BundleError):
    """Entries whose licences restrict redistribution, and that the profile does not accept by name.

    `needed` are pairs of a licence and an entry with its component; `line` is what belongs into the profile.
    """

    exit_code: ClassVar[int] = 80
    profile: str
    needed: tuple[tuple[str, str], ...]
    line: str

    @property
    def summary(self) -> str:
        licenses = {name for name, _ in self.needed}
        return f"the profile {self.profile} does not accept {len(licenses)} licence{'s' if len(licenses) > 1 else ''}"

    @property
    def detail(self) -> str:
        return "\n".join(f"{name}: {entry}" for name, entry in self.needed)

    @property
    def hint(self) -> str:
        return f"Read them. If you may pass these things on to the site, write into the profile:\n{self.line}"


@dataclass(kw_only=True, eq=False)
class ChecksumUnknown(BundleError):
    """A vendor's list of checksums that does not settle what a file's SHA-256 is."""

    exit_code: ClassVar[int] = 81
    file: str
    source: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.source} does not settle the digest of {self.file}"

    @property
    def detail(self) -> str:
        return self.why

    @property
    def hint(self) -> str:
        return "Correct the URL under `checksums`, or take it out and give the `digest` itself."
