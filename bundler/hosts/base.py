"""What a host can be asked: to run one POSIX sh script as root and answer. Everything above is made of that."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

# What the guard around a script answers instead of the script (bundler.hosts.guard).
CORRUPT = 192  # what arrived is not what was sent (bundler.hosts.transfer)
FLOODED = 193  # more than 16 MiB on stdout; it was ended
UNGUARDED = 194  # the host's lock or epoch cannot be kept: flock is missing, or /var/lib/bundle cannot be written
OVERTAKEN = 195  # the host knows a newer epoch: somebody else installs now
LOCKED = 196  # an earlier action's programs still run on the host
SHORT = 197  # the session ended before all of stdin had come
STALE = 198  # an action's own precondition does not hold: what it would replace has changed
TIMED_OUT = 124  # as timeout(1) says it


class Stream(Protocol):
    """Bytes of a known number that a script reads on its standard input."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """`timeout` in seconds. Without `epoch` it is a question: no lock is taken and nothing may be changed. With one it
    changes the host: one at a time, refused when the host knows a higher epoch, ended when its session ends."""

    text: str
    timeout: float = 60
    stdin: "bytes | Stream" = b""
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a script said; `stderr` holds its last 64 KiB at most."""

    code: int
    stdout: bytes
    stderr: bytes

    def tail(self, lines: int = 12) -> str:
        """The last lines of what it said, for a reader."""
        said = self.stderr.strip() or self.stdout.strip()
        return "\n".join(said.decode("utf-8", "replace").splitlines()[-lines:])


class Host(Protocol):
    """A machine of the site. `run` raises HostUnreachable when nothing was run, HostLost when it is not known whether
    the script ended, HostKeyUnknown and NoPrivilege; a script that fails is an Answer."""

    @property
    def name(self) -> str: ...

    def run(self, script: Script) -> Answer: ...
