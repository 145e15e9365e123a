"""Independent work on several threads, largest first, with every failure kept."""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from bundler.errors import BundleError

T = TypeVar("T")
_stopping = threading.Event()


class Stopped(Exception):
    """The work was given up because other work failed for good. Never reaches the user."""


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


def each(
    items: Iterable[T],
    work: Callable[[T], None],
    *,
    jobs: int,
    fatal: Callable[[BundleError], bool] = lambda error: False,
) -> list[tuple[T, BundleError]]:
    """Run `work` on every item, `jobs` at a time, in the order given; give back the items that failed.

    A fatal error, and any exception that is no BundleError, stops the rest from being started and is raised.
    Ctrl-C likewise; work that calls `check_stopping` then ends soon.
    """
    waiting = iter(list(items))
    running: dict[Future[None], T] = {}
    failed: list[tuple[T, BundleError]] = []
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            while True:
                for item in waiting:
                    running[pool.submit(work, item)] = item
                    if len(running) >= max(1, jobs):
                        break
                if not running:
                    return failed
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    _collect(future, running.pop(future), failed, fatal)
        except BaseException:
            _stopping.set()
            raise
        finally:
            wait(running)
            _stopping.clear()


def check_stopping() -> None:
    """Long work calls this between its pieces, so that Ctrl-C and fatal errors end it soon. Raises Stopped."""
    if _stopping.is_set():
        raise Stopped


def pause(seconds: float) -> None:
    """Sleep, unless the work is given up. Raises Stopped."""
    if _stopping.wait(seconds):
        raise Stopped


def _collect(
    future: Future[None], item: T, failed: list[tuple[T, BundleError]], fatal: Callable[[BundleError], bool]
) -> None:
    error = future.exception()
    if error is None or isinstance(error, Stopped):
        return
    if not isinstance(error, BundleError) or fatal(error):
        raise error
    failed.append((item, error))
