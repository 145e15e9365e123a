"""The place of one blob in the partial file: which of its pieces are there, who fetches the others, its hash.

Every byte is hashed once, in order: as it passes, if all before it have; else out of the page cache, as soon as they
have. What an earlier run wrote is read from the disk.
"""

import hashlib
import threading
from collections.abc import Callable

from bundler.errors import BundleError, HttpFailure
from bundler.fetch.partial import Partial
from bundler.fetch.tasks import Task
from bundler.model.digest import Digest
from bundler.support import parallel
from bundler.support.buffers import page_buffer
from bundler.support.progress import Progress

# When so much is left to a writer, the next one may ask for its part: on a slow link no time passes between the two.
AHEAD = 2 << 20
_BUFFER = 1 << 20
_SETBACKS = 3  # failures in a row of those who help, after which one goes on alone
_LOOK_UP = 0.2  # seconds


class Place:
    """Safe for use by many threads. `recalled`: an earlier run wrote a part. `shared`: several fetched parts in this
    run. `alone`: the source does not bear several at once. `changed`: it has other bytes now than at the beginning.
    `anew`: all was forgotten once."""

    def __init__(self, partial: Partial, task: Task, progress: Progress) -> None:
        self.task, self._partial, self._progress = task, partial, progress
        self._state = threading.Condition()
        self._taken: set[int] = set()
        self._first = 0  # every piece before is there
        self._hashing = threading.Lock()
        self._sha256, self._hashed = hashlib.sha256(), 0
        self._setbacks = 0
        self.alone = self.shared = self.changed = self.closed = self.anew = False
        present = self._present()
        self.recalled = present > 0
        progress.advance(present)

    # --- what is there

    @property
    def complete(self) -> bool:
        with self._state:
            return self._lowest() == self.task.pieces

    @property
    def empty(self) -> bool:
        return self._present() == 0

    @property
    def missing(self) -> int:
        return self.task.size - self._present()

    @property
    def digest(self) -> Digest:
        """Of all that is there without a gap."""
        self.catch_up(wait=True)
        return Digest(self._sha256.hexdigest())

    def there(self, piece: int) -> int:
        """The end of what is there of a piece, within the blob."""
        start, end = self.task.piece_start(piece), self.task.piece_end(piece)
        return min(start + self._partial.position(self.task.piece_slot(piece)), end)

    def _present(self) -> int:
        return sum(self.there(piece) - self.task.piece_start(piece) for piece in range(self.task.pieces))

    def _lowest(self) -> int:
        while self._first < self.task.pieces and self.there(self._first) == self.task.piece_end(self._first):
            self._first += 1
        return self._first

    # --- who fetches what

    @property
    def open(self) -> bool:
        """Whether another one may help, and there is a piece for them."""
        with self._state:
            return not (self.alone or self.changed or self.closed) and self._free() is not None

    @property
    def others(self) -> bool:
        """Whether somebody is at work; to be asked by who has no piece."""
        return bool(self._taken)

    def claim(self, *, far: bool, after: Callable[[], None] = lambda: None) -> "Writer | None":
        """The first piece that nobody has; None when there is none. `far`: go on to the next ones without asking again.

        `after` is called when little is left to be fetched by this writer.
        """
        with self._state:
            refused = self.changed or self.closed or (self.alone and (not far or bool(self._taken)))
            piece = None if refused else self._free()
            if piece is None:
                return None
            if self._taken:
                self.shared = True
            self._taken.add(piece)
        return Writer(self, piece, self.there(piece), far=far, after=after)

    def straight(self, after: Callable[[], None]) -> "Writer":
        """A writer of all that is missing, for a source that is read in order: what lies behind a gap is given up."""
        with self._state:
            kept = self._lowest()
            for piece in range(kept + 1, self.task.pieces):
                self._progress.advance(self.task.piece_start(piece) - self.there(piece))
                self._partial.mark(self.task.piece_slot(piece), 0)
        writer = self.claim(far=True, after=after)
        assert writer is not None
        return writer

    def _free(self) -> int | None:
        for piece in range(self._lowest(), self.task.pieces):
            if piece not in self._taken and self.there(piece) < self.task.piece_end(piece):
                return piece
        return None

    def follow(self, piece: int) -> bool:
        """Whether the writer of a piece that is whole now may go on with the next one."""
        with self._state:
            after = piece + 1
            there = self.there(after) if after < self.task.pieces and after not in self._taken else None
            free = there == self.task.piece_start(after)
            if free:
                self._taken.discard(piece)
                self._taken.add(after)
            return free

    def release(self, piece: int) -> None:
        with self._state:
            self._taken.discard(piece)
            self._state.notify_all()

    def wait(self) -> None:
        """Until somebody has given up or finished a piece, or for a moment. Raises Stopped."""
        parallel.check_stopping()
        with self._state:
            if self._taken:
                self._state.wait(_LOOK_UP)

    def success(self) -> None:
        self._setbacks = 0

    def setback(self, error: BundleError) -> None:
        """One of several failed: more than a few in a row, or being told so, means that the source wants only one."""
        self._setbacks += 1
        told = isinstance(error, HttpFailure) and error.status == 429
        if told or self._setbacks > _SETBACKS:
            self.alone = True

    def resume(self) -> None:
        """Go on with another source, after one that failed; nobody may be at work."""
        self.recalled = not self.empty
        self.alone = self.changed = self.closed = self.anew = False
        self._setbacks = 0

    def forget(self) -> None:
        """Start anew, as soon as nobody is at work any more."""
        while self.others:
            self.wait()
        self._progress.advance(-self._present())
        for piece in range(self.task.pieces):
            self._partial.mark(self.task.piece_slot(piece), 0)
        with self._hashing:
            self._sha256, self._hashed = hashlib.sha256(), 0
        self._first = 0
        self.recalled = self.shared = self.changed = self.closed = False
        self.anew = True

    # --- bytes

    def write(self, data: memoryview, at: int, piece: int) -> None:
        self._partial.write(data, self.task.offset + at)
        self._partial.mark(self.task.piece_slot(piece), at + len(data) - self.task.piece_start(piece))
        self._progress.advance(len(data))
        if at == self._hashed and self._hashing.acquire(blocking=False):
            try:
                if at == self._hashed:
                    self._sha256.update(data)
                    self._hashed += len(data)
            finally:
                self._hashing.release()

    def catch_up(self, *, wait: bool = False) -> None:
        """Hash what is there and has not passed; nothing if somebody else does, unless told to wait for them."""
        if not self._hashing.acquire(blocking=wait):
            return
        try:
            buffer = None
            while (end := self._contiguous()) > self._hashed:
                parallel.check_stopping()
                buffer = buffer or page_buffer(_BUFFER)
                piece = buffer[: min(len(buffer), end - self._hashed)]
                count = self._partial.read_into(piece, self.task.offset + self._hashed)
                if not count:
                    break
                self._sha256.update(piece[:count])
                self._hashed += count
        finally:
            self._hashing.release()

    def _contiguous(self) -> int:
        """The end of what is there in one stretch with what was hashed; a piece at least."""
        return max(self.there(self.task.piece_at(self._hashed)), self._hashed)


class Writer:
    """A sink for a piece, and with `far` for those behind it as long as nobody else has them."""

    def __init__(self, place: Place, piece: int, position: int, *, far: bool, after: Callable[[], None]) -> None:
        self._place, self._piece, self.position = place, piece, position
        self._far, self._after = far, after
        self._closed = False
        self.asked = place.task.size if far else place.task.piece_end(piece)

    def room(self) -> int:
        place = self._place
        if place.changed or place.closed:
            return 0
        end = place.task.piece_end(self._piece)
        if self.position == end and self._far and place.follow(self._piece):
            self._piece += 1
            end = place.task.piece_end(self._piece)
        return end - self.position

    def write(self, data: memoryview) -> None:
        parallel.check_stopping()
        while data and (room := self.room()):
            part, data = data[:room], data[room:]
            self._place.write(part, self.position, self._piece)
            self.position += len(part)
        if self.asked - self.position <= AHEAD:
            self._after()

    @property
    def digest(self) -> Digest:
        return self._place.digest

    def forget(self) -> None:
        """Start the blob anew."""
        self._place.release(self._piece)
        self._place.forget()
        again = self._place.claim(far=True)
        assert again is not None
        self._piece, self.position = 0, 0

    def close(self) -> None:
        """Give back what is not fetched; again does nothing: somebody else may have the piece by then."""
        if not self._closed:
            self._closed = True
            self._place.release(self._piece)
