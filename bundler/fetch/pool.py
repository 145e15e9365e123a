"""Fetching all tasks of a bundle into their places, in parallel, each byte hashed on its way."""

import hashlib
import io
import threading
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import BundleError, CannotWrite, DiskFull, FetchFailed, Malformed, NotFound, PinGone, WrongBytes
from bundler.fetch.cache import Cache
from bundler.fetch.partial import Partial
from bundler.fetch.tasks import BlobOf, ManifestOf, MetadataOf, Task
from bundler.model.digest import Digest
from bundler.model.lock import LockedDeb, LockedFile, LockedWheel
from bundler.sources.debs import DebLocator
from bundler.sources.files import file_source, receive_local
from bundler.sources.images import Registry
from bundler.sources.wheel_file import wheel_metadata
from bundler.sources.wheels import WheelLocator
from bundler.support import parallel
from bundler.support.progress import Progress
from bundler.transport import Request, Transport

_CHUNK = 1 << 20
# When so much is left of a blob, the next one is asked for: on a slow link no time passes between the two.
_AHEAD = 2 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Whom to ask for what. `files` is the folder that `file:` URLs are below."""

    transport: Transport
    registry: Registry
    wheels: WheelLocator
    debs: DebLocator
    files: Path
    cache: Cache


class _Turn:
    """One of so many turns at a time, which may be over before the work is."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns, self._held = turns, False

    def __enter__(self) -> "_Turn":
        self._turns.acquire()
        self._held = True
        return self

    def over(self) -> None:
        if self._held:
            self._held = False
            self._turns.release()

    def __exit__(self, *_: object) -> None:
        self.over()


class PlaceSink:
    """The place of one blob in the partial file: hashes, writes and marks what arrives."""

    def __init__(self, partial: Partial, task: Task, progress: Progress, turn: _Turn) -> None:
        self._partial, self._task, self._progress, self._turn = partial, task, progress, turn
        self._hash = hashlib.sha256()
        self.position = 0

    def recall(self) -> None:
        """Go on after what an earlier run wrote: hash it again, from the disk."""
        end = min(self._partial.position(self._task.slot), self._task.size)
        while self.position < end:
            data = self._partial.read(min(_CHUNK, end - self.position), self._task.offset + self.position)
            if not data:
                break
            self._hash.update(data)
            self.position += len(data)
            self._progress.advance(len(data))

    def write(self, data: memoryview) -> None:
        parallel.check_stopping()
        self._hash.update(data)
        self._partial.write(data, self._task.offset + self.position)
        self.position += len(data)
        self._partial.mark(self._task.slot, self.position)
        self._progress.advance(len(data))
        if self._task.size - self.position <= _AHEAD:
            self._turn.over()

    def forget(self) -> None:
        """Start the blob anew."""
        self._progress.advance(-self.position)
        self._hash, self.position = hashlib.sha256(), 0
        self._partial.mark(self._task.slot, 0)

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())


def fetch_all(
    tasks: tuple[Task, ...],
    partial: Partial,
    sources: Sources,
    *,
    jobs: int,
    progress: Progress,
    refresh: str,
) -> None:
    """Fetch what is not whole yet. All failures are collected; what has arrived is kept.

    `refresh` is the command that moves pins. Raises PinGone when the sources no longer serve locked entries,
    else FetchFailed, or the one error there is.
    """
    wanted = [task for task in tasks if not partial.whole(task.slot)]
    progress.expect(sum(task.size for task in wanted))
    worker = _Worker(partial, sources, progress, threading.Semaphore(jobs))
    # METADATA is read out of wheels that are there by then.
    first = [task for task in wanted if not isinstance(task.origin, MetadataOf)]
    second = [task for task in wanted if isinstance(task.origin, MetadataOf)]
    for group in (first, second):
        _raise_failures(parallel.each(group, worker.fetch, jobs=2 * jobs, fatal=_is_fatal), refresh)


def _is_fatal(error: BundleError) -> bool:
    """The disk's errors concern every task; the network's and the sources' concern one."""
    return isinstance(error, (DiskFull, CannotWrite))


def _raise_failures(failed: list[tuple[Task, BundleError]], refresh: str) -> None:
    gone = tuple(sorted(task.label for task, error in failed if isinstance(error, NotFound)))
    if gone and len(gone) == len(failed):
        raise PinGone(gone=gone, command=refresh)
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        raise FetchFailed(failures=tuple(sorted((task.label, error.summary) for task, error in failed)))


class _Worker:
    def __init__(self, partial: Partial, sources: Sources, progress: Progress, turns: threading.Semaphore) -> None:
        self._partial, self._sources, self._progress, self._turns = partial, sources, progress, turns

    def fetch(self, task: Task) -> None:
        """Bring one blob into its place when it is its turn. Raises WrongBytes and what its source raises."""
        with _Turn(self._turns) as turn:
            parallel.check_stopping()
            self._fetch(task, PlaceSink(self._partial, task, self._progress, turn))

    def _fetch(self, task: Task, sink: PlaceSink) -> None:
        self._progress.begin(task.label)
        try:
            sink.recall()
            recalled = sink.position > 0
            self._receive(task, sink)
            if sink.digest != task.digest and recalled:
                # The mark may have run ahead of the data in a power cut: once more, from nothing.
                sink.forget()
                self._receive(task, sink)
            found = sink.digest
            if found != task.digest:
                sink.forget()
                raise WrongBytes(what=task.label, expected=str(task.digest), found=str(found))
            self._partial.finish(task.slot)
        finally:
            self._progress.end(task.label)

    def _receive(self, task: Task, sink: PlaceSink) -> None:
        if sink.position == task.size:
            return
        if sink.position == 0 and self._sources.cache.copy(task.digest, task.size, sink):
            return
        source = self._locate(task)
        if isinstance(source, Request):
            self._sources.transport.receive(source, size=task.size, sink=sink)
        elif isinstance(source, Path):
            receive_local(source, size=task.size, sink=sink)
        else:
            sink.write(memoryview(source)[sink.position : task.size])

    def _locate(self, task: Task) -> Request | Path | bytes:
        origin, sources = task.origin, self._sources
        if isinstance(origin, ManifestOf):
            return sources.registry.manifest_request(origin.image.reference, origin.descriptor)
        if isinstance(origin, BlobOf):
            return sources.registry.blob_request(origin.image.reference, origin.descriptor)
        if isinstance(origin, LockedWheel):
            return sources.wheels.locate(origin)
        if isinstance(origin, LockedDeb):
            return sources.debs.locate(origin)
        if isinstance(origin, LockedFile):
            return file_source(origin.url, files=sources.files)
        return self._metadata(task, origin)

    def _metadata(self, task: Task, origin: MetadataOf) -> bytes:
        window = Window(self._partial, origin.wheel_offset, origin.wheel.size)
        try:
            data = wheel_metadata(io.BufferedReader(window), project=origin.wheel.project)
        except Malformed as error:
            raise WrongBytes(what=task.label, expected=error.expected, found=error.found) from None
        if len(data) != task.size:
            raise WrongBytes(what=task.label, expected=f"{task.size} bytes", found=f"{len(data)} bytes")
        return data


class Window(io.RawIOBase):
    """A part of the partial file, as a seekable file of its own."""

    def __init__(self, partial: Partial, offset: int, size: int) -> None:
        self._partial, self._offset, self._size, self._at = partial, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._at))
        data = self._partial.read(count, self._offset + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
