"""One blob on its way into one repository: whole when it is small, else in chunks that go on after a cut.

OCI distribution-spec 1.1, "Pushing blobs": POST, then PUT with all bytes; or POST, PATCHes, and an empty PUT.
"""

import re

from bundler.errors import BundleError, Unreachable
from bundler.push.payload import Payload
from bundler.push.registry import Registry, with_digest
from bundler.transport import Attempts, Response, redact

CHUNK = 64 << 20  # bytes; storage on S3 wants 5 MiB at least, proxies in front often allow 100 MB at most
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,16})")
_NO_CHUNKS = (400, 404, 405, 411, 416, 501)


class Upload:
    """`location` is where the registry has begun an upload already."""

    def __init__(
        self, registry: Registry, repository: str, payload: Payload, *, location: str | None = None, chunk: int = CHUNK
    ) -> None:
        self._registry, self._repository, self._payload = registry, repository, payload
        self._location, self._offset, self._chunk = location, 0, chunk

    def run(self) -> None:
        """Until the registry has the blob by its digest. Raises what the transport raises, and DamagedContent."""
        config, size = self._registry.transport.config, self._payload.size
        attempts = Attempts(config, size=size)
        while True:
            before = self._offset
            try:
                self._send()
                return
            except BundleError as error:
                attempts.failed(error, progress=self._offset - before)
            # Perhaps only the last answer was lost; and the question gets a new token, if the old one is out of date.
            if self._registry.holds_blob(self._repository, self._payload.digest, size):
                return
            self._resume()

    def _send(self) -> None:
        if self._location is None:
            self._start()
        if not self._in_chunks:
            self._finish(whole=True)
            return
        while self._offset < self._payload.size and self._in_chunks:
            self._patch()
        self._finish(whole=not self._in_chunks)

    @property
    def _in_chunks(self) -> bool:
        return self._payload.size > self._chunk and not self._registry.whole

    def _start(self) -> None:
        answer = self._registry.ask("POST", self._repository, "blobs/uploads/", accept=(202,), attempts=1)
        self._location, self._offset = self._registry.location(answer), 0
        least = answer.headers.get("oci-chunk-min-length", "")
        if least.isascii() and least.isdigit():
            self._chunk = max(self._chunk, int(least[:16]))

    def _patch(self) -> None:
        """Send the next chunk. A registry that refuses the very first one gets this and all others whole."""
        first, end = self._offset, min(self._offset + self._chunk, self._payload.size)
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{first}-{end - 1}"}
        answer = self._ask("PATCH", headers, first, end, accept=(202, *_NO_CHUNKS))
        if answer.status == 202:
            self._location = self._registry.location(answer)
            self._offset = min(_received(answer) or end, end)
            return
        self._location = None
        if first == 0:
            self._registry.whole = True
            self._start()
            return
        raise Unreachable(url=redact(answer.url), why=f"the registry does not go on with an upload ({answer.status})")

    def _finish(self, *, whole: bool) -> None:
        assert self._location is not None
        first, end = (0, self._payload.size) if whole else (self._payload.size, self._payload.size)
        self._location = with_digest(self._location, self._payload.digest)
        answer = self._ask("PUT", {"Content-Type": "application/octet-stream"}, first, end, accept=(201, 204))
        what = f"the blob {self._payload.digest} of {self._repository}"
        self._registry.check_digest(answer, self._payload.digest, what)

    def _ask(self, method: str, headers: dict[str, str], first: int, end: int, *, accept: tuple[int, ...]) -> Response:
        assert self._location is not None
        body = self._payload.part(first, end)
        return self._registry.ask_at(
            method, self._location, self._repository, headers=headers, body=body, accept=accept
        )

    def _resume(self) -> None:
        """Ask how much has arrived; where that cannot be said, begin anew."""
        if self._location is not None and self._in_chunks and self._offset < self._payload.size:
            try:
                answer = self._registry.ask_at("GET", self._location, self._repository, accept=(200, 204))
                self._location, self._offset = self._registry.location(answer), _received(answer) or 0
                if self._offset <= self._payload.size:
                    return
            except BundleError:
                pass
        self._location, self._offset = None, 0


def _received(answer: Response) -> int | None:
    """How many bytes a registry says it has; `0-0` is how it says none."""
    match = _RANGE.fullmatch(answer.headers.get("range", ""))
    return int(match[1]) + 1 if match and match[1] != "0" else None
