"""The journal: what ran, where, and what it answered; one JSON line each, on the disk before the next thing happens.

Evidence for people. Nothing is decided from it: on a resumed run the hosts' facts decide.
"""

import json
import threading
from pathlib import Path
from typing import Any

from bundler.support import clock
from bundler.support.files import Log

_TAIL = 2000  # characters of output kept with an entry


class Journal:
    """Appends to `path`, from several threads; a half line that a killed run left is ended first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = Log(path)
        self._lock = threading.Lock()

    def write(self, event: str, **facts: Any) -> None:
        """Raises CannotWrite or DiskFull: what cannot be told is not done."""
        entry = {"at": clock.now().isoformat(timespec="milliseconds"), "event": event, **facts}
        if "output" in entry:
            entry["output"] = entry["output"][-_TAIL:]
        with self._lock:
            self._log.append(json.dumps(entry, ensure_ascii=False))

    def close(self) -> None:
        self._log.close()
