"""Actions, each script really run by sh(1): twice, and cut at any point."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from bundler.hosts.base import STALE, Answer
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.actions import (
    Action,
    InstallPackages,
    MakeFolder,
    Remove,
    Run,
    SetAside,
    StartUnit,
    StopUnit,
    WriteFile,
    before,
)
from tests.folder_host import GROUP, ME
from tests.scratch import ScratchHost

PATH = "/etc/scratch/it's a file"
UNIT = "a@b.service"
STAMP = f"/var/lib/bundle/units/{UNIT}"


@pytest.fixture
def host(tmp_path: Path) -> ScratchHost:
    return ScratchHost(tmp_path)


def perform(host: ScratchHost, action: Action, code: int = 0) -> Answer:
    answer = action.perform(host, 1)
    assert answer.code == code, answer.tail()
    return answer


def write(content: str | Secret = "new\n", old: str | None = None, path: str = PATH, **more: Any) -> WriteFile:
    digest = None if old is None else Digest.of(old.encode())
    return WriteFile(reason="r", path=path, content=content, old=digest, owner=ME, group=GROUP, **more)


# what lies there, what the plan saw, the code, what lies there then
WRITES: dict[str, tuple[str | None, str | None, int, str | None]] = {
    "a new file": (None, None, 0, "new\n"),
    "the file that the plan saw": ("old", "old", 0, "new\n"),
    "an empty one that the plan saw": ("", "", 0, "new\n"),
    "what it writes, from an action whose answer was lost": ("new\n", "old", 0, "new\n"),
    "the same where the plan saw nothing": ("new\n", None, 0, "new\n"),
    "another than the plan saw": ("other", "old", STALE, "other"),
    "one where the plan saw nothing": ("other", None, STALE, "other"),
    "nothing where the plan saw one": (None, "old", STALE, None),
}


@pytest.mark.parametrize("case", WRITES)
def test_write_only_over_what_the_plan_saw(host: ScratchHost, case: str) -> None:
    there, seen, code, then = WRITES[case]
    path = host.path(PATH)
    if there is not None:
        path.write_text(there)
    for _ in range(2):
        perform(host, write(old=seen, mode=0o640), code)
        assert lies(path) == then
    if code == 0:
        assert path.stat().st_mode & 0o7777 == 0o640
    assert {each.name for each in path.parent.iterdir()} <= {path.name}, "nothing is left beside it"


def test_write_forgets_the_units_first(host: ScratchHost) -> None:
    stamp = host.path(STAMP)
    stamp.parent.mkdir()
    stamp.write_text("s\n")
    perform(host, write(units=(UNIT, "other.service")))
    assert not stamp.exists()


def test_the_hosts_own_file_is_kept_once(host: ScratchHost) -> None:
    path, kept = host.path(PATH), host.path(before(PATH))
    path.write_text("theirs")
    path.chmod(0o604)
    perform(host, write("ours", old="theirs", keep=True))
    perform(host, write("ours 2", old="ours", keep=True))
    assert (path.read_text(), kept.read_text(), kept.stat().st_mode & 0o777) == ("ours 2", "theirs", 0o604)


def test_what_is_ours_is_not_kept_as_the_hosts_own(host: ScratchHost) -> None:
    """An older text of ours would come back when the component goes, with the password that it has."""
    perform(host, write("# Written by bundle: 1\n", keep=True))
    perform(host, write("# Written by bundle: 2\n", old="# Written by bundle: 1\n", keep=True))
    assert not host.path(before(PATH)).exists()


def test_nothing_is_kept_of_nothing(host: ScratchHost) -> None:
    perform(host, write(keep=True))
    assert not host.path("/var/lib/bundle/before").exists()


def test_a_folder_is_no_file(host: ScratchHost) -> None:
    host.path(PATH).mkdir()
    perform(host, write(), code=1)
    perform(host, write(keep=True), code=1)
    assert list(host.path(PATH).iterdir()) == []


def test_an_owner_that_is_not_there(host: ScratchHost) -> None:
    action = WriteFile(reason="r", path=PATH, content="new", old=None, owner="nobody-of-that-name")
    perform(host, action, code=1)
    assert not host.path(PATH).exists()


def test_a_secret_stands_in_no_script(host: ScratchHost) -> None:
    action = write(Secret("hunter2"), mode=0o600)
    script = action.script()
    assert "hunter2" not in script.text
    assert "hunter2" not in f"{action!r} {action.diff()} {action.target} {action.precondition}"
    assert action.diff() == ("(secret)",)
    perform(host, action)
    assert host.path(PATH).read_text() == "hunter2"
    assert "hunter2" not in repr(Run(reason="r", name="n", text="cat", stdin=Secret("hunter2")))
    assert Run(reason="r", name="n", text="cat", stdin=Secret("hunter2")).script().stdin == b"hunter2"


def test_diff(host: ScratchHost) -> None:
    action = write("one\ntwo\nthree\n", before="one\n2\nthree\n", old="x")
    assert action.diff() == ("@@ -1,3 +1,3 @@", " one", "-2", "+two", " three")
    long = write("".join(f"{n}\n" for n in range(200)))
    assert (len(long.diff()), long.diff()[-1]) == (61, "… and 141 lines more")


# what lies at the path, its digest in the plan (None: any), the code, what lies aside then
ASIDE: dict[str, tuple[Any, str | None, int, Any]] = {
    "a file": ("theirs", "theirs", 0, "theirs"),
    "a file of any content": ("theirs", None, 0, "theirs"),
    "another file than the plan saw": ("theirs", "old", STALE, None),
    "a link": (Path("/some/where"), None, 0, Path("/some/where")),
    "nothing": (None, "old", 0, None),
}


def lies(path: Path) -> str | Path | None:
    if path.is_symlink():
        return path.readlink()
    return path.read_text() if path.exists() else None


@pytest.mark.parametrize("case", ASIDE)
def test_set_aside(host: ScratchHost, case: str) -> None:
    there, seen, code, kept = ASIDE[case]
    path, aside = host.path(PATH), host.path(before(PATH))
    if isinstance(there, Path):
        path.symlink_to(there)
    elif there is not None:
        path.write_text(there)
    digest = None if seen is None else Digest.of(seen.encode())
    for _ in range(2):
        perform(host, SetAside(reason="r", path=PATH, aside=before(PATH), old=digest), code)
        assert (lies(path), lies(aside)) == (there if code else None, kept)


def test_set_aside_goes_into_no_folder(host: ScratchHost) -> None:
    host.path(PATH).write_text("theirs")
    host.path(before(PATH)).mkdir(parents=True)
    assert SetAside(reason="r", path=PATH, aside=before(PATH)).perform(host, 1).code != 0
    assert host.path(PATH).read_text() == "theirs"


def test_folders(host: ScratchHost) -> None:
    path = "/etc/scratch/a b/c"
    make = MakeFolder(reason="r", path=path, mode=0o710, owner=ME, group=GROUP)
    for _ in range(2):
        perform(host, make)
        assert host.path(path).stat().st_mode & 0o7777 == 0o710
    perform(host, Remove(reason="r", path=path), code=1)
    perform(host, Remove(reason="r", path=path, whole=True))
    perform(host, Remove(reason="r", path=path, whole=True))
    host.path(path).write_text("a file")
    assert make.perform(host, 1).code != 0, "what is there is no folder, and does not become one"
    perform(host, Remove(reason="r", path=path))
    perform(host, Remove(reason="r", path=path))
    assert not host.path(path).exists()


def started(**more: Any) -> StartUnit:
    return StartUnit(**{"reason": "r", "unit": UNIT, "stamp": "s1", "timeout": 0.4, **more})


def test_start_a_unit(host: ScratchHost) -> None:
    host.has_unit(UNIT, "failed", "masked", "masked.runtime")
    for _ in range(2):
        perform(host, started())
        assert host.path(STAMP).read_text() == "s1\n"
    names = sorted(each.name for each in host.units.iterdir() if each.name != "log")
    assert names == [f"{UNIT}.active", f"{UNIT}.enabled", f"{UNIT}.unit"]
    assert host.log[0].startswith("daemon-reload")
    perform(host, started(reload=True, stamp="s2"))
    assert f"reload-or-restart -- {UNIT}" in host.log


STARTS = {  # what the unit is: what is said
    "broken": "it does not start",
    "short": "it started and ended",
}


@pytest.mark.parametrize("word", STARTS)
def test_a_unit_that_does_not_start(host: ScratchHost, word: str) -> None:
    host.has_unit(UNIT, word)
    (host.root / "journal").write_text("the journal\n")
    answer = perform(host, started(), code=1)
    assert answer.stderr.decode().splitlines()[-2:] == [STARTS[word], "the journal"]
    assert not host.path(STAMP).exists()


def test_a_unit_that_is_not_there(host: ScratchHost) -> None:
    assert b"it cannot be enabled\n" in perform(host, started(), code=1).stderr


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_unit_is_up_when_it_listens(host: ScratchHost, family: socket.AddressFamily, address: str) -> None:
    host.has_unit(UNIT)
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("impossible here: IPv6: this machine has none")
        port = server.getsockname()[1]
        answer = perform(host, started(ports=(port,)), code=1)
        assert f"nothing listens on port {port}\n".encode() in answer.stderr
        assert not host.path(STAMP).exists()
        server.listen()
        perform(host, started(ports=(port,)))
    assert host.path(STAMP).exists()


def test_stop_a_unit(host: ScratchHost) -> None:
    host.has_unit(UNIT, "active", "enabled", "failed")
    host.path(STAMP).parent.mkdir()
    host.path(STAMP).write_text("s1\n")
    for _ in range(2):
        perform(host, StopUnit(reason="r", unit=UNIT))
        assert sorted(each.name for each in host.units.iterdir()) == [f"{UNIT}.unit", "log"]
        assert not host.path(STAMP).exists()


@pytest.mark.parametrize("code", [0, 100])
def test_install_packages(host: ScratchHost, code: int) -> None:
    """By an apt-get that notes what it is asked and ends with a code."""
    for name in ("apt-get", "dpkg"):
        end = f'case "$*" in *install*) exit {code} ;; esac' if name == "apt-get" else ""
        host.program(name, f'printf "%s\\n" "{name} $*" >> {host.units}/log\n{end}')
    action = InstallPackages(reason="r", packages=(("g++", "4:12.2-3"), ("nginx", "1.2~x")), masked=("nginx.service",))
    perform(host, action, code)
    words = [line.split(" -- ")[-1].split()[0] if " -- " in line else line.split()[-1] for line in host.log]
    assert words == ["nginx.service", "-a", "update", "g++=4:12.2-3", "nginx.service"]
    assert "--no-install-recommends" in host.log[3]
    assert list(host.units.glob("*.masked*")) == [], "it is not masked any more, also when it failed"
    assert action.diff() == ("+g++ 4:12.2-3", "+nginx 1.2~x")


def prepared(root: Path, action: Action) -> ScratchHost:
    host = ScratchHost(root)
    host.has_unit(UNIT, "failed")
    host.path(STAMP).parent.mkdir()
    if not isinstance(action, MakeFolder):
        host.path(PATH).write_text("theirs")
    return host


KILLED: dict[str, Action] = {
    "write": write(old="theirs", mode=0o600, units=(UNIT,), keep=True),
    "set aside": SetAside(reason="r", path=PATH, aside=before(PATH), old=Digest.of(b"theirs")),
    "folder": MakeFolder(reason="r", path=PATH, mode=0o700, owner=ME, group=GROUP),
    "start": started(),
    "stop": StopUnit(reason="r", unit=UNIT),
    "remove": Remove(reason="r", path=PATH),
}


@pytest.mark.parametrize("case", KILLED)
def test_killed_before_any_program_and_run_again(tmp_path: Path, case: str) -> None:
    """What counts of a half done action is done by the whole one; and what was there is never lost on the way."""
    action = KILLED[case]
    whole = prepared(tmp_path / "whole", action)
    perform(whole, action)
    for at in range(1, 40):
        host = prepared(tmp_path / str(at), action)
        host.kill_at = at
        if action.perform(host, 1).code == 0:
            break
        if case == "set aside":
            assert "theirs" in (lies(host.path(PATH)), lies(host.path(before(PATH))))
        if case == "write":
            assert lies(host.path(PATH)) in ("theirs", "new\n"), "never half a file"
        host.kill_at = 0
        perform(host, action)
        assert host.tree() == whole.tree()
    assert 1 < at < 39, "it was killed at all"


def test_every_kind_has_a_name_and_a_target() -> None:
    actions = [
        *KILLED.values(),
        Run(reason="r", name="n", text=":"),
        InstallPackages(reason="r", packages=(("a", "1"),)),
    ]
    assert len({action.kind for action in actions}) == len(actions)
    assert json.dumps([action.target for action in actions]) == json.dumps([PATH] * 3 + [UNIT] * 2 + [PATH, "n", "a"])
