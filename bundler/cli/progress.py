"""Progress for people: a bar on a terminal, a line now and then in a log, nothing when quiet. All of it on stderr."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from bundler.support import clock
from bundler.support.progress import Progress, Silent, counted

if TYPE_CHECKING:
    from bundler.model.lock import Lock

_LINE_SECONDS = 10.0
_NAMES = 2  # artifacts named beside the bar


@contextmanager
def progress_of(verb: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress for one command."""
    if quiet:
        yield Silent()
        return
    shown = Bar(verb) if has_room() else Lines(verb)
    try:
        yield shown
    finally:
        shown.close()


def has_room() -> bool:
    """Whether stderr is a terminal that knows its size: on a serial console without one, tqdm shows nothing."""
    return sys.stderr.isatty() and 0 not in os.get_terminal_size(sys.stderr.fileno())


class Bar:
    """A tqdm bar: bytes, rate, time left, and what is being worked on."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._bar: Any = None
        self._names: dict[str, None] = {}
        self._lock = threading.Lock()

    def expect(self, total: int) -> None:
        from tqdm import tqdm

        self.close()
        self._bar = tqdm(
            total=total, desc=self._verb, unit="B", unit_scale=True, unit_divisor=1000, dynamic_ncols=True, leave=False
        )

    def advance(self, count: int) -> None:
        if self._bar is not None:
            with self._lock:
                self._bar.update(count)

    def begin(self, name: str) -> None:
        with self._lock:
            self._names[name] = None
            self._show_names()

    def end(self, name: str) -> None:
        with self._lock:
            self._names.pop(name, None)
            self._show_names()

    def _show_names(self) -> None:
        if self._bar is not None:
            names = [_short(name) for name in self._names][:_NAMES]
            more = len(self._names) - len(names)
            self._bar.set_postfix_str(", ".join(names) + (f" +{more}" if more > 0 else ""), refresh=False)

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        click.echo(text, err=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class Lines:
    """For logs: a line every ten seconds while bytes move."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._total = self._done = 0
        self._start = self._said = clock.monotonic()
        self._lock = threading.Lock()

    def expect(self, total: int) -> None:
        self._total, self._done = total, 0
        self._start = self._said = clock.monotonic()

    def advance(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = clock.monotonic()
            if now - self._said < _LINE_SECONDS:
                return
            self._said = now
        rate = self._done / max(now - self._start, 0.001)
        left = (self._total - self._done) / max(rate, 1)
        share = 100 * self._done // max(self._total, 1)
        amounts = f"{human(self._done)} of {human(self._total)}"
        click.echo(f"{self._verb}: {share}%  {amounts}  {human(rate)}/s  {left:.0f} s left", err=True)

    def begin(self, name: str) -> None: ...
    def end(self, name: str) -> None: ...

    def note(self, text: str) -> None:
        click.echo(text, err=True)

    def close(self) -> None: ...


def human(count: float) -> str:
    """Bytes in decimal units, as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counts_of(lock: "Lock") -> str:
    """What a lock names, by kind."""
    kinds = (
        (len(lock.images), "image"),
        (len(lock.charts), "chart"),
        (len(lock.wheels), "wheel"),
        (len(lock.debs), "package"),
        (len(lock.files), "file"),
    )
    return ", ".join(counted(count, noun) for count, noun in kinds if count) or "it names nothing"


def _short(name: str) -> str:
    name = name.removeprefix("blobs/sha256/")
    return name if len(name) <= 28 else f"{name[:12]}…{name[-15:]}"
