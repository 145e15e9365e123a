"""A slow link: a TCP proxy that gives each connection so many bytes a second, so many seconds later.

`python -m scripts.lab.bench_proxy HOST:PORT --rate BYTES --latency SECONDS` prints the port it listens on.

Only the way back is slowed: what the server sends passes at the rate into a delay line, so every answer begins one
latency after its request, and the line is full from then on. A new connection waits one latency more, as the handshake
of a distant server would.
"""

import argparse
import contextlib
import queue
import socket
import sys
import threading
import time

_CHUNK = 64 << 10
_CATCH_UP = 0.005  # seconds of sleeping too long that are made good


class Link:
    """One accepted connection and its way to the server."""

    def __init__(self, client: socket.socket, target: tuple[str, int], rate: float, latency: float) -> None:
        self._client, self._target, self._rate, self._latency = client, target, rate, latency
        # As much as is on its way at any time, and some more, so that only the rate holds the server back.
        self._line: queue.Queue[tuple[float, bytes]] = queue.Queue(int(4 + 2 * rate * latency / _CHUNK))

    def run(self) -> None:
        time.sleep(self._latency)
        with self._client, socket.create_connection(self._target) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threads = [threading.Thread(target=work, args=(server,), daemon=True) for work in (self._ask, self._take)]
            for thread in threads:
                thread.start()
            self._give()
            with contextlib.suppress(OSError):  # wakes the thread that waits for the client
                self._client.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()

    def _ask(self, server: socket.socket) -> None:
        """Requests, at once."""
        with contextlib.suppress(OSError):
            while data := self._client.recv(_CHUNK):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _take(self, server: socket.socket) -> None:
        """Answers, at the rate, into the delay line; an empty piece ends it."""
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                now = time.monotonic()
                due = max(due, now - _CATCH_UP) + len(data) / self._rate
                time.sleep(max(0.0, due - now))
                self._line.put((time.monotonic() + self._latency, data))
        self._line.put((time.monotonic() + self._latency, b""))

    def _give(self) -> None:
        """What has been in the delay line long enough, to the client; when it is gone, the rest to nobody."""
        there = True
        while True:
            due, data = self._line.get()
            if not data:
                return
            if there:
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    self._client.sendall(data)
                except OSError:
                    there = False


def serve(target: tuple[str, int], *, rate: float, latency: float) -> None:
    """Accept connections for ever; prints the port first."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = listener.accept()
            threading.Thread(target=Link(client, target, rate, latency).run, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, required=True, metavar="BYTES")
    parser.add_argument("--latency", type=float, required=True, metavar="SECONDS")
    options = parser.parse_args()
    host, _, port = options.target.rpartition(":")
    sys.setswitchinterval(0.001)
    serve((host, int(port)), rate=options.rate, latency=options.latency)


if __name__ == "__main__":
    main()
