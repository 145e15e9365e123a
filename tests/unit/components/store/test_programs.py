"""Programs of the release, by the sh text that hosts run."""

import subprocess
from pathlib import Path

import pytest

from bundler.components.store import ROOT
from bundler.components.store.programs import Programs, Source
from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.steps.facts import HostFacts
from tests.goals import archive_of


class Host:
    """The folder `files` of a release, and a place for the programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "current/files"
        self.files.mkdir(parents=True)
        self.path = folder / "lib/tool"
        self.records = folder / "records"

    def sh(self, text: str) -> "subprocess.CompletedProcess[str]":
        text = text.replace(ROOT, str(self.folder)).replace("/var/lib/bundle/programs", str(self.records))
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True)

    def carried(
        self, script: str, name: str = "tool.tgz", member: str = "tool", source: Source | None = None
    ) -> Programs:
        data = archive_of(member, script.encode()) if member else script.encode()
        (self.files / name).write_bytes(data)
        return Programs(
            name="tool",
            file=LockedFile(name=name, url="", digest=Digest.of(data), size=len(data)),
            members=((member and "tool", str(self.path)),),
            source=source or Source(),
            proof="--version",
            version="1",
        )

    def facts(self, program: Programs) -> HostFacts:
        return HostFacts("n1", {program.fact: self.sh(program.fact.script).stdout.strip()})

    def left(self, program: Programs) -> list[str]:
        """The reasons of what is to be done."""
        return [action.reason for action in program.wanted(self.facts(program))]

    def unpack(self, program: Programs) -> "subprocess.CompletedProcess[str]":
        (action,) = program.wanted(HostFacts("n1", {program.fact: ""}))
        return self.sh(action.script().text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("member", ["tool", ""], ids=["an archive", "a file"])
def test_it_is_unpacked_once(host: Host, member: str) -> None:
    program = host.carried("#!/bin/sh\necho one\n", member=member)
    assert host.left(program) == ["it is not there"]
    for _ in range(2):
        assert host.unpack(program).returncode == 0
        assert host.left(program) == []
    assert host.sh(str(host.path)).stdout == "one\n"
    assert list(program.versions(host.facts(program))) == ["tool 1"]
    assert [path.name for path in host.path.parent.iterdir()] == ["tool"]
    assert [path.name for path in host.records.iterdir()] == ["tool"]


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


def test_a_host_without_the_release_fetches_what_it_lacks(host: Host) -> None:
    source = Source(url=host.files.as_uri(), ca="/dev/null")
    program = host.carried("#!/bin/sh\necho one\n", source=source)
    whole = (host.files / "tool.tgz").read_bytes()
    host.records.mkdir()
    (host.records / "tool.tgz.part").write_bytes(whole[:40])  # cut off before
    assert host.unpack(program).returncode == 0
    assert host.left(program) == []
    (host.records / "tool.tgz.part").write_bytes(whole)  # killed when it had come
    assert host.unpack(program).returncode == 0
    (host.records / "tool.tgz.part").write_bytes(b"something else")
    assert host.unpack(program).returncode != 0
    assert host.unpack(program).returncode == 0, "what cannot be gone on with is begun anew"
