"""When to try again, and when to give up."""

from bundler.errors import BundleError, HttpFailure, Unreachable
from bundler.transport.failures import is_transient
from bundler.transport.request import TransportConfig


class Attempts:
    """The attempts of one request: so many in a row without progress, so many in all, all within one deadline."""

    def __init__(self, config: TransportConfig, *, size: int, fruitless: int | None = None) -> None:
        self._config = config
        self._most = config.attempts if fruitless is None else fruitless
        self.seconds = config.total_time(size)
        self.deadline = config.monotonic() + self.seconds
        self._made = 0
        self._fruitless = 0
        self._over = False

    def failed(self, error: BundleError, *, progress: int = 0) -> None:
        """Wait until the next attempt is due. Raises `error` when it is final or no attempt is left."""
        if not is_transient(error):
            raise error
        self._made += 1
        self._fruitless = 1 if progress >= self._config.progress else self._fruitless + 1
        delay = self._delay(error)
        spent = self._over or self._fruitless >= self._most or self._made >= self._config.attempts_in_all
        if spent or self._config.monotonic() + delay >= self.deadline:
            if isinstance(error, Unreachable) and self._made > 1:
                error.why += f" ({self._made} attempts)"
            raise error
        self._config.sleep(delay)

    def exhaust(self) -> None:
        """The next failure is the last."""
        self._over = True

    def _delay(self, error: BundleError) -> float:
        """Full jitter under an exponential bound; what the server asked for is never undercut."""
        bound = min(self._config.backoff * 2.0 ** (self._fruitless - 1), self._config.backoff_limit)
        asked = error.retry_after if isinstance(error, HttpFailure) else None
        if asked is not None:
            return asked + self._config.jitter(0, self._config.backoff)
        return self._config.jitter(0, bound)
