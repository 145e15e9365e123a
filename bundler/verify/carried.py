"""What a bundle carries: the lock that it was made from, and, of a delta, not everything."""

from collections.abc import Iterable

from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.errors import DamagedContent, Unsupported
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.statement import BLOB_PREFIX, Statement


def carried_lock(file: BundleFile, statement: Statement, layout: Layout) -> Lock:
    """The lock that a bundle was made from. Raises DamagedContent, InvalidDocument."""
    place = layout.place(f"{BLOB_PREFIX}{statement.lock.hex}")
    data = file.body(place) if place.member.size <= LIMITS.document else b""
    if Digest.of(data) != statement.lock:
        raise DamagedContent(path=file.path, damaged=((place.member.name, ("images.lock",)),))
    return parse_lock(data.decode(), file=f"{file.path}: images.lock")


def check_carried(path: str, statement: Statement, digests: Iterable[Digest], *, what: str) -> None:
    """`what` needs the bytes of these blobs. Raises Unsupported when a delta leaves some of them to the site."""
    patched = {each.digest for each in statement.patches}.intersection(digests := tuple(digests))
    if patched:
        why = f"It is a delta, and has it only as a patch: use a whole bundle of {statement.release}."
        raise Unsupported(what=f"{what} from {path}", why=why)
    held = {held.digest: held for held in statement.delta.held} if statement.delta else {}
    missing = [held[digest] for digest in dict.fromkeys(digests) if digest in held]
    if statement.delta and missing:
        bases = ", ".join(sorted({str(statement.delta.bases[each.base].release) for each in missing}))
        count = f"{len(missing)} blobs of it" if len(missing) > 1 else "a blob of it"
        why = f"It is a delta, and {count} came with {bases}: use that bundle."
        raise Unsupported(what=f"{what} from {path}", why=why)
