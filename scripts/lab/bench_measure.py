"""Running the same work several ways in turn, and what each run takes: time, processor, memory, network, disk."""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to do the work: a bash script that writes below $OUT, and how many bytes must be there afterwards."""

    name: str
    script: str
    tool: str = ""
    output: int = 0
    single: bool = False  # its output is one file
    digests: bool = True  # its output has what the images' digests are of: their manifests, byte for byte
    aside: bool = False  # shown, but it does not do quite the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Seconds with the final sync, processor seconds, and in bytes the memory of the largest process, what the machine
    received from the network meanwhile, the peak of the disk, and what of it was left."""

    seconds: float
    cpu: float
    memory: int
    received: int
    disk: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All runs of one way. `disk` is the peak of what its folder took, and `left` what it took at the end, seen in the
    run that warmed it up."""

    way: Way
    runs: tuple[Run, ...]
    disk: int
    left: int

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float:
        return statistics.median(run.cpu for run in self.runs)

    @property
    def memory(self) -> int:
        return max(run.memory for run in self.runs)

    @property
    def received(self) -> int:
        """The least of all: whatever else the machine received meanwhile only adds to it."""
        return min(run.received for run in self.runs)


class Bench:
    """Runs ways in `work`, a folder on the disk that is measured."""

    def __init__(self, work: Path, variables: Mapping[str, str]) -> None:
        self._out, self._log = work / "out", work / "log.txt"
        # What a tool keeps in between belongs to its disk, too. Python's bytecode is compiled in the first run, as
        # an installed tool's is.
        folders = {"OUT": str(self._out), "TMPDIR": str(self._out), "PYTHONPYCACHEPREFIX": str(work / "bytecode")}
        self._variables = {**os.environ, **variables, **folders}
        self._variables.pop("PYTHONDONTWRITEBYTECODE", None)

    def alternate(self, ways: Sequence[Way], runs: int) -> list[Measured]:
        """Warm up each way once, then run all of them in turn, each round beginning with another."""
        warm = [self._run(way, watched=True) for way in ways]
        found: dict[str, list[Run]] = {way.name: [] for way in ways}
        for number in range(runs):
            start = number * len(ways) // runs
            for way in (*ways[start:], *ways[:start]):
                found[way.name].append(self._run(way))
            print(f"  round {number + 1} of {runs}, load {os.getloadavg()[0]:.2f}", file=sys.stderr, flush=True)
        shutil.rmtree(self._out)
        return [
            Measured(way=way, runs=tuple(found[way.name]), disk=first.disk, left=first.left)
            for way, first in zip(ways, warm, strict=True)
        ]

    def _run(self, way: Way, *, watched: bool = False) -> Run:
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()
        os.sync()
        peak = _Peak(self._out) if watched else None
        run = self._timed(way)
        written = sum(path.lstat().st_size for path in self._out.rglob("*") if path.is_file())
        if written < way.output:
            raise SystemExit(f"{way.name} wrote {written} bytes where {way.output} were to be: see {self._log}")
        return replace(run, disk=peak.stop(), left=_taken(self._out)) if peak else run

    def _timed(self, way: Way) -> Run:
        with self._log.open("wb") as log:
            start, received = time.monotonic(), _received()
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", way.script], env=self._variables, stdout=log, stderr=log
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            os.sync()
            seconds, received = time.monotonic() - start, _received() - received
        if process.returncode != 0:
            raise SystemExit(
                f"{way.name} failed ({process.returncode}):\n{self._log.read_text(errors='replace')[-4000:]}"
            )
        cpu = usage.ru_utime + usage.ru_stime
        return Run(seconds=seconds, cpu=cpu, memory=usage.ru_maxrss * 1024, received=received)


class _Peak:
    """Watches what a folder takes on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._peak, self._over = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)  # a run that fails leaves it behind
        self._thread.start()

    def stop(self) -> int:
        self._over.set()
        self._thread.join()
        return max(self._peak, _taken(self._folder))

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, _taken(self._folder))


def _taken(folder: Path) -> int:
    """Bytes of disk under a folder whose files come and go; a file with several names counts once."""
    blocks: dict[int, int] = {}

    def look(path: str) -> None:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        look(entry.path)
                    else:
                        state = entry.stat(follow_symlinks=False)
                        blocks[state.st_ino] = state.st_blocks
        except OSError:
            return

    look(str(folder))
    return 512 * sum(blocks.values())


def _received() -> int:
    """Bytes that came in by all interfaces, loopback with both of its directions, headers included."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines)


def fastest(found: Sequence[Measured], chosen: Callable[[Way], bool]) -> Measured:
    return min((each for each in found if chosen(each.way)), key=lambda each: each.seconds)
