"""Disks for pods: which are ours, which are empty, and which have something on them that is not to be touched."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bundler.components.kubernetes.pki import NODES
from bundler.model.site import Disk, SiteHost
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, Fact, HostFacts
from bundler.steps.per_host import Note, per_host
from bundler.steps.step import Goal

USE = "local"
LABEL = "bundle-local"  # of a file system that was made here; as long as one may be (xfs has 12 characters)
_BY_ID = "/dev/disk/"
_UNITS = {
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)},
}
# sh text: what is on the disk $1, in one line. A table of partitions is a signature too; data that nobody can name is
# something else than zeros where a disk begins.
_LOOK = """look() {
  [ -b "$1" ] || { echo "no"; return; }
  size=$(blockdev --getsize64 "$1") && found=$(wipefs --noheadings -O TYPE "$1" | sort -u | tr '\\n' ' ') || return 1
  label=$(blkid -p -s LABEL -o value "$1" 2>/dev/null)
  cmp -s -n 1048576 "$1" /dev/zero && zeros=zeros || zeros=data
  echo "$size|$found|$label|$zeros"
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskState:
    """`size` in bytes, None where there is no such device. `signatures` are what libblkid knows to be on it, `empty`
    that it begins with zeros."""

    size: int | None = None
    signatures: tuple[str, ...] = ()
    label: str = ""
    empty: bool = True

    @property
    def ours(self) -> bool:
        return self.label == LABEL


def local_disks(host: SiteHost) -> tuple[Disk, ...]:
    return tuple(disk for disk in host.disks if disk.use == USE)


def bytes_of(size: str) -> int:
    """Of a quantity as Kubernetes writes it, such as 3500Gi."""
    number, unit = re.fullmatch(r"([0-9]+)([A-Za-z]*)", size).groups()  # type: ignore[union-attr]
    return int(number) * (_UNITS[unit] if unit else 1)


def _state(line: str) -> DiskState:
    if line == "no":
        return DiskState()
    size, found, label, zeros = line.split("|")
    return DiskState(size=int(size), signatures=tuple(found.split()), label=label, empty=zeros == "zeros")


def disks_fact(host: SiteHost) -> Ask[Mapping[str, DiskState]]:
    """By device."""
    devices = [disk.device for disk in local_disks(host)]

    def read(said: str) -> Mapping[str, DiskState]:
        return dict(zip(devices, map(_state, said.splitlines()), strict=True))

    script = _LOOK + "".join(f"look {shlex.quote(device)} || exit 1\n" for device in devices)
    # A bare host's disks are there, and empty.
    bare = {disk.device: DiskState(size=bytes_of(disk.size or "0")) for disk in local_disks(host)}
    return Ask(name="its disks for pods", script=script, reading=read, bare=bare)


@dataclass(frozen=True, kw_only=True)
class Formatted:
    """A disk has a file system of ours. Only one on which there is nothing gets it; nothing takes it away."""

    host: SiteHost
    device: str

    def asks(self) -> tuple[Fact[Any], ...]:
        return (disks_fact(self.host),)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if facts[disks_fact(self.host)][self.device].ours:
            return
        device = shlex.quote(self.device)
        # Looked at once more: the plan may be of yesterday. mkfs refuses what is in use.
        text = f"""{_LOOK}have=$(look {device}) || exit 1
case $have in
*"|{LABEL}|"*) exit 0 ;;
[0-9]*"||"*"|zeros") ;;
*) echo {device}" is not empty, and stays as it is: $have" >&2; exit 1 ;;
esac
mkfs.ext4 -q -L {LABEL} -m 0 {device} </dev/null
"""
        yield Run(name=f"make a file system on {self.device}", text=text, timeout=900, reason="it is empty")

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()  # what is on it is no business of ours, not even when all else is purged


def _judge(goal: Goal, host: SiteHost, facts: HostFacts) -> Iterator[Note]:
    disks = local_disks(host)
    if not disks:
        return
    if not host.is_among(NODES):
        fix = "Give the host the role worker, or take `use: local` from its disks."
        yield Note("its disks are for pods, and it is none of the cluster's hosts", fix)
    states = facts[disks_fact(host)]
    for disk in disks:
        yield from _judge_disk(disk, states[disk.device])


def _judge_disk(disk: Disk, have: DiskState) -> Iterator[Note]:
    device = disk.device
    if have.size is None:
        yield Note(f"there is no disk {device}", "`ls -l /dev/disk/by-id` on the host shows those that it has.")
        return
    if not have.ours and (have.signatures or not have.empty):
        what = ", ".join(have.signatures) or "data without a name"
        fix = f"Is it the right disk? If nobody needs what is on it: `wipefs -a {device}` and"
        fix += f" `dd if=/dev/zero of={device} bs=1M count=1`, by hand."
        yield Note(f"the disk {device} is not empty ({what}): nothing is done to it", fix)
    if not disk.size:
        fix = f"Add `size: {_rounded(have.size)}` to it in site.yaml: what pods may count on."
        yield Note(f"site.yaml does not say what the disk {device} holds", fix)
    elif bytes_of(disk.size) > have.size:
        fix = f"Write `size: {_rounded(have.size)}`, if it is the right disk."
        yield Note(f"the disk {device} is smaller than site.yaml says: {_rounded(have.size)}, not {disk.size}", fix)
    if not device.startswith(_BY_ID):
        fix = f"`ls -l {_BY_ID}by-id` shows a name that stays."
        yield Note(f"{device} may be another disk after the next boot", fix, warning=True)


def _rounded(size: int) -> str:
    gib = size >> 30
    return f"{gib}Gi" if gib >= 10 else f"{size >> 20}Mi"


CHECK = per_host(
    "local volumes: disks", lambda goal, host: (disks_fact(host),) if local_disks(host) else (), _judge, every=300
)
