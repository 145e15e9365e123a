"""Compressors that no library of Python's has, as programs: they read plain bytes and write gzip."""

import os
import platform
import shutil
from functools import lru_cache
from importlib.resources import files

import zstandard

from bundler.errors import Malformed
from bundler.support.filter import Filter

_HEAD, _FOOT = 10, 8  # of a gzip member without a name (RFC 1952)
_PATIENCE = 60.0  # seconds in which a compressor at work has taken or given some bytes
_PROGRAM = 16 << 20  # bytes, more than ours has


def missing() -> frozenset[str]:
    """Of `go` and `gnu`, what this machine has no program for."""
    found = {"go": _go_program() is not None, "gnu": shutil.which("gzip") is not None}
    return frozenset(name for name, there in found.items() if not there)


def go_gzip(level: int) -> "Gzip":
    """Go's compress/gzip, of the version that gogzip/go.mod names. Raises Malformed where it does not run."""
    descriptor = _go_program()
    if descriptor is None:
        raise Malformed(found=f"a machine {platform.machine()}", expected="one that Go's compressor is carried for")
    return Gzip(f"/proc/self/fd/{descriptor}", str(level), descriptors=(descriptor,))


def gnu_gzip(level: int) -> "Gzip":
    """The host's own gzip. Raises Malformed where there is none."""
    program = shutil.which("gzip")
    if program is None:
        raise Malformed(found="no gzip", expected="the program in PATH")
    return Gzip(program, "-cn", f"-{level}")


@lru_cache
def _go_program() -> int | None:
    """A file in memory that has it: what a package brings need not be executable where it lies."""
    packed = files("bundler.patch") / "gogzip" / f"{platform.machine()}.zst"
    if not packed.is_file():
        return None
    descriptor = os.memfd_create("gogzip")
    data = zstandard.ZstdDecompressor().decompress(packed.read_bytes(), max_output_size=_PROGRAM)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    return descriptor


class Gzip:
    """The deflate stream within what such a program makes. All raises Malformed where the program fails."""

    def __init__(self, *command: str, descriptors: tuple[int, ...] = ()) -> None:
        self._name = command[0]
        try:
            self._program = Filter(command, patience=_PATIENCE, descriptors=descriptors)
        except OSError as error:
            raise self._failed(error) from None
        self._head, self._held = _HEAD, b""

    def compress(self, data: bytes) -> bytes:
        try:
            return self._within(self._program.give(data))
        except OSError as error:
            raise self._failed(error) from None

    def flush(self) -> bytes:
        try:
            return self._within(self._program.finish())
        except OSError as error:
            raise self._failed(error) from None

    def _within(self, out: bytes) -> bytes:
        """Without the member's head; the last bytes are held back, for they may be its foot."""
        out = self._held + out
        head = min(self._head, len(out))
        self._head -= head
        end = max(head, len(out) - _FOOT)
        self._held = out[end:]
        return out[head:end]

    def _failed(self, error: OSError) -> Malformed:
        return Malformed(found=f"{self._name}: {error.strerror or error}", expected="a compressor that works")
