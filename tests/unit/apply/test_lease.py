"""The lease: who holds it, by a table; and real scripts on hosts that are folders."""

import json
import subprocess
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.apply import lease as module
from bundler.apply.lease import HOLD, Holder, Lease, Seen, held_by, leased, look, parse_lease
from bundler.errors import HostUnreachable, LeaseHeld
from bundler.hosts.base import LOCKED, Answer, Script
from bundler.support.machine import Process, this_process
from tests.scratch import ScratchHost
from tests.waiting import eventually

ME = Process(machine="here", boot="b1", pid=100, started="5000")
THEIRS = Process(machine="there", boot="b9", pid=100, started="1")
FILE = "/var/lib/bundle/lease.json"


def held(process: Process, *, boot: str = "h1", uptime: float = 1000.0) -> Lease:
    holder = Holder(token="t", user="u", process=process, since="then")
    return Lease(epoch=4, holder=holder, boot=boot, uptime=uptime)


# the lease, the uptime of its host now, whether somebody holds it; its host's boot is h1
TABLE: dict[str, tuple[Lease | None, float, bool]] = {
    "there is none": (None, 1000, False),
    "it was given back": (replace(held(THEIRS), holder=None), 1000, False),
    "just renewed": (held(THEIRS), 1000, True),
    "renewed in time": (held(THEIRS), 1059.9, True),
    "not renewed in time": (held(THEIRS), 1060, False),
    "its host is up anew, and its holder may not know yet": (held(THEIRS, boot="h0"), 59.9, True),
    "its host is up anew for long": (held(THEIRS, boot="h0", uptime=9e9), 60, False),
    "a process of this machine that is gone": (held(replace(ME, pid=999_999_999)), 1000, False),
    "its number is another process's now": (held(replace(ME, pid=1, started="not the start of 1")), 1000, False),
    "a process of this machine's boot before": (held(replace(ME, boot="b0")), 1000, True),
    "and that was not renewed": (held(replace(ME, boot="b0")), 1060, False),
}


@pytest.mark.parametrize("case", TABLE)
def test_who_holds_it(case: str) -> None:
    lease, uptime, expected = TABLE[case]
    holder = held_by(lease, Seen(boot="h1", uptime=uptime, text="", file=""), ME)
    assert (holder is not None) == expected


def test_processes() -> None:
    me = this_process()
    assert me.started.isdigit()
    assert not me.gone(me)
    child = subprocess.Popen(["sleep", "60"])
    try:
        stat = Path(f"/proc/{child.pid}/stat").read_text()
        other = replace(me, pid=child.pid, started=stat.rpartition(")")[2].split()[19])
        assert not other.gone(me)
        assert replace(other, started="1").gone(me)
        child.kill()
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            pass
        assert other.gone(me), "a zombie holds nothing"
    finally:
        child.kill()
        child.wait()
    assert other.gone(me)
    assert not replace(other, machine="elsewhere").gone(me)


@given(
    st.one_of(
        st.text(max_size=80),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.dictionaries(st.sampled_from([*Lease.__slots__, *Holder.__slots__, "x"]), inner),
        ).map(json.dumps),
    )
)
def test_a_lease_that_nobody_can_read_is_none(text: str) -> None:
    lease = parse_lease(text)
    assert lease is None or isinstance(lease.epoch, int)


def test_what_is_written_is_read() -> None:
    assert parse_lease(json.dumps(asdict(held(THEIRS)))) == held(THEIRS)
    assert parse_lease(json.dumps(asdict(replace(held(ME), holder=None)))) == replace(held(ME), holder=None)


# --- on hosts that are folders, by real scripts

Hosts = dict[str, ScratchHost]


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return {name: ScratchHost(tmp_path / name, name=name) for name in ("n1", "n2", "n3")}


def written(host: ScratchHost) -> Lease:
    found = parse_lease(host.path(FILE).read_text())
    assert found is not None
    return found


def uptime() -> float:
    return float(Path("/proc/uptime").read_text().split()[0])


def by_another(host: ScratchHost, *, quiet: float = 0, process: Process = THEIRS) -> Lease:
    """Another installer's lease, on this host."""
    lease = held(process, boot=look(host).boot, uptime=uptime() - quiet)
    host.path(FILE).write_text(json.dumps(asdict(lease)) + "\n")
    return lease


def test_taken_and_given_back(hosts: Hosts) -> None:
    for epoch in (1, 2):
        with leased(hosts, "n1", watched=("n1", "n2")) as taken:
            assert (taken.epoch, taken.unreachable, taken.lost.is_set()) == (epoch, (), False)
            lease = written(hosts["n1"])
            assert lease.holder is not None
            assert (lease.epoch, lease.holder.process) == (epoch, this_process())
            assert hosts["n1"].path(FILE).stat().st_mode & 0o077 == 0
            assert [hosts[name].path(HOLD).exists() for name in hosts] == [True, True, False]
            with pytest.raises(LeaseHeld), leased(hosts, "n1"):
                pass
        assert written(hosts["n1"]).holder is None
        assert not hosts["n1"].path(HOLD).exists()


def test_given_back_also_when_the_work_failed(hosts: Hosts) -> None:
    with pytest.raises(ZeroDivisionError), leased(hosts, "n1", watched=("n1",)):
        raise ZeroDivisionError
    assert written(hosts["n1"]).holder is None
    assert not hosts["n1"].path(HOLD).exists()


def test_the_second_is_told_who_is_first(hosts: Hosts) -> None:
    by_another(hosts["n1"], quiet=12)
    with pytest.raises(LeaseHeld) as raised, leased(hosts, "n1"):
        pass
    error = raised.value
    assert (error.host, error.holder, error.where, error.since) == ("n1", "u", "process 100 on there", "then")
    assert error.seconds == pytest.approx(12, abs=5)


@pytest.mark.parametrize("quiet", [0, 61])
def test_taking_over_raises_the_epoch_everywhere_first(hosts: Hosts, quiet: float) -> None:
    by_another(hosts["n1"], quiet=quiet)
    (hosts["n2"].path("/var/lib/bundle") / "epoch").write_text("9\n")
    with leased(hosts, "n1", force=not quiet) as taken:
        assert taken.epoch == 10, "above what any host knows"
        assert [host.epoch for host in hosts.values()] == [10, 10, 10]
        for host in hosts.values():
            assert host.run(Script(text=":", epoch=9)).code != 0


def test_after_one_that_ended_well_nothing_has_to_be_raised(hosts: Hosts) -> None:
    with leased(hosts, "n1"):
        pass
    with leased(hosts, "n1") as taken:
        assert (taken.epoch, hosts["n2"].epoch) == (2, 0)


@pytest.mark.parametrize("text", [b"", b"\0" * 300, b"{", b"null\n", b"\xff\xfe  \n\n", b'{"epoch": 3}  '])
def test_a_damaged_lease_is_taken_over(hosts: Hosts, text: bytes) -> None:
    hosts["n1"].path(FILE).write_bytes(text)
    with leased(hosts, "n1") as taken:
        assert written(hosts["n1"]).epoch == taken.epoch
        assert hosts["n2"].epoch == (taken.epoch if text else 0), "its holder may live on"


def test_hosts_that_do_not_answer_are_named(hosts: Hosts) -> None:
    by_another(hosts["n1"], quiet=100)

    def away(script: Script) -> Answer:
        raise HostUnreachable(host="n2", why="no route")

    hosts["n2"].run = away  # type: ignore[method-assign]
    real = hosts["n3"].run
    locked = Answer(code=LOCKED, stdout=b"", stderr=b"")
    hosts["n3"].run = lambda script: locked if script.epoch else real(script)  # type: ignore[method-assign]
    with leased(hosts, "n1", watched=("n1", "n2")) as taken:
        assert taken.unreachable == ("n2", "n3")
    hosts["n1"].run = away  # type: ignore[method-assign]
    with pytest.raises(HostUnreachable), leased(hosts, "n1"):
        pass


@pytest.mark.parametrize("said", ["", "b1\n", "b1\nsoon\n", "b1\nnan\n"])
def test_a_host_that_says_no_uptime(hosts: Hosts, said: str) -> None:
    hosts["n1"].run = lambda script: Answer(code=0, stdout=said.encode(), stderr=b"")  # type: ignore[method-assign]
    with pytest.raises(HostUnreachable, match="did not say its boot id and uptime"):
        look(hosts["n1"])


def test_of_many_takers_one_has_it(hosts: Hosts) -> None:
    """All look before any of them writes."""
    together = threading.Barrier(4)
    counted = threading.local()

    class Racer(ScratchHost):
        def run(self, script: Script) -> Answer:
            answer = super().run(script)
            if not getattr(counted, "waited", False):
                counted.waited = True
                together.wait(60)
            return answer

    racers = [Racer(hosts["n1"].root, name="n1") for _ in range(4)]
    had, refused, go = [], [], threading.Event()

    def take(racer: ScratchHost) -> None:
        try:
            with leased({"n1": racer}, "n1") as taken:
                had.append(taken.epoch)
                go.wait(60)
        except LeaseHeld as error:
            refused.append(error.where)
            if len(refused) == 3:
                go.set()

    threads = [threading.Thread(target=take, args=(racer,)) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert (had, refused) == ([1], ["it took the lease just now"] * 3)


def test_it_is_renewed_and_its_loss_is_noticed(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.05)
    with leased(hosts, "n1", watched=("n2",)) as taken:
        first = written(hosts["n1"])
        hosts["n2"].path(HOLD).unlink()
        eventually(lambda: written(hosts["n1"]).uptime > first.uptime)
        eventually(hosts["n2"].path(HOLD).exists)
        assert not taken.lost.is_set()
        theirs = by_another(hosts["n1"])
        eventually(taken.lost.is_set)
    assert written(hosts["n1"]) == theirs, "what is not ours is not given back"


def test_its_host_may_be_away_for_a_while(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.05)
    tried = threading.Event()

    def away(script: Script) -> Answer:
        tried.set()
        raise HostUnreachable(host="n1", why="no route")

    with leased(hosts, "n1") as taken:
        real = hosts["n1"].run
        hosts["n1"].run = away  # type: ignore[method-assign]
        assert tried.wait(20)
        hosts["n1"].run = real  # type: ignore[method-assign]
        before = written(hosts["n1"]).uptime
        eventually(lambda: written(hosts["n1"]).uptime > before)
        assert not taken.lost.is_set()


def test_one_that_hangs_does_not_keep_it_from_being_renewed(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_EVERY", 0.05)
    over, real = threading.Event(), hosts["n2"].run
    with leased(hosts, "n1", watched=("n2",)):
        hosts["n2"].run = lambda script: over.wait(60) and real(script)  # type: ignore[method-assign,return-value,assignment]
        first = written(hosts["n1"]).uptime
        eventually(lambda: written(hosts["n1"]).uptime > first)
        over.set()
