"""Waiting for what another thread or program does."""

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], *, seconds: float = 30, every: float = 0.005) -> None:
    """Until it holds; fails when it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(every)
