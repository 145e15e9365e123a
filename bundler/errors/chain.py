"""A chain of deltas that is none. Exit codes 55-59."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class ChainBroken(BundleError):
    """Deltas that do not build on each other: blobs are needed that none of them brings and the first base has not.

    `lacking` are releases that are missing in the chain, each with the file that builds on it."""

    exit_code: ClassVar[int] = 55
    first: str
    lacking: tuple[tuple[str, str], ...]
    missing: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def summary(self) -> str:
        count = len(self.missing)
        blobs = f"{count} blob{'s' if count > 1 else ''}"
        if not self.lacking:
            return f"{blobs} of the last release are in no bundle of the chain"
        (release, path), *more = self.lacking
        return f"a link is missing: {path} builds on {release}{f', and {len(more)} more' if more else ''}"

    @property
    def detail(self) -> str:
        links = [f"{path} builds on {release}" for release, path in self.lacking]
        blobs = [f"{digest} of {', '.join(owners)}" if owners else digest for digest, owners in self.missing]
        return "\n".join((*links, *blobs))

    @property
    def hint(self) -> str:
        if not self.lacking:
            return f"Begin with a whole bundle that is older than {self.first}, or with the delta that brought them."
        return f"Give the bundle of {', '.join(release for release, _ in self.lacking)} too, in its place."


@dataclass(kw_only=True, eq=False)
class PatchOutside(BundleError):
    """A delta of a chain has blobs as patches on top of what an earlier one has only as patches, or in part.

    `blobs` are (digest, artifacts, the file that has the patch); `bases` the releases that the first one builds on."""

    exit_code: ClassVar[int] = 56
    first: str
    bases: tuple[str, ...]
    blobs: tuple[tuple[str, tuple[str, ...], str], ...]

    @property
    def summary(self) -> str:
        count = len(self.blobs)
        blobs = f"{count} blobs come as patches" if count > 1 else "a blob comes as a patch"
        return f"{blobs} on top of patches, which cannot be merged without what {self.first} builds on"

    @property
    def detail(self) -> str:
        return "\n".join(
            f"{digest} of {', '.join(owners)}: a patch in {path}" if owners else f"{digest}: a patch in {path}"
            for digest, owners, path in self.blobs
        )

    @property
    def hint(self) -> str:
        return f"Squash from the whole bundle: give that of {', '.join(self.bases)} before {self.first}."
