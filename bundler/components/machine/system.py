"""The system of each host: its kernel, systemd, programs and memory; and its clock."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Self

from bundler.components.machine import kinds
from bundler.components.machine.asking import Row, Said, always, each, lines, over_all, size
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.steps.facts import Ask, Fact
from bundler.steps.step import Check, Finding, Goal
from bundler.support import clock

KERNEL = (5, 10)
APART = 2.0  # seconds between two hosts' clocks
APART_HERE = 60.0  # and between theirs and ours, which answers wait in queues before
OPEN_FILES = 1048576
# Megabytes (2^20 bytes) that a role takes by itself, without what runs there. kubeadm's own bound is 1,700 MB.
MEMORY = {SITE_ROLE: 900, "control-plane": 1700, "worker": 900, "storage": 1700, "database": 900}
# Every name of a program that scripts of ours run on a host, with the Debian package that brings it.
NEEDED = {
    "apt-get": "apt",
    "awk": "mawk",
    "base64": "coreutils",
    "cut": "coreutils",
    "date": "coreutils",
    "df": "coreutils",
    "dpkg-query": "dpkg",
    "find": "findutils",
    "flock": "util-linux",
    "grep": "grep",
    "head": "coreutils",
    "ip": "iproute2",
    "mktemp": "coreutils",
    "readlink": "coreutils",
    "sed": "sed",
    "setsid": "util-linux",
    "sha256sum": "coreutils",
    "sort": "coreutils",
    "stat": "coreutils",
    "sync": "coreutils",
    "systemctl": "systemd",
    "tail": "coreutils",
    "tar": "tar",
    "timeout": "coreutils",
    "tr": "coreutils",
}

SYSTEM = lines(
    "its system",
    """echo "kernel $(uname -r)"; echo "architecture $(uname -m)"
echo "init $(cat /proc/1/comm)"
echo "systemd $(systemctl is-system-running 2>/dev/null)"
systemctl list-units --failed --plain --no-legend --no-pager 2>/dev/null | awk 'NR <= 5 { print "failed " $1 }'
python3 -I -c 'import sys; print("python %d.%d" % sys.version_info[:2])' 2>/dev/null
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo cgroup 2; else echo cgroup 1; fi
awk '$1 == "MemTotal:" { print "memory " $2 }' /proc/meminfo
echo "files $(cat /proc/sys/fs/nr_open)"
if [ -e /run/reboot-required ]; then echo "reboot yes"; fi""",
)
# How far the host's clock is before ours, in seconds. The answer comes a moment later, on all hosts alike, because it
# is the last: a host that is slow to answer the others is not behind.
CLOCK: Ask[float] = Ask(
    name="its clock", script="date +%s.%N", reading=lambda said: float(said) - clock.now().timestamp(), last=True
)


@dataclass(frozen=True, kw_only=True)
class Programs(Fact[tuple[str, ...]]):
    """The needed programs that are not there. Asked and answered without any of them."""

    @property
    def label(self) -> str:
        return "its programs"

    @property
    def nothing(self) -> tuple[str, ...]:
        return ()

    @classmethod
    def question(cls, facts: Sequence[Self]) -> str:
        return f"""for p in {" ".join(NEEDED)}; do command -v $p >/dev/null || printf '%s ' $p; done; echo"""

    def parse(self, line: str) -> tuple[str, ...]:
        return tuple(line.split())


PROGRAMS = Programs()


def judge_system(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    yield from _kernel(goal, host, said)
    yield from _systemd(host, said)
    carried = goal.lock.bootstrap.pythons
    version = said.one("python")
    if host.has(SITE_ROLE) and version not in carried:
        yield kinds.PYTHON.at(host.name, version=version or "missing", carried=" or ".join(carried))
    if said.one("cgroup") == "1":
        yield kinds.CGROUP.at(host.name)
    yield from _memory(host, said)
    if 0 < int(said.one("files") or 0) < OPEN_FILES:
        yield kinds.FILES.at(host.name, limit=said.one("files"), least=OPEN_FILES)
    if said.one("reboot"):
        yield kinds.REBOOT.at(host.name)


def _kernel(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    machine = said.one("architecture")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    carried = sorted({platform.architecture for platform in goal.lock.platforms})
    if architecture not in carried:
        yield kinds.ARCHITECTURE.at(host.name, architecture=architecture, carried=", ".join(carried))
    number = re.match(r"(\d+)\.(\d+)", said.one("kernel"))
    if number is None or (int(number[1]), int(number[2])) < KERNEL:
        least = ".".join(map(str, KERNEL))
        yield kinds.KERNEL.at(host.name, kernel=said.one("kernel"), least=least, architecture=architecture)


def _systemd(host: SiteHost, said: Said) -> Iterator[Finding]:
    state, failed = said.one("systemd"), said.all("failed")
    if said.one("init") != "systemd":
        yield kinds.SYSTEMD.at(host.name, init=said.one("init"))
    elif state not in ("running", "degraded"):
        yield kinds.BOOTING.at(host.name, state=state or "not answering")
    elif failed:
        yield kinds.DEGRADED.at(host.name, units=", ".join(failed), first=failed[0])


def _memory(host: SiteHost, said: Said) -> Iterator[Finding]:
    have = int(said.one("memory") or 0) >> 10
    role = max((role for role in host.roles if role in MEMORY), key=lambda role: MEMORY[role], default="")
    if role and have < MEMORY[role]:
        yield kinds.MEMORY.at(host.name, memory=size(have << 20), role=role, least=size(MEMORY[role] << 20))


def judge_programs(goal: Goal, host: SiteHost, lacking: tuple[str, ...]) -> Iterator[Finding]:
    if lacking:
        packages = ", ".join(sorted({NEEDED[name] for name in lacking}))
        yield kinds.PROGRAMS.at(host.name, programs=", ".join(lacking), packages=packages)


def judge_clocks(goal: Goal, rows: Sequence[Row]) -> Iterator[Finding]:
    """The hosts against the middle one of them; that one against ours. Of two, ours tells which is wrong."""
    if not rows:
        return
    offsets = [offset for _, offset in rows]
    middle = median_low(offsets) if len(offsets) > 2 else min(offsets, key=abs)
    for host, offset in rows:
        if abs(apart := offset - middle) > APART:
            yield kinds.CLOCK.at(host.name, **_distance(apart))
    if abs(middle) > APART_HERE:
        yield kinds.CLOCK_HERE.at(rows[0][0].name, **_distance(middle))


def _distance(seconds: float) -> dict[str, str]:
    return {"seconds": f"{abs(seconds):.0f}", "direction": "behind" if seconds < 0 else "before"}


CHECKS: tuple[Check, ...] = (
    each("machine: programs", always(PROGRAMS), judge_programs),
    each("machine: system", always(SYSTEM), judge_system),
    over_all("machine: clocks", always(CLOCK), judge_clocks),
)
