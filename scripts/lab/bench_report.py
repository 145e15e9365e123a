"""Tables of what was measured: Markdown whose columns are aligned, to be read as it is."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.lab.bench_measure import Measured

_MB = 1e6
_MEMORY_LIMIT, _DISK_LIMIT = 60.0, 1.01
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+[^\s,]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A promise: the value at most (or at least) the limit."""

    what: str
    value: float
    limit: float
    least: bool = False
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`targets` are judged from the runs that `text` shows."""

    text: str
    targets: tuple[Target, ...]


def ratio(ours: Measured, other: Measured) -> float:
    return ours.seconds / other.seconds


def memory_target(verb: str, *found: Measured) -> Target:
    peak = max(each.memory for each in found) / _MB
    return Target(what=f"{verb}, peak memory", value=peak, limit=_MEMORY_LIMIT, unit="MB")


def disk_target(verb: str, size: int, *found: Measured) -> Target:
    return Target(what=f"{verb}, peak disk / size", value=max(each.disk for each in found) / size, limit=_DISK_LIMIT)


def step_table(found: Sequence[Measured]) -> str:
    """What one thing after the other takes; `left` is what it leaves on the disk, `beside` what it took beyond that."""
    rows = [("", "median s", "min–max s", "CPU s", "peak MB", "received MB", "left MB", "beside MB")]
    for each in found:
        times = [run.seconds for run in each.runs]
        sizes = (each.memory, each.received, each.left, each.disk - each.left)
        span = f"{min(times):.1f}–{max(times):.1f}"
        rows.append(
            (each.way.name, f"{each.seconds:.1f}", span, f"{each.cpu:.1f}", *(f"{size / _MB:,.0f}" for size in sizes))
        )
    return _aligned(rows)


def measured_table(found: Sequence[Measured], payload: int) -> str:
    """The first is ours; the last column says how many times as long as each other way it takes."""
    ours = found[0]
    rows = [("", "median s", "min–max s", "MB/s", "CPU s", "peak MB", "disk", f"{ours.way.name} takes")]
    for each in sorted(found, key=lambda one: one.seconds):
        times = [run.seconds for run in each.runs]
        rows.append(
            (
                each.way.name,
                f"{each.seconds:.2f}",
                f"{min(times):.2f}–{max(times):.2f}",
                f"{payload / each.seconds / _MB:.0f}",
                f"{each.cpu:.2f}",
                f"{each.memory / _MB:.0f}",
                f"{each.disk / payload:.3f} ×" if each.disk > payload // 2 else "",
                "" if each is ours else f"{ours.seconds / each.seconds:.2f} ×",
            )
        )
    return _aligned(rows)


def target_table(targets: Sequence[Target]) -> str:
    rows = [("target", "limit", "measured", "")]
    for target in targets:
        sign = "≥" if target.least else "≤"
        shown = f"{target.value:.2f} {target.unit}" if target.unit == "×" else f"{target.value:.1f} {target.unit}"
        rows.append((target.what, f"{sign} {target.limit:g} {target.unit}", shown, "met" if target.met else "MISSED"))
    return _aligned(rows)


def machine_line(work: Path) -> str:
    """What the figures depend on, without the machine's name."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    system = _said(["findmnt", "-n", "-o", "FSTYPE", "-T", str(work)])
    kernel = platform.release().partition("-")[0]
    tools = {
        "bundle": ["bundle", "--version"],
        "skopeo": ["skopeo", "--version"],
        "crane": ["crane", "version"],
        "oras": ["oras", "version"],
        "regctl": ["regctl", "version"],
        "openssl": ["openssl", "version"],
    }
    versions = ", ".join(f"{name} {_version(command)}" for name, command in tools.items())
    return (
        f"{cores} cores ({model[1] if model else platform.machine()}), {memory:.0f} GiB, Linux {kernel}, {system};"
        f" Python {platform.python_version()}, {versions}"
    )


def _said(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _version(command: Sequence[str]) -> str:
    match = _VERSION.search(_said(command))
    return match[0] if match else "?"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(_padded(row, widths)) + " |" for row in rows]
    rule = (
        "|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":") for column, width in enumerate(widths)) + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])


def _padded(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
