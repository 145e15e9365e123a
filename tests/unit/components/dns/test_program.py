"""A program out of an archive of the release, by the sh text that hosts run."""

import subprocess
from pathlib import Path

import pytest

from bundler.components.dns.program import Program
from bundler.components.store import ROOT
from bundler.model.digest import Digest
from bundler.steps.facts import HostFacts
from tests.goals import archive_of


class Host:
    """The folder `files` of a release, and a place for the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "current/files"
        self.files.mkdir(parents=True)
        self.path = folder / "lib/tool"

    def sh(self, text: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["sh", "-c", text.replace(ROOT, str(self.folder))], capture_output=True, text=True)

    def carried(self, script: str, name: str = "tool.tgz", member: str = "tool") -> Program:
        data = archive_of(member, script.encode())
        (self.files / name).write_bytes(data)
        return Program(
            archive=name, digest=Digest.of(data), member="tool", path=str(self.path), proof="--version", version="1"
        )

    def left(self, program: Program) -> list[str]:
        """The reasons of what is to be done."""
        (fact,) = program.asks()
        facts = HostFacts("n1", {fact: self.sh(fact.script).stdout.strip()})  # type: ignore[attr-defined]
        return [action.reason for action in program.wanted(facts)]

    def unpack(self, program: Program) -> "subprocess.CompletedProcess[str]":
        (fact,) = program.asks()
        (action,) = program.wanted(HostFacts("n1", {fact: ""}))
        return self.sh(action.script().text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_is_unpacked_once(host: Host) -> None:
    program = host.carried("#!/bin/sh\necho one\n")
    assert host.left(program) == ["it is not there"]
    for _ in range(2):
        assert host.unpack(program).returncode == 0
        assert host.left(program) == []
    assert host.sh(str(host.path)).stdout == "one\n"
    assert sorted(path.name for path in host.path.parent.iterdir()) == ["tool", "tool.from"]


def test_another_archive_another_program_or_none(host: Host) -> None:
    host.unpack(host.carried("#!/bin/sh\necho one\n"))
    newer = host.carried("#!/bin/sh\necho two\n")
    assert host.left(newer) == ["it is of another release"]
    assert host.unpack(newer).returncode == 0
    assert host.sh(str(host.path)).stdout == "two\n"
    host.path.write_text("#!/bin/sh\necho else\n")  # by hand
    assert host.left(newer) == ["it is not there"]
    host.unpack(newer)
    host.path.unlink()
    assert host.left(newer) == ["it is not there"]


def test_what_is_wrong_never_takes_its_place(host: Host) -> None:
    good = host.carried("#!/bin/sh\necho one\n")
    host.unpack(good)
    broken = host.carried("#!/bin/sh\nexit 3\n", "broken.tgz")
    absent = host.carried("#!/bin/sh\n", "absent.tgz", member="other")
    damaged = host.carried("#!/bin/sh\necho two\n", "damaged.tgz")
    (host.files / "damaged.tgz").write_bytes(b"x" + (host.files / "damaged.tgz").read_bytes()[1:])
    for program in (broken, absent, damaged):
        assert host.unpack(program).returncode != 0
        assert host.sh(str(host.path)).stdout == "one\n"
        assert host.left(good) == []
    assert "is another file" in host.unpack(damaged).stderr
