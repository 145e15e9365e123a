"""`bundle diff`: what differs between two locks or bundles, and how many bytes the second one brings."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.contents import Contents, contents_of
from bundler.archive.reader import BundleFile
from bundler.model.digest import Digest
from bundler.model.lock import Lock
from bundler.model.statement import Artifact
from bundler.model.statement_parser import parse_statement
from bundler.resolve.changes import Change, changes_between
from bundler.signing.trust import check_signers
from bundler.verify.carried import carried_lock
from bundler.verify.check import layout_of
from bundler.workflows.places import is_bundle, read_lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`carry` counts the bytes of blobs that only the second one has, by kind of artifact; `whole` are all of its."""

    before: Lock
    after: Lock
    changes: tuple[Change, ...]
    carry: tuple[tuple[str, int], ...]
    whole: int

    @property
    def total(self) -> int:
        return sum(count for _, count in self.carry)


def diff(first: Path, second: Path) -> Difference:
    """Raises what reading a lock or a bundle's statement raises; nothing is proved."""
    before, after = lock_of(first), lock_of(second)
    old, new = contents_of(before), contents_of(after)
    held = {blob.digest for blob in old.blobs}
    return Difference(
        before=before,
        after=after,
        changes=changes_between(before, after),
        carry=tuple(sorted(_carry(new, held).items())),
        whole=sum(blob.size for blob in new.blobs),
    )


def lock_of(path: Path) -> Lock:
    """The lock in a file, or the one that a bundle carries. A bundle's signatures are not judged here."""
    if not is_bundle(path):
        return read_lock(path)
    with BundleFile(path) as file:
        signed = file.front()
        statement = parse_statement(signed.statement, path=str(path))
        check_signers(statement, signed)
        layout = layout_of(file, statement, len(signed.statement))
        return carried_lock(file, statement, layout)


def _carry(new: Contents, held: set[Digest]) -> Counter[str]:
    """Each new blob counts once, for the first kind that has it."""
    kinds: tuple[tuple[str, tuple[Artifact, ...]], ...] = (
        ("images", new.images),
        ("charts", new.charts),
        ("wheels", new.wheels),
        ("packages", new.debs),
        ("files", new.files),
    )
    owner: dict[Digest, str] = {}
    for kind, artifacts in kinds:
        for artifact in artifacts:
            for digest in artifact.members:
                owner.setdefault(digest, kind)
    count: Counter[str] = Counter()
    for blob in new.blobs:
        if blob.digest not in held:
            count[owner.get(blob.digest, "the lock")] += blob.size
    return count
