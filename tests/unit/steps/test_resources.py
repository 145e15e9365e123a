"""Resources: what is missing, from facts; and whole ones, carried to hosts that are folders."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import NotCarried
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.actions import before
from bundler.steps.facts import (
    Ask,
    Fact,
    Facts,
    FileFact,
    FileState,
    HostFacts,
    PackageFact,
    PackageState,
    UnitFact,
    UnitState,
)
from bundler.steps.gather import ask
from bundler.steps.resources import Absent, Done, File, Folder, Packages, Resource, Service
from tests.folder_host import GROUP, ME
from tests.scratch import ScratchHost

PATH, OTHER, UNIT = "/etc/scratch/a.conf", "/etc/scratch/b.conf", "a.service"
STAMP = f"/var/lib/bundle/units/{UNIT}"
Told = list[tuple[str, str, str]]


def state(content: str, **more: Any) -> FileState:
    facts = {"kind": "regular file", "mode": 0o644, "owner": "root", "group": "root", "content": content}
    return FileState(**{**facts, "digest": Digest.of(content.encode()), **more})


def link(target: str) -> FileState:
    return FileState(kind="symbolic link", mode=0o777, owner="root", group="root", link=target)


def known(resource: Resource, answers: dict[Fact[Any], Any]) -> HostFacts:
    """What a bare host would answer, but for these."""
    asked = {fact: fact.nothing for fact in resource.asks()}
    assert answers.keys() <= asked.keys(), "an answer that nothing asks for"
    return Facts({"n1": {**asked, **answers}}).of("n1")


def told(actions: Iterable[Any]) -> Told:
    return [(action.kind, action.target, action.reason) for action in actions]


FILE, SECRET = File(path=PATH, content="new"), File(path=PATH, content=Secret("new"), mode=0o600)
KEPT = replace(FILE, keep=True)
AT, KEPT_AT = FileFact(path=PATH), FileFact(path=before(PATH), secret=True)
ABSENT, ASIDE_AT = Absent(path=PATH, why="it is in the way"), FileFact(path=before(PATH))
FOLDER = Folder(path="/srv/a", mode=0o750)
FOLDER_AT, FOLDER_IS = FileFact(path="/srv/a"), FileState(kind="directory", mode=0o750, owner="root", group="root")
A, B = (PackageFact(package=name, versions=(("r", "2"),)) for name in "ab")
PACKAGES = Packages(component="c", packages=(B, A))
OLD = PackageState(version="1", older=True, carried="2")
SERVICE = Service(unit=UNIT, files=(FILE,), uses=(File(path=OTHER, content="shared"),))
UP = UnitState(load="loaded", active="active", sub="running", file="enabled", stamp=SERVICE.stamp)
HAS: dict[Fact[Any], Any] = {AT: state("new"), FileFact(path=OTHER): state("shared")}
U = UnitFact(unit=UNIT)
ASK = Ask(name="the thing", script=":", reading=str, bare="")
DONE = Done(name="do it", fact=ASK, missing=lambda said: "" if said == "yes" else "no thing", text="do", undo="undo")

# the resource, what the host answers, what is missing
WANTED: list[tuple[Resource, dict[Fact[Any], Any], Told]] = [
    (FILE, {}, [("write", PATH, "it is not there")]),
    (replace(FILE, why="it has no name"), {}, [("write", PATH, "it has no name")]),
    (FILE, {AT: state("new")}, []),
    (FILE, {AT: state("old")}, [("write", PATH, "its content differs")]),
    (FILE, {AT: state("new", mode=0o600)}, [("write", PATH, "it is 600 root:root, not 644 root:root")]),
    (FILE, {AT: state("new", owner="bob")}, [("write", PATH, "it is 644 bob:root, not 644 root:root")]),
    (
        FILE,
        {AT: link("/x")},
        [("set aside", PATH, "a link to /x is there"), ("write", PATH, "a symbolic link is there")],
    ),
    (FILE, {AT: FOLDER_IS}, [("write", PATH, "a directory is there")]),
    (SECRET, {SECRET.fact: state("new", mode=0o600)}, []),
    (KEPT, {AT: state("old")}, [("write", PATH, "its content differs")]),
    (
        KEPT,
        {AT: link("/x"), KEPT_AT: state("theirs")},
        [("remove", PATH, "a link to /x is there"), ("write", PATH, "a symbolic link is there")],
    ),
    (ABSENT, {}, []),
    (ABSENT, {AT: state("x")}, [("set aside", PATH, "it is in the way")]),
    (ABSENT, {AT: link("/x")}, [("set aside", PATH, "it is in the way")]),
    (FOLDER, {}, [("folder", "/srv/a", "it is not there")]),
    (FOLDER, {FOLDER_AT: FOLDER_IS}, []),
    (FOLDER, {FOLDER_AT: replace(FOLDER_IS, mode=0o755)}, [("folder", "/srv/a", "its mode or owner differs")]),
    (PACKAGES, {}, [("packages", "a b", "not installed")]),
    (PACKAGES, {A: PackageState(version="2"), B: PackageState(version="3")}, []),
    (
        PACKAGES,
        {A: OLD},
        [("packages", "a b", "not installed and older than the release's")],
    ),
    (
        PACKAGES,
        {A: OLD, B: PackageState(version="2")},
        [("packages", "a", "older than the release's")],
    ),
    (SERVICE, {**HAS, U: UP}, []),
    (SERVICE, HAS, [("start", UNIT, "it is not there yet")]),
    (SERVICE, {**HAS, U: replace(UP, active="failed", sub="failed")}, [("start", UNIT, "it is failed (failed)")]),
    (SERVICE, {**HAS, U: replace(UP, stamp="")}, [("start", UNIT, "it runs with other settings")]),
    (SERVICE, {**HAS, U: replace(UP, file="disabled")}, [("start", UNIT, "it is disabled")]),
    (SERVICE, {**HAS, U: replace(UP, file="")}, [("start", UNIT, "it is not enabled")]),
    (SERVICE, {**HAS, U: replace(UP, file="static")}, []),
    (
        SERVICE,
        {**HAS, U: replace(UP, load="masked", active="inactive", sub="dead")},
        [("start", UNIT, "it is inactive (dead)")],
    ),
    (
        SERVICE,
        {**HAS, AT: state("edited by hand"), U: UP},
        [("write", PATH, "its content differs"), ("start", UNIT, f"{PATH} changes")],
    ),
    (SERVICE, {**HAS, FileFact(path=OTHER): state("old"), U: UP}, [("start", UNIT, f"{OTHER} changes")]),
    (SERVICE, {U: UP}, [("write", PATH, "it is not there"), ("start", UNIT, "2 of its files change")]),
    (DONE, {}, [("run", "do it", "no thing")]),
    (DONE, {ASK: "yes"}, []),
]


@pytest.mark.parametrize(("resource", "answers", "expected"), WANTED)
def test_wanted(resource: Resource, answers: dict[Fact[Any], Any], expected: Told) -> None:
    assert told(resource.wanted(known(resource, answers))) == expected


def test_packages_that_are_not_carried_for_what_the_host_runs() -> None:
    with pytest.raises(NotCarried) as caught:
        list(PACKAGES.wanted(known(PACKAGES, {A: PackageState(version="1"), B: PackageState()})))
    assert caught.value.missing == ("package b for what n1 runs",)


# the resource, what the host answers, whether data goes too, what takes it away
UNWANTED: list[tuple[Resource, dict[Fact[Any], Any], bool, Told]] = [
    (FILE, {}, False, []),
    (FILE, {AT: state("new")}, False, [("remove", PATH, "it is ours")]),
    (KEPT, {AT: state("new")}, False, [("remove", PATH, "it is ours")]),
    (KEPT, {AT: state("the host's own, back again")}, False, []),
    (KEPT, {AT: state("new"), KEPT_AT: state("old")}, False, [("set aside", before(PATH), "it was here before")]),
    (ABSENT, {}, False, []),
    (ABSENT, {ASIDE_AT: state("x")}, False, [("set aside", before(PATH), "it was here before")]),
    (ABSENT, {ASIDE_AT: state("x"), AT: state("newer")}, False, []),
    (FOLDER, {FOLDER_AT: FOLDER_IS}, False, [("remove", "/srv/a", "it is ours")]),
    (replace(FOLDER, data=True), {FOLDER_AT: FOLDER_IS}, False, []),
    (replace(FOLDER, data=True), {FOLDER_AT: FOLDER_IS}, True, [("remove", "/srv/a", "it holds data")]),
    (PACKAGES, {A: PackageState(version="2")}, True, []),
    (SERVICE, {**HAS, U: UP}, False, [("stop", UNIT, "its component goes"), ("remove", PATH, "it is ours")]),
    (SERVICE, {FileFact(path=OTHER): state("shared")}, False, []),
    (SERVICE, {U: UnitState(load="loaded", file="disabled")}, False, []),
    (SERVICE, {U: UnitState(load="loaded", active="failed")}, False, [("stop", UNIT, "its component goes")]),
    (
        Service(unit=UNIT, files=(KEPT,)),
        {KEPT_AT: state("old")},
        False,
        [("set aside", before(PATH), "it was here before")],
    ),
    (DONE, {}, False, []),
    (DONE, {ASK: "yes"}, False, [("run", "undo: do it", "its component goes")]),
    (replace(DONE, undo=""), {ASK: "yes"}, False, []),
]


@pytest.mark.parametrize(("resource", "answers", "purge", "expected"), UNWANTED)
def test_unwanted(resource: Resource, answers: dict[Fact[Any], Any], purge: bool, expected: Told) -> None:
    assert told(resource.unwanted(known(resource, answers), purge=purge)) == expected


def test_what_an_action_is_to_find(tmp_path: Path) -> None:
    [write] = FILE.wanted(known(FILE, {AT: state("old")}))
    assert (write.precondition, write.diff()) == (str(Digest.of(b"old")), ("@@ -1 +1 @@", "-old", "+new"))
    [write] = FILE.wanted(known(FILE, {}))
    assert write.precondition == "nothing"
    _, write = FILE.wanted(known(FILE, {AT: link("/x")}))
    assert write.precondition == "nothing", "the link is out of the way by then"


def test_a_reload_only_of_what_runs() -> None:
    service = replace(SERVICE, reload=True)
    for unit, verb in ((UP, "reload-or-restart"), (replace(UP, active="failed"), "restart")):
        *_, start = service.wanted(known(service, {U: unit}))
        assert f"systemctl {verb} " in start.script().text


def test_the_stamp_is_of_all_that_the_unit_reads() -> None:
    others = [
        replace(SERVICE, files=(replace(FILE, content="other"),)),
        replace(SERVICE, files=(replace(FILE, mode=0o600),)),
        replace(SERVICE, files=(replace(FILE, path="/etc/scratch/c"),)),
        replace(SERVICE, uses=()),
    ]
    assert len({SERVICE.stamp, *(other.stamp for other in others)}) == 5
    assert replace(SERVICE, timeout=5, ports=(1,), why="x").stamp == SERVICE.stamp


# --- on hosts that are folders


def ours(resource: Any) -> Any:
    """The same, owned by whoever runs the tests."""
    if isinstance(resource, Service):
        return replace(
            resource, files=tuple(map(ours, resource.files)), uses=tuple(map(ours, resource.uses)), timeout=1
        )
    return replace(resource, owner=ME, group=GROUP) if isinstance(resource, (File, Folder)) else resource


def plan(host: ScratchHost, resources: Iterable[Resource], *, purge: bool | None = None) -> list[Any]:
    resources = list(resources)
    facts = Facts({"n1": ask(host, [fact for each in resources for fact in each.asks()])}).of("n1")
    if purge is None:
        return [action for each in resources for action in each.wanted(facts)]
    return [action for each in reversed(resources) for action in each.unwanted(facts, purge=purge)]


def carry(host: ScratchHost, resources: Iterable[Resource], **more: Any) -> list[str]:
    actions = plan(host, resources, **more)
    for action in actions:
        answer = action.perform(host, 1)
        assert answer.code == 0, f"{action.target}: {answer.tail()}"
    return [f"{action.kind} {action.target}" for action in actions]


SHARED = ours(File(path=OTHER, content="shared", units=(UNIT, "b.service")))
SITE = [
    ours(Folder(path="/etc/scratch/d", mode=0o700)),
    ours(KEPT),
    Absent(path="/etc/scratch/old.conf", why="it is old"),
    SHARED,
    ours(Service(unit=UNIT, files=(File(path="/etc/scratch/d/a", content="a"),), uses=(SHARED,))),
    Service(unit="b.service", uses=(SHARED,), timeout=1),
]


def make(root: Path) -> ScratchHost:
    host = ScratchHost(root)
    host.has_unit(UNIT)
    host.has_unit("b.service", "failed")
    host.path(PATH).symlink_to("/some/where")
    host.path("/etc/scratch/old.conf").write_text("old")
    return host


def test_a_site_comes_and_goes(tmp_path: Path) -> None:
    host = make(tmp_path)
    first = host.tree()
    assert len(carry(host, SITE)) == 8
    assert carry(host, SITE) == []
    assert carry(host, SITE, purge=False) != []
    assert plan(host, SITE, purge=False) == []
    last = {name: what for name, what in host.tree().items() if not name.startswith("var/")}
    failed = {"units/b.service.failed"}  # that a unit failed once is not brought back
    assert last == {name: what for name, what in first.items() if not name.startswith("var/") and name not in failed}


CHANGES: dict[str, tuple[Callable[[ScratchHost], Any], list[str]]] = {
    "a file of its own is edited": (
        lambda host: host.path("/etc/scratch/d/a").write_text("edited"),
        ["write /etc/scratch/d/a", "start a.service"],
    ),
    "a file that two use is edited": (
        lambda host: host.path(OTHER).write_text("edited"),
        [f"write {OTHER}", "start a.service", "start b.service"],
    ),
    "its stamp is gone": (lambda host: host.path(STAMP).unlink(), ["start a.service"]),
    "it fell": (lambda host: (host.units / "b.service.active").unlink(), ["start b.service"]),
    "it was disabled": (lambda host: (host.units / "b.service.enabled").unlink(), ["start b.service"]),
    "the old file is back": (
        lambda host: host.path("/etc/scratch/old.conf").write_text("back"),
        ["set aside /etc/scratch/old.conf"],
    ),
    "a folder is open": (lambda host: host.path("/etc/scratch/d").chmod(0o755), ["folder /etc/scratch/d"]),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_brought_back_and_the_units_restarted(tmp_path: Path, case: str) -> None:
    host = make(tmp_path)
    carry(host, SITE)
    change, expected = CHANGES[case]
    change(host)
    assert carry(host, SITE) == expected
    assert plan(host, SITE) == []


@pytest.mark.parametrize("cut", [0, 1])
def test_a_change_that_was_cut_off_still_restarts_the_units(tmp_path: Path, cut: int) -> None:
    """The file is as wanted again, and only the stamps tell that the units have not seen it."""
    host = make(tmp_path)
    carry(host, SITE)
    host.path(OTHER).write_text("edited")
    for action in plan(host, SITE)[: 1 + cut]:
        assert action.perform(host, 1).code == 0
    assert carry(host, SITE) == ["start a.service", "start b.service"][cut:]


def test_the_first_of_the_hosts_own_files_is_the_one_that_comes_back(tmp_path: Path) -> None:
    host = ScratchHost(tmp_path)
    host.path(PATH).write_text("theirs")
    carry(host, [ours(KEPT)])
    host.path(PATH).unlink()
    host.path(PATH).symlink_to("/some/where")
    carry(host, [ours(KEPT)])
    carry(host, [ours(KEPT)], purge=False)
    assert host.path(PATH).read_text() == "theirs"


def test_killed_at_any_program_the_site_converges(tmp_path: Path) -> None:
    """Cut each action at a program of its own choice, then plan anew: the end is the same."""
    whole = make(tmp_path / "whole")
    carry(whole, SITE)
    for at in (3, 10):
        host = make(tmp_path / str(at))
        for _ in range(12):
            actions = plan(host, SITE)
            if not actions:
                break
            for action in actions:
                host.kill_at = at
                code = action.perform(host, 1).code
                host.kill_at = 0
                if code != 0:
                    at += 3  # the next one is cut elsewhere
                    break
        assert plan(host, SITE) == []
        assert host.tree() == whole.tree()
