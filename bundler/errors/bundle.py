"""The bundle file itself is damaged or no bundle. Exit codes 40-49."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError

_COPY_AGAIN = "Copy the file again from its source, and compare it with `bundle verify` there."


@dataclass(kw_only=True, eq=False)
class NotABundle(BundleError):
    """The file does not begin as a bundle does."""

    exit_code: ClassVar[int] = 40
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} is not a bundle: {self.why}"

    @property
    def hint(self) -> str:
        return "Give the file that `bundle create` made. Locks are read by `bundle check` and `bundle diff`."


@dataclass(kw_only=True, eq=False)
class TruncatedBundle(BundleError):
    """The file is shorter than its statement says."""

    exit_code: ClassVar[int] = 41
    path: str
    size: int
    expected: int

    @property
    def summary(self) -> str:
        return f"{self.path} ends after {self.size} bytes; at least {self.expected} belong to it"

    @property
    def hint(self) -> str:
        return _COPY_AGAIN


@dataclass(kw_only=True, eq=False)
class TrailingBytes(BundleError):
    """The file is longer than its statement says."""

    exit_code: ClassVar[int] = 42
    path: str
    size: int
    expected: int

    @property
    def summary(self) -> str:
        return f"{self.path} has {self.size - self.expected} bytes after its end at {self.expected}"

    @property
    def hint(self) -> str:
        return _COPY_AGAIN


@dataclass(kw_only=True, eq=False)
class HeaderMismatch(BundleError):
    """The bytes between bodies (tar headers, padding, end mark) are not those the statement implies."""

    exit_code: ClassVar[int] = 43
    path: str
    entry: str
    offset: int

    @property
    def summary(self) -> str:
        return f"{self.path}: the header or padding of {self.entry} differs at byte {self.offset}"

    @property
    def hint(self) -> str:
        return _COPY_AGAIN


@dataclass(kw_only=True, eq=False)
class DamagedContent(BundleError):
    """Bodies whose SHA-256 is not the statement's; each with the artifacts it belongs to."""

    exit_code: ClassVar[int] = 44
    path: str
    damaged: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def summary(self) -> str:
        count = len(self.damaged)
        return f"{self.path}: {count} entr{'ies are' if count > 1 else 'y is'} damaged"

    @property
    def detail(self) -> str:
        return "\n".join(
            f"{entry} of {', '.join(artifacts)}" if artifacts else entry for entry, artifacts in self.damaged
        )

    @property
    def hint(self) -> str:
        return _COPY_AGAIN


@dataclass(kw_only=True, eq=False)
class MalformedStatement(BundleError):
    """The statement's bytes are not a statement as we write it."""

    exit_code: ClassVar[int] = 45
    path: str
    where: str
    found: str
    expected: str

    @property
    def summary(self) -> str:
        return f"{self.path}: the statement is malformed at {self.where}"

    @property
    def detail(self) -> str:
        return f"found {self.found}, expected {self.expected}"


@dataclass(kw_only=True, eq=False)
class NewerToolNeeded(BundleError):
    """The statement has a format or a feature that this version does not know."""

    exit_code: ClassVar[int] = 46
    path: str
    needs: str

    @property
    def summary(self) -> str:
        return f"{self.path} needs a newer tool: {self.needs}"

    @property
    def hint(self) -> str:
        return "Run the installer that the bundle itself carries (README.txt in it says how)."


@dataclass(kw_only=True, eq=False)
class BaseMissing(BundleError):
    """A delta needs blobs that the site does not have; each with the artifacts it belongs to."""

    exit_code: ClassVar[int] = 47
    root: str
    bases: tuple[str, ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def summary(self) -> str:
        count = len(self.missing)
        return f"{self.root} lacks {count} blob{'s' if count > 1 else ''} that this delta builds on"

    @property
    def detail(self) -> str:
        return "\n".join(f"{digest} of {', '.join(owners)}" if owners else digest for digest, owners in self.missing)

    @property
    def hint(self) -> str:
        return f"Install first what has them: {', '.join(self.bases)}. Or a full bundle, which needs nothing."


@dataclass(kw_only=True, eq=False)
class PatchFailed(BundleError):
    """A blob that could not be rebuilt from its patch here; `others` are compressors that differ from the maker's."""

    exit_code: ClassVar[int] = 49
    what: str
    digest: str
    why: str
    others: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.what} cannot be rebuilt from its patch"

    @property
    def detail(self) -> str:
        other = f"\nthis machine has another {' and '.join(self.others)} than the patch was made with"
        return f"{self.digest}: {self.why}{other if self.others else ''}"

    @property
    def hint(self) -> str:
        return "What was in use stays in use. Bring it by a whole bundle, or a delta made with `create --no-patch`."


@dataclass(kw_only=True, eq=False)
class MalformedReceipt(BundleError):
    """A file that is not a site's receipt as we write it."""

    exit_code: ClassVar[int] = 48
    path: str
    found: str
    expected: str

    @property
    def summary(self) -> str:
        return f"{self.path} is not a site's receipt"

    @property
    def detail(self) -> str:
        return f"found {self.found}, expected {self.expected}"

    @property
    def hint(self) -> str:
        return "`bundle receipt --root DIR -o FILE` writes one, on the site."
