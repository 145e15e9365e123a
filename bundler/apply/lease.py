"""The lease: one installer at a time, told by the site's first host; and the epoch, by which every host refuses the
one that was overtaken.

A lease is stale by the lease host's own boot id and uptime, never by a wall clock; and at once when its holder is a
process of this machine that is gone.
"""

import json
import os
import re
import secrets
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from bundler.errors import BundleError, HostUnreachable, LeaseHeld, Overtaken
from bundler.hosts.base import STALE, Host, Script
from bundler.model.digest import Digest
from bundler.support import clock, parallel
from bundler.support.machine import Process, this_process

FOLDER = "/var/lib/bundle"
HOLD = "/run/bundle/hold"  # the host's uptime when an installer last said that it works here
STALE_AFTER = 60  # seconds without a renewal
RENEW_EVERY = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who installs: shown to whoever comes second. `token` is unique to a run."""

    token: str
    user: str
    process: Process
    since: str

    @property
    def where(self) -> str:
        return f"process {self.process.pid} on {self.process.machine}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """`holder` is None once released; `boot` and `uptime` are the lease host's, when it was last renewed."""

    epoch: int
    holder: Holder | None
    boot: str
    uptime: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the lease host says: its boot id, its uptime in seconds, the lease's text, and the SHA-256 of its file (or
    nothing, without one)."""

    boot: str
    uptime: float
    text: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A lease in hand. `unreachable` hosts still know the epoch before; `lost` is set when somebody took over."""

    epoch: int
    unreachable: tuple[str, ...]
    lost: threading.Event


def held_by(lease: Lease | None, seen: Seen, me: Process) -> Holder | None:
    """Who holds the lease, or None when it may be taken."""
    if lease is None or lease.holder is None:
        return None
    if lease.holder.process.gone(me):
        return None
    return lease.holder if _quiet(lease, seen) < STALE_AFTER else None


def _quiet(lease: Lease, seen: Seen) -> float:
    """Seconds since the lease was renewed."""
    return seen.uptime - (lease.uptime if lease.boot == seen.boot else 0)


def parse_lease(text: str) -> Lease | None:
    """None for no lease, and for one that nobody can read: epochs keep its holder away."""
    try:
        read: dict[str, Any] = json.loads(text)
        holder = read["holder"]
        if holder is not None:
            holder = Holder(**{**holder, "process": Process(**holder["process"])})
        return Lease(epoch=int(read["epoch"]), holder=holder, boot=str(read["boot"]), uptime=float(read["uptime"]))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


@contextmanager
def leased(hosts: Mapping[str, Host], at: str, *, watched: Sequence[str] = (), force: bool = False) -> Iterator[Taken]:
    """Hold the lease of the host `at`, renewed until the end; on the `watched` hosts recovery holds still meanwhile.

    Raises LeaseHeld, HostUnreachable.
    """
    me = Holder(
        token=secrets.token_hex(8),
        user=os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}",
        process=this_process(),
        since=clock.now().strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
    seen = look(hosts[at])
    before = parse_lease(seen.text)
    holder = held_by(before, seen, me.process)
    if before is not None and holder is not None and not force:
        quiet = _quiet(before, seen)
        raise LeaseHeld(host=at, holder=holder.user, where=holder.where, since=holder.since, seconds=quiet)
    known, unreachable = _epochs(hosts)
    epoch = max((*known.values(), before.epoch if before else 0)) + 1
    now = look(hosts[at])  # asking all hosts may have taken longer than a lease is good for
    lease = Lease(epoch=epoch, holder=me, boot=now.boot, uptime=now.uptime)
    if not _write(hosts[at], lease, seen.file):
        raise LeaseHeld(host=at, holder="another installer", where="it took the lease just now", since="", seconds=0)
    lost = threading.Event()
    try:
        with _repeated(lambda: _renew(hosts[at], lease, lost)):
            if seen.file and (before is None or before.holder is not None):
                # Its holder may live on somewhere: from here on every host that can be reached refuses it.
                raised = parallel.each(known, lambda name: _raise(hosts[name], epoch), jobs=32)
                unreachable += tuple(name for name, _ in raised)
            with _held([hosts[name] for name in watched if name not in unreachable]):
                yield Taken(epoch=epoch, unreachable=tuple(sorted(unreachable)), lost=lost)
    finally:
        if not lost.is_set():
            _release(hosts[at], lease)


@contextmanager
def _held(hosts: Sequence[Host]) -> Iterator[None]:
    """Recovery holds still on these hosts; said by a thread of its own, for one that hangs must not keep the lease from
    being renewed."""
    parallel.each(hosts, _hold, jobs=32)
    try:
        with _repeated(lambda: parallel.each(hosts, _hold, jobs=32)):
            yield
    finally:
        parallel.each(hosts, _let_go, jobs=32)


@contextmanager
def _repeated(work: Callable[[], object]) -> Iterator[None]:
    """Do it again and again beside what is done meanwhile."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(RENEW_EVERY):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def look(host: Host) -> Seen:
    text = f"""cat /proc/sys/kernel/random/boot_id || exit 1
read -r up rest < /proc/uptime; echo "$up"
[ ! -f {FOLDER}/lease.json ] || cat {FOLDER}/lease.json"""
    answer = host.run(Script(text=text, timeout=30))
    boot, _, rest = answer.stdout.partition(b"\n")
    uptime, _, lease = rest.partition(b"\n")
    if answer.code != 0 or not re.fullmatch(rb"[0-9]{1,12}(\.[0-9]+)?", uptime):
        raise HostUnreachable(host=host.name, why=f"it did not say its boot id and uptime: {answer.tail(3)}")
    return Seen(
        boot=boot.decode("ascii", "replace"),
        uptime=float(uptime),
        text=lease.decode("utf-8", "replace"),
        file=Digest.of(lease).hex if lease else "",
    )


def epoch_of(host: Host) -> int:
    """The highest epoch that the host has seen; 0 for none."""
    said = host.run(Script(text=f"[ ! -f {FOLDER}/epoch ] || cat {FOLDER}/epoch")).stdout.strip()
    return int(said) if said.isdigit() else 0


def _epochs(hosts: Mapping[str, Host]) -> tuple[dict[str, int], tuple[str, ...]]:
    """The epoch that each host knows, and the hosts that do not answer."""
    found: dict[str, int] = {}

    def ask(name: str) -> None:
        found[name] = epoch_of(hosts[name])

    failed = parallel.each(hosts, ask, jobs=32)
    return found, tuple(name for name, _ in failed)


def _raise(host: Host, epoch: int) -> None:
    answer = host.run(Script(text=":", epoch=epoch, timeout=30))
    if answer.code != 0:
        raise Overtaken(host=host.name, epoch=epoch)


def _write(host: Host, lease: Lease, before: str) -> bool:
    """Whether the lease's file was still the one `before`, by its SHA-256, and is ours now."""
    data = json.dumps(asdict(lease))
    text = f"""umask 077; mkdir -p {FOLDER}; cd {FOLDER} || exit 1
exec 8>>lease.lock; flock -w 10 8 || exit {STALE}
now=; [ ! -s lease.json ] || now=$(sha256sum < lease.json)
[ "${{now%% *}}" = "{before}" ] || exit {STALE}
printf '%s\\n' {shlex.quote(data)} > lease.new && sync lease.new && mv -fT lease.new lease.json"""
    answer = host.run(Script(text=text, timeout=30))
    if answer.code not in (0, STALE):
        raise HostUnreachable(host=host.name, why=f"it cannot keep the lease: {answer.tail(3)}")
    return answer.code == 0


def _hold(host: Host) -> None:
    text = f"mkdir -p {HOLD.rpartition('/')[0]} && cut -d' ' -f1 /proc/uptime > {HOLD}"
    host.run(Script(text=text, timeout=10))


def _let_go(host: Host) -> None:
    host.run(Script(text=f"rm -f {HOLD}", timeout=10))


def _renew(host: Host, lease: Lease, lost: threading.Event) -> None:
    """Sets `lost` when the lease is no more ours. While its host is away nothing is known: epochs keep two apart."""
    with suppress(BundleError):
        if not lost.is_set() and not _rewrite(host, lease, lease.holder):
            lost.set()


def _release(host: Host, lease: Lease) -> None:
    with suppress(BundleError):  # it goes stale by itself
        _rewrite(host, lease, None)


def _rewrite(host: Host, lease: Lease, holder: Holder | None) -> bool:
    """Write our lease anew; whether it was ours still."""
    seen = look(host)
    found = parse_lease(seen.text)
    if found is None or (found.epoch, found.holder) != (lease.epoch, lease.holder):
        return False
    return _write(host, Lease(epoch=lease.epoch, holder=holder, boot=seen.boot, uptime=seen.uptime), seen.file)
