"""The bundle is not one that this site may take. Exit codes 30-39."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class Unsigned(BundleError):
    """No signature, neither inside the file nor beside it."""

    exit_code: ClassVar[int] = 30
    bundle: str

    @property
    def summary(self) -> str:
        return f"{self.bundle} carries no signature"

    @property
    def hint(self) -> str:
        return "Sign it: `bundle sign FILE --key NAME.key`, and bring the .sig file along."


@dataclass(kw_only=True, eq=False)
class UntrustedSigner(BundleError):
    """Signatures, but of no trusted key."""

    exit_code: ClassVar[int] = 31
    bundle: str
    signed: tuple[str, ...]
    trusted: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.bundle} is signed by no trusted key"

    @property
    def detail(self) -> str:
        return f"signed by {', '.join(self.signed)}\ntrusted: {', '.join(self.trusted)}"


@dataclass(kw_only=True, eq=False)
class ThresholdNotMet(BundleError):
    """Good signatures of trusted keys, but fewer than the threshold."""

    exit_code: ClassVar[int] = 32
    bundle: str
    signed: tuple[str, ...]
    missing: tuple[str, ...]
    threshold: int

    @property
    def summary(self) -> str:
        return f"{self.bundle} has {len(self.signed)} of the {self.threshold} trusted signatures it needs"

    @property
    def detail(self) -> str:
        return f"signed by {', '.join(self.signed)}\nnot signed by {', '.join(self.missing) or 'no other trusted key'}"


@dataclass(kw_only=True, eq=False)
class BadSignature(BundleError):
    """A signature that is not one of these bytes by its key."""

    exit_code: ClassVar[int] = 33
    keyid: str
    what: str
    why: str

    @property
    def summary(self) -> str:
        return f"the signature of {self.keyid} over {self.what} does not hold: {self.why}"

    @property
    def hint(self) -> str:
        return "The file was changed or damaged on the way. Do not use it."


@dataclass(kw_only=True, eq=False)
class MalformedKey(BundleError):
    """A file that does not hold the Ed25519 key that it should."""

    exit_code: ClassVar[int] = 34
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} is not an Ed25519 key: {self.why}"


@dataclass(kw_only=True, eq=False)
class WrongPassphrase(BundleError):
    """An encrypted key without its passphrase."""

    exit_code: ClassVar[int] = 35
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"cannot open {self.path}: {self.why}"

    @property
    def hint(self) -> str:
        return "Give the passphrase on the terminal or by --passphrase-file."


@dataclass(kw_only=True, eq=False)
class OlderRelease(BundleError):
    """A release below the highest number that the site has seen of its line."""

    exit_code: ClassVar[int] = 36
    line: str
    number: int
    seen: int

    @property
    def summary(self) -> str:
        return f"release {self.line} {self.number} is older than {self.line} {self.seen}, which this site has seen"

    @property
    def hint(self) -> str:
        return "A site never goes back unless told to. Build a release with a higher number."


@dataclass(kw_only=True, eq=False)
class ReleaseConflict(BundleError):
    """The number of a release that the site has seen, with other content."""

    exit_code: ClassVar[int] = 37
    line: str
    number: int
    found: str
    seen: str

    @property
    def summary(self) -> str:
        return f"release {self.line} {self.number} is known here with other content"

    @property
    def detail(self) -> str:
        return f"this bundle: {self.found}\nthis site has seen: {self.seen}"

    @property
    def hint(self) -> str:
        return "Two different bundles were made under one number. Raise `release.number` in the profile."


@dataclass(kw_only=True, eq=False)
class TrustChanged(BundleError):
    """`--trust` or `--threshold` other than what the site pinned at its first installation."""

    exit_code: ClassVar[int] = 38
    root: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.root} has its trusted keys pinned: {self.why}"

    @property
    def hint(self) -> str:
        return "Leave --trust and --threshold out, or give what was given at the first installation."


@dataclass(kw_only=True, eq=False)
class DoubledKey(BundleError):
    """One key where two are counted."""

    exit_code: ClassVar[int] = 39
    keyid: str
    where: str

    @property
    def summary(self) -> str:
        return f"the key {self.keyid} is given twice in {self.where}"

    @property
    def hint(self) -> str:
        return "A threshold counts distinct keys; name each key once."
