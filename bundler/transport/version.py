"""Which version of a body its parts belong to, by the server's validators (RFC 9110 sections 8.8 and 13.1.5)."""

import re
import threading
from collections.abc import Mapping

_STRONG = re.compile(r'"[\x21\x23-\x7e]{1,512}"')


class Changed(Exception):
    """The body is not the one that the parts before came from. For the caller to start anew; no user sees it."""


class NoRanges(Exception):
    """The server sends the whole body where a part was asked for. No user sees it."""


class Version:
    """What the answers of all parts have in common; unknown until the first. Safe for use by many threads.

    A weak ETag says nothing about bytes. Last-Modified counts where there is no strong one, and is only compared: as a
    condition it would have to be older than the answer by a second, by the server's own clock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._etag = self._modified = ""

    def condition(self) -> dict[str, str]:
        """The header by which a server that has another version sends it whole."""
        return {"If-Range": self._etag} if self._etag else {}

    def check(self, headers: Mapping[str, str]) -> None:
        """Take an answer's validators. Raises Changed for others than before."""
        etag, modified = headers.get("etag", "").strip(), headers.get("last-modified", "").strip()
        etag = etag if _STRONG.fullmatch(etag) else ""
        with self._lock:
            known, found = (self._etag, etag) if self._etag and etag else (self._modified, modified)
            if known and found and known != found:
                raise Changed
            self._etag, self._modified = self._etag or etag, self._modified or modified
