"""Whose turn it is to use the network, and how several workers fetch one large blob together: one leads, who also does
what the others cannot; those without a blob of their own help, a piece at a time."""

import threading
from collections.abc import Callable

from bundler.errors import BundleError, WrongBytes
from bundler.fetch.board import Board, Offer
from bundler.fetch.place import Writer
from bundler.support import parallel
from bundler.transport import Changed, NoRanges, Transport

_PAUSE = 0.5  # seconds, after one of several connections failed


class Turn:
    """One of so many turns at a time, which may be over before the work is."""

    def __init__(self, turns: threading.Semaphore) -> None:
        self._turns, self._held = turns, False

    def take(self) -> None:
        if not self._held:
            self._turns.acquire()
            self._held = True

    def over(self) -> None:
        if self._held:
            self._held = False
            self._turns.release()

    def __enter__(self) -> "Turn":
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.over()


class Crew:
    """Safe for use by many threads. A `fatal` error ends all work at once."""

    def __init__(
        self,
        transport: Transport,
        turns: threading.Semaphore,
        board: Board,
        *,
        fatal: Callable[[BundleError], bool],
    ) -> None:
        self._transport, self._turns, self.board, self._fatal = transport, turns, board, fatal

    def turn(self) -> Turn:
        return Turn(self._turns)

    def lead(self, offer: Offer, turn: Turn) -> None:
        """Fetch what is missing, and let others help; what they cannot do remains here."""
        place = offer.place
        with self.board.offered(offer):
            place.catch_up()
            while not place.complete:
                if (place.alone or place.changed) and place.others:
                    turn.over()
                    place.wait()
                    continue
                if place.changed:
                    place.alone, offer.version = True, None
                    place.forget()
                turn.take()
                far = place.alone or not (place.task.large and self.board.short)
                if writer := place.claim(far=far, after=turn.over):
                    self._part(offer, writer, turn, patient=far)
                else:
                    turn.over()
                    place.wait()

    def help(self) -> None:
        while offer := self.board.next():
            with self.turn() as turn:
                writer = offer.place.claim(far=False, after=turn.over) if offer.place.open else None
                if writer is not None:
                    self._part(offer, writer, turn, patient=False)
            offer.place.catch_up()

    def _part(self, offer: Offer, writer: Writer, turn: Turn, *, patient: bool) -> None:
        """Fetch what a writer takes. What goes wrong for one of several is a setback; of the only one, an error."""
        place, transport, before = offer.place, self._transport, writer.position
        try:
            transport.receive_part(
                offer.request, size=place.task.size, sink=writer, version=offer.version, patient=patient
            )
            place.success()
        except Changed:
            place.changed = True
        except NoRanges:
            place.alone = True
        except BundleError as error:
            writer.close()
            if self._fatal(error):
                raise
            if patient and not place.others:
                if not isinstance(error, WrongBytes) or before == 0 or place.anew:
                    raise
                place.changed = True  # or its ranges are wrong: without one all may be well
                return
            if writer.position - before < transport.config.progress:
                place.setback(error)
                turn.over()
                parallel.pause(_PAUSE)
        finally:
            writer.close()
