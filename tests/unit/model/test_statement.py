import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from bundler.errors import MalformedStatement, NewerToolNeeded
from bundler.model import canonical, statement_parser
from bundler.model.limits import LIMITS
from bundler.model.reference import Reference
from bundler.model.statement import Statement, write_statement
from bundler.model.statement_parser import parse_statement
from tests import strategies
from tests.bundles import ALICE, BOB, tiny_bundle

Change = Callable[[dict[str, Any]], object]


@strategies.fewer(2)
@given(strategies.statements)
def test_round_trip(statement: Statement) -> None:
    data = write_statement(statement)
    assert parse_statement(data, path="x") == statement
    kinds = (statement.images, statement.charts, statement.wheels, statement.debs, statement.files)
    assert statement.artifacts == tuple(artifact for kind in kinds for artifact in kind)
    for image in statement.images:
        assert image.reference == Reference.parse(image.name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_statement(tiny_bundle(tmp_path_factory.mktemp("statement"), keys=(ALICE, BOB)).statement)


def changed(data: bytes, change: Change) -> bytes:
    value = json.loads(data)
    change(value)
    return canonical.dump(value)


def put(*path: str | int, to: Any) -> Change:
    """Set the value at a path."""

    def change(value: Any) -> None:
        *way, last = path
        for step in way:
            value = value[step]
        value[last] = to(value[last]) if callable(to) else to

    return change


def drop(*path: str | int) -> Change:
    def change(value: Any) -> None:
        *way, last = path
        for step in way:
            value = value[step]
        del value[last]

    return change


def swap(first: int, second: int) -> Change:
    def change(value: Any) -> None:
        entries = value["entries"]
        entries[first], entries[second] = entries[second], entries[first]

    return change


NO_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    ".x",
    "-x",
    "x" * 256,
    "é",
    7,
    None,
    ["x"],
    {},
]
OTHER = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    "change",
    [
        *(put("entries", at, "name", to=name) for name in NO_NAMES for at in (0, 4)),
        *(put(kind, 0, "name", to=name) for name in NO_NAMES for kind in ("wheels", "debs", "files")),
        *(
            put("images", 0, "name", to=name)
            for name in ["", "nginx", "../x:1", "docker.io/x:1", "docker.io/x:1@sha256:0", "docker.io/X:1"]
        ),
        *(put("debs", 0, field, to="../x") for field in ("package", "archive", "release", "architecture")),
        *(
            put(kind, 0, "version", to=text)
            for kind in ("wheels", "debs")
            for text in ("", "1 0", "1\x1b[2J", "\ud800", 1)
        ),
        put("wheels", 0, "project", to="a/b"),
        put("tool", to="../x"),
        put("kind", to="delta"),
        put("content", to=OTHER),
        put("content", to="sha512:0"),
        put("platforms", to=["linux"]),
        put("release", "number", to=-1),
        put("release", "number", to="1"),
        put("release", "line", to="../x"),
        put("release", to=7),
        # signers
        put("signers", 0, to="00"),
        put("signers", 0, to=lambda key: key.upper()),
        put("signers", to=lambda keys: [keys[0], keys[0]]),
        put("signers", to=[f"{number:064x}" for number in range(LIMITS.signers + 1)]),
        # keys that are not ours, or that are missing
        *(
            drop(key)
            for key in (
                "content",
                "entries",
                "files",
                "images",
                "kind",
                "platforms",
                "release",
                "requires",
                "signers",
                "tool",
                "type",
            )
        ),
        lambda value: value.update(unknown=1),
        lambda value: value["entries"][5].update(mode=0o777),
        lambda value: value["files"][0].update(path="/etc"),
        # entries: the fixed ones first and in their order, each name once, a blob under its digest, sizes sane
        swap(0, 1),
        swap(1, 2),
        swap(3, 4),
        drop("entries", 0),
        put("entries", to=[]),
        put("entries", to=lambda entries: [*entries, entries[-1]]),
        put("entries", to=lambda entries: [*entries, entries[0]]),
        put("entries", 4, "digest", to=OTHER),
        put("entries", 4, "name", to=f"blobs/sha512/{'0' * 128}"),
        put("entries", 4, "name", to=lambda name: name.upper()),
        put("entries", 4, "name", to=lambda name: f"./{name}"),
        put("entries", 4, "size", to=-1),
        put("entries", 4, "size", to=LIMITS.integer),
        put("entries", 4, "size", to="1"),
        # artifacts: each name once, nothing of them missing
        *(put(kind, to=lambda group: group[:1] * 2) for kind in ("images", "wheels", "debs", "files")),
        *(put("images", 0, field, to=lambda digests: [*digests, OTHER]) for field in ("manifests", "blobs")),
        put("images", 0, "root", to=OTHER),
        put("images", 0, to=lambda image: {**image, "root": image["blobs"][0]}),
        *(put("wheels", 0, field, to=OTHER) for field in ("digest", "metadata", "manifest")),
        *(put("debs", 0, field, to=OTHER) for field in ("digest", "control", "manifest")),
        *(put("files", 0, field, to=OTHER) for field in ("digest", "config", "manifest")),
        drop("entries", -1),
        # other types of statement
        put("type", to="bundle-receipt"),
        put("type", to="bundle-statement\n"),
        put("format", to="1"),
        put("format", to=True),
    ],
)
def test_refused(data: bytes, change: Change) -> None:
    with pytest.raises(MalformedStatement) as caught:
        parse_statement(changed(data, change), path="x.bundle")
    assert caught.value.path == "x.bundle"
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "needs"),
    [
        (put("format", to=2), "format 2"),
        (put("format", to=0), "format 0"),
        (put("requires", to=["patches"]), "the features 'patches'"),
        (put("requires", to=["b\x1b", "a"]), "the features 'a', 'b\\x1b'"),
        (lambda value: value.update(format=2, unknown=1, entries=0), "format 2"),
    ],
)
def test_newer_tool_needed(data: bytes, change: Change, needs: str) -> None:
    with pytest.raises(NewerToolNeeded) as caught:
        parse_statement(changed(data, change), path="x.bundle")
    assert caught.value.needs == needs


def test_the_type_counts_before_the_format(data: bytes) -> None:
    with pytest.raises(MalformedStatement):
        parse_statement(changed(data, lambda value: value.update(type="bundle-receipt", format=2)), path="x")


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data.replace(b",", b", ", 1),
        lambda data: json.dumps(json.loads(data)).encode(),
        lambda data: data.replace(b'"kind"', b'"\\u006bind"'),
        lambda data: data.replace(b'"format":1', b'"format":"1"'),
        lambda data: data.replace(b'"number":1', b'"number":01'),
        lambda data: data.replace(b'"number":1', b'"number":-0'),
        lambda data: data.replace(b'"number":1', b'"number":1.0'),
        lambda data: data.replace(b'"format":1', b'"format":1,"format":1'),
        lambda data: data.replace(b'"requires":[]', b'"requires":null'),
        lambda data: b"[" + data + b"]",
        lambda data: b"",
    ],
)
def test_only_canonical_bytes(data: bytes, rewrite: Callable[[bytes], bytes]) -> None:
    assert rewrite(data) != data
    with pytest.raises(MalformedStatement):
        parse_statement(rewrite(data), path="x")


def test_too_many_entries(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(json.loads(data)["entries"])
    monkeypatch.setattr(statement_parser, "LIMITS", type(LIMITS)(entries=count))
    parse_statement(data, path="x")
    monkeypatch.setattr(statement_parser, "LIMITS", type(LIMITS)(entries=count - 1))
    with pytest.raises(MalformedStatement, match="too many entries"):
        parse_statement(data, path="x")
