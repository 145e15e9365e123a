"""A program that asks at a steady rate, whatever is answered: nothing waits for an answer before the next request, each
has its own connection and one try. It runs here, or by `python3 -` on a node, and needs only the standard library.

Its argument is JSON: {"limit": seconds for each request, "targets": [...]}. Each request becomes a line when its fate
is known: TARGET NUMBER DUE SECONDS OUTCOME, where DUE is a time of the clock and OUTCOME `ok` or what went wrong.
"""

import asyncio
import json
import os
import ssl
import struct
import sys
import tempfile
import time
from typing import Any

BLOCK = 100_000  # numbers of one start of the program: a later start has later ones


async def _http(target: dict[str, Any], number: int) -> str:
    """The status is what is expected, or the outcome."""
    reader, writer = await asyncio.open_connection(target["address"], target["port"], ssl=target.get("context"))
    try:
        body = target.get("body", "").replace("NUMBER", str(number)).encode()
        head = f"{target.get('method', 'GET')} {target['path']} HTTP/1.1\r\nHost: {target['host']}\r\n"
        head += f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        line = await reader.readline()
        words = line.split(None, 2)
        if len(words) < 2:
            return "closed"
        return "ok" if int(words[1]) == target.get("status", 200) else f"status-{words[1].decode()}"
    finally:
        writer.close()


class _Question(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _dns(target: dict[str, Any], number: int) -> str:
    """NOERROR with an answer is ok. `A-B` in the name becomes two numbers that were not there for long."""
    name = target["question"].replace("A-B", f"{number // 250 % 250}-{number % 250}")
    identity = os.urandom(2)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    text = identity + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + struct.pack(">HH", 1, 1)
    loop = asyncio.get_running_loop()
    plug, question = await loop.create_datagram_endpoint(_Question, remote_addr=(target["address"], 53))
    try:
        plug.sendto(text)
        data = await question.answer
    finally:
        plug.close()
    code, count = data[3] & 15, struct.unpack(">H", data[6:8])[0]
    return "ok" if data[:2] == identity and code == 0 and count else f"rcode-{code}"


async def _one(target: dict[str, Any], number: int, due: float, limit: float) -> None:
    ask = {"http": _http, "dns": _dns}[target["kind"]]
    try:
        outcome = await asyncio.wait_for(ask(target, number), limit)
    except TimeoutError:
        outcome = "silent"
    except ssl.SSLError:
        outcome = "tls"
    except (OSError, EOFError) as error:
        outcome = type(error).__name__
    print(target["name"], number, f"{due:.3f}", f"{time.time() - due:.4f}", outcome, flush=True)


async def _steadily(target: dict[str, Any], limit: float) -> None:
    began = time.time()
    first, asked, running = int(began) * BLOCK, 0, set()
    while True:
        due = began + asked / target["rate"]
        await asyncio.sleep(max(0.0, due - time.time()))
        task = asyncio.create_task(_one(target, first + asked, due, limit))
        running.add(task)
        task.add_done_callback(running.discard)
        asked += 1


def _context(tls: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=tls["authority"])
    with tempfile.NamedTemporaryFile("w") as pair:
        pair.write(tls["certificate"] + tls["key"])
        pair.flush()
        context.load_cert_chain(pair.name)
    return context


async def _all(told: dict[str, Any]) -> None:
    for target in told["targets"]:
        if "tls" in target:
            target["context"] = _context(target["tls"])
    await asyncio.gather(*(_steadily(target, told["limit"]) for target in told["targets"]))


if __name__ == "__main__":
    try:
        asyncio.run(_all(json.loads(sys.argv[1])))
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)  # nobody listens any more
