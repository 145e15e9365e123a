"""Disks for pods: what is found on them, what gets a file system, and what is left alone."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.components import settings_parsers
from bundler.components.local_volumes import COMPONENT
from bundler.components.local_volumes.disks import CHECK, DiskState, Formatted, bytes_of, disks_fact
from bundler.model.site import Disk
from bundler.steps.facts import Facts
from bundler.steps.step import Goal
from tests.goals import goal_of, release

MIB = 1 << 20
DEVICE = "/dev/disk/by-id/nvme-one"
EMPTY, OURS = (
    DiskState(size=400 * MIB),
    DiskState(size=400 * MIB, signatures=("ext4",), label="bundle-local", empty=False),
)


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), settings_parsers())


def with_disks(goal: Goal, name: str, *disks: Disk) -> Goal:
    hosts = tuple(replace(host, disks=disks) if host.name == name else host for host in goal.site.hosts)
    return replace(goal, site=replace(goal.site, hosts=hosts))


def found(goal: Goal, name: str, states: Mapping[str, DiskState]) -> list[str]:
    host = goal.site.host(name)
    answers: dict[str, dict[Any, Any]] = {name: {disks_fact(host): states}}
    return [f"{'warning: ' if note.warning else ''}{note.found}" for note in CHECK.judge(goal, [host], Facts(answers))]


# what is declared, what is there, what is said
DISKS: list[tuple[Disk, DiskState, list[str]]] = [
    (Disk(device=DEVICE, use="local", size="390Mi"), EMPTY, []),
    (Disk(device=DEVICE, use="local", size="390Mi"), OURS, []),
    (Disk(device=DEVICE, use="local", size="390Mi"), DiskState(), [f"there is no disk {DEVICE}"]),
    (
        Disk(device=DEVICE, use="local", size="390Mi"),
        replace(EMPTY, signatures=("gpt", "PMBR"), empty=False),
        [f"the disk {DEVICE} is not empty (gpt, PMBR): nothing is done to it"],
    ),
    # A file system that somebody else made, and bytes that belong to nothing that is known.
    (
        Disk(device=DEVICE, use="local", size="390Mi"),
        replace(OURS, label="mysql"),
        [f"the disk {DEVICE} is not empty (ext4): nothing is done to it"],
    ),
    (
        Disk(device=DEVICE, use="local", size="390Mi"),
        replace(EMPTY, empty=False),
        [f"the disk {DEVICE} is not empty (data without a name): nothing is done to it"],
    ),
    (Disk(device=DEVICE, use="local"), EMPTY, [f"site.yaml does not say what the disk {DEVICE} holds"]),
    (
        Disk(device=DEVICE, use="local", size="1Gi"),
        EMPTY,
        [f"the disk {DEVICE} is smaller than site.yaml says: 400Mi, not 1Gi"],
    ),
    (
        Disk(device="/dev/sdb", use="local", size="1Mi"),
        EMPTY,
        ["warning: /dev/sdb may be another disk after the next boot"],
    ),
]


@pytest.mark.parametrize(("disk", "state", "expected"), DISKS)
def test_what_is_said_of_a_disk(goal: Goal, disk: Disk, state: DiskState, expected: list[str]) -> None:
    assert found(with_disks(goal, "n3", disk), "n3", {disk.device: state}) == expected


def test_a_host_outside_the_cluster_has_no_disks_for_pods(goal: Goal) -> None:
    disk = Disk(device=DEVICE, use="local", size="390Mi")
    (said,) = found(with_disks(goal, "n2", disk), "n2", {DEVICE: EMPTY})
    assert said == "its disks are for pods, and it is none of the cluster's hosts"
    assert found(with_disks(goal, "n2", Disk(device=DEVICE, use="ceph")), "n2", {}) == []


def test_only_what_is_not_ours_is_to_be_formatted(goal: Goal) -> None:
    host = with_disks(goal, "n3", Disk(device=DEVICE, use="local", size="390Mi")).site.host("n3")
    resource = Formatted(host=host, device=DEVICE)
    assert list(resource.wanted(Facts({"n3": {disks_fact(host): {DEVICE: OURS}}}).of("n3"))) == []
    facts = Facts({"n3": {disks_fact(host): {DEVICE: EMPTY}}}).of("n3")
    (action,) = resource.wanted(facts)
    assert action.target == f"make a file system on {DEVICE}"
    assert list(resource.unwanted(facts, purge=True)) == [], "nothing takes data away"


# what lies in the "disk", and whether a file system is made; blkid and wipefs judge files as they do disks
CONTENT = [(b"", True), (b"\0" * 510 + b"\x55\xaa", False), (b"\0" * 4096 + b"rows of somebody", False), (None, False)]


@pytest.mark.parametrize(("content", "made"), CONTENT)
def test_the_script_makes_a_file_system_only_where_nothing_is(
    goal: Goal, tmp_path: Path, content: bytes | None, made: bool
) -> None:
    """The action's own text with real tools, on a file: the test that it is a block device is taken out."""
    disk, programs = tmp_path / "disk", tmp_path / "bin"
    with disk.open("wb") as file:
        file.truncate(8 * MIB)
        file.write(content or b"")
    if content is None:
        subprocess.run(["mkswap", "-q", disk], check=True)
    before = disk.read_bytes()
    programs.mkdir()
    (programs / "blockdev").write_text(f"#!/bin/sh\necho {8 * MIB}\n")
    (programs / "mkfs.ext4").write_text(f"#!/bin/sh\necho made > {tmp_path}/made\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    host = with_disks(goal, "n3", Disk(device=DEVICE, use="local", size="1Mi")).site.host("n3")
    facts = Facts({"n3": {disks_fact(host): {DEVICE: EMPTY}}}).of("n3")
    (action,) = Formatted(host=host, device=DEVICE).wanted(facts)
    text = action.script().text.replace("[ -b ", "[ -f ").replace(DEVICE, str(disk))
    path = {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(["sh", "-c", text], env=path, capture_output=True, text=True, check=False)
    assert ((tmp_path / "made").exists(), done.returncode) == (made, 0 if made else 1), done.stderr
    assert disk.read_bytes() == before
    assert made or "is not empty, and stays as it is" in done.stderr


def test_sizes_are_kubernetes_own() -> None:
    assert [bytes_of(size) for size in ("1", "2k", "3Ki", "4M", "5Gi")] == [1, 2000, 3072, 4_000_000, 5 << 30]


def test_the_component_is_of_a_release_with_the_chart() -> None:
    assert COMPONENT.catalog == ("kubernetes", "local-volumes")
