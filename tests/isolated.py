"""A place without any route: a network namespace with nothing but a loopback, and what runs in it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import ROOT

# Each piece of what a client asks waits for a moment: what it does takes its time, as over a network. As long as the
# file `hold` is there, what the pattern in it is found in waits, and is named in the file `hold.held`.
_RELAY = """
import os, re, socket, sys, threading, time
listen, target, delay, hold = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
def wait_for(data):
    try:
        with open(hold, "rb") as file:
            found = re.search(file.read(), data)
    except OSError:
        return
    if found:
        with open(hold + ".held", "ab") as held:
            held.write(found.group() + b"\\n")
    while found and os.path.exists(hold):
        time.sleep(0.02)
def forward(one, other, delay):
    try:
        while data := one.recv(65536):
            if delay:
                time.sleep(delay)
                wait_for(data)
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        one.close(), other.close()
listener = socket.create_server(("127.0.0.1", listen), backlog=128)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", target))
    for way in ((client, server, delay), (server, client, 0)):
        threading.Thread(target=forward, args=way, daemon=True).start()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolated:
    """`prefix` goes before a command that is to run there."""

    prefix: tuple[str, ...]

    def run(self, *command: object) -> str:
        words = [*self.prefix, *map(str, command)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=_bare_environment())
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def relay(self, listen: int, target: int, *, delay: float, hold: Path = Path("/nonexistent")) -> Iterator[None]:
        """From one port to another, `delay` seconds later; what `hold` has a pattern of waits while it is there."""
        with self.started([sys.executable, "-c", _RELAY, listen, target, delay, hold]):
            self.wait_for(listen)
            yield

    @contextmanager
    def started(self, command: Sequence[object], *, log: Path = Path("/dev/null")) -> Iterator[None]:
        with log.open("wb") as out:
            process = subprocess.Popen([*self.prefix, *map(str, command)], stdout=out, stderr=out, cwd=ROOT)
        try:
            yield
            assert process.poll() is None, f"{command}: it ended with {process.returncode}"
        finally:
            process.terminate()
            process.wait(20)

    def wait_for(self, port: int) -> None:
        code = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
        for _ in range(100):
            if subprocess.run([*self.prefix, sys.executable, "-c", code], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"nobody listens at port {port}")


def _bare_environment() -> dict[str, str]:
    """Without this machine's own proxies, certificates and package indexes."""
    ours = ("_proxy", "ca_bundle", "ssl_cert_file", "ssl_cert_dir")
    left = {name: value for name, value in os.environ.items() if not name.lower().endswith(ours)}
    return {name: value for name, value in left.items() if not name.startswith(("PIP_", "UV_"))}


@contextmanager
def without_route(names: str = "") -> Iterator[Isolated]:
    """A namespace, with `names` as its /etc/hosts, where there are any."""
    begin = 'ip link set lo up; [ ! -s "$1" ] || mount --bind "$1" /etc/hosts; echo up; exec sleep infinity'
    command = ["unshare", "--net", "--mount", "sh", "-ec", begin, "sh", names]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "up\n"
            spaces = [f"--{kind}=/proc/{holder.pid}/ns/{name}" for kind, name in (("net", "net"), ("mount", "mnt"))]
            found = Isolated(prefix=("nsenter", *spaces, "--wd=/", "--"))
            routes = found.run("ip", "route", "show", "table", "all", "type", "unicast")
            assert not [line for line in routes.splitlines() if " dev lo " not in line], routes
            yield found
        finally:
            holder.kill()
