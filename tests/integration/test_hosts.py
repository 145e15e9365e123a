"""Scripts on real far ends: what comes back, and what is left when a session ends in the middle."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bundler.cli.main import main
from bundler.errors import HostKeyUnknown, HostLost, HostUnreachable, NoPrivilege
from bundler.hosts import guard, transfer
from bundler.hosts.base import CORRUPT, FLOODED, LOCKED, OVERTAKEN, STALE, TIMED_OUT, Script
from bundler.hosts.connect import Hosts, connect
from bundler.hosts.known import fingerprint
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from tests.lab import ROOT, require_root
from tests.sshd import PASSWORD, FarEnd, far_ends, site_of

NOBODY = "nobody is asked"


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[FarEnd]]:
    require_root()
    folder = tmp_path_factory.mktemp("ends")
    with far_ends(folder, "n1", "n2") as running:
        yield running


@pytest.fixture
def end(ends: list[FarEnd], monkeypatch: pytest.MonkeyPatch) -> FarEnd:
    monkeypatch.setenv("BUNDLE_SSH_CONFIG", str(ends[0].folder.parent / "config"))
    return ends[0]


@pytest.fixture
def hosts(end: FarEnd, tmp_path: Path) -> Iterator[Hosts]:
    with connect(site_of(end.spec()), state=tmp_path / "state", password=lambda who: None) as found:
        yield found


class Data:
    """A stream that can be cut off: it sleeps for ever once `stop` bytes are given."""

    def __init__(self, data: bytes, *, size: int | None = None) -> None:
        self.data, self.size = data, len(data) if size is None else size

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(self.data), 100_000):
            yield self.data[at : at + 100_000]


def test_an_answer_has_the_code_and_both_outputs_apart(hosts: Hosts) -> None:
    answer = hosts["n1"].run(Script(text="echo out; echo err >&2; id -un; exit 7"))
    assert (answer.code, answer.stdout, answer.stderr) == (7, b"out\nroot\n", b"err\n")


def test_the_code_of_ssh_itself_can_be_a_scripts(hosts: Hosts) -> None:
    assert hosts["n1"].run(Script(text="exit 255")).code == 255


def test_bytes_go_in_and_come_out_as_they_are(hosts: Hosts) -> None:
    data = bytes(range(256)) * 5000
    assert hosts["n1"].run(Script(text="cat", stdin=data)).stdout == data
    assert hosts["n1"].run(Script(text="cat", stdin=Data(data))).stdout == data


def test_a_script_may_leave_its_input_unread(hosts: Hosts) -> None:
    answer = hosts["n1"].run(Script(text="exec <&-; sleep 0.3; echo done", stdin=b"x" * 5_000_000))
    assert (answer.code, answer.stdout) == (0, b"done\n")


def test_no_command_line_and_no_environment_has_the_script_or_its_input(hosts: Hosts) -> None:
    look = "cat >/dev/null; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c '[n]eedle-in-a'"
    answer = hosts["n1"].run(Script(text=f"# needle-in-a-script\n{look}", stdin=b"needle-in-a-payload"))
    assert answer.stdout == b"0\n"


def test_a_question_leaves_no_trace_on_a_bare_host(hosts: Hosts, end: FarEnd) -> None:
    assert hosts["n1"].run(Script(text="ls -d /var/lib/bundle")).code != 0
    assert not end.lib.is_dir()


def test_a_script_that_takes_too_long_is_ended_with_its_children(hosts: Hosts, end: FarEnd) -> None:
    answer = hosts["n1"].run(Script(text="sleep 4321 & sleep 4321", timeout=0.5, epoch=1))
    assert answer.code == TIMED_OUT
    assert not end.running("4321")


def test_one_that_ignores_the_end_is_killed(hosts: Hosts, end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GRACE", 1)
    answer = hosts["n1"].run(Script(text="trap '' TERM; sleep 4322 & sleep 4322", timeout=0.5, epoch=1))
    assert answer.code in (TIMED_OUT, 137)
    assert not _soon(lambda: end.running("4322"))


def test_a_flood_is_refused_and_not_cut_short_in_silence(hosts: Hosts) -> None:
    assert hosts["n1"].run(Script(text="yes")).code == FLOODED
    answer = hosts["n1"].run(Script(text="yes bad | head -c 10000000 >&2; echo last >&2; exit 3"))
    assert answer.code == 3
    assert len(answer.stderr) <= guard.STDERR_KEPT + 100
    assert answer.stderr.endswith(b"bad\nlast\n") or answer.stderr.endswith(b"last\n")


def test_an_older_epoch_is_refused_for_good(hosts: Hosts, end: FarEnd) -> None:
    host = hosts["n1"]
    assert host.run(Script(text="true", epoch=7)).code == 0
    refused = host.run(Script(text="touch /tmp/must-not-be", epoch=6))
    assert (refused.code, refused.stderr) == (OVERTAKEN, b"the newest epoch here is 7\n")
    assert (end.lib / "epoch").read_text() == "7\n"
    assert end.lib.stat().st_mode & 0o777 == 0o700
    (end.lib / "epoch").write_text("1\n")


def test_what_escapes_its_session_keeps_the_next_action_out(
    hosts: Hosts, end: FarEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LOCK_WAIT", 1)
    host = hosts["n1"]
    assert host.run(Script(text="setsid sleep 4323 >/dev/null 2>&1 & sleep 0.5", epoch=1)).code == 0
    refused = host.run(Script(text="true", epoch=1))
    assert refused.code == LOCKED
    assert b"sleep 4323" in refused.stderr
    host.run(Script(text="kill $(pgrep -f '^sleep 4323')"))
    assert host.run(Script(text="true", epoch=1)).code == 0


_INSTALLER = """
import sys
from pathlib import Path
from bundler.hosts.base import Script
from bundler.hosts.connect import connect
from tests.sshd import site_of
from bundler.model.site import SiteHost
from ipaddress import ip_address
port, key, state, slow = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
host = SiteHost(name="n1", address=ip_address("127.0.0.1"), port=port, roles=(), host_key=key)
with connect(site_of(host), state=state, password=lambda who: None) as hosts:
    hosts["n1"].run(Script(text=slow, epoch=1, timeout=600))
"""


def test_the_remote_half_of_a_killed_action_never_runs_beside_the_rerun(
    hosts: Hosts, end: FarEnd, tmp_path: Path
) -> None:
    log = end.folder / "log.actions"
    # A child that a naive kill of the shell would leave, and that takes its time to end.
    slow = f"""
    (trap 'sleep 1; echo "first ends $(date +%s.%N)" >>{log}; exit' TERM
     while :; do echo "first works $(date +%s.%N)" >>{log}; sleep 0.05; done) &
    wait; wait
    """
    arguments = [str(end.port), end.key, str(tmp_path / "other"), textwrap.dedent(slow)]
    first = subprocess.Popen([sys.executable, "-c", _INSTALLER, *arguments], cwd=ROOT)
    assert _until(lambda: log.exists() and log.read_text().count("first works") > 3)
    first.send_signal(signal.SIGKILL)
    first.wait()
    began = time.time()
    answer = hosts["n1"].run(Script(text=f'echo "second begins $(date +%s.%N)" >>{log}', epoch=1))
    assert answer.code == 0
    lines = [line.rpartition(" ") for line in log.read_text().splitlines()]
    said = [what for what, _, _ in lines]
    assert said[-1] == "second begins"
    assert said[-2] == "first ends"
    assert time.time() - began < guard.LOCK_WAIT
    time.sleep(0.3)
    assert log.read_text().splitlines()[-1].startswith("second begins")


def test_one_that_died_while_it_waited_never_begins(hosts: Hosts, end: FarEnd, tmp_path: Path) -> None:
    late, go = end.folder / "too-late", end.folder / "go"
    arguments = [str(end.port), end.key, str(tmp_path / "other"), f"touch {late}; sleep 1"]
    with ThreadPoolExecutor() as pool:
        first = pool.submit(hosts["n1"].run, Script(text=f"until [ -e {go} ]; do sleep 0.1; done", epoch=1))
        assert _until(lambda: end.running(str(go)) or end.running("sleep 0.1"))
        second = subprocess.Popen([sys.executable, "-c", _INSTALLER, *arguments], cwd=ROOT)
        assert _until(lambda: end.running(f"flock -w {guard.LOCK_WAIT} 9"))
        second.send_signal(signal.SIGKILL)
        second.wait()
        time.sleep(0.5)
        go.touch()
        assert first.result().code == 0
    assert hosts["n1"].run(Script(text="sleep 1", epoch=1)).code == 0
    assert not late.exists()


def test_a_cut_connection_is_said_and_ends_the_action(hosts: Hosts, end: FarEnd) -> None:
    host = hosts["n1"]
    host.run(Script(text="true"))
    worker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {' '.join(map(str, end.sessions()))}"])
    with pytest.raises(HostLost) as lost:
        host.run(Script(text="sleep 4324", epoch=1, timeout=600))
    worker.wait()
    assert lost.value.host == "n1"
    assert _until(lambda: not end.running("sleep 4324"))
    assert host.run(Script(text="echo back", epoch=1)).stdout == b"back\n"


def test_a_silent_session_is_taken_for_gone(hosts: Hosts, end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the network swallows everything: no end of input ever comes."""
    monkeypatch.setattr(guard, "GONE_AFTER", 1)
    monkeypatch.setattr(guard, "SIGN_EVERY", 100.0)
    assert hosts["n1"].run(Script(text="sleep 4325", epoch=1)).code == 197
    monkeypatch.setattr(guard, "SIGN_EVERY", 0.3)
    assert hosts["n1"].run(Script(text="sleep 2; echo lives", epoch=1)).stdout == b"lives\n"


def test_half_an_input_is_never_taken_for_all_of_it(hosts: Hosts, end: FarEnd) -> None:
    class Broken(Exception):
        pass

    class Source(Data):
        def chunks(self) -> Iterator[bytes]:
            yield self.data
            raise Broken

    target = end.folder / "half"
    with pytest.raises(Broken):
        hosts["n1"].run(Script(text=f"cat >/dev/null; echo whole >{target}", stdin=Source(b"x" * 1000, size=2000)))
    time.sleep(0.5)
    assert not target.exists()


def test_a_host_behind_another(ends: list[FarEnd], end: FarEnd, tmp_path: Path) -> None:
    far = ends[1]
    site = site_of(end.spec(), far.spec(jump="n1"))
    with connect(site, state=tmp_path / "with space", password=lambda who: None) as hosts:
        answer = hosts["n2"].run(Script(text="echo $SSH_CONNECTION; cat /proc/1/cmdline | tr '\\0' ' '"))
        assert str(far.folder).encode() in answer.stdout
        assert len(end.sessions()) >= 1
    literal = site_of(far.spec(jump=f"root@127.0.0.1:{end.port}"))
    with connect(literal, state=tmp_path / "with space", password=lambda who: None) as hosts:
        assert hosts["n2"].run(Script(text="echo through")).stdout == b"through\n"


def test_an_unknown_and_a_changed_host_key(ends: list[FarEnd], end: FarEnd, tmp_path: Path) -> None:
    with (
        connect(site_of(end.spec(host_key="")), state=tmp_path / "a", password=lambda who: None) as hosts,
        pytest.raises(HostKeyUnknown) as unknown,
    ):
        hosts["n1"].run(Script(text="true"))
    assert not unknown.value.known
    wrong = site_of(end.spec(host_key=ends[1].key))
    with (
        connect(wrong, state=tmp_path / "b", password=lambda who: None) as hosts,
        pytest.raises(HostKeyUnknown) as changed,
    ):
        hosts["n1"].run(Script(text="true"))
    assert changed.value.seen == fingerprint(end.key)
    assert str(tmp_path / "b") in changed.value.known


def test_a_user_with_sudo(end: FarEnd, tmp_path: Path) -> None:
    asked: list[str] = []

    def password(who: str) -> Secret:
        asked.append(who)
        return Secret(PASSWORD)

    for user in ("alice", "bob"):
        with connect(site_of(end.spec(user=user, become=True)), state=tmp_path, password=password) as hosts:
            see = "cat; id -un; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c '[p]ass-word'"
            answer = hosts["n1"].run(Script(text=see, stdin=b"input\n", epoch=1))
            assert answer.stdout == b"input\nroot\n0\n", answer
            assert hosts["n1"].run(Script(text="id -u")).stdout == b"0\n"
    assert asked == ["bob@n1"]


@pytest.mark.parametrize(
    ("fields", "given", "why"),
    [
        ({"user": "bob", "become": True}, "wrong", "did not accept"),
        ({"user": "bob", "become": True}, None, "nobody can be asked"),
        ({"user": "carol", "become": True}, PASSWORD, "not in the sudoers"),
        ({"user": "alice"}, None, "become"),
    ],
)
def test_no_way_to_be_root(end: FarEnd, tmp_path: Path, fields: dict[str, object], given: str | None, why: str) -> None:
    answer = None if given is None else Secret(given)
    with (
        connect(site_of(end.spec(**fields)), state=tmp_path, password=lambda who: answer) as hosts,
        pytest.raises(NoPrivilege) as refused,
    ):
        hosts["n1"].run(Script(text="true"))
    assert why in refused.value.why
    assert refused.value.hint


def test_hosts_that_cannot_be_reached(end: FarEnd, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        cases = [
            (end.spec(port=taken.getsockname()[1]), "nothing listens"),
            (end.spec(user="nobody-there"), "refuses the user"),
            (end.spec(jump=f"root@127.0.0.1:{taken.getsockname()[1]}"), "nothing listens"),
        ]
        for spec, why in cases:
            with (
                connect(site_of(spec), state=tmp_path, password=lambda who: None) as hosts,
                pytest.raises(HostUnreachable) as error,
            ):
                hosts["n1"].run(Script(text="true"))
            assert why in error.value.why
            assert error.value.said
            assert error.value.hint


def test_masters_end_with_us(end: FarEnd, tmp_path: Path) -> None:
    before = set(_masters())
    with connect(site_of(end.spec()), state=tmp_path, password=lambda who: None) as hosts:
        hosts["n1"].run(Script(text="true"))
        assert len(set(_masters()) - before) == 1
    assert _until(lambda: not set(_masters()) - before)


def test_a_file_goes_on_where_it_was_cut(hosts: Hosts, end: FarEnd) -> None:
    data = os.urandom(3_000_000)
    path = str(end.folder / "large")
    digest = Digest.of(data)

    class Cut(Exception):
        pass

    class Source(Data):
        sent = 0

        def chunks(self) -> Iterator[bytes]:
            for chunk in super().chunks():
                yield chunk
                self.sent += len(chunk)
                if self.sent >= 2_000_000:
                    assert _until(lambda: any(p.stat().st_size > 1_000_000 for p in end.folder.glob(".large.*.part")))
                    raise Cut

    host = hosts["n1"]
    with pytest.raises(Cut):
        transfer.send(host, Source(data), path, digest=digest, mode=0o600, owner="root", epoch=1)
    assert not Path(path).exists()
    assert int(host.run(transfer.part_script(path, digest)).stdout) > 1_000_000
    assert transfer.send(host, Data(data), path, digest=digest, mode=0o640, owner="root", epoch=1).code == 0
    assert Path(path).read_bytes() == data
    assert Path(path).stat().st_mode & 0o777 == 0o640
    assert not list(end.folder.glob(".large*"))


def test_other_bytes_are_refused_and_rotten_parts_sent_again(hosts: Hosts, end: FarEnd) -> None:
    path, data = end.folder / "wrong", b"y" * 300_000
    refused = transfer.send(
        hosts["n1"], Data(data), str(path), digest=Digest.of(b""), mode=0o600, owner="root", epoch=1
    )
    assert refused.code == CORRUPT
    assert not path.exists()
    assert not list(end.folder.glob(".wrong*"))
    part = end.folder / f".wrong.{Digest.of(data).hex[:16]}.part"
    part.write_bytes(b"\0" * 1000)
    done = transfer.send(hosts["n1"], Data(data), str(path), digest=Digest.of(data), mode=0o600, owner="root", epoch=1)
    assert done.code == 0
    assert path.read_bytes() == data


def test_a_file_is_replaced_only_if_it_is_what_was_seen(hosts: Hosts, end: FarEnd) -> None:
    path, run = end.folder / "new folder/a file.conf", hosts["n1"].run

    def write(data: bytes, old: bytes | None) -> int:
        digest = None if old is None else Digest.of(old)
        return run(transfer.write_file_script(str(path), data, old=digest, mode=0o604)).code

    assert write(b"one", None) == 0
    assert write(b"one", None) == 0  # an answer that was lost
    assert write(b"two", None) == STALE
    assert write(b"two", b"else") == STALE
    assert path.read_bytes() == b"one"
    assert write(b"two", b"one") == 0
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o604
    assert [each.name for each in path.parent.iterdir()] == ["a file.conf"]


_SITE = "site: lab\ndomain: lab.example\nhosts:\n- {{name: n1, address: 127.0.0.1, port: {port}, roles: [site]}}\n"


def test_trust_hosts(
    ends: list[FarEnd], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = ends[1]
    monkeypatch.setenv("BUNDLE_SSH_CONFIG", str(far.folder.parent / "config"))
    monkeypatch.setattr(os, "isatty", lambda _: False)
    file = tmp_path / "site.yaml"
    file.write_text(_SITE.format(port=far.port))
    known = tmp_path / "site.state/known_hosts"
    trust = ["site", "trust-hosts", str(file)]
    shown = fingerprint(far.key)
    assert main(trust) == 2  # nobody to ask
    assert shown in capsys.readouterr().out
    assert main([*trust, "--fingerprint", f"n1=SHA256:{'A' * 43}"]) == 92
    assert known.read_text() == ""
    assert main([*trust, "--fingerprint", f"n1={shown}"]) == 0
    assert known.read_text() == f"[127.0.0.1]:{far.port} {far.key}\n"
    assert main(trust) == 0
    far.new_host_key()
    assert main([*trust, "--yes"]) == 92
    assert f"it shows {fingerprint(far.key)}" in capsys.readouterr().err
    assert main([*trust, "--yes", "--replace", "n1"]) == 0
    assert known.read_text() == f"[127.0.0.1]:{far.port} {far.key}\n"
    far.stop()
    assert main(trust) == 90


def _masters() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().startswith(b"ssh: /") and (folder / "stat").read_text()[-2:]:
                yield int(folder.name)
        except OSError:
            continue


def _until(met: "object", seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if met():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def _soon(found: "object") -> object:
    """What is still found after a moment."""
    _until(lambda: not found())  # type: ignore[operator]
    return found()  # type: ignore[operator]
