"""Work that may wait: others come first, on the processors and on the disks."""

import contextlib
import ctypes
import os
import platform

_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # ioprio_set(2) has no wrapper in libc
_WHO_PROCESS, _IDLE = 1, 3 << 13


def be_gentle() -> None:
    """For this thread and those that it starts. Where the system has no such thing, nothing happens."""
    with contextlib.suppress(OSError):
        os.nice(10)
    number = _IOPRIO_SET.get(platform.machine())
    if number is not None:
        ctypes.CDLL(None, use_errno=True).syscall(number, _WHO_PROCESS, 0, _IDLE)
