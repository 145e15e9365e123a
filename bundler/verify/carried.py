"""What a bundle carries of its own making: the lock."""

from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.errors import DamagedContent
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
