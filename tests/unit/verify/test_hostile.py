"""Bundles whose signature is good and trusted, and whose statement is hostile all the same: refused before anything
is written. Whoever holds a key may choose what a site gets, and never where it is written or how much is read."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundler.model.statement_parser as statement_module
from bundler.archive.form import STATEMENT, bundle_layout
from bundler.archive.layout import Layout
from bundler.errors import (
    BundleError,
    DamagedContent,
    MalformedStatement,
    NameConflict,
    NewerToolNeeded,
    TrailingBytes,
    TruncatedBundle,
)
from bundler.model import canonical
from bundler.model.limits import LIMITS
from bundler.model.statement import write_statement
from bundler.support.progress import Silent
from bundler.workflows.install import install
from bundler.workflows.look import extract, inspect
from bundler.workflows.verify import verify
from tests.bundles import ALICE, TinyBundle, front, tiny_bundle

Json = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    return tiny_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hostile.bundle"


def forge(path: Path, statement: bytes) -> None:
    """A file that begins with this statement and a good signature of it."""
    path.write_bytes(front(statement, [(ALICE.public.keyid, ALICE.sign(statement))], bootstrap=b"x" * 600))


def refused(path: Path, *errors: type[BundleError]) -> None:
    """By every reader, and nothing is written."""
    before = sorted(path.parent.rglob("*"))
    root, out = path.parent / "site", path.parent / "out"
    keys = (ALICE.public,)
    readers: list[Callable[[], object]] = [
        lambda: verify(path, keys=keys, threshold=1, jobs=1, progress=Silent()),
        lambda: install(path, root, keys=keys, threshold=None, jobs=1, progress=Silent()),
        lambda: inspect(path),
        lambda: extract(path, "notes.txt", out, keys=keys, threshold=1),
    ]
    for read in readers:
        with pytest.raises(BundleError) as caught:
            read()
        assert type(caught.value) in errors, repr(caught.value)
    assert sorted(path.parent.rglob("*")) == before


NAMES = {
    "traversal": "../../etc/cron.d/x",
    "absolute": "/etc/passwd",
    "a folder": "a/b",
    "nothing": "",
    "dot": ".",
    "dots": "..",
    "hidden": ".bashrc",
    "an option": "-rf",
    "a newline": "x\n",
    "NUL": "x\0y",
    "an escape": "x\x1b[2Jy",
    "backslashes": "..\\..\\x",
    "long": "x" * 256,
    "look-alikes": "раypal.txt",
    "full width": "．．／x",
    "a lone surrogate": "x\udcff",
    "right to left": "x\u202egpj.sh",
    "a space": "a b",
}
BLOB = "blobs/sha256/" + "ab" * 32


def at(*keys: Any) -> Callable[[Json, Any], None]:
    """Put a value at that place of the statement."""

    def put(document: Json, value: Any) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return put


PLACES = {
    "file": at("files", 0, "name"),
    "wheel": at("wheels", 0, "name"),
    "project": at("wheels", 0, "project"),
    "deb": at("debs", 0, "name"),
    "package": at("debs", 0, "package"),
    "archive": at("debs", 0, "archive"),
    "release": at("debs", 0, "release"),
    "architecture": at("debs", 0, "architecture"),
    "image": at("images", 0, "name"),
    "line": at("release", "line"),
    "entry": at("entries", 5, "name"),
    "tool": at("tool"),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_names(path: Path, made: TinyBundle, place: str, name: str) -> None:
    document = json.loads(write_statement(made.statement))
    PLACES[place](document, NAMES[name])
    forge(path, canonical.dump(document))
    refused(path, MalformedStatement)


VALUES: dict[str, tuple[Callable[[Json, Any], None], Any]] = {
    "a negative size": (at("entries", 5, "size"), -1),
    "a size of 2^53": (at("entries", 5, "size"), 1 << 53),
    "sizes that add up to more": (at("entries", 5, "size"), (1 << 53) - 1),
    "a size that is text": (at("entries", 5, "size"), "1"),
    "a size that is true": (at("entries", 5, "size"), True),
    "a size that is null": (at("entries", 5, "size"), None),
    "a size that is a list": (at("entries", 5, "size"), [1]),
    "a release that is no number": (at("release", "number"), "one"),
    "a blob under another digest": (at("entries", 5, "name"), BLOB),
    "a blob in upper case": (at("entries", 5, "name"), BLOB.upper()),
    "another algorithm": (at("entries", 5, "name"), "blobs/sha512/" + "ab" * 64),
    "a traversal behind the prefix": (at("entries", 5, "name"), "blobs/sha256/../../../x"),
    "another digest algorithm": (at("entries", 5, "digest"), "sha512:" + "ab" * 64),
    "a digest without its name": (at("entries", 5, "digest"), "ab" * 32),
    "content of another index": (at("content"), "sha256:" + "ab" * 32),
    "a file that is not carried": (at("files", 0, "digest"), "sha256:" + "ab" * 32),
    "an image without its root": (at("images", 0, "root"), "sha256:" + "ab" * 32),
    "entries as an object": (at("entries"), {}),
    "no entries": (at("entries"), []),
    "a kind not known": (at("kind"), "delta"),
    "a platform that is a path": (at("platforms"), ["../x"]),
    "a version with a newline": (at("wheels", 0, "version"), "1\nFilename: x"),
    "a signer that is no key": (at("signers"), ["ab"]),
    "a signer twice": (at("signers"), [ALICE.public.raw.hex()] * 2),
    "no signer": (at("signers"), []),
    "another type": (at("type"), "bundle-receipt"),
    "an unknown key": (at("more"), 1),
    "an unknown key of an entry": (at("entries", 5, "link"), "/etc/passwd"),
    "a deep value": (at("more"), json.loads("[" * 500 + "]" * 500)),
}


@pytest.mark.parametrize("case", VALUES)
def test_values(path: Path, made: TinyBundle, case: str) -> None:
    put, value = VALUES[case]
    document = json.loads(write_statement(made.statement))
    put(document, value)
    forge(path, json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    refused(path, MalformedStatement)


@pytest.mark.parametrize("case", ["entries", "images", "wheels", "debs", "files"])
def test_anything_twice(path: Path, made: TinyBundle, case: str) -> None:
    document = json.loads(write_statement(made.statement))
    document[case].append(document[case][-1])
    forge(path, canonical.dump(document))
    refused(path, MalformedStatement)


@pytest.mark.parametrize("key", ["type", "format", "requires", "release", "content", "entries", "signers", "files"])
def test_anything_missing(path: Path, made: TinyBundle, key: str) -> None:
    document = json.loads(write_statement(made.statement))
    del document[key]
    forge(path, canonical.dump(document))
    refused(path, MalformedStatement)


@pytest.mark.parametrize(("key", "value"), [("format", 2), ("requires", ["volumes"])])
def test_a_newer_tool(path: Path, made: TinyBundle, key: str, value: Any) -> None:
    document = json.loads(write_statement(made.statement)) | {key: value}
    forge(path, canonical.dump(document))
    refused(path, NewerToolNeeded)


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "a space": lambda data: data.replace(b":", b": ", 1),
    "no newline": lambda data: data[:-1],
    "two newlines": lambda data: data + b"\n",
    "another order": lambda data: json.dumps(dict(reversed(json.loads(data).items()))).encode(),
    "another escape": lambda data: data.replace(b"tiny", b"\\u0074iny", 1),
    "a key twice": lambda data: b'{"kind":"full",' + data[1:],
    "a mark of its encoding": lambda data: b"\xef\xbb\xbf" + data,
    "another encoding": lambda data: data.decode().encode("utf-16"),
    "no UTF-8": lambda data: data.replace(b"tiny", b"t\xffny", 1),
    "a number with a fraction": lambda data: data.replace(b'"number":1', b'"number":1.0'),
    "a number in another way": lambda data: data.replace(b'"number":1', b'"number":1e0'),
    "a number of many digits": lambda data: data.replace(b'"number":1', b'"number":' + b"9" * 5000),
    "NaN": lambda data: data.replace(b'"number":1', b'"number":NaN'),
    "a second document": lambda data: data + data,
    "nothing": lambda data: b"",
    "null": lambda data: b"null\n",
    "a list": lambda data: b"[]\n",
    "a million lists": lambda data: b"[" * 1_000_000,
    "a comment": lambda data: b"/* */" + data,
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(path: Path, made: TinyBundle, case: str) -> None:
    forge(path, TEXTS[case](write_statement(made.statement)))
    refused(path, MalformedStatement)


def test_too_many_entries(path: Path, made: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(made.statement.entries)
    monkeypatch.setattr(statement_module, "LIMITS", replace(LIMITS, entries=count - 1))
    forge(path, write_statement(made.statement))
    refused(path, MalformedStatement)


def test_sizes_that_lie(path: Path, made: TinyBundle) -> None:
    """The file is shorter or longer than the signed sizes say; what they say is never reserved or read."""
    size = made.statement.entries[-1].size
    for lie, error in ((size + 512, TruncatedBundle), (1 << 52, TruncatedBundle), (size - 512, TrailingBytes)):
        *rest, last = made.statement.entries
        forged = whole(path, made, entries=(*rest, replace(last, size=lie)))
        assert forged.size > 0
        refused(path, error)


def test_a_digest_that_lies(path: Path, made: TinyBundle) -> None:
    """A blob that is not what its signed name says: bodies are proved on the way, and nothing is published."""
    first, readme, *rest = made.statement.entries
    whole(path, made, entries=(first, replace(readme, digest=first.digest), *rest))
    root = path.parent / "site"
    with pytest.raises(DamagedContent):
        install(path, root, keys=(ALICE.public,), threshold=None, jobs=1, progress=Silent())
    assert not (root / "current").is_symlink()
    assert not (root / "state" / "site.json").exists()


def test_names_that_collide_on_the_site(path: Path, made: TinyBundle) -> None:
    """A file named like the list of checksums; one package file of two archives that the site publishes as one."""
    notes, deb = made.statement.files[0], made.statement.debs[0]
    other = replace(deb, archive="debian-security", digest=notes.digest)
    changes: tuple[dict[str, Any], ...] = ({"files": (replace(notes, name="SHA256SUMS"),)}, {"debs": (deb, other)})
    for change in changes:
        whole(path, made, **change)
        with pytest.raises(NameConflict):
            install(path, path.parent / "site", keys=(ALICE.public,), threshold=None, jobs=1, progress=Silent())
        assert not (path.parent / "site").exists()


def whole(path: Path, made: TinyBundle, **changes: Any) -> Layout:
    """The whole file around a changed statement, signed anew, with the bodies that the file had."""
    statement = replace(made.statement, **changes)
    data = write_statement(statement)
    keyid = ALICE.public.keyid
    layout = bundle_layout(len(data), [keyid], statement.entries)
    old = {place.member.name: place for place in made.layout.places}
    source = made.path.read_bytes()
    parts = []
    for place in layout.places:
        name, before = place.member.name, old[place.member.name]
        body = source[before.body : before.body + before.member.size]
        if name == STATEMENT:
            body = data
        elif name == f"{STATEMENT}.{keyid}.sig":
            body = ALICE.sign(data)
        parts += [place.header, body, bytes(-len(body) % 512)]
    path.write_bytes(b"".join([*parts, bytes(1024)]))
    return layout


@contextmanager
def room(folder: Path) -> Iterator[Path]:
    path = folder / "fuzzed.bundle"
    yield path
    path.unlink(missing_ok=True)


@given(st.binary(max_size=400))
def test_any_bytes_at_the_front(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with room(tmp_path_factory.getbasetemp()) as path:
        path.write_bytes(data)
        with pytest.raises(BundleError):
            inspect(path)


@given(st.binary(max_size=400))
def test_any_signed_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with room(tmp_path_factory.getbasetemp()) as path:
        forge(path, data)
        with pytest.raises(BundleError):
            verify(path, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data(), _JSON)
def test_any_value_anywhere(
    tmp_path_factory: pytest.TempPathFactory, made: TinyBundle, data: st.DataObject, value: Any
) -> None:
    """One value of a good statement is replaced by any other: refused, or the same statement."""
    document = json.loads(write_statement(made.statement))
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    before, place[key] = place[key], value
    if before == value and type(before) is type(value):
        return
    with room(tmp_path_factory.getbasetemp()) as path:
        forge(path, json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        with pytest.raises(BundleError):
            verify(path, keys=(ALICE.public,), threshold=1, jobs=1, progress=Silent())
