"""Campaigns against `bundle`: kill -9 at random moments with every byte from the network counted, single-bit flips with
a verdict for each place, and what two trees of a site have in common. Tests run samples of them; BUNDLE_LONG=1 all."""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, STATEMENT
from bundler.archive.layout import Layout
from bundler.errors import BadSignature, BundleError, DamagedContent, HeaderMismatch
from bundler.signing.keys import PublicKey
from bundler.support.progress import Silent
from bundler.workflows.verify import verify
from tests.bundles import TinyBundle
from tests.lab import ROOT

BUNDLE = (sys.executable, "-m", "bundler")
_CHUNK = 64 << 10


# --- a folder with a profile, a lock and a key, and the command line in it


@cache
def _frozen() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory(prefix="bundle-tool-")
    for name in ("bundler", "manifests", "charts"):
        shutil.copytree(ROOT / name, Path(folder.name) / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder.name)
    return folder


def frozen_tool() -> Path:
    """A copy of the tool: a bundle carries its sources, so an edit during a campaign would change the bytes."""
    return Path(_frozen().name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Where `bundle` is run as a user runs it. `upstreams` become BUNDLE_UPSTREAM."""

    folder: Path
    upstreams: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {
            **known,
            "BUNDLE_UPSTREAM": " ".join(f"{host}={url}" for host, url in self.upstreams.items()),
            "PYTHONPATH": str(frozen_tool()),
        }

    def start(self, *arguments: str, prefix: Sequence[str] = (), **options: object) -> "subprocess.Popen[str]":
        pipes: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        environment = {**self.environment, **options.pop("environment", {})}  # type: ignore[dict-item]
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [*prefix, *BUNDLE, *arguments], cwd=self.folder, text=True, env=environment, **{**pipes, **options}
        )

    def run(self, *arguments: str, code: int = 0, prefix: Sequence[str] = (), **options: object) -> str:
        """Run to the end, expect the exit code, give stdout and stderr. Never a traceback, whatever happens."""
        with self.start(*arguments, prefix=prefix, **options) as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"bundle {' '.join(arguments)}: {process.returncode}\n{out}{err}"
        assert "Traceback" not in err, err
        return f"{out}{err}"

    def declare(
        self,
        *,
        images: Iterable[str] = (),
        files: Mapping[str, bytes] | None = None,
        wheels: Iterable[str] = (),
        line: str = "campaign",
        number: int = 1,
        name: str = "campaign",
    ) -> None:
        """Write a profile of that name, with one component, and a key on which nothing else is signed."""
        manifests = self.folder / "manifests"
        for folder in ("profiles", "components", "files"):
            (manifests / folder).mkdir(parents=True, exist_ok=True)
        listed = [f"component: {name}"]
        listed += ["images:", *(f"- {image}" for image in images)] if images else []
        listed += ["wheels:", *(f"- {wheel}" for wheel in wheels)] if wheels else []
        listed += ["files:"] if files else []
        for file, data in (files or {}).items():
            (manifests / "files" / file).write_bytes(data)
            listed.append(f"- {{name: {file}, url: 'file:{file}', digest: 'sha256:{sha256(data)}'}}")
        (manifests / "components" / f"{name}.yaml").write_text("\n".join(listed) + "\n")
        (manifests / "profiles" / f"{name}.yaml").write_text(
            f"profile: {name}\nrelease: {{line: {line}, number: {number}}}\nplatforms: [linux/amd64]\n"
            f"bootstrap: {{python: []}}\npython: ['3.11']\ncomponents: [{name}]\n"
        )
        if not (self.folder / "release.key").exists():
            self.run("keys", "create", "release")

    def lock(self, name: str = "campaign") -> None:
        self.run("lock", "-p", name, "-o", f"{name}.lock")

    def create(self, out: str = "campaign.bundle", *, lock: str = "campaign.lock") -> tuple[str, ...]:
        """The arguments of `create`."""
        return "create", "--lock", lock, "--key", "release.key", "-o", out


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- a proxy that counts what is read through it


class Tap:
    """A TCP forwarder before an HTTP server, slowed to `rate` bytes per second in all, that counts.

    Counted is what the client took out of its socket, as near to the reader as one can see from outside: bytes sent by
    us, less what the kernel still holds of them. A receive buffer grows to many megabytes (tcp_rmem), so bytes sent are
    no measure by themselves. `read` therefore stops sending for a moment, and takes away the receive queue of every
    client's socket and our own send queue as /proc/net/tcp shows them; it is exact while the client is stopped.
    """

    def __init__(self, url: str, *, rate: float) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 80)
        self._rate = rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._sending = threading.Lock()
        self._sent = 0
        self._free_at = time.monotonic()
        self._plugs: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def read(self) -> int:
        """Bytes that clients have read so far, those of killed ones included."""
        with self._sending:
            time.sleep(0.3)  # longer than any delayed acknowledgement: what has arrived is in one queue only
            return self._sent - _queued(self.port)

    def forget_unread(self, count: int) -> None:
        """What a killed client never read does not count."""
        with self._sending:
            self._sent = count

    def close(self) -> None:
        self._listener.close()
        for plug in list(self._plugs):
            plug.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
                server = socket.create_connection(self._target)
                self._plugs |= {client, server}
                for source, target, count in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._forward, args=(source, target, count), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        buffer = memoryview(bytearray(_CHUNK))
        with contextlib.suppress(OSError):
            while count := source.recv_into(buffer):
                if counted:
                    self._pace(count)
                    self._send(target, buffer[:count])
                else:
                    target.sendall(buffer[:count])
        for plug in (source, target):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
            self._plugs.discard(plug)
            plug.close()

    def _pace(self, count: int) -> None:
        with self._sending:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.05) + count / self._rate
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)

    def _send(self, target: socket.socket, data: memoryview) -> None:
        """A full buffer blocks outside the lock: a stopped client must not stop the counting."""
        target.setblocking(False)
        while data:
            with self._sending:
                try:
                    count = target.send(data)
                except BlockingIOError:
                    count = 0
                self._sent += count
            data = data[count:]
            if not count:
                time.sleep(0.002)
        target.setblocking(True)


def _queued(port: int) -> int:
    """Bytes in flight from our `port` on loopback: the send queues of our end, the receive queues of the other."""
    total = 0
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = row.split()
        local, remote = (int(end.partition(":")[2], 16) for end in fields[1:3])
        sending, receiving = (int(queue, 16) for queue in fields[4].split(":"))
        if fields[3] != "0A":  # a listener's queue counts connections
            total += (sending if local == port else 0) + (receiving if remote == port else 0)
    return total


@contextlib.contextmanager
def tap(url: str, *, rate: float) -> Iterator[Tap]:
    running = Tap(url, rate=rate)
    try:
        yield running
    finally:
        running.close()


# --- kill -9


@dataclass(kw_only=True)
class Killed:
    """What became of one command: how often it was killed, and for every whole result what was read on the way."""

    kills: list[int] = field(default_factory=list)  # bytes read when each kill came
    read: list[int] = field(default_factory=list)
    results: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        moments = f" at {', '.join(f'{at / 1e6:.0f}' for at in self.kills)} MB" if any(self.kills) else ""
        return f"{len(self.kills)} kills{moments}, {len(self.results)} whole results, bytes read {self.read}"


def kill_often(
    start: Callable[[], "subprocess.Popen[str]"],
    *,
    result: Callable[[], str],
    clear: Callable[[], object],
    kills: int,
    longest: float,
    seed: int,
    counted: Tap | None = None,
) -> Killed:
    """Run the same command again and again, kill -9 it at random moments `kills` times, and let it end at last.

    A run that ends before its moment is a whole result: it is noted, cleared away, and all begins anew.
    """
    chance, found, before = random.Random(seed), Killed(), 0
    while True:
        last = len(found.kills) == kills
        with start() as process:
            try:
                out, err = process.communicate(timeout=None if last else chance.uniform(0, longest))
            except subprocess.TimeoutExpired:
                found.kills.append(_kill(process, counted) - before)
                continue
        assert process.returncode == 0, f"{process.returncode}: {out}{err}"
        now = counted.read() if counted else 0
        found.read.append(now - before)
        found.results.append(result())
        before = now
        if last:
            return found
        clear()


def _kill(process: "subprocess.Popen[str]", counted: Tap | None) -> int:
    """Stop it first, so that what it has read can be counted at leisure; the kill finds it where it stood."""
    process.send_signal(signal.SIGSTOP)
    read = counted.read() if counted else 0
    process.kill()
    process.communicate()
    if counted is not None:
        time.sleep(0.1)
        counted.forget_unread(read)
    return read


# --- what two trees have in common

# Made anew on every site or at every switch: its keys, what is signed with them, the date of signing.
_OWN = ("keys/", "state/", ".lock", "apt-key")
_SIGNED = ("InRelease", "Release", "key.asc", "key.pgp")


def tree_of(root: Path) -> dict[str, str]:
    """Every path of a site with its kind, mode and content, but for what differs from site to site by nature."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        state = path.lstat()
        kind = stat.filemode(state.st_mode)
        if name.startswith(_OWN):
            continue
        if path.is_symlink():
            found[name] = f"{kind} -> {path.readlink()}"
        elif path.is_dir():
            found[name] = kind
        else:
            content = "" if path.name in _SIGNED else sha256_of(path)
            found[name] = f"{kind} {state.st_nlink} {content}"
    return found


# --- single-bit flips


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Bytes from `start` to `end` whose change must be an `error`; of a body, one that names `entry`."""

    start: int
    end: int
    error: type[BundleError]
    entry: str = ""


def regions_of(layout: Layout) -> tuple[list[Region], list[Region]]:
    """All of a bundle file in two: its frame (headers, padding, statement, signatures) and its bodies."""
    frame, bodies = [], []
    for place in layout.places:
        name, end = place.member.name, place.body + place.member.size
        frame.append(Region(start=place.start, end=place.body, error=HeaderMismatch))
        if name == STATEMENT or name.endswith(".sig"):
            frame.append(Region(start=place.body, end=end, error=BadSignature))
        else:
            bodies.append(Region(start=place.body, end=end, error=DamagedContent, entry=name))
        frame.append(Region(start=end, end=place.end, error=HeaderMismatch))
    frame.append(Region(start=layout.size - len(tar.END), end=layout.size, error=HeaderMismatch))
    assert sum(region.end - region.start for region in frame + bodies) == layout.size
    return frame, bodies


def every_bit(regions: Iterable[Region]) -> Iterator[tuple[int, int, Region]]:
    """(offset, bit, region) for all of them."""
    for region in regions:
        for offset in range(region.start, region.end):
            for bit in range(8):
                yield offset, bit, region


def some_bits(regions: Sequence[Region], count: int, *, seed: int) -> Iterator[tuple[int, int, Region]]:
    """A random choice, and the first and last bit of every region."""
    chance = random.Random(seed)
    filled = [region for region in regions if region.end > region.start]
    for region in filled:
        yield region.start, 0, region
        yield region.end - 1, 7, region
    for region in chance.choices(filled, weights=[each.end - each.start for each in filled], k=count):
        yield chance.randrange(region.start, region.end), chance.randrange(8), region


def flip_all(made: TinyBundle, bits: Iterable[tuple[int, int, Region]]) -> int:
    """Flip each bit in place, verify, put it back; each must be refused as its region says. Gives the count."""
    count = 0
    descriptor = os.open(made.path, os.O_RDWR)
    try:
        for offset, bit, region in bits:
            before = os.pread(descriptor, 1, offset)
            os.pwrite(descriptor, bytes([before[0] ^ 1 << bit]), offset)
            error = refusal(made)
            os.pwrite(descriptor, before, offset)
            _check_refusal(error, made, offset, bit, region)
            count += 1
    finally:
        os.close(descriptor)
    assert refusal(made) is None
    return count


def refusal(made: TinyBundle, *, keys: Sequence[PublicKey] = ()) -> BundleError | None:
    """What `verify` says against the file; None when it is good. All `keys` are needed; without, all that signed."""
    keys = keys or made.publics
    try:
        verify(made.path, keys=keys, threshold=len(keys), jobs=1, progress=Silent())
    except BundleError as error:
        return error
    return None


def _check_refusal(error: BundleError | None, made: TinyBundle, offset: int, bit: int, region: Region) -> None:
    what = f"bit {bit} of byte {offset} ({region}): {error!r}"
    assert type(error) is region.error, what
    if isinstance(error, HeaderMismatch):
        # The front is compared header by header, all else byte by byte.
        assert error.offset in (offset, region.start), what
    if isinstance(error, DamagedContent):
        assert [entry for entry, _ in error.damaged] == [region.entry], what
        artifacts = {each.name for each in made.statement.artifacts if region.entry in _names(each.members)}
        assert set(error.damaged[0][1]) == artifacts, what
        assert region.entry == BOOTSTRAP or all(name in str(error) for name in artifacts or {region.entry}), what


def _names(members: Iterable[object]) -> set[str]:
    return {f"blobs/sha256/{str(member).removeprefix('sha256:')}" for member in members}
