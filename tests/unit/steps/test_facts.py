"""Facts, each question really asked by sh(1)."""

import base64
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import FactUnknown
from bundler.model.digest import Digest
from bundler.steps.facts import (
    SHOWN,
    Ask,
    Fact,
    Facts,
    FileFact,
    FileState,
    PackageFact,
    PackageState,
    Unasked,
    UnitFact,
    UnitState,
    answers,
    grouped,
    question,
)
from bundler.steps.gather import ask, gather
from bundler.steps.step import Check, Step
from tests import large
from tests.folder_host import GROUP, ME, RELEASE
from tests.lab import require_program
from tests.scratch import ScratchHost

MARK = "--bundle-facts--"
NAMES = (
    "plain",
    "with space",
    "quo'te",
    'dou"ble',
    "new\nline",
    "$(touch pwned)",
    "-n",
    "*",
    "é",
    "a|b",
    "back\\slash",
)


@pytest.fixture
def host(tmp_path: Path) -> ScratchHost:
    return ScratchHost(tmp_path)


def one(host: ScratchHost, fact: Fact[Any]) -> Any:
    return ask(host, [fact])[fact]


def state(**more: Any) -> FileState:
    return FileState(**{"kind": "regular file", "mode": 0o640, "owner": ME, "group": GROUP, **more})


BODIES: dict[str, tuple[bytes, str | None]] = {  # what is in the file, what is told of it
    "text": (b"one\ntwo\n", "one\ntwo\n"),
    "no newline": (b"one", "one"),
    "empty": (b"", ""),
    "looks like an answer": (f"\n{MARK} 0\n{MARK} 7\n".encode(), f"\n{MARK} 0\n{MARK} 7\n"),
    "not UTF-8": (b"\xff\xfe\n", None),
    "binary": (b"\0\1\2", "\0\1\2"),
    "as large as is shown": (b"x" * SHOWN, "x" * SHOWN),
    "larger": (b"x" * (SHOWN + 1), None),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_file_is_told_with_its_digest_and_text(host: ScratchHost, case: str) -> None:
    data, content = BODIES[case]
    path = host.root / "file"
    path.write_bytes(data)
    path.chmod(0o640)
    expected = state(size=len(data), digest=Digest.of(data), content=content)
    assert one(host, FileFact(path=str(path))) == expected
    if data:
        secret = one(host, FileFact(path=str(path), secret=True))
        assert secret == state(size=len(data), digest=Digest.of(data), content=None)


def test_a_secret_files_content_does_not_leave_the_host(host: ScratchHost) -> None:
    path = host.root / "file"
    path.write_text("hunter2")
    said = host.run_text(question([[FileFact(path=str(path), secret=True)]]))
    assert b"hunter2" not in said
    assert base64.b64encode(b"hunter2") not in said


def test_what_only_its_owner_may_read_is_not_told_even_to_who_writes_no_secret_there(host: ScratchHost) -> None:
    path = host.root / "file"
    path.write_text("hunter2")
    for mode, told in ((0o600, None), (0o400, None), (0o644, "hunter2"), (0o640, "hunter2")):
        path.chmod(mode)
        found = one(host, FileFact(path=str(path)))
        assert isinstance(found, FileState)
        assert (found.content, found.digest) == (told, Digest.of(b"hunter2"))


def test_what_is_no_regular_file(host: ScratchHost) -> None:
    root = host.root
    (root / "folder").mkdir(mode=0o750)
    os.mkfifo(root / "fifo", 0o600)
    (root / "link").symlink_to("folder/it's\nthere")
    (root / "loop").symlink_to("loop")
    (root / "odd").symlink_to(os.fsdecode(b"\xff"))
    found = ask(host, [FileFact(path=str(root / name)) for name in ("folder", "fifo", "link", "loop", "odd")])
    told = {
        Path(fact.path).name: (value.kind, value.mode, value.link, value.content)
        for fact, value in found.items()
        if isinstance(fact, FileFact)
    }
    assert told == {
        "folder": ("directory", 0o750, "", None),
        "fifo": ("fifo", 0o600, "", None),
        "link": ("symbolic link", 0o777, "folder/it's\nthere", None),
        "loop": ("symbolic link", 0o777, "loop", None),
        "odd": ("symbolic link", 0o777, "\ufffd", None),
    }


def test_nothing_is_an_answer(host: ScratchHost) -> None:
    (host.root / "file").touch()
    paths = [host.root / "not here", host.root / "no/such/folder", host.root / "file/below"]
    facts = [FileFact(path=str(path)) for path in paths]
    assert ask(host, facts) == dict.fromkeys(facts)


def test_odd_names_are_only_names(host: ScratchHost) -> None:
    folder = host.root / "odd"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    found = ask(host, [FileFact(path=f"{folder}/{name}") for name in NAMES])
    assert [value.content for value in found.values()] == list(NAMES)
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    assert not (host.root / "pwned").exists()


UNITS: dict[str, tuple[tuple[str, ...] | None, UnitState]] = {  # words of the unit, what is told
    "gone.service": (None, UnitState()),
    "idle.service": ((), UnitState(load="loaded", file="disabled")),
    "up.service": (("active", "enabled"), UnitState(load="loaded", active="active", sub="running", file="enabled")),
    "hidden.service": (("masked.runtime",), UnitState(load="masked", file="disabled")),
    "a@b c.service": (("failed",), UnitState(load="loaded", active="failed", sub="failed", file="disabled")),
}


def test_units(host: ScratchHost) -> None:
    for unit, (words, _) in UNITS.items():
        if words is not None:
            host.has_unit(unit, *words)
    facts = [UnitFact(unit=unit) for unit in UNITS]
    assert list(ask(host, facts).values()) == [told for _, told in UNITS.values()]
    stamp = host.path("/var/lib/bundle/units/up.service")
    stamp.parent.mkdir()
    stamp.write_text("abc\n")
    assert one(host, UnitFact(unit="up.service")).stamp == "abc"


def test_a_host_without_systemd_cannot_be_asked_for_units(host: ScratchHost) -> None:
    host.program("systemctl", "echo 'Failed to connect to bus' >&2; exit 1")
    fact, file = UnitFact(unit="a.service"), FileFact(path="/nothing/here")
    found = ask(host, [fact, file])
    assert found[file] is None, "other questions are answered"
    assert found[fact] == Unasked("the question ended with 1: Failed to connect to bus")
    with pytest.raises(FactUnknown, match=r"a\.service could not be found out"):
        Facts({"n1": found}).of("n1")[fact]


@pytest.fixture
def dpkg(host: ScratchHost) -> Path:
    """A data base of packages of our own, read by the real dpkg-query."""
    require_program("dpkg-query")
    status = {"installed": "install ok installed", "held": "hold ok installed", "removed": "deinstall ok config-files"}
    status |= {"half": "install ok half-configured", "g++-12": "install ok installed"}
    admin = host.root / "dpkg"
    (admin / "info").mkdir(parents=True)
    (admin / "updates").mkdir()
    stanza = "Package: {}\nStatus: {}\nArchitecture: all\nVersion: 1:2.0-1\nMaintainer: m\nDescription: d\n\n"
    (admin / "status").write_text("".join(stanza.format(*pair) for pair in status.items()))
    host.program("dpkg-query", f'exec {shutil.which("dpkg-query")} --admindir={admin} "$@"')
    return admin


def test_packages(host: ScratchHost, dpkg: Path) -> None:
    """In the version that is carried for the release that the host runs."""
    cases = (
        ("installed", "1:2.0-1", "1:2.0-1", False),
        ("installed", "1:2.0-2", "1:2.0-1", True),
        ("installed", "1:1.9~rc1-1", "1:2.0-1", False),
        ("installed", "", "1:2.0-1", False),
        ("held", "1:2.0-1", "1:2.0-1", False),
        ("g++-12", "1:2.0-1", "1:2.0-1", False),
        ("removed", "1:2.0-1", "", False),
        ("half", "1:2.0-1", "", False),
        ("never-heard-of", "1", "", False),
    )
    for name, carried, version, older in cases:
        others = (("another", "9"), ("one-more", "1:2.0=1'"))
        fact = PackageFact(package=name, versions=(others[0], *([(RELEASE, carried)] if carried else []), others[1]))
        assert one(host, fact) == PackageState(version=version, older=older, carried=carried), name
    facts = [PackageFact(package=name) for name in ("installed", "removed")]
    assert list(ask(host, facts).values()) == [PackageState(version="1:2.0-1"), PackageState()]
    (dpkg / "status").write_text("Package: installed\nnot a field\n")
    assert isinstance(one(host, facts[0]), Unasked), "a data base that cannot be read is no bare host"


def test_questions_of_a_components_own(host: ScratchHost) -> None:
    def asked(name: str, script: str, reading: Any = str) -> Ask[Any]:
        return Ask(name=name, script=script, reading=reading, bare="")

    cases: dict[Ask[Any], Any] = {
        asked("text", "printf 'a\\nb'"): "a\nb",
        asked("nothing", ":"): "",
        asked("several\nlines", "echo one; echo two"): "one\ntwo\n",
        asked("spoof", f"printf '\\n{MARK} 0\\n'"): f"\n{MARK} 0\n",
        asked("bytes", "printf '\\377'"): "\ufffd",
        asked("exit", "echo half; exit 3"): Unasked("the question ended with 3"),
        asked("last", "echo half; false"): Unasked("the question ended with 1"),
        asked("syntax", "echo ok", lambda said: said.split()[1]): Unasked("list index out of range"),
        asked("key", "echo ok", lambda said: {}[said]): Unasked("'ok\\n'"),
        asked("stdin", "cat"): "",
    }
    answers = ask(host, cases)
    for fact, expected in cases.items():
        found = answers[fact]
        if isinstance(expected, Unasked):
            assert isinstance(found, Unasked), fact.label
            assert expected.why in found.why
        else:
            assert found == expected, fact.label


def test_the_questions_of_all_components_are_shell(tmp_path: Path) -> None:
    """What they find is their own tests' business; here each is read by sh, and none is taken for another's."""
    goal = large.large_goal(large.release(tmp_path), 6)
    known: list[Step | Check] = []
    for component in goal.components:
        known += (*component.steps, *component.preflight, *component.health)
    for host in goal.site.hosts:
        facts = {fact for each in known if each.on(host) for fact in each.asks(goal, host)}
        done = subprocess.run(["sh", "-n"], input=question(grouped(facts)).encode(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        asked = [
            (place.step.name, fact)
            for place in large.large_stack()
            if place.step.on(host)
            for fact in place.step.asks(goal, host)
        ]
        scripts = {(fact.name, fact.after, fact.script) for _, fact in asked if isinstance(fact, Ask)}
        assert len(scripts) == len({(name, after) for name, after, _ in scripts}), "equal names, other questions"


@pytest.mark.parametrize("code", [0, 1])
def test_a_group_that_fails_takes_no_other_with_it(code: int) -> None:
    class Broken(FileFact):
        @classmethod
        def question(cls, facts: Any) -> str:
            return f"echo; exit {code}"  # one line for two questions

    done = subprocess.run(
        ["sh"],
        input=question(groups := grouped([Broken(path="/a"), Broken(path="/b"), FileFact(path="/nothing")])).encode(),
        capture_output=True,
        check=True,
    )
    found = answers(groups, done.stdout.decode())
    why = "1 lines for 2 questions" if code == 0 else "the question ended with 1"
    assert list(found.values()) == [Unasked(why), Unasked(why), None]


def test_facts_are_asked_once_and_by_what_makes_them_askable() -> None:
    a, b, late = FileFact(path="/a"), FileFact(path="/b"), FileFact(path="/a", after="x")
    unit, own = UnitFact(unit="u"), Ask(name="own", script=":", reading=str)
    assert grouped([a, unit, b, late, a, own]) == [[a, b], [unit], [late], [own]]
    assert grouped([]) == []


FACTS: list[Fact[Any]] = [
    FileFact(path="/a"),
    FileFact(path="/b"),
    UnitFact(unit="u"),
    PackageFact(package="p", versions=(("r", "1"),)),
    Ask(name="number", script=":", reading=int),
]
LINES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        (
            *("", f"{MARK} 0", f"{MARK} ", MARK, f"{MARK} 1 2", "1|no", "|", "aWQKMA==", "!", "||||||"),
            "regular file|644|root|root|1|zz|-",
            f"regular file|644|root|root|1|{'0' * 64}|MQ==",
            "symbolic link|8|||x||",
            "LoadState=loaded|ActiveState=active|SubState=x|UnitFileState=|NeedDaemonReload=no|Stamp=a",
            "LoadState=",
        )
    ),
)


@given(st.lists(LINES, max_size=30).map("\n".join))
def test_whatever_a_host_says_is_an_answer_or_none(said: str) -> None:
    found = answers(grouped(FACTS), said)
    assert list(found) == FACTS


@given(st.binary(max_size=200))
def test_whatever_bytes_a_host_says(said: bytes) -> None:
    groups = grouped(FACTS)
    assert list(answers(groups, f"{MARK} 0\n".join(["\n"] * 3) + said.decode("utf-8", "replace"))) == FACTS


def test_a_host_that_cannot_be_asked_is_told_apart(host: ScratchHost, tmp_path: Path) -> None:
    fact = Ask(name="slow", script="sleep 5", reading=str)
    slow = ScratchHost(tmp_path / "slow", name="n2")
    slow.run = lambda script: ScratchHost.run(slow, type(script)(text=script.text, timeout=0.2))  # type: ignore[method-assign]
    good = FileFact(path="/nothing")
    facts, failed = gather({"n1": [good], "n2": [fact], "n3": []}, {"n1": host, "n2": slow, "n3": host})
    assert facts.hosts == ("n1", "n3")
    assert facts.of("n1")[good] is None
    assert [str(error.summary) for error in failed.values()] == ["n2: its state could not be found out: code 124: "]
    with pytest.raises(FactUnknown, match="it was not asked"):
        facts.of("n3")[good]
