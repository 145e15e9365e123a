"""This machine and its processes, as far as one installer has to be told from another."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process by machine, boot and start: a number that was given to another one later is not the same."""

    machine: str
    boot: str
    pid: int
    started: str

    def gone(self, me: "Process") -> bool:
        """Whether it is known to have ended: only of processes of this machine's present boot, as `me` is one."""
        if (self.machine, self.boot) != (me.machine, me.boot):
            return False
        return _started(self.pid) != self.started


def this_process() -> Process:
    return Process(
        machine=socket.gethostname(),
        boot=_read("/proc/sys/kernel/random/boot_id"),
        pid=os.getpid(),
        started=_started(os.getpid()),
    )


def _started(pid: int) -> str:
    """When it started, in clock ticks since boot (proc(5), field 22); empty when there is none, or only a zombie."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] != "Z" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
