"""A program that is fed and read by turns: bytes in, other bytes out."""

import os
import selectors
import subprocess
import weakref
from collections.abc import Sequence

_PIECE = 64 << 10


class Filter:
    """It has no environment, leads a session of its own (a Ctrl-C on our terminal ends it only through us), and ends
    when nobody has this any more.

    All raises OSError: the program cannot be run, TimeoutError when it neither took nor gave a byte for `patience`
    seconds, ChildProcessError when it ended with another exit code than 0, BrokenPipeError when it took not all."""

    def __init__(self, command: Sequence[str], *, patience: float, descriptors: tuple[int, ...] = ()) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            env={},
            bufsize=0,
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._process)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout, self._patience = self._process.stdin, self._process.stdout, patience
        os.set_blocking(self._stdin.fileno(), False)

    def give(self, data: bytes) -> bytes:
        """All of it, for what comes meanwhile: of what was given before, and perhaps of this."""
        left, out = memoryview(data), []
        with selectors.DefaultSelector() as ready:
            ready.register(self._stdin, selectors.EVENT_WRITE)
            ready.register(self._stdout, selectors.EVENT_READ)
            while left:
                found = [key.fileobj for key, _ in ready.select(self._patience)]
                if not found:
                    raise TimeoutError(f"it did nothing for {self._patience:g} s")
                if self._stdout in found and (said := os.read(self._stdout.fileno(), _PIECE)):
                    out.append(said)
                if self._stdin in found:
                    left = left[self._stdin.write(left[:_PIECE]) or 0 :]
        return b"".join(out)

    def finish(self) -> bytes:
        """All that is left, when there is no more to give."""
        self._stdin.close()
        out = []
        with selectors.DefaultSelector() as ready:
            ready.register(self._stdout, selectors.EVENT_READ)
            while True:
                if not ready.select(self._patience):
                    raise TimeoutError(f"it did nothing for {self._patience:g} s")
                if not (said := os.read(self._stdout.fileno(), _PIECE)):
                    break
                out.append(said)
        try:
            code = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"it did not end within {self._patience:g} s") from None
        if code:
            raise ChildProcessError(f"exit code {code}")
        return b"".join(out)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    process.kill()
    process.wait()
