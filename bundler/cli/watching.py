"""How an apply shows itself: a bar with what runs now on a terminal, a line for each finished step elsewhere."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bundler.cli.progress import has_room
from bundler.support import clock
from bundler.support.progress import counted

if TYPE_CHECKING:
    from bundler.errors import BundleError
    from bundler.plan.plan import Plan, Unit
    from bundler.steps.actions import Action

_NAMES = 2  # hosts named beside the bar


@dataclass(kw_only=True)
class _Step:
    """`since` is when its first action began on any host, 0 before that."""

    left: int = 0
    done: int = 0
    since: float = 0


@contextmanager
def watching(*, quiet: bool) -> Iterator["Watching"]:
    shown = Watching(bar=not quiet and has_room(), quiet=quiet)
    try:
        yield shown
    finally:
        shown.close()


class Watching:
    """One bar or log for all hosts; a failure is a line of its own at once."""

    def __init__(self, *, bar: bool, quiet: bool) -> None:
        self._with_bar, self._quiet = bar, quiet
        self._bar: Any = None
        self._running: dict[str, str] = {}
        self._steps: dict[str, _Step] = {}
        self._on = ""
        self._lock = threading.Lock()

    def expect(self, plan: "Plan") -> None:
        self.close()
        self._steps.clear()
        for unit in plan.units:
            self._steps.setdefault(unit.step, _Step()).left += len(unit.actions)
        hosts = {unit.host for unit in plan.units}
        self._on = f" on {hosts.pop()}" if len(hosts) == 1 else ""
        if self._with_bar:
            from tqdm import tqdm

            self._bar = tqdm(total=plan.count(), desc="apply", unit=" actions", dynamic_ncols=True, leave=False)

    def starts(self, unit: "Unit", action: "Action") -> None:
        with self._lock:
            step = self._steps.setdefault(unit.step, _Step())
            step.since = step.since or clock.monotonic()
            self._running[unit.host] = f"{unit.host}: {action.kind} {action.target[:40]}"
            self._show()

    def ended(self, unit: "Unit", action: "Action", *, seconds: float, error: "BundleError | None") -> None:
        with self._lock:
            self._running.pop(unit.host, None)
            if self._bar is not None:
                self._bar.update(1)
                self._show()
            if error is not None:
                self._say(f"failed  {unit.host}: {action.kind} {action.target}: {error.summary}")
                return
            step = self._steps[unit.step]
            step.left, step.done = step.left - 1, step.done + 1
            if step.left == 0 and self._bar is None:
                took = clock.monotonic() - step.since
                self._say(f"done    {unit.step}{self._on}: {counted(step.done, 'action')}, {took:.1f} s")

    def _show(self) -> None:
        if self._bar is not None:
            names = list(self._running.values())[:_NAMES]
            more = len(self._running) - len(names)
            self._bar.set_postfix_str("; ".join(names) + (f" and {more} more" if more > 0 else ""), refresh=False)

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.clear()
        click.echo(text, err=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
