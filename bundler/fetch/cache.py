"""Places that may have a blob already: earlier bundles and site stores (`--reuse PATH`). Nothing in them is trusted:
what is taken from them is hashed like what comes over the network."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bundler.archive.form import bundle_layout
from bundler.archive.reader import CHUNK, BundleFile
from bundler.errors import NotReadable
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX, parse_statement
from bundler.signing.keys import PublicKey
from bundler.store.blobs import BlobStore
from bundler.support.buffers import page_buffer
from bundler.transport import Sink


class Cache:
    """Where to find blobs on this machine."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._places: dict[Digest, tuple[Path, int]] = {}
        self._stores: list[BlobStore] = []
        for path in paths:
            if path.is_dir():
                self._stores.append(BlobStore(path))
            else:
                self._add_bundle(path)

    def _add_bundle(self, path: Path) -> None:
        """Raises NotReadable, NotABundle and others when there is no bundle at `path`."""
        with BundleFile(path) as file:
            signed = file.front()
            statement = parse_statement(signed.statement, path=str(path))
            keyids = [PublicKey(raw).keyid for raw in statement.signers]
            layout = bundle_layout(len(signed.statement), keyids, statement.entries)
            for place in layout.places:
                if place.member.name.startswith(BLOB_PREFIX):
                    digest = Digest(place.member.name.removeprefix(BLOB_PREFIX))
                    self._places.setdefault(digest, (path, place.body))

    def copy(self, digest: Digest, size: int, sink: Sink) -> bool:
        """Write the blob into `sink` from where it stands, if some place here can give all of it."""
        for path, offset in self._candidates(digest):
            try:
                _copy(path, offset + sink.position, size - sink.position, sink)
            except NotReadable:
                continue
            if sink.position == size:
                return True
        return False

    def _candidates(self, digest: Digest) -> Iterator[tuple[Path, int]]:
        if digest in self._places:
            yield self._places[digest]
        for store in self._stores:
            path = store.path(digest)
            if path.exists():
                yield path, 0


def _copy(path: Path, offset: int, count: int, sink: Sink) -> None:
    """Raises NotReadable."""
    buffer = page_buffer(CHUNK)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    try:
        while count > 0:
            got = os.preadv(descriptor, [buffer[: min(len(buffer), count)]], offset)
            if got <= 0:
                raise NotReadable(path=str(path), why="it ends too early")
            sink.write(buffer[:got])
            offset, count = offset + got, count - got
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
    finally:
        os.close(descriptor)
