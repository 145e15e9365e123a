"""Patches for the blobs of a delta: what of them travels when the site has others much like them.

What is needed of the new blobs is fetched into `OUT.whole.partial`, as a bundle is; finished patches lie in
`OUT.patches`. Killed at any point, the same command goes on with both; when the bundle is there both are gone.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from bundler.archive.draft import Patching
from bundler.archive.likeness import Like
from bundler.errors import Malformed
from bundler.fetch.cache import Cache
from bundler.fetch.partial import Partial
from bundler.fetch.tasks import MetadataOf, Task
from bundler.model.digest import Digest
from bundler.model.lock import LockedWheel
from bundler.model.statement import Held, Patched
from bundler.sources.tar_index import Part
from bundler.support import files, parallel
from bundler.support.progress import Progress

if TYPE_CHECKING:
    from bundler.patch.bytes_at import Bytes

LEAST = 4 << 10  # a blob below that travels whole
WORTH = 0.9  # of a blob: a patch above that is none
_NAME = re.compile(r"([0-9a-f]{64})-([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A patch, the file that it lies in, and the bases it was made against."""

    patching: Patching
    path: Path
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A new blob and what the site has like it."""

    task: Task
    likes: tuple[Like, ...]


def tasks_for(tasks: Sequence[Task], wanted: set[Digest]) -> tuple[Task, ...]:
    """The tasks of these blobs, and of the METADATA of wheels among them, in a file of their own."""
    found: list[Task] = []
    at, slot = 0, 0
    places: dict[Digest, int] = {}
    seen: set[Digest] = set()  # a wheel of the tool itself may be one of the release too
    for task in tasks:
        origin = task.origin
        if task.digest in seen:
            continue
        if task.digest in wanted or (isinstance(origin, MetadataOf) and origin.wheel.digest in wanted):
            if isinstance(origin, MetadataOf):
                origin = replace(origin, wheel_offset=places[origin.wheel.digest])
            elif isinstance(origin, LockedWheel):
                places[task.digest] = at
            seen.add(task.digest)
            found.append(replace(task, origin=origin, offset=at, slot=slot))
            at, slot = at + task.size, slot + found[-1].slots
    return tuple(found)


def make_all(
    wanted: Sequence[Wanted],
    partial: Partial,
    folder: Path,
    cache: Cache,
    *,
    numbers: Mapping[Digest, Held],
    jobs: int,
    progress: Progress,
) -> tuple[Made, ...]:
    """A patch for each blob for which one pays; each was proved by rebuilding the blob from it. `numbers` are the
    site's blobs."""
    with files.writing(folder):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.new"):
            path.unlink()
    maker = _Maker(partial, folder, cache, numbers, progress)
    progress.expect(sum(each.task.size for each in wanted))
    failed = parallel.each(wanted, maker.make, jobs=jobs, fatal=lambda error: True)
    assert not failed
    return tuple(sorted(maker.made, key=lambda each: each.patching.patched.digest))


class _Maker:
    def __init__(
        self, partial: Partial, folder: Path, cache: Cache, numbers: Mapping[Digest, Held], progress: Progress
    ) -> None:
        self._partial, self._folder, self._cache, self._numbers = partial, folder, cache, numbers
        self._progress = progress
        self.made: list[Made] = []
        self._known = {match[1]: path for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))}

    def make(self, wanted: Wanted) -> None:
        """Raises CannotWrite, DiskFull."""
        task = wanted.task
        self._progress.begin(task.label)
        try:
            path = self._known.get(task.digest.hex) or self._new(wanted)
            if path is not None and (made := self._read(path, wanted)) is not None:
                self.made.append(made)
        finally:
            self._progress.advance(task.size)
            self._progress.end(task.label)

    def _new(self, wanted: Wanted) -> Path | None:
        """The patch in a file that is named for its target and itself; nothing where none pays."""
        from bundler.patch.bytes_at import Bytes
        from bundler.patch.make import Blob, make

        task = wanted.task

        def read(count: int, at: int) -> bytes:
            return self._partial.read(min(count, task.size - at), task.offset + at)

        target = Blob(digest=task.digest, data=Bytes(size=task.size, read=read))
        half = self._folder / f"{task.digest.hex}.new"
        with ExitStack() as stack, suppress(Malformed):
            bases = [
                Blob(digest=like.digest, data=data)
                for like in wanted.likes
                if (data := stack.enter_context(self._cache.opened(like.digest, like.size))) is not None
            ]
            with files.writing(half), half.open("w+b") as out:
                if not bases or not make(target, bases, out, scratch=self._scratch, most=int(WORTH * task.size)):
                    half.unlink()
                    return None
                out.flush()
                digest = self._proved(half, target.digest, {each.digest: each.data for each in bases})
                files.sync_data(out.fileno())
                path = self._folder / f"{task.digest.hex}-{digest.hex}"
                half.rename(path)
                return path
        half.unlink(missing_ok=True)
        return None

    def _proved(self, half: Path, target: Digest, bases: Mapping[Digest, "Bytes"]) -> Digest:
        """The patch's digest, when it makes the target. Raises Malformed."""
        from bundler.patch.apply import rebuilt
        from bundler.patch.bytes_at import of_descriptor

        found = hashlib.sha256()
        with ExitStack() as stack, half.open("rb") as file:
            patch = of_descriptor(file.fileno(), half.stat().st_size)
            _, pieces = rebuilt(patch, lambda digest, _: bases[digest], stack, scratch=self._scratch, room=1 << 62)
            for data in pieces:
                parallel.check_stopping()
                found.update(data)
            if found.hexdigest() != target.hex:
                raise Malformed(found="other bytes", expected=str(target))
            return Digest(hashlib.file_digest(file, "sha256").hexdigest())

    def _read(self, path: Path, wanted: Wanted) -> Made | None:
        """What a finished patch is; None for one that was not made from what there is now."""
        from bundler.patch.apply import scratch_size
        from bundler.patch.bytes_at import of_descriptor
        from bundler.patch.form import read_head

        target, digest = (Digest(each) for each in path.name.split("-"))
        with suppress(Malformed), path.open("rb") as file:
            size = path.stat().st_size
            head, _ = read_head(of_descriptor(file.fileno(), size))
            bases = {side.digest for side in head.bases}
            right = Digest(hashlib.file_digest(file, "sha256").hexdigest()) == digest and head.target.digest == target
            if right and bases <= {like.digest for like in wanted.likes}:
                patched = Patched(
                    digest=target,
                    size=head.target.size,
                    patch=digest,
                    scratch=scratch_size(head.bases),
                    bases=tuple(self._numbers[base] for base in sorted(bases)),
                )
                return Made(patching=Patching(patched=patched, size=size), path=path, sure=wanted.likes[0].sure)
        path.unlink()
        return None

    def _scratch(self) -> AbstractContextManager[BinaryIO]:
        return files.scratch(self._folder)


def clear(folder: Path) -> None:
    """Take the finished patches away."""
    with files.writing(folder):
        shutil.rmtree(folder, ignore_errors=True)


def ready_of(made: Sequence[Made], tasks: Sequence[Task], partial: Partial) -> dict[Digest, Part]:
    """Where the patches lie, and what was fetched for them: it is not fetched again."""
    fetched = {task.digest: Part(path=partial.path, offset=task.offset, size=task.size) for task in tasks}
    patches = {
        each.patching.patched.patch: Part(path=each.path, offset=0, size=each.patching.size, whole=True)
        for each in made
    }
    return fetched | patches
