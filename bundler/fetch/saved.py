"""Images of the Docker daemon: one stream holds all blobs of an image, each of which has a place of its own.

The stream goes by once and is kept nowhere else. A blob is known by its digest, and that only when it has passed; so a
member goes to the place of a blob of its size, and from there to another one of that size if it was that.
"""

from collections.abc import Callable, Sequence

from bundler.errors import NotFound
from bundler.fetch.partial import Partial
from bundler.fetch.place import Place
from bundler.fetch.tasks import BlobOf, Task
from bundler.model.digest import Digest
from bundler.sources.docker_daemon import SCHEME, Member, saving
from bundler.support.buffers import page_buffer
from bundler.support.progress import Progress

_BUFFER = 1 << 20


def daemon_source(task: Task) -> str:
    """The daemon's image that a blob comes from, or nothing."""
    origin = task.origin
    return origin.image.source if isinstance(origin, BlobOf) and origin.image.source.startswith(SCHEME) else ""


def fetch_saved(source: str, tasks: Sequence[Task], partial: Partial, progress: Progress) -> None:
    """Bring the blobs of one image into their places. Raises NotFound when the daemon has another image of that name
    now, and what `docker_daemon.saving` raises."""
    waiting = {task.digest: task for task in tasks}
    progress.begin(source)
    try:
        with saving(source) as members:
            for member in members:
                if isinstance(member, Member):
                    _take(member, waiting, partial, progress)
                if not waiting:
                    return
    finally:
        progress.end(source)
    raise NotFound(url="the Docker daemon", what=next(iter(waiting.values())).label)


def _take(member: Member, waiting: dict[Digest, Task], partial: Partial, progress: Progress) -> None:
    """Write a member that may be one of those waited for; what it was shows afterwards."""
    task = next((each for each in waiting.values() if each.size == member.size), None)
    if task is None:
        return
    place = _fill(task, member.file.readinto, partial, progress)
    found = waiting.pop(place.digest, None)
    if found is not task:
        if found is not None:
            _fill(found, _reader(partial, task), partial, progress)
        place.forget()
    if found is not None:
        partial.finish(found.slot)


def _fill(task: Task, read: Callable[[memoryview], int], partial: Partial, progress: Progress) -> Place:
    place = Place(partial, task, progress)
    place.forget()
    if task.size:
        writer = place.straight(lambda: None)
        buffer = page_buffer(_BUFFER)
        while count := read(buffer[: task.size - writer.position]):
            writer.write(buffer[:count])
        writer.close()
    return place


def _reader(partial: Partial, task: Task) -> Callable[[memoryview], int]:
    """Reads the place of a blob, from its beginning."""
    at = 0

    def read(buffer: memoryview) -> int:
        nonlocal at
        count = partial.read_into(buffer, task.offset + at)
        at += count
        return count

    return read
