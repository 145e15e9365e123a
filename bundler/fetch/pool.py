"""Fetching all tasks of a bundle into their places, in parallel, each byte hashed on its way."""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundler.catalog.manifests import Manifests
from bundler.errors import (
    BundleError,
    CannotWrite,
    ChartChanged,
    DiskFull,
    FetchFailed,
    Malformed,
    NotFound,
    PinGone,
    WrongBytes,
)
from bundler.fetch.board import Board, Offer
from bundler.fetch.cache import Cache
from bundler.fetch.crew import Crew, Turn
from bundler.fetch.partial import Partial
from bundler.fetch.place import Place
from bundler.fetch.saved import daemon_source, fetch_saved
from bundler.fetch.tasks import BlobOf, ManifestOf, MetadataOf, PartOf, Task
from bundler.model.lock import LockedDeb, LockedFile, LockedWheel
from bundler.sources.charts import Charts
from bundler.sources.debs import DebLocator
from bundler.sources.files import file_source, receive_local
from bundler.sources.images import Registry
from bundler.sources.local_images import LocalImages
from bundler.sources.tar_index import Part
from bundler.sources.wheel_file import requires_of, wheel_metadata
from bundler.sources.wheels import WheelLocator
from bundler.support import parallel
from bundler.support.progress import Progress
from bundler.transport import Request, Transport, Upstreams, Version

Source = Request | Path | Part | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Whom to ask for what. `manifests` is where `file:` URLs are."""

    transport: Transport
    registry: Registry
    wheels: WheelLocator
    debs: DebLocator
    manifests: Manifests
    upstreams: Upstreams
    cache: Cache


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
    # METADATA is read out of wheels that are there by then.
    first = [task for task in wanted if not isinstance(task.origin, MetadataOf) and not daemon_source(task)]
    second = [task for task in wanted if isinstance(task.origin, MetadataOf)]
    turns = threading.Semaphore(jobs)
    _fetch_saved(wanted, partial, progress, jobs=jobs, refresh=refresh)
    for group in (first, second):
        crew = Crew(sources.transport, turns, Board(tasks=len(group), jobs=jobs), fatal=_is_fatal)
        worker = _Worker(partial, sources, progress, crew)
        # Threads that find no task any more help with the large blobs that are left.
        helpers = [None] * (2 * jobs - 1 if any(task.large for task in group) else 0)
        failed = parallel.each([*group, *helpers], worker.work, jobs=2 * jobs, fatal=_is_fatal)
        _raise_failures([(task, error) for task, error in failed if task is not None], refresh)


def _fetch_saved(wanted: Sequence[Task], partial: Partial, progress: Progress, *, jobs: int, refresh: str) -> None:
    """What the Docker daemon has, image by image: it gives the blobs of each in one stream."""
    saved: dict[str, list[Task]] = {}
    for task in wanted:
        if source := daemon_source(task):
            saved.setdefault(source, []).append(task)
    failed = parallel.each(
        saved.items(), lambda each: fetch_saved(*each, partial, progress), jobs=jobs, fatal=_is_fatal
    )
    _raise_failures([(tasks[0], error) for (_, tasks), error in failed], refresh)


def _is_fatal(error: BundleError) -> bool:
    """The disk's errors concern every task; the network's and the sources' concern one."""
    return isinstance(error, (DiskFull, CannotWrite))


def _raise_failures(failed: list[tuple[Task, BundleError]], refresh: str) -> None:
    for changed in (error for _, error in failed if isinstance(error, ChartChanged)):
        changed.command = refresh
    gone = tuple(sorted(task.label for task, error in failed if isinstance(error, NotFound)))
    if gone and len(gone) == len(failed):
        raise PinGone(gone=gone, command=refresh)
    if len(failed) == 1:
        raise failed[0][1]
    if failed:
        raise FetchFailed(failures=tuple(sorted((task.label, error.summary) for task, error in failed)))


class _Worker:
    def __init__(self, partial: Partial, sources: Sources, progress: Progress, crew: Crew) -> None:
        self._partial, self._sources, self._progress, self._crew = partial, sources, progress, crew
        self._local = LocalImages(sources.manifests)

    def work(self, task: Task | None) -> None:
        """Fetch one blob, or without one help with large ones until all are whole."""
        if task is None:
            self._crew.help()
            return
        try:
            self._fetch(task)
        finally:
            self._crew.board.finished()

    def _fetch(self, task: Task) -> None:
        """Bring one blob into its place when it is its turn. Raises WrongBytes and what its source raises."""
        with self._crew.turn() as turn:
            parallel.check_stopping()
            self._progress.begin(task.label)
            try:
                self._bring(task, Place(self._partial, task, self._progress), turn)
            finally:
                self._progress.end(task.label)

    def _bring(self, task: Task, place: Place, turn: Turn) -> None:
        """From its source, or a registry's blob from the first place that has it: mirrors come before the registry."""
        origin = task.origin
        if not isinstance(origin, (ManifestOf, BlobOf)):
            self._prove(task, place, turn, lambda: self._locate(task))
            return
        if origin.image.source:
            try:
                self._prove(task, place, turn, lambda: self._locate(task))
            except WrongBytes:
                raise NotFound(url=origin.image.source, what=task.label) from None  # another image by now
            return

        def take(request: Request) -> None:
            place.resume()
            self._prove(task, place, turn, lambda: request)

        manifest = isinstance(origin, ManifestOf)
        self._sources.registry.receive(origin.image.reference, origin.descriptor, take, manifest=manifest)

    def _prove(self, task: Task, place: Place, turn: Turn, locate: Callable[[], Source]) -> None:
        self._receive(task, place, turn, locate)
        if place.digest != task.digest and (place.recalled or place.shared):
            # A mark may have run ahead of its data in a power cut, a server may have given other parts than it was
            # asked for: once more, from nothing and over one connection.
            place.alone = True
            place.forget()
            self._receive(task, place, turn, locate)
        if (found := place.digest) != task.digest:
            place.forget()
            raise WrongBytes(what=task.label, expected=str(task.digest), found=str(found))
        self._partial.finish(task.slot)

    def _receive(self, task: Task, place: Place, turn: Turn, locate: Callable[[], Source]) -> None:
        if place.complete:
            return
        if place.empty:
            writer = place.straight(turn.over)
            found = self._sources.cache.copy(task.digest, task.size, writer)
            writer.close()
            if found:
                return
        source = locate()
        if isinstance(source, Request):
            self._crew.lead(Offer(place=place, request=source, version=_version(task)), turn)
        else:
            writer = place.straight(turn.over)
            place.catch_up()
            if isinstance(source, Path):
                receive_local(source, size=task.size, sink=writer)
            elif isinstance(source, Part):
                receive_local(source.path, size=task.size, sink=writer, offset=None if source.whole else source.offset)
            else:
                writer.write(memoryview(source)[writer.position : task.size])
            writer.close()

    def _locate(self, task: Task) -> Source:
        origin, sources = task.origin, self._sources
        if isinstance(origin, Part):
            return origin
        if isinstance(origin, (ManifestOf, BlobOf)):
            return self._local.find(origin.image, origin.descriptor)
        if isinstance(origin, PartOf):
            return Charts(sources, sources.manifests).locate(origin.chart, origin.descriptor)
        if isinstance(origin, LockedWheel):
            return sources.wheels.locate(origin)
        if isinstance(origin, LockedDeb):
            return sources.debs.locate(origin)
        if isinstance(origin, LockedFile):
            return file_source(origin.url, manifests=sources.manifests, upstreams=sources.upstreams)
        return self._metadata(task, origin)

    def _metadata(self, task: Task, origin: MetadataOf) -> bytes:
        window = Window(self._partial, origin.wheel_offset, origin.wheel.size)
        try:
            data = wheel_metadata(io.BufferedReader(window), project=origin.wheel.project)
        except Malformed as error:
            raise WrongBytes(what=task.label, expected=error.expected, found=error.found) from None
        if len(data) != task.size:
            raise WrongBytes(what=task.label, expected=f"{task.size} bytes", found=f"{len(data)} bytes")
        if requires_of(data) != origin.wheel.requires:
            raise WrongBytes(what=task.label, expected="the requirements that the lock names", found="others")
        return data


def _version(task: Task) -> Version | None:
    """A file's server may change it meanwhile; what a registry calls by its digest stays."""
    return Version() if isinstance(task.origin, LockedFile) else None


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
