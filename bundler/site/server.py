"""The embedded server of `bundle serve`: the site's views over HTTP/1.1, by the standard library alone.

It is for bootstrap, demonstrations and tests; a real site runs `distribution` and nginx on the same folders.
"""

import contextlib
import math
import select
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from bundler.errors import CannotListen, NotASite, NotReadable
from bundler.site.connection import Connection, Timeouts
from bundler.support import clock

CONNECTIONS = 256  # at once; more clients wait in the listener's queue
_QUEUE = 1024
_FAIR = 1.0  # seconds that an idle client keeps its place when others wait
_GRACE = 5.0  # seconds for answers in flight when the server stops


class Server:
    """Listens from its construction on. `serve` answers until `stop`, which may come from a signal handler.

    `tls` names the certificate chain and its key (PEM). `log` gets one line a request (client, method, path, status,
    bytes sent), one call at a time; only printable ASCII of a request gets that far.
    Raises NotASite, CannotListen, NotReadable.
    """

    def __init__(
        self,
        root: Path,
        *,
        listen: tuple[str, int],
        log: Callable[[str], None],
        tls: tuple[Path, Path] | None = None,
        connections: int = CONNECTIONS,
        timeouts: Timeouts | None = None,
    ) -> None:
        if not (root / "current").is_dir():
            raise NotASite(root=str(root), why="there is no current generation")
        self._root, self._log = root, log
        self._limit, self._timeouts = connections, timeouts or Timeouts()
        self._tls = _context(*tls) if tls is not None else None
        self._listener = _listen(*listen)
        self._wake, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._stopping = False
        self._lock = threading.Lock()  # over the connections
        self._logging = threading.Lock()
        self._threads: dict[Connection, threading.Thread] = {}

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Block until `stop`; then let answers in flight end, for a few seconds."""
        try:
            while not self._stopping:
                self._turn()
        finally:
            self._close()

    def stop(self) -> None:
        """End `serve` soon. Safe in a signal handler and from any thread, also twice."""
        self._stopping = True
        self._rouse()

    def _turn(self) -> None:
        """Wait for a client or a free place, and take one client."""
        full = len(self._threads) >= self._limit
        if full:
            self._free_one()
        ready = _wait([self._wake] if full else [self._wake, self._listener], timeout=1.0)
        if self._wake in ready:
            self._wake.recv(4096)
        if self._listener in ready:
            self._accept()

    def _accept(self) -> None:
        try:
            plug, address = self._listener.accept()
        except OSError:  # the client went again, or we are out of descriptors: those come back as connections end
            clock.sleep(0.01)
            return
        plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = str(address[0])
        connection = Connection(plug, client, root=self._root, timeouts=self._timeouts, log=self._write_log)
        thread = threading.Thread(target=self._attend, args=(connection,), name=f"client {client}", daemon=True)
        with self._lock:
            self._threads[connection] = thread
        thread.start()

    def _attend(self, connection: Connection) -> None:
        try:
            connection.run(self._tls)
        finally:
            with self._lock:
                del self._threads[connection]
            self._rouse()

    def _free_one(self) -> None:
        """All places are taken: whoever has been idle longest, between two requests, gives its own up."""
        with self._lock:
            idle = [(each.idle_since, each) for each in self._threads if each.idle_since and not each.closing]
        since, connection = min(idle, key=lambda pair: pair[0], default=(math.inf, None))
        if connection is not None and clock.monotonic() - since > _FAIR:
            connection.end()

    def _rouse(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake anyway; closed: nobody waits
            self._waker.send(b".")

    def _write_log(self, line: str) -> None:
        with self._logging:
            self._log(line)

    def _close(self) -> None:
        self._listener.close()
        with self._lock:
            threads = dict(self._threads)
        for connection in threads:
            connection.closing = True
            if connection.idle_since is not None:
                connection.end()
        deadline = clock.monotonic() + _GRACE
        for thread in threads.values():
            thread.join(max(deadline - clock.monotonic(), 0))
        for connection, thread in threads.items():
            connection.end()
            thread.join(1.0)
        self._wake.close()
        self._waker.close()


def _listen(host: str, port: int) -> socket.socket:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if not 0 <= port <= 65535:
        raise CannotListen(address=address, why="a port is a number from 0 to 65535")
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_QUEUE, dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6()
        )
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CannotListen(address=address, why=why) from None


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in (certificate, key):
        if not path.is_file():
            raise NotReadable(path=str(path), why="there is no such file")
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise NotReadable(path=str(certificate), why=f"it does not go with {key}: {error.strerror or error}") from None
    return context


def _wait(plugs: list[socket.socket], *, timeout: float) -> list[socket.socket]:
    poll = select.poll()
    for plug in plugs:
        poll.register(plug, select.POLLIN)
    found = {descriptor for descriptor, _ in poll.poll(timeout * 1000)}
    return [plug for plug in plugs if plug.fileno() in found]
