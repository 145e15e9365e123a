"""What travels beside the slices of a bundle: one document that names them, and signatures over it."""

import hashlib
from collections.abc import Sequence

from bundler.errors import CannotWrite
from bundler.fetch.partial import Partial
from bundler.model.digest import Digest
from bundler.model.statement import Statement, write_statement
from bundler.model.volumes import SUFFIX, Slice, Volumes, write_volumes
from bundler.signing.keys import SigningKey
from bundler.support import parallel
from bundler.support.buffers import page_buffer
from bundler.support.progress import Progress

_CHUNK = 1 << 20


def volumes_beside(
    partial: Partial, statement: Statement, keys: Sequence[SigningKey], progress: Progress
) -> dict[str, bytes]:
    """The document and its signatures by their file names, the document last: with it the set is complete."""
    volumes = Volumes(
        release=statement.release,
        content=statement.content,
        statement=Digest.of(write_statement(statement)),
        slices=_slices(partial, progress),
    )
    name, data = f"{partial.out.name}{SUFFIX}", write_volumes(volumes)
    return {**{f"{name}.{key.public.keyid}.sig": key.sign(data) for key in keys}, name: data}


def _slices(partial: Partial, progress: Progress) -> tuple[Slice, ...]:
    """Every slice, hashed as it lies: out of the page cache, mostly."""
    progress.expect(partial.size)
    found: dict[int, Slice] = {}

    def measure(at: int) -> None:
        name = partial.parts.names[at]
        progress.begin(name)
        try:
            found[at] = Slice(digest=_digest(partial, at, progress), size=partial.parts.sizes[at])
        finally:
            progress.end(name)

    failed = parallel.each(range(len(partial.parts.sizes)), measure, jobs=parallel.cores())
    if failed:
        raise failed[0][1]
    return tuple(found[at] for at in sorted(found))


def _digest(partial: Partial, at: int, progress: Progress) -> Digest:
    sha256, buffer = hashlib.sha256(), page_buffer(_CHUNK)
    offset, left = sum(partial.parts.sizes[:at]), partial.parts.sizes[at]
    while left:
        parallel.check_stopping()
        count = partial.read_into(buffer[: min(left, _CHUNK)], offset)
        if not count:
            raise CannotWrite(path=partial.parts.names[at], why="it became shorter meanwhile")
        sha256.update(buffer[:count])
        progress.advance(count)
        offset, left = offset + count, left - count
    return Digest(sha256.hexdigest())
