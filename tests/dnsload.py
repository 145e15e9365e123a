"""A small DNS client: single questions, and a load of them at a fixed rate."""

import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
_TYPES = {"A": 1, "NS": 2, "SOA": 6, "PTR": 12, "AAAA": 28, "ANY": 255}
_BATCH = 64  # packets between two looks at the clock


def question(name: str, kind: str = "A", number: bytes = b"\0\0") -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return number + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + struct.pack(">HH", _TYPES[kind], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`addresses` are those of A and AAAA records; `authoritative` is the AA bit, `milliseconds` how long it took."""

    rcode: int
    authoritative: bool
    answers: int
    addresses: tuple[str, ...]
    milliseconds: float


def ask(address: str, port: int, name: str, kind: str = "A", *, timeout: float = 3) -> Reply:
    """One question over UDP. Raises TimeoutError."""
    number = os.urandom(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        plug.settimeout(timeout)
        plug.connect((address, port))
        started = time.perf_counter()
        plug.send(question(name, kind, number))
        data = plug.recv(4096)
        took = (time.perf_counter() - started) * 1000
    assert data[:2] == number
    count = struct.unpack(">H", data[6:8])[0]
    return Reply(
        rcode=data[3] & 15,
        authoritative=bool(data[2] & 4),
        answers=count,
        addresses=tuple(_addresses(data, count)),
        milliseconds=took,
    )


def _addresses(data: bytes, count: int) -> list[str]:
    found, at = [], _skip(data, 12) + 4
    for _ in range(count):
        at = _skip(data, at)
        kind, _, _, size = struct.unpack(">HHIH", data[at : at + 10])
        content = data[at + 10 : at + 10 + size]
        if kind in (1, 28):
            found.append(socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, content))
        at += 10 + size
    return sorted(found)


def _skip(data: bytes, at: int) -> int:
    while data[at]:
        if data[at] >= 192:
            return at + 2
        at += data[at] + 1
    return at + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What became of a load; times in milliseconds. `seconds` is how long the sending took."""

    sent: int
    answered: int
    codes: dict[int, int]
    seconds: float
    p50: float
    p99: float
    slowest: float

    def __str__(self) -> str:
        rate = self.sent / self.seconds
        return (
            f"{self.sent} queries at {rate:.0f}/s, lost {self.sent - self.answered}, codes {self.codes}, "
            f"p50 {self.p50:.2f} ms, p99 {self.p99:.2f} ms, slowest {self.slowest:.1f} ms"
        )


def load(address: str, port: int, names: Sequence[str], *, count: int, rate: int, sockets: int = 32) -> Measured:
    """`count` questions for A records at `rate` a second, from several ports; then two seconds for late answers."""
    plugs = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(sockets)]
    for plug in plugs:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        plug.connect((address, port))
        plug.setblocking(False)
    texts = [question(name)[2:] for name in names]
    sent: dict[tuple[int, int], float] = {}
    times: list[float] = []
    codes: dict[int, int] = {}

    def receive(wait: float) -> None:
        for plug in select.select(plugs, [], [], wait)[0]:
            at = plugs.index(plug)
            while True:
                try:
                    data = plug.recv(4096)
                except BlockingIOError:
                    break
                began = sent.pop((at, int.from_bytes(data[:2])), None)
                if began is not None:
                    times.append(time.perf_counter() - began)
                    codes[data[3] & 15] = codes.get(data[3] & 15, 0) + 1

    started = time.perf_counter()
    for index in range(count):
        due = started + index / rate
        while (left := due - time.perf_counter()) > 0:
            receive(min(left, 0.001))
        at, number = index % sockets, index // sockets % 65536
        sent[at, number] = time.perf_counter()
        plugs[at].send(number.to_bytes(2) + texts[index % len(texts)])
        if index % _BATCH == 0:
            receive(0)
    seconds, until = time.perf_counter() - started, time.perf_counter() + 2
    while sent and time.perf_counter() < until:
        receive(0.01)
    for plug in plugs:
        plug.close()
    ordered = sorted(each * 1000 for each in times) or [float("nan")]
    return Measured(
        sent=count,
        answered=len(times),
        codes=codes,
        seconds=seconds,
        p50=ordered[len(ordered) // 2],
        p99=ordered[int(len(ordered) * 0.99)],
        slowest=ordered[-1],
    )
