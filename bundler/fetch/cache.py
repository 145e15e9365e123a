"""Places that may have a blob already: earlier bundles and site stores (`--reuse PATH`). Nothing in them is trusted:
what is taken from them is hashed like what comes over the network."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bundler.archive.form import bundle_layout
from bundler.archive.reader import CHUNK, BundleFile
from bundler.archive.slices import Medium, medium_of, stands_for_volumes
from bundler.errors import BundleError, NotReadable, SliceDamaged, SliceMissing
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX
from bundler.model.statement_parser import parse_statement
from bundler.signing.keys import PublicKey
from bundler.store.blobs import BlobStore
from bundler.support import parallel
from bundler.support.buffers import page_buffer
from bundler.transport import Sink

if TYPE_CHECKING:
    from bundler.patch.bytes_at import Bytes


class ProvingSink(Sink, Protocol):
    """A sink that hashes what it takes."""

    @property
    def digest(self) -> Digest:
        """Of all that it has."""

    def forget(self) -> None:
        """Start anew."""


class Cache:
    """Where to find blobs on this machine."""

    def __init__(self, paths: Iterable[Path], *, replaced: Path | None = None) -> None:
        """`replaced` is the file that the new bundle will replace: used if it happens to be a bundle.

        Raises NotReadable, NotABundle and others for one of `paths` that is neither a bundle nor a folder.
        """
        self._places: dict[Digest, list[tuple[Path, int]]] = {}
        self._stores: list[BlobStore] = []
        for path in paths:
            if path.is_dir() and not stands_for_volumes(path):
                self._stores.append(BlobStore(path))
            else:
                self._add_bundle(path)
        if replaced is not None:
            with contextlib.suppress(BundleError):
                self._add_bundle(replaced)

    def _add_bundle(self, path: Path) -> None:
        with BundleFile(path) as file:
            signed = file.front()
            statement = parse_statement(signed.statement, path=str(path))
            keyids = [PublicKey(raw).keyid for raw in statement.signers]
            layout = bundle_layout(len(signed.statement), keyids, statement.entries)
            for place in layout.places:
                if place.member.name.startswith(BLOB_PREFIX):
                    digest = Digest(place.member.name.removeprefix(BLOB_PREFIX))
                    self._places.setdefault(digest, []).append((path, place.body))

    def copy(self, digest: Digest, size: int, sink: ProvingSink) -> bool:
        """Write the blob into the empty `sink`, if some place here has it, whole and with its digest."""
        for path, offset in self._candidates(digest):
            with contextlib.suppress(NotReadable, SliceMissing, SliceDamaged):
                _copy(path, offset, size, sink)
                if sink.digest == digest:
                    return True
            sink.forget()
        return False

    @contextlib.contextmanager
    def opened(self, digest: Digest, size: int) -> "Iterator[Bytes | None]":
        """The blob, proved, from the first place here that has it."""
        from bundler.patch.bytes_at import Bytes

        for path, offset in self._candidates(digest):
            with contextlib.suppress(NotReadable, SliceMissing, SliceDamaged), contextlib.ExitStack() as stack:
                medium = stack.enter_context(contextlib.closing(medium_of(path)))
                read = _reader(medium, offset, size)
                sha256 = hashlib.sha256()
                for at in range(0, size, CHUNK):
                    parallel.check_stopping()
                    sha256.update(read(CHUNK, at))
                if sha256.hexdigest() == digest.hex:
                    kept = stack.pop_all()
                    break
        else:
            yield None
            return
        with kept:
            yield Bytes(size=size, read=read)

    def _candidates(self, digest: Digest) -> Iterator[tuple[Path, int]]:
        yield from self._places.get(digest, ())
        for store in self._stores:
            path = store.path(digest)
            if path.exists():
                yield path, 0


def _reader(medium: Medium, offset: int, size: int) -> Callable[[int, int], bytes]:
    def read(count: int, at: int) -> bytes:
        found = bytearray(max(0, min(count, size - at)))
        view, done = memoryview(found), 0
        try:
            while done < len(found) and (got := medium.read_into(view[done:], offset + at + done)) > 0:
                done += got
        except OSError:
            return b""  # whoever reads it finds that it is short
        return bytes(found[:done])

    return read


def _copy(path: Path, offset: int, count: int, sink: Sink) -> None:
    """Raises NotReadable."""
    buffer = page_buffer(CHUNK)
    try:
        with contextlib.closing(medium_of(path)) as medium:
            while count > 0:
                got = medium.read_into(buffer[: min(len(buffer), count)], offset)
                if got <= 0:
                    raise NotReadable(path=str(path), why="it ends too early")
                sink.write(buffer[:got])
                offset, count = offset + got, count - got
    except OSError as error:
        raise NotReadable(path=str(path), why=error.strerror or str(error)) from None
