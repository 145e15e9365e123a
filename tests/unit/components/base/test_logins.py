"""Root's logins: what is ours comes and goes, what is root's own stays."""

import base64
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.components.base.logins import PATH, Known, Logins
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.actions import Action, WriteFile, before
from bundler.steps.facts import Fact, Facts, FileFact, HostFacts
from tests.facts import done, file_state

REGISTRIES = ("registry.lab.example:5000", "n1.lab.example:5000")


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


TOKEN = basic("site_hosts:new")
OURS = {name: {"auth": TOKEN} for name in REGISTRIES}
EARLIER = {name: {"auth": basic("site_hosts:old")} for name in (*REGISTRIES, "gone.lab.example:5000")}
THEIRS = {"other.example": {"auth": basic("me:mine")}}
LOGGED_IN = {REGISTRIES[0]: {"auth": basic("me:mine")}}  # by root, to a registry of ours
IN_A_STORE: Mapping[str, Any] = {REGISTRIES[0]: {}}  # and what docker writes when another program keeps the password
ODD = {"x.example": {"auth": "no base64"}, "y.example": "none", "z.example": {"identitytoken": "t"}}
LOGINS, NONE = Logins(registries=REGISTRIES, token=Secret(TOKEN)), Logins(registries=REGISTRIES, token=None)


def facts_of(text: str | None, *, mode: int = 0o600, kept: bool = False) -> HostFacts:
    said = "" if text is None else f"{mode:o} {basic(text)}\n"
    aside = file_state("theirs") if kept else None
    answers: dict[Fact[Any], Any] = {
        LOGINS.fact: LOGINS.fact.reading(said),
        FileFact(path=before(PATH), secret=True): aside,
    }
    return Facts({"n1": answers}).of("n1")


def written(actions: list[Action]) -> dict[str, Any]:
    """What the one file that is written says; it must be a secret, and root's alone."""
    (action,) = (action for action in actions if isinstance(action, WriteFile))
    assert (action.path, action.mode, action.owner, action.diff()) == (PATH, 0o600, "root", ("(secret)",))
    assert isinstance(action.content, Secret)
    assert TOKEN not in repr(actions)
    return dict(json.loads(action.content.reveal()))


@pytest.mark.parametrize(
    ("have", "expected"),
    [
        (None, {"auths": OURS}),
        ("", {"auths": OURS}),
        ("{}", {"auths": OURS}),
        (json.dumps({"auths": EARLIER}), {"auths": OURS}),
        (
            json.dumps({"auths": {**THEIRS, **EARLIER}, "psFormat": "é", "credHelpers": {"a.example": "b"}}),
            {"auths": {**THEIRS, **OURS}, "psFormat": "é", "credHelpers": {"a.example": "b"}},
        ),
        (json.dumps({"auths": LOGGED_IN}), {"auths": {**OURS, **LOGGED_IN}}),
        (json.dumps({"auths": IN_A_STORE}), {"auths": {**OURS, **IN_A_STORE}}),
        (json.dumps({"auths": ODD}), {"auths": {**OURS, **ODD}}),
    ],
)
def test_a_password_is_added_to_what_root_has(have: str | None, expected: dict[str, Any]) -> None:
    actions = list(LOGINS.wanted(facts_of(have)))
    new = written(actions)
    assert new == expected
    assert actions[0].precondition == ("nothing" if have is None else str(Digest.of(have.encode())))
    assert list(LOGINS.wanted(facts_of(json.dumps(new)))) == []
    assert [action.reason for action in LOGINS.wanted(facts_of(json.dumps(new), mode=0o644))] == ["it is 644, not 600"]


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}', "\xff", "[" * 100_000])
def test_what_no_program_can_read_is_set_aside_and_comes_back(text: str) -> None:
    actions = list(LOGINS.wanted(facts_of(text)))
    assert done(actions) == [f"set aside {PATH}", f"write {PATH}"]
    assert written(actions) == {"auths": OURS}
    assert actions[1].precondition == "nothing"
    ours = facts_of(json.dumps({"auths": OURS}), kept=True)
    assert done(list(LOGINS.unwanted(ours, purge=False))) == [f"remove {PATH}", f"set aside {before(PATH)}"]
    # Where ours is gone already, what root has by now stays.
    assert list(NONE.wanted(facts_of(text, kept=True))) == []
    assert list(LOGINS.unwanted(facts_of(text, kept=True), purge=False)) == []


@pytest.mark.parametrize(
    ("have", "left"),
    [
        (None, None),
        ("{}", None),
        (json.dumps({"auths": THEIRS}), None),
        (json.dumps({"auths": LOGGED_IN}), None),
        (json.dumps({"auths": {**THEIRS, **OURS}}), {"auths": THEIRS}),
        (json.dumps({"auths": EARLIER, "psFormat": "x"}), {"psFormat": "x"}),
    ],
)
@pytest.mark.parametrize("away", [True, False])
def test_ours_goes_and_root_keeps_its_own(have: str | None, left: dict[str, Any] | None, *, away: bool) -> None:
    """When the component goes, and when the registry wants no password any more."""
    facts = facts_of(have)
    actions = list(LOGINS.unwanted(facts, purge=False) if away else NONE.wanted(facts))
    assert actions == [] if left is None else written(actions) == left


def test_a_file_with_nothing_but_ours_goes() -> None:
    facts = facts_of(json.dumps({"auths": OURS}))
    assert done(list(NONE.wanted(facts))) == [f"remove {PATH}"]
    assert done(list(LOGINS.unwanted(facts, purge=False))) == [f"remove {PATH}"]


def test_the_question(tmp_path: Path) -> None:
    path = tmp_path / "it's here.json"
    script = LOGINS.fact.script.replace(PATH, f"'{tmp_path}/it'\\''s here.json'")

    def ask() -> Known:
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        known = LOGINS.fact.reading(done.stdout)
        assert isinstance(known, Known)
        return known

    assert ask() == Known() == LOGINS.fact.nothing
    path.write_text(json.dumps({"auths": THEIRS}))
    path.chmod(0o640)
    found = ask()
    assert found == Known(digest=Digest.of(path.read_bytes()), mode=0o640, found={"auths": THEIRS})
    assert basic("me:mine") not in repr(found)
    path.write_text("")
    assert ask() == Known(digest=Digest.of(b""), mode=0o640, found={})
