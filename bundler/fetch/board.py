"""Large blobs that are being fetched, for workers without a blob of their own to help with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bundler.fetch.place import Place
from bundler.support import parallel
from bundler.transport import Request, Version

_LOOK_UP = 0.2  # seconds


@dataclass(slots=True, kw_only=True, eq=False)
class Offer:
    """A blob that may be fetched in pieces. `version` is None where it does not matter which server has which."""

    place: Place
    request: Request
    version: Version | None


class Board:
    """`tasks` blobs are to be fetched, `jobs` at a time."""

    def __init__(self, *, tasks: int, jobs: int) -> None:
        self._unfinished, self._jobs = tasks, jobs
        self._changed = threading.Condition()
        self._offers: list[Offer] = []

    @property
    def short(self) -> bool:
        """Whether there are fewer blobs left than may be fetched at a time."""
        return self._unfinished < self._jobs

    @contextmanager
    def offered(self, offer: Offer) -> Iterator[None]:
        """Let others help meanwhile. Afterwards they leave at their next byte."""
        with self._changed:
            self._offers.append(offer)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._offers.remove(offer)
            offer.place.closed = True

    def finished(self) -> None:
        """One blob less, well or not."""
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def next(self) -> Offer | None:
        """The blob that needs help most, as soon as there is one; None when all are finished. Raises Stopped."""
        while True:
            parallel.check_stopping()
            with self._changed:
                if not self._unfinished:
                    return None
                if found := self._needy():
                    return found
                self._changed.wait(_LOOK_UP)

    def _needy(self) -> Offer | None:
        open_ = [offer for offer in self._offers if offer.place.open] if self.short else []
        return max(open_, key=lambda offer: offer.place.missing, default=None)
