"""Runs on a host: asks its name server. ADDRESS PORT NAME/TYPE…; says for each NAME/TYPE how it went, as
{"rcode": 0, "answers": 2, "serial": null, "ms": 0.4} or {"failure": "timed out"}."""

import json
import os
import socket
import struct
import sys
import time
from typing import Any, Dict  # noqa: UP035

TYPES = {"A": 1, "SOA": 6, "AAAA": 28}
TIMEOUT = 2.0


def skip_name(data: bytes, at: int) -> int:
    """Where what follows a name begins (RFC 1035 section 4.1.4)."""
    while data[at]:
        if data[at] >= 192:
            return at + 2
        at += data[at] + 1
    return at + 1


def ask(address: str, port: int, name: str, kind: str) -> Dict[str, Any]:  # noqa: UP006
    number = os.urandom(2)
    labels = b"".join(bytes([len(part)]) + part for part in name.encode("ascii").split(b".") if part)
    question = number + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + struct.pack(">HH", TYPES[kind], 1)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as plug:
        plug.settimeout(TIMEOUT)
        plug.connect((address, port))
        started = time.monotonic()
        plug.send(question)
        data = plug.recv(4096)
        while data[:2] != number:
            data = plug.recv(4096)
        seconds = time.monotonic() - started
    rcode, answers, serial = data[3] & 15, struct.unpack(">H", data[6:8])[0], None
    if answers and kind == "SOA":
        content = skip_name(data, skip_name(data, 12) + 4) + 10
        serial = struct.unpack(">I", data[skip_name(data, skip_name(data, content)) :][:4])[0]
    return {"rcode": rcode, "answers": answers, "serial": serial, "ms": round(seconds * 1000, 2)}


def main() -> None:
    address, port, *names = sys.argv[1:]
    found: Dict[str, Any] = {}  # noqa: UP006
    for each in names:
        name, _, kind = each.rpartition("/")
        try:
            found[each] = ask(address, int(port), name, kind)
        except (OSError, IndexError, struct.error) as error:
            found[each] = {"failure": str(error) or "no answer"}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
