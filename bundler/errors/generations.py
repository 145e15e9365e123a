"""A site's kept releases, and its trust over time. Exit codes 115-124."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError

_NAMED = 12  # as many are named in full


def _blob_lines(blobs: tuple[tuple[str, tuple[str, ...]], ...]) -> str:
    named = [f"{digest} of {', '.join(owners[:3])}" if owners else digest for digest, owners in blobs[:_NAMED]]
    more = [f"and {len(blobs) - _NAMED} more"] if len(blobs) > _NAMED else []
    return "\n".join((*named, *more))


@dataclass(kw_only=True, eq=False)
class NoSuchRelease(BundleError):
    """A release that the site does not keep, or a name that means several."""

    exit_code: ClassVar[int] = 115
    root: str
    wanted: str
    kept: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.root} keeps no one release {self.wanted!r}"

    @property
    def detail(self) -> str:
        return f"kept: {', '.join(self.kept) or 'none'}"

    @property
    def hint(self) -> str:
        return "`bundle releases --root DIR` lists them. What is not kept comes back by `bundle install` of its bundle."


@dataclass(kw_only=True, eq=False)
class NothingBefore(BundleError):
    """No release that was in use before the present one is kept."""

    exit_code: ClassVar[int] = 116
    root: str
    release: str
    kept: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.root} keeps nothing that was in use before release {self.release}"

    @property
    def detail(self) -> str:
        return f"kept: {', '.join(self.kept)}"

    @property
    def hint(self) -> str:
        return "Name one that is kept, or install an older bundle with --allow-downgrade --reason TEXT."


@dataclass(kw_only=True, eq=False)
class ReleaseIncomplete(BundleError):
    """A kept release whose blobs are not all in the store; each with the artifacts it belongs to."""

    exit_code: ClassVar[int] = 117
    root: str
    release: str
    missing: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def summary(self) -> str:
        count = len(self.missing)
        return f"the store of {self.root} lacks {count} blob{'s' if count > 1 else ''} of release {self.release}"

    @property
    def detail(self) -> str:
        return _blob_lines(self.missing)

    @property
    def hint(self) -> str:
        return "`bundle scrub --root DIR --from BUNDLE` brings them back from any bundle that has them."


@dataclass(kw_only=True, eq=False)
class StillRotten(BundleError):
    """Blobs of the store that are damaged or gone, and that nothing given could repair; each with its artifacts."""

    exit_code: ClassVar[int] = 118
    root: str
    rotten: tuple[tuple[str, tuple[str, ...]], ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def summary(self) -> str:
        return f"the store of {self.root} has {len(self.rotten)} damaged blobs, and lacks {len(self.missing)}"

    @property
    def detail(self) -> str:
        parts = (("damaged", self.rotten), ("gone", self.missing))
        return "\n".join(f"{what}:\n{_blob_lines(blobs)}" for what, blobs in parts if blobs)

    @property
    def hint(self) -> str:
        return "Give bundles that have them: `bundle scrub --root DIR --from BUNDLE`. And ask the disk how it is."


@dataclass(kw_only=True, eq=False)
class RevokedKey(BundleError):
    """Signatures that would be enough, if keys of them had not been revoked."""

    exit_code: ClassVar[int] = 119
    what: str
    revoked: tuple[str, ...]
    good: tuple[str, ...]
    threshold: int

    @property
    def summary(self) -> str:
        return f"{self.what} is signed by a revoked key, and by {len(self.good)} of {self.threshold} that count"

    @property
    def detail(self) -> str:
        return f"revoked: {', '.join(self.revoked)}\ncounted: {', '.join(self.good) or 'none'}"

    @property
    def hint(self) -> str:
        return "Do not use it unless keys that are trusted now sign it too: `bundle sign FILE --key NAME.key`."


@dataclass(kw_only=True, eq=False)
class TrustExpired(BundleError):
    """The date until which the site trusts its keys for new releases has passed, by the site's own clock."""

    exit_code: ClassVar[int] = 120
    expired: str
    now: str

    @property
    def summary(self) -> str:
        return f"this site trusted its keys until {self.expired}; it is {self.now} there"

    @property
    def hint(self) -> str:
        return (
            "Bring a rotation with a later date, signed by the same keys: `bundle trust apply`. What is served stays."
        )


@dataclass(kw_only=True, eq=False)
class StaleTrust(BundleError):
    """A rotation that is older than the last one this site applied: once replaced, keys do not come back by it."""

    exit_code: ClassVar[int] = 121
    path: str
    issued: str
    applied: str

    @property
    def summary(self) -> str:
        return f"{self.path} was issued at {self.issued}; this site has applied a rotation of {self.applied}"

    @property
    def hint(self) -> str:
        return "Make a new one, signed by the keys that the site trusts now: `bundle keys rotate`."


@dataclass(kw_only=True, eq=False)
class TrustRefused(BundleError):
    """A rotation or revocation that would leave the site without enough keys, or with a revoked one."""

    exit_code: ClassVar[int] = 122
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} is not applied: {self.why}"

    @property
    def hint(self) -> str:
        return "Rotate first: `bundle keys rotate` names all the keys that are to be trusted from then on."
