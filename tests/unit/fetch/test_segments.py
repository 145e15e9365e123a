"""Large files from several connections at once, and every way in which a server may spoil that."""

import hashlib
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import NotFound, PinGone, WrongBytes
from bundler.fetch import crew, place, tasks
from bundler.fetch.cache import Cache
from bundler.fetch.partial import Partial
from bundler.fetch.place import Place
from bundler.fetch.pool import Sources, fetch_all
from bundler.fetch.tasks import Task, slots_of
from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.support import parallel
from bundler.support.progress import Silent
from bundler.transport import Transport, TransportConfig, Upstreams
from tests.hostile_server import HostileServer, Seen, head

PIECE = 256 << 10
SIZE = 20 * PIECE + 12_345
BODY = random.Random(7).randbytes(SIZE)
OTHER = random.Random(8).randbytes(SIZE)
_CHUNK = 64 << 10
_NOBODY = cast(Any, None)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PIECE", PIECE)
    monkeypatch.setattr(tasks, "LARGE", 2 * PIECE)
    monkeypatch.setattr(crew, "_PAUSE", 0.01)


@dataclass(kw_only=True)
class Vendor:
    """A file server that waits before every chunk, so that one connection is slow and several are not.

    `before` is asked first: it may change the server, and what it returns is answered instead.
    """

    body: bytes = BODY
    etag: str = '"one"'
    ranges: bool = True
    pause: float = 0.004
    before: Callable[["Vendor", Seen, int], "bytes | None"] = lambda vendor, seen, count: None
    spoil: Callable[[bytes, int], bytes] = lambda part, start: part
    cut: int = 0  # body bytes after which the connection ends, once per request, if there are more
    active: int = 0
    most: int = 0
    count: int = 0
    sent: int = 0
    starts: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, seen: Seen, client: socket.socket) -> bool:
        with self.lock:
            self.count += 1
            count = self.count
            self.active += 1
            self.most = max(self.most, self.active)
        try:
            return self._answer(seen, client, count)
        finally:
            with self.lock:
                self.active -= 1

    def _answer(self, seen: Seen, client: socket.socket, count: int) -> bool:
        other = self.before(self, seen, count)
        if other is not None:
            client.sendall(other)
            return True
        body, etag = self.body, self.etag
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", "")) if self.ranges else None
        if seen.headers.get("if-range", etag) != etag:
            match = None
        first = int(match[1]) if match else 0
        end = min(int(match[2]) + 1 if match and match[2] else len(body), len(body))
        headers: dict[str, object] = {"Content-Length": end - first, **({"ETag": etag} if etag else {})}
        if match:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
        client.sendall(head(206 if match else 200, headers))
        with self.lock:
            self.starts.append(first)
        last = min(end, first + self.cut) if self.cut else end
        for at in range(first, last, _CHUNK):
            threading.Event().wait(self.pause)
            part = self.spoil(body[at : min(at + _CHUNK, last)], at)
            client.sendall(part)
            with self.lock:
                self.sent += len(part)
        return last == end


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.fixture
def fetching(server: HostileServer, vendor: Vendor, tmp_path: Path) -> Iterator["Fetching"]:
    server.on("/driver.run", vendor)
    made = Transport(TransportConfig(idle_timeout=20, backoff=0.01, backoff_limit=0.05, progress=1000))
    yield Fetching(url=f"{server.url}/driver.run", transport=made, out=tmp_path / "out")
    made.close()


@dataclass(kw_only=True)
class Fetching:
    url: str
    transport: Transport
    out: Path

    @property
    def task(self) -> Task:
        file = LockedFile(name="driver.run", url=self.url, digest=Digest.of(BODY), size=SIZE)
        return Task(label="driver.run", origin=file, digest=file.digest, size=SIZE, offset=100, slot=0)

    def begin(self) -> Partial:
        return Partial(self.out, plan=Digest("0" * 64), size=SIZE + 200, blobs=slots_of([self.task]))

    def into(self, partial: Partial, *, jobs: int = 4) -> None:
        sources = Sources(
            transport=self.transport,
            registry=_NOBODY,
            wheels=_NOBODY,
            debs=_NOBODY,
            manifests=Manifests(folders=()),
            upstreams=Upstreams(),
            cache=Cache(()),
        )
        fetch_all((self.task,), partial, sources, jobs=jobs, progress=Silent(), refresh="")

    def run(self, *, jobs: int = 4) -> int:
        """Fetch it; what lies around its place stays zero. Gives the bytes read."""
        before = self.transport.received
        with self.begin() as partial:
            self.into(partial, jobs=jobs)
            assert partial.read(SIZE + 200, 0) == bytes(100) + BODY + bytes(100)
        with self.begin() as partial:
            assert partial.whole(0)
        return self.transport.received - before


def status(code: int, **headers: object) -> bytes:
    return head(code, {"Content-Length": 0, **{name.replace("_", "-"): value for name, value in headers.items()}})


# --- several connections -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [2, 4])
def test_several_connections_and_no_byte_twice(fetching: Fetching, vendor: Vendor, jobs: int) -> None:
    vendor.pause = 0.02
    assert fetching.run(jobs=jobs) == SIZE
    assert jobs <= vendor.most <= 2 * jobs  # the last bytes of each piece overlap with the next one
    assert len(vendor.starts) == 21


def test_one_job_is_one_request(fetching: Fetching, vendor: Vendor) -> None:
    vendor.pause = 0
    assert fetching.run(jobs=1) == SIZE
    assert (vendor.most, vendor.starts) == (1, [0])


def test_each_byte_is_hashed_once(fetching: Fetching, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0

    class Counting:
        def __init__(self) -> None:
            self._hash = hashlib.sha256()

        def update(self, data: memoryview) -> None:
            nonlocal hashed
            hashed += len(data)
            self._hash.update(data)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()

    monkeypatch.setattr(place, "hashlib", SimpleNamespace(sha256=Counting))
    fetching.run()
    assert hashed == SIZE


def test_without_validators(fetching: Fetching, vendor: Vendor) -> None:
    vendor.etag = ""
    assert fetching.run() == SIZE
    assert vendor.most > 1


# --- servers that do not bear it -----------------------------------------------------------------------------------


def test_a_server_without_ranges(fetching: Fetching, vendor: Vendor) -> None:
    vendor.ranges = False
    assert fetching.run() < 1.2 * SIZE
    assert vendor.active <= 1


def test_too_many_requests_means_one_connection(fetching: Fetching, vendor: Vendor) -> None:
    vendor.before = lambda made, seen, count: status(429, Retry_After=0) if made.active > 1 else None
    assert fetching.run() == SIZE


def test_only_so_many_at_once(fetching: Fetching, vendor: Vendor) -> None:
    """As nginx's limit_conn does it."""
    vendor.before = lambda made, seen, count: status(503) if made.active > 2 else None
    assert fetching.run() == SIZE


def test_a_503_now_and_then(fetching: Fetching, vendor: Vendor) -> None:
    vendor.before = lambda made, seen, count: status(503) if count in (3, 9) else None
    assert fetching.run() == SIZE
    assert vendor.most > 2


def test_connections_that_are_cut(fetching: Fetching, vendor: Vendor) -> None:
    vendor.cut = PIECE // 2 + 1000
    assert fetching.run() == SIZE


def test_a_404_is_the_files(fetching: Fetching, vendor: Vendor) -> None:
    vendor.before = lambda made, seen, count: status(404)
    with pytest.raises(PinGone):
        fetching.run()


def test_a_404_for_every_part(fetching: Fetching, vendor: Vendor) -> None:
    """What helps nobody who helps does not keep the one who leads from fetching all."""

    def refuse(made: Vendor, seen: Seen, count: int) -> bytes | None:
        return status(404) if re.fullmatch(r"bytes=\d+-\d+", seen.headers.get("range", "")) else None

    vendor.before = refuse
    assert fetching.run() == SIZE


# --- servers that lie ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "bytes 0-99/{size}",
        "bytes {first}-{end}/{size}",
        "bytes {first}-{last}/{more}",
        "bytes {first}-{last}",
        "items {first}-{last}/{size}",
        "",
    ],
)
def test_a_wrong_content_range(fetching: Fetching, vendor: Vendor, given: str) -> None:
    """Given to those who help, they leave; given to all, it is an error."""

    def lie(made: Vendor, seen: Seen, count: int) -> bytes | None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", ""))
        if match is None or (everybody or made.active > 1) is False:
            return None
        first, last = int(match[1]), int(match[2] or SIZE - 1)
        text = given.format(first=first, last=last, end=SIZE, size=SIZE, more=SIZE + 1)
        return head(206, {"Content-Length": last + 1 - first, "Content-Range": text}) + BODY[first : last + 1]

    everybody = False
    vendor.before = lie
    fetching.run()
    fetching.out.with_name("out.partial").unlink()
    everybody = True
    fetching.run()


def test_parts_from_elsewhere_are_fetched_anew_over_one_connection(fetching: Fetching, vendor: Vendor) -> None:
    """A 206 with the right Content-Range and the bytes of another place."""

    def lie(made: Vendor, seen: Seen, count: int) -> bytes | None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.headers.get("range", ""))
        if match is None or match[1] == "0":
            return None
        first, last = int(match[1]), int(match[2])
        headers = {"Content-Length": last + 1 - first, "Content-Range": f"bytes {first}-{last}/{SIZE}"}
        return head(206, headers) + BODY[: last + 1 - first]

    vendor.before = lie
    assert fetching.run() < 2.5 * SIZE


def test_a_flipped_bit_in_one_part_is_cured(fetching: Fetching, vendor: Vendor) -> None:
    flipped = threading.Event()

    def flip(part: bytes, start: int) -> bytes:
        if start >= 10 * PIECE and not flipped.is_set():
            flipped.set()
            return bytes([part[0] ^ 1]) + part[1:]
        return part

    vendor.spoil = flip
    assert fetching.run() == 2 * SIZE


def test_a_bit_that_is_always_flipped_is_an_error(fetching: Fetching, vendor: Vendor) -> None:
    vendor.spoil = lambda part, start: bytes([part[0] ^ 1]) + part[1:] if start == 10 * PIECE else part
    with fetching.begin() as partial, pytest.raises(WrongBytes) as caught:
        fetching.into(partial)
    assert caught.value.what == "driver.run"
    with fetching.begin() as partial:
        assert [partial.position(slot) for slot in range(22)] == [0] * 22


# --- a file that changes -------------------------------------------------------------------------------------------


def test_a_file_that_is_replaced_meanwhile_is_an_error(fetching: Fetching, vendor: Vendor) -> None:
    def replace(made: Vendor, seen: Seen, count: int) -> None:
        if count == 8:
            made.body, made.etag = OTHER, '"two"'

    vendor.before = replace
    with fetching.begin() as partial, pytest.raises(WrongBytes):
        fetching.into(partial)
    assert fetching.transport.received < 2 * SIZE  # seen at once, begun anew once


def test_another_version_that_comes_back_is_begun_anew(fetching: Fetching, vendor: Vendor) -> None:
    def replace(made: Vendor, seen: Seen, count: int) -> None:
        changed = 8 <= count < 12 and "range" in seen.headers
        made.body, made.etag = (OTHER, '"two"') if changed else (BODY, '"one"')

    vendor.before = replace
    fetching.run()


def test_servers_that_name_the_same_version_differently(fetching: Fetching, vendor: Vendor) -> None:
    def rename(made: Vendor, seen: Seen, count: int) -> None:
        made.etag = f'"{count}"'

    vendor.before = rename
    assert fetching.run() < 2 * SIZE


def test_a_weak_etag_says_nothing(fetching: Fetching, vendor: Vendor) -> None:
    def rename(made: Vendor, seen: Seen, count: int) -> None:
        made.etag = f'W/"{count}"'

    vendor.before = rename
    assert fetching.run() == SIZE
    assert vendor.most > 1


# --- going on ------------------------------------------------------------------------------------------------------


def interrupt(fetching: Fetching, vendor: Vendor, *, after: int) -> None:
    """A run that is given up when so many bytes were sent."""
    stopped = threading.Event()

    def stop(part: bytes, start: int) -> bytes:
        if vendor.sent >= after and not stopped.is_set():
            stopped.set()
            parallel._stopping.set()
        return part

    vendor.spoil = stop
    with fetching.begin() as partial:
        fetching.into(partial)
        assert not partial.whole(0)
    vendor.spoil = lambda part, start: part


@pytest.mark.parametrize("again", [1, 4])
def test_what_was_there_is_kept_piece_by_piece(fetching: Fetching, vendor: Vendor, again: int) -> None:
    interrupt(fetching, vendor, after=SIZE // 2)
    first = fetching.transport.received
    assert 0 < first < SIZE
    second = fetching.run(jobs=again)
    # What was on its way to several sinks when it stopped, a chunk each, comes again.
    assert first + second <= SIZE + 8 * (512 << 10)
    assert second < SIZE


def test_marks_without_data_are_found_out(fetching: Fetching, vendor: Vendor) -> None:
    """After a power cut."""
    interrupt(fetching, vendor, after=SIZE // 2)
    with fetching.begin() as partial:
        partial.write(bytes(PIECE), 100)
    fetching.run()


def test_gaps_and_a_server_that_forgot_about_ranges(fetching: Fetching, vendor: Vendor) -> None:
    with fetching.begin() as partial:
        for piece in (2, 5, 20):
            data = BODY[piece * PIECE : (piece + 1) * PIECE]
            partial.write(data, 100 + piece * PIECE)
            partial.mark(1 + piece, len(data))
        partial.write(BODY[9 * PIECE : 9 * PIECE + 1000], 100 + 9 * PIECE)
        partial.mark(1 + 9, 1000)
    vendor.ranges, vendor.pause = False, 0
    fetching.run()


def test_gaps_and_a_copy_in_order(fetching: Fetching) -> None:
    with fetching.begin() as partial:
        partial.mark(1, 1000)
        partial.write(BODY[:1000], 100)
        partial.mark(8, PIECE)
        made = Place(partial, fetching.task, Silent())
        assert made.missing == SIZE - 1000 - PIECE
        writer = made.straight(lambda: None)
        assert (writer.position, made.missing) == (1000, SIZE - 1000)
        writer.write(memoryview(BODY)[1000:])
        assert made.complete
        assert made.digest == Digest.of(BODY)


def test_no_such_file(fetching: Fetching) -> None:
    fetching.url += ".gone"
    with pytest.raises((NotFound, PinGone)):
        fetching.run()
