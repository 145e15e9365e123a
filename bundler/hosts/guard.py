"""The far end of every script, and the talk with it. `guard.sh` says what it does there.

What is sent is framed: a constant command line asks for `READY SIZE`, reads exactly that many bytes and runs them (a
shell that read its script from stdin would read ahead into the payload); the payload and a dot follow. The answer lies
between marks with a random word, so that neither a login's noise nor ssh's own exit code is ever taken for it.
"""

import secrets
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

from bundler.errors import WrongBytes
from bundler.hosts.base import FLOODED, Answer, Script
from bundler.support.run import Talk

READY = "bundle-guard-1"
# No single quote in it: it stands between two in the remote command line.
COMMAND = ("setsid", "-w", "sh", "-c", f'echo {READY}; read -r k z && [ "$k" = {READY} ] && eval "$(head -c "$z")"')

STDOUT_LIMIT = 16 << 20
STDERR_KEPT = 64 << 10
SIGN_EVERY = 10.0  # seconds between our signs of life
GONE_AFTER = 30  # seconds without one: the far end takes us for dead
GRACE = 5  # seconds between TERM and KILL
LOCK_WAIT = GONE_AFTER + 2 * GRACE + 5  # whoever held the lock is ended by then
_CONNECT = 40.0  # seconds until READY
_MARGIN = 30.0  # seconds that an answer may be late


class Cut(Exception):
    """There is no answer. `ready`: the far end stood ready, so the script may have run; `late`: the time was over.

    Never reaches the user.
    """

    def __init__(self, *, ready: bool, late: bool, stdout: bytes, stderr: bytes) -> None:
        super().__init__(f"ready={ready} late={late}")
        self.ready, self.late = ready, late
        self.stdout, self.stderr = stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")

    @property
    def why(self) -> str:
        return "no answer came in time" if self.late else "the connection was cut"

    @property
    def said(self) -> str:
        """The last line of its stderr."""
        return next((line.strip() for line in reversed(self.stderr.splitlines()) if line.strip()), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to say when something before COMMAND (sudo) says `prompt` on stderr. A second prompt ends the talk."""

    prompt: bytes
    text: bytes = field(repr=False)


def converse(talk: Talk, script: Script, *, reply: Reply | None = None) -> Answer:
    """Run a script through COMMAND. Raises Cut."""
    word = secrets.token_hex(16)
    heard = _Heard(word.encode())
    late = True
    try:
        if reply and heard.until(talk, lambda: heard.ready() or reply.prompt in heard.stderr, _CONNECT):
            talk.send([] if heard.ready() else [reply.text])
        ready = heard.until(
            talk, lambda: heard.ready() or bool(reply and heard.stderr.count(reply.prompt) > 1), _CONNECT
        )
        ready = ready and heard.ready()
        if ready:
            talk.send([_frame(script, word)])
            change = script.epoch is not None
            if not change or heard.until(talk, lambda: heard.begun() or heard.done(), LOCK_WAIT + _MARGIN):
                talk.send(chain([b"."] if change else [], _payload(script)))
                heard.until(talk, heard.done, script.timeout + 3 * GRACE + _MARGIN, signs=True)
    finally:
        late = not talk.ended
        talk.end(grace=0.5)
    if heard.code is None:
        raise Cut(ready=ready, late=late, stdout=bytes(heard.stdout), stderr=heard.complaint())
    return Answer(code=heard.code, stdout=heard.body(), stderr=heard.complaint())


def listen(talk: Talk) -> tuple[int, str, str]:
    """Let a small program end by itself, within a time: its code and the first of what it said."""
    stdout, stderr = bytearray(), bytearray()
    end = time.monotonic() + _CONNECT
    try:
        while not talk.ended and time.monotonic() < end:
            said = talk.exchange(max(0.0, end - time.monotonic()))
            stdout += said[0][: STDERR_KEPT - len(stdout)]
            stderr += said[1][: STDERR_KEPT - len(stderr)]
    finally:
        code = talk.end(grace=0.5)
    return code, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")


def _frame(script: Script, word: str) -> bytes:
    settings = {
        "n": word,
        "p": _size(script),
        "t": f"{script.timeout:.3f}",
        "e": "" if script.epoch is None else script.epoch,
        "w": LOCK_WAIT,
        "a": GONE_AFTER,
        "g": GRACE,
        "s": script.text,
    }
    text = "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()) + _guard()
    data = text.encode()
    return f"{READY} {len(data)}\n".encode() + data


def _size(script: Script) -> int:
    return len(script.stdin) if isinstance(script.stdin, bytes) else script.stdin.size


def _payload(script: Script) -> Iterator[bytes]:
    payload, size = script.stdin, _size(script)
    if isinstance(payload, bytes):
        yield payload
    else:
        sent = 0
        for chunk in payload.chunks():
            sent += len(chunk)
            if sent > size:
                break
            yield chunk
        if sent != size:
            raise WrongBytes(what="what was to be sent", expected=f"{size} bytes", found=f"{sent} or more")
    yield b"."


@cache
def _guard() -> str:
    return Path(__file__).with_name("guard.sh").read_text(encoding="utf-8")


class _Heard:
    """What has come so far, within bounds; before the mark lies what a login and sudo said."""

    def __init__(self, word: bytes) -> None:
        self._word = word
        self._begin, self._end = word + b"\n", b"\n" + word + b" "
        self.stdout, self.stderr = bytearray(), bytearray()
        self.code: int | None = None

    def until(self, talk: Talk, reached: Callable[[], bool], seconds: float, *, signs: bool = False) -> bool:
        """Listen until it is `reached`, the program has ended or the time is over; whether it is reached."""
        end, sign = time.monotonic() + seconds, time.monotonic() + SIGN_EVERY
        while not reached():
            now = time.monotonic()
            if talk.ended or now >= end:
                return False
            if signs and now >= sign:
                sign = now + SIGN_EVERY
                if not talk.sending:
                    talk.send([b"."])
            self._take(*talk.exchange(max(0.0, (min(end, sign) if signs else end) - now)))
        return True

    def ready(self) -> bool:
        return f"{READY}\n".encode() in self.stdout

    def begun(self) -> bool:
        return self._begin in self.stdout

    def done(self) -> bool:
        return self.code == FLOODED or (self.code is not None and self._end in self.stderr)

    def body(self) -> bytes:
        begin, end = self.stdout.find(self._begin), self.stdout.rfind(self._end)
        if begin < 0:  # it was refused before it began
            return b""
        return bytes(self.stdout[begin + len(self._begin) : end if end > begin else STDOUT_LIMIT])

    def complaint(self) -> bytes:
        text = self.stderr.rpartition(self._end)[0] or self.stderr
        return bytes(text.rpartition(self._begin)[2])

    def _take(self, stdout: bytes, stderr: bytes) -> None:
        self.stdout += stdout
        self.stderr += stderr
        del self.stderr[: -STDERR_KEPT - 2 * len(self._end)]
        if len(self.stdout) > STDOUT_LIMIT + (64 << 10):
            self.code = FLOODED
        elif stdout and self.code is None:
            start = self.stdout.find(self._end, max(0, len(self.stdout) - len(stdout) - 64))
            line, newline, _ = self.stdout[start + len(self._end) :].partition(b"\n")
            if start >= 0 and newline and line.isdigit():
                self.code = int(line)
