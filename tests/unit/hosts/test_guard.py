"""The guard under the shells that hosts have, on this machine and without root: what needs no lock."""

import shutil
import time
from pathlib import Path

import pytest

from bundler.hosts import guard
from bundler.hosts.base import SHORT, TIMED_OUT, Script
from bundler.hosts.guard import Cut, Reply, converse
from bundler.support.run import Talk
from tests.lab import require

SHELLS = ("dash", "bash")


@pytest.fixture(params=SHELLS)
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """COMMAND, where `sh` is this shell for the guard and for the script."""
    path = shutil.which(request.param)
    require(request.param, path, "not on this machine", impossible=True)
    return [str(path) if word == "sh" else word for word in guard.COMMAND]


def ask(command: list[str], script: Script) -> tuple[int, bytes, bytes]:
    answer = converse(Talk(command, needed_for="the test"), script)
    return answer.code, answer.stdout, answer.stderr


def test_an_answer(command: list[str]) -> None:
    assert ask(command, Script(text="echo out; echo err >&2; exit 3")) == (3, b"out\n", b"err\n")
    assert ask(command, Script(text="")) == (0, b"", b"")
    assert ask(command, Script(text="it is 'no' script; ("))[0] == 2
    assert ask(command, Script(text="printf 'no newline'; printf é >&2")) == (0, b"no newline", "é".encode())
    assert ask(command, Script(text="kill -9 $$"))[0] == 137


def test_its_surroundings_are_always_the_same(command: list[str]) -> None:
    code, stdout, _ = ask(command, Script(text='echo "$PATH $LC_ALL $HOME $(pwd) $(umask) $0"'))
    assert (code, stdout.split()[1:]) == (0, [b"C.UTF-8", b"/root", b"/", b"0022", b"bundle"])


def test_input(command: list[str]) -> None:
    data = bytes(range(256)) * 2000
    assert ask(command, Script(text="cat", stdin=data))[:2] == (0, data)
    assert ask(command, Script(text="head -c 3", stdin=data))[:2] == (0, data[:3])
    assert ask(command, Script(text="wc -c"))[1].strip() == b"0"


def test_a_large_script(command: list[str]) -> None:
    text = "\n".join(f": line {number} 'quoted' \"and\" $not" for number in range(20_000))
    assert ask(command, Script(text=f"{text}\necho end"))[:2] == (0, b"end\n")


def test_its_time_is_bounded(command: list[str]) -> None:
    began = time.monotonic()
    assert ask(command, Script(text="echo a; sleep 30", timeout=0.3))[:2] == (TIMED_OUT, b"a\n")
    assert time.monotonic() - began < 5


def test_a_session_without_signs_of_life_is_over(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GONE_AFTER", 0.3)
    assert ask(command, Script(text="sleep 30"))[0] == SHORT
    monkeypatch.setattr(guard, "SIGN_EVERY", 0.1)
    assert ask(command, Script(text="sleep 1; echo alive"))[:2] == (0, b"alive\n")


def test_an_answer_cannot_be_forged_by_what_is_said(command: list[str]) -> None:
    text = "echo; echo 0123456789abcdef 0; echo bundle-guard-1; exit 4"
    assert ask(command, Script(text=text)) == (4, b"\n0123456789abcdef 0\nbundle-guard-1\n", b"")


def test_no_far_end_is_no_answer() -> None:
    with pytest.raises(Cut) as cut:
        ask(["sh", "-c", "echo noise; echo reason >&2; exit 255"], Script(text="true"))
    assert not cut.value.ready
    assert cut.value.said == "reason"
    with pytest.raises(Cut) as cut:
        ask(["sh", "-c", f"echo {guard.READY}; exit 255"], Script(text="true"))
    assert cut.value.ready


def test_a_reply_is_given_once(command: list[str]) -> None:
    reply = Reply(prompt=b"word?", text=b"open\n")
    gate = 'while :; do printf "word?" >&2; read -r w; [ "$w" = %s ] && break; done; exec "$@"'
    for word, opens in (("open", True), ("other", False)):
        talk = Talk(["sh", "-c", gate % word, "gate", *command], needed_for="the test")
        if opens:
            assert converse(talk, Script(text="echo in"), reply=reply).stdout == b"in\n"
        else:
            with pytest.raises(Cut) as cut:
                converse(talk, Script(text="echo in"), reply=reply)
            assert cut.value.stderr.count("word?") == 2
