"""The statement of a delta with patches: all of it is strict, and old tools refuse it by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.archive.contents import contents_of
from bundler.archive.delta import delta_of, known_of
from bundler.errors import MalformedStatement, NewerToolNeeded
from bundler.model import canonical, statement_parser
from bundler.model.digest import Digest
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Entry, Patched, Statement, write_statement
from bundler.model.statement_parser import parse_statement
from tests.bundles import tiny_bundle

Change = Callable[[dict[str, Any]], object]
OTHER = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module")
def statement(tmp_path_factory: pytest.TempPathFactory) -> Statement:
    folder = tmp_path_factory.mktemp("statement")
    old = tiny_bundle(folder, files={"kept": b"kept" * 2000, "model": b"old" * 5000, "other": b"o" * 5000})
    new = tiny_bundle(folder, number=2, files={"kept": b"kept" * 2000, "model": b"new" * 5000, "other": b"p" * 5000})
    known = known_of([old.statement])
    delta = delta_of(contents_of(new.lock), known)
    base = {each.name: known.blobs[each.digest] for each in old.statement.files}
    made = {each.name: each.digest for each in new.statement.files}
    sizes = {entry.digest: entry.size for entry in new.statement.entries}
    patches = tuple(
        Patched(digest=made[name], size=sizes[made[name]], patch=Digest(f"{at:064x}"), scratch=7, bases=(base[name],))
        for at, name in enumerate(sorted(("model", "other"), key=lambda name: made[name]), 1)
    )
    left = {held.digest for held in delta.held} | {each.digest for each in patches}
    entries = [entry for entry in new.statement.entries if entry.digest not in left]
    entries += [Entry(name=f"{PATCH_PREFIX}{each.patch.hex}", digest=each.patch, size=5) for each in patches]
    return replace(new.statement, entries=tuple(entries), delta=replace(delta, patches=patches))


def test_there_and_back(statement: Statement) -> None:
    data = write_statement(statement)
    assert json.loads(data)["requires"] == ["delta", "patch"]
    assert parse_statement(data, path="x") == statement
    assert statement.delta
    assert {held.digest for held in statement.delta.needed} >= {h.digest for p in statement.patches for h in p.bases}


def test_an_older_tool(statement: Statement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_parser, "FEATURES", frozenset({"delta"}))
    with pytest.raises(NewerToolNeeded, match="'patch'"):
        parse_statement(write_statement(statement), path="x")


def put(*path: str | int, to: Any) -> Change:
    def change(value: Any) -> None:
        *way, last = path
        for step in way:
            value = value[step]
        value[last] = to(value[last]) if callable(to) else to

    return change


PATCHES = ("delta", "patches")


@pytest.mark.parametrize(
    "change",
    [
        put("requires", to=["delta"]),
        put("requires", to=["patch", "delta"]),
        put(*PATCHES, to=[]),
        put(*PATCHES, to=lambda found: found[::-1]),
        put(*PATCHES, to=lambda found: found[:1]),
        put(*PATCHES, to=lambda found: [found[0], found[0]]),
        put(*PATCHES, 0, "digest", to=OTHER),
        put(*PATCHES, 0, "size", to=-1),
        put(*PATCHES, 0, "size", to=1 << 53),
        put(*PATCHES, 0, "scratch", to="7"),
        put(*PATCHES, 0, "scratch", to=1 << 53),
        put(*PATCHES, 0, "patch", to=OTHER),
        put(*PATCHES, 0, "bases", to=[]),
        put(*PATCHES, 0, "bases", 0, "base", to=1),
        put(*PATCHES, 0, "bases", 0, "digest", to="sha512:0"),
        put(*PATCHES, 0, "more", to=1),
        lambda value: value["delta"]["patches"][0]["bases"][0].update(digest=value["delta"]["patches"][1]["digest"]),
        lambda value: value["delta"]["patches"][0]["bases"][0].update(digest=value["lock"]),
        lambda value: value["delta"]["patches"][0].update(digest=value["delta"]["held"][0]["digest"]),
        lambda value: value["delta"]["patches"][1].update(patch=value["delta"]["patches"][0]["patch"]),
        put("entries", to=lambda found: found[:-1]),
        put("entries", to=lambda found: [*found[:-2], found[-1], found[-2]]),
        put("entries", to=lambda found: [*found[:-3], *found[-2:], found[-3]]),
        put("entries", -1, "digest", to=OTHER),
        put("entries", -1, "name", to=lambda name: name.replace(PATCH_PREFIX, BLOB_PREFIX)),
        put("entries", -1, "name", to=f"{PATCH_PREFIX}../x"),
        lambda value: value.update(kind="full"),
        lambda value: value.pop("delta"),
    ],
)
def test_what_is_wrong_is_refused(change: Change, statement: Statement) -> None:
    value = json.loads(write_statement(statement))
    change(value)
    with pytest.raises(MalformedStatement):
        parse_statement(canonical.dump(value), path="x")


def test_a_whole_bundle_has_none(tmp_path: Path) -> None:
    value = json.loads(write_statement(tiny_bundle(tmp_path).statement))
    name = f"{PATCH_PREFIX}{'0' * 64}"
    value["entries"].append({"name": name, "digest": OTHER, "size": 1})
    with pytest.raises(MalformedStatement):
        parse_statement(canonical.dump(value), path="x")
