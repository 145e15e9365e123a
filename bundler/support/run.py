"""Running other programs: the only place that does."""

import contextlib
import os
import selectors
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bundler.errors import ToolMissing

_PIECE = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    def tail(self, lines: int = 20) -> str:
        """The last lines of what it said, for an error's detail."""
        return "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-lines:])


def run(
    command: Sequence[str],
    *,
    needed_for: str,
    timeout: float,
    stdin: str = "",
    environment: Mapping[str, str | None] | None = None,
    directory: Path | None = None,
) -> Outcome:
    """Run a program to its end with the C.UTF-8 locale; `environment` is added to our own, None takes away.

    A timeout gives code 124, as timeout(1) does; a program that cannot be run here gives 126. Raises ToolMissing when
    there is no such program.
    """
    if shutil.which(command[0]) is None:
        raise ToolMissing(tool=command[0], needed_for=needed_for)
    try:
        done = subprocess.run(
            list(command),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
            cwd=directory,
            env=_environment(environment),
        )
    except OSError as error:  # for another machine, say
        return Outcome(code=126, stdout="", stderr=f"{command[0]} cannot be run here: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Outcome(code=124, stdout="", stderr=f"{command[0]} did not end within {timeout:g} s")
    return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


class Talk:
    """A running program whose three streams the caller serves, from its own thread and without ever blocking for long.

    It leads a session of its own, so that a Ctrl-C on our terminal ends it only through us. Raises ToolMissing.
    """

    def __init__(
        self, command: Sequence[str], *, needed_for: str, environment: Mapping[str, str | None] | None = None
    ) -> None:
        if shutil.which(command[0]) is None:
            raise ToolMissing(tool=command[0], needed_for=needed_for)
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(environment),
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdin, self._stdout, self._stderr = self._process.stdin, self._process.stdout, self._process.stderr
        os.set_blocking(self._stdin.fileno(), False)
        self._waiting: Iterator[bytes] = iter(())
        self._piece = memoryview(b"")
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self._exit = os.pidfd_open(self._process.pid)
        self._selector.register(self._exit, selectors.EVENT_READ)
        self.ended = False

    def send(self, data: Iterable[bytes]) -> None:
        """Give it `data` after what it was given before; a piece is taken only when there is room for it."""
        self._waiting = chain(self._waiting, data)
        if not self.ended and self._stdin not in self._selector.get_map():
            self._selector.register(self._stdin, selectors.EVENT_WRITE)

    @property
    def sending(self) -> bool:
        return self._stdin in self._selector.get_map()

    def exchange(self, timeout: float) -> tuple[bytes, bytes]:
        """Write what can be written and give what came on stdout and stderr; both empty after `timeout` seconds.

        Sets `ended` once the program has ended and all that it said has been given.
        """
        said = {self._stdout: b"", self._stderr: b""}
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        if self._stdin in ready:
            self._write()
        for stream in (self._stdout, self._stderr):
            if stream in ready:
                said[stream] = os.read(stream.fileno(), _PIECE)
                if not said[stream]:
                    self._selector.unregister(stream)
        # What holds its streams open may outlive it: a master that ssh left in the background, say.
        if ready == [self._exit]:
            self.ended = True
        return said[self._stdout], said[self._stderr]

    def _write(self) -> None:
        if not self._piece:
            piece = next(self._waiting, None)
            if piece is None:
                self._selector.unregister(self._stdin)
                return
            self._piece = memoryview(piece)
        try:
            self._piece = self._piece[os.write(self._stdin.fileno(), self._piece[:_PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it reads no more; what it says will tell why
            self._waiting, self._piece = iter(()), memoryview(b"")
            self._selector.unregister(self._stdin)

    def end(self, grace: float) -> int:
        """Close its stdin, give it `grace` seconds, then kill it; its exit code, negative for a signal."""
        self._selector.close()
        for file in (self._stdin, self._stdout, self._stderr):
            with contextlib.suppress(OSError):
                file.close()
        os.close(self._exit)
        self._waiting = iter(())
        try:
            return self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _environment(changes: Mapping[str, str | None] | None) -> dict[str, str]:
    variables = {**os.environ, "LC_ALL": "C.UTF-8", **(changes or {})}
    return {name: value for name, value in variables.items() if value is not None}
