"""Fetching tasks into their places: whose turn it is."""

import socket
import threading
from pathlib import Path
from typing import Any, cast

from bundler.catalog.manifests import Manifests
from bundler.fetch.cache import Cache
from bundler.fetch.partial import Partial
from bundler.fetch.pool import Sources, fetch_all
from bundler.fetch.tasks import Task
from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.support.progress import Silent
from bundler.transport import Transport, Upstreams
from tests.hostile_server import HostileServer, Seen

_MIB = 1 << 20
_NOBODY = cast(Any, None)


def fetch(server: HostileServer, bodies: dict[str, bytes], out: Path, *, jobs: int) -> bytes:
    """Fetch these files, in this order, one after the other into one partial file; what it holds then."""
    tasks, offset = [], 0
    for slot, (name, body) in enumerate(bodies.items()):
        file = LockedFile(name=name, url=f"{server.url}/{name}", digest=Digest.of(body), size=len(body))
        tasks.append(Task(label=name, origin=file, digest=file.digest, size=file.size, offset=offset, slot=slot))
        offset += len(body)
    transport = Transport()
    sources = Sources(
        transport=transport,
        registry=_NOBODY,
        wheels=_NOBODY,
        debs=_NOBODY,
        manifests=Manifests(folders=()),
        upstreams=Upstreams(),
        cache=Cache(()),
    )
    with Partial(out, plan=Digest("0" * 64), size=offset, blobs=len(tasks)) as partial:
        fetch_all(tuple(tasks), partial, sources, jobs=jobs, progress=Silent(), refresh="")
        held = partial.read(offset, 0)
    transport.close()
    return held


def start(client: socket.socket, body: bytes) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))


def test_the_next_blob_is_asked_for_before_the_last_bytes_of_this_one(tmp_path: Path) -> None:
    bodies = {"first": b"1" * (3 * _MIB), "second": b"2" * 100}
    asked = threading.Event()

    def first(_: Seen, client: socket.socket) -> bool:
        start(client, bodies["first"])
        client.sendall(bodies["first"][:-1])
        assert asked.wait(10)
        client.sendall(bodies["first"][-1:])
        return True

    def second(_: Seen, client: socket.socket) -> bool:
        asked.set()
        start(client, bodies["second"])
        client.sendall(bodies["second"])
        return True

    with HostileServer() as server:
        server.on("/first", first)
        server.on("/second", second)
        assert fetch(server, bodies, tmp_path / "out", jobs=1) == b"".join(bodies.values())
    assert asked.is_set()


def test_a_blob_far_from_its_end_keeps_its_turn(tmp_path: Path) -> None:
    bodies = {"first": b"1" * (4 * _MIB), "second": b"2" * 100}
    early: list[Seen] = []

    def first(_: Seen, client: socket.socket) -> bool:
        start(client, bodies["first"])
        client.sendall(bodies["first"][:_MIB])
        server.wait(0.3)
        early.extend(server.seen_at("/second"))
        client.sendall(bodies["first"][_MIB:])
        return True

    def second(_: Seen, client: socket.socket) -> bool:
        start(client, bodies["second"])
        client.sendall(bodies["second"])
        return True

    with HostileServer() as server:
        server.on("/first", first)
        server.on("/second", second)
        assert fetch(server, bodies, tmp_path / "out", jobs=1) == b"".join(bodies.values())
        assert len(server.seen_at("/second")) == 1
    assert early == []
