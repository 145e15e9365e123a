"""Proving a bundle: signatures first, then the frame, then every body, on all cores."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping

from bundler.archive.form import BOOTSTRAP, bundle_layout, owners_of, signature_name
from bundler.archive.layout import Layout, Place
from bundler.archive.reader import CHUNK, BundleFile
from bundler.errors import BadSignature, DamagedContent
from bundler.model.digest import Digest
from bundler.model.statement import Statement
from bundler.signing.keys import PublicKey
from bundler.support import parallel
from bundler.support.buffers import page_buffer
from bundler.support.progress import Progress

_local = threading.local()


def layout_of(file: BundleFile, statement: Statement, statement_size: int) -> Layout:
    """The layout that the statement implies; the file has exactly its size.

    Raises TruncatedBundle, TrailingBytes, HeaderMismatch.
    """
    keyids = [PublicKey(raw).keyid for raw in statement.signers]
    layout = bundle_layout(statement_size, keyids, statement.entries)
    file.check_size(layout)
    file.check_frame(layout)
    return layout


def check_bootstrap_signatures(file: BundleFile, statement: Statement, layout: Layout) -> None:
    """Every signer must have signed bootstrap.tar too. Raises BadSignature."""
    with file.whole(layout.place(BOOTSTRAP)) as data:
        bootstrap_is_signed(statement, data, lambda keyid: file.body(layout.place(signature_name(BOOTSTRAP, keyid))))


def bootstrap_is_signed(statement: Statement, data: memoryview, signature: Callable[[str], bytes | memoryview]) -> None:
    """`signature` gives that of a keyid. Raises BadSignature."""
    for raw in statement.signers:
        key = PublicKey(raw)
        if not key.verifies(bytes(signature(key.keyid)), data):
            raise BadSignature(keyid=key.keyid, what=BOOTSTRAP, why="the bytes or the signature were changed")


def check_bodies(file: BundleFile, statement: Statement, layout: Layout, *, jobs: int, progress: Progress) -> None:
    """Hash every body that the statement lists. Raises DamagedContent, naming all that differ."""
    places = {place.member.name: place for place in layout.places}
    wanted = {entry.name: entry.digest for entry in statement.entries}
    owners = owners_of(statement)
    progress.expect(sum(entry.size for entry in statement.entries))

    def check(name: str) -> None:
        label = owners.get(name, (name,))[0]
        progress.begin(label)
        try:
            found = hash_body(file, places[name], progress.advance)
        finally:
            progress.end(label)
        if found != wanted[name]:
            raise DamagedContent(path=file.path, damaged=((name, owners.get(name, ())),))

    largest_first = sorted(wanted, key=lambda name: (-places[name].member.size, name))
    failed = parallel.each(largest_first, check, jobs=jobs)
    raise_damaged(file, (name for name, _ in failed), owners)


def raise_damaged(file: BundleFile, names: Iterable[str], owners: Mapping[str, tuple[str, ...]]) -> None:
    """Raises DamagedContent when there are names."""
    damaged = tuple((name, owners.get(name, ())) for name in sorted(names))
    if damaged:
        raise DamagedContent(path=file.path, damaged=damaged)


def hash_body(file: BundleFile, place: Place, advance: Callable[[int], object]) -> Digest:
    sha256 = hashlib.sha256()

    def take(data: memoryview) -> None:
        parallel.check_stopping()
        sha256.update(data)
        advance(len(data))

    file.advise(place)
    file.stream(place, take, thread_buffer())
    return Digest(sha256.hexdigest())


def thread_buffer() -> memoryview:
    """One buffer a thread, used again for every body."""
    if not hasattr(_local, "buffer"):
        _local.buffer = page_buffer(CHUNK)
    buffer: memoryview = _local.buffer
    return buffer
