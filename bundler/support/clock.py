"""The clock, in one place: nothing that decides reads it by itself."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that only go forward, for rates and timeouts."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    time.sleep(seconds)
