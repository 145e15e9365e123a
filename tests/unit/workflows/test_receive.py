"""A store filled from a stream: the same site as from the file, nothing believed, gone on with where it stopped."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.archive.sending import END, Missing, blob_head, parse_missing
from bundler.errors import (
    BadSignature,
    BundleError,
    DamagedContent,
    DiskFull,
    InvalidDocument,
    MalformedStatement,
    NotABundle,
    OlderRelease,
    StateDamaged,
    StoreDamaged,
    TrailingBytes,
    TruncatedBundle,
    TrustChanged,
    UntrustedSigner,
    Usage,
    WrongBytes,
)
from bundler.model.digest import Digest
from bundler.model.lock import LockedDeb
from bundler.model.statement import BLOB_PREFIX, Entry
from bundler.signing.keys import SigningKey
from bundler.store import blobs
from bundler.support import clock, files
from bundler.support.progress import Silent
from bundler.workflows.install import Installed, install
from bundler.workflows.receive import ask_missing, in_use, receive
from tests import bundles, sender
from tests.bundles import ALICE, BOB, FILES, TinyBundle, tiny_bundle
from tests.campaigns import tree_of
from tests.content import Made

MARK = 10_000  # model.bin has 76,800 bytes
BIG = FILES["model.bin"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cuts here, and small marks."""
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(blobs, "MARK", MARK)


@pytest.fixture
def made(tmp_path: Path) -> TinyBundle:
    return tiny_bundle(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "site"


@contextmanager
def arriving(data: bytes) -> Iterator[int]:
    """A descriptor from which these bytes come."""
    descriptor = os.memfd_create("stream")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def ask(made: TinyBundle, root: Path, *keys: SigningKey) -> Missing:
    with arriving(sender.front(made.path)) as descriptor:
        found = ask_missing(descriptor, root, keys=[key.public for key in keys], threshold=None)
    return parse_missing(json.dumps(found).encode(), source="b")


def stream(made: TinyBundle, held: Mapping[str, int]) -> bytes:
    with sender.sending(made.path, made.publics, held) as sent:
        data = b"".join(sent.chunks())
        assert len(data) == sent.size
    return data


def put(data: bytes, root: Path, *keys: SigningKey) -> Installed:
    with arriving(data) as descriptor:
        return receive(descriptor, root, keys=[key.public for key in keys], threshold=None, progress=Silent())


def send(made: TinyBundle, root: Path, *keys: SigningKey) -> Installed:
    return put(stream(made, ask(made, root, *keys).blobs), root, *keys)


def blob_entries(made: TinyBundle) -> list[Entry]:
    return [entry for entry in made.statement.entries if entry.name.startswith(BLOB_PREFIX)]


def test_the_same_site_as_from_the_file(tmp_path: Path, made: TinyBundle, root: Path) -> None:
    assert send(made, root, ALICE).changed
    install(made.path, tmp_path / "straight", keys=made.publics, threshold=None, jobs=2, progress=Silent())
    assert tree_of(root) == tree_of(tmp_path / "straight")


def test_what_is_asked_first(made: TinyBundle, root: Path) -> None:
    found = ask(made, root, ALICE)
    assert not root.exists()
    entries = blob_entries(made)
    assert dict(found.blobs) == {entry.name: 0 for entry in entries}
    assert (found.size, found.content) == (sum(entry.size for entry in entries), made.statement.content)
    assert (found.installed, found.nothing_to_do) == (False, False)
    assert found.free > found.size


def test_nothing_to_do(made: TinyBundle, root: Path) -> None:
    send(made, root, ALICE)
    before, state = tree_of(root), (root / "state" / "site.json").read_bytes()
    found = ask(made, root)
    assert (found.nothing_to_do, found.size) == (True, 0)
    done = put(stream(made, found.blobs), root)
    assert (done.changed, done.new) == (False, 0)
    assert (tree_of(root), (root / "state" / "site.json").read_bytes()) == (before, state)


def test_only_what_is_missing_comes(tmp_path: Path, made: TinyBundle, root: Path) -> None:
    send(made, root, ALICE)
    second = tiny_bundle(tmp_path, number=2, files={**FILES, "more": b"more\n"}, name="second.bundle")
    found = ask(second, root)
    assert found.size < 10_000 < len(BIG)
    assert (found.installed, found.nothing_to_do) == (False, False)
    assert send(second, root).changed
    assert in_use(root)["release"] == {"line": "tiny", "number": 2}


@pytest.mark.parametrize("cut", [1, MARK, MARK + 1, 3 * MARK, 3 * MARK + 500, len(BIG) - 1, len(BIG)])
def test_a_large_blob_goes_on_where_it_stopped(tmp_path: Path, made: TinyBundle, root: Path, cut: int) -> None:
    data = stream(made, ask(made, root, ALICE).blobs)
    begin = data.index(BIG)
    with pytest.raises(TruncatedBundle):
        put(data[: begin + cut], root, ALICE)
    name = f"{BLOB_PREFIX}{Digest.of(BIG).hex}"
    held = (cut - 1) // MARK * MARK
    if cut == len(BIG):  # nothing came behind it, but it was whole
        assert name not in ask(made, root, ALICE).blobs
    else:
        assert ask(made, root, ALICE).blobs[name] == held
    rest = stream(made, ask(made, root, ALICE).blobs)
    assert len(rest) <= len(data) - held
    assert put(rest, root, ALICE).changed
    install(made.path, tmp_path / "straight", keys=made.publics, threshold=None, jobs=2, progress=Silent())
    assert tree_of(root) == tree_of(tmp_path / "straight")


def test_a_beginning_that_rotted(made: TinyBundle, root: Path) -> None:
    """It is said, thrown away, and comes whole the next time."""
    data = stream(made, ask(made, root, ALICE).blobs)
    with pytest.raises(TruncatedBundle):
        put(data[: data.index(BIG) + 3 * MARK], root, ALICE)
    held = root / "store" / "incoming" / Digest.of(BIG).hex
    held.write_bytes(b"!" + held.read_bytes()[1:])
    with pytest.raises(StoreDamaged):
        send(made, root, ALICE)
    assert not held.exists()
    assert send(made, root, ALICE).changed


def test_installing_from_a_file_goes_on_too(made: TinyBundle, root: Path) -> None:
    """Also over a beginning that rotted."""
    data = stream(made, ask(made, root, ALICE).blobs)
    with pytest.raises(TruncatedBundle):
        put(data[: data.index(BIG) + 3 * MARK], root, ALICE)
    held = root / "store" / "incoming" / Digest.of(BIG).hex
    held.write_bytes(b"!" + held.read_bytes()[1:])
    assert install(made.path, root, keys=made.publics, threshold=None, jobs=2, progress=Silent()).changed
    assert not list(held.parent.iterdir())


def test_it_stops_at_any_byte(made: TinyBundle, root: Path) -> None:
    data = stream(made, ask(made, root, ALICE).blobs)
    heads = [data.index(entry.name.encode() + b" ") for entry in blob_entries(made)]
    ends = {end + more for end in (0, 16, *heads, len(data)) for more in (-1, 0, 1)}
    for end in sorted(each for each in ends if 0 <= each < len(data)):
        remove(root)
        with pytest.raises(TruncatedBundle):
            put(data[:end], root, ALICE)
        assert not (root / "current").is_symlink()
    assert send(made, root, ALICE).changed


def mutations(made: TinyBundle, data: bytes) -> dict[str, tuple[bytes, type[BundleError]]]:
    """Streams that no honest sender sends."""
    first, second, *_ = blob_entries(made)
    at = data.index(first.name.encode() + b" ")
    front, bodies = data[:at], data[at : -len(END)]
    one = blob_head(first.name, 0, first.size) + made_body(made, first)
    two = blob_head(second.name, 0, second.size) + made_body(made, second)
    assert bodies.startswith(one + two)
    rest = bodies[len(one) :]
    head, body = blob_head(first.name, 0, first.size), made_body(made, first)
    statement = front.index(b'{"charts"')
    return {
        "nothing like it": (b"GET / HTTP/1.1\r\n\r\n", NotABundle),
        "zeros": (bytes(100_000), NotABundle),
        "the bundle file": (made.path.read_bytes(), NotABundle),
        "another head": (front.replace(b'{"beside":[]', b'{"beside" :[]', 1), NotABundle),
        "a head of its own": (front.replace(b'"beside":[]', b'"beside":["x"]', 1), NotABundle),
        "a huge statement": (b'bundle stream 1\n{"beside":[],"inside":[],"statement":99999999}\n', NotABundle),
        "a changed statement": (front[:statement] + b"{ " + front[statement + 2 :] + bodies + END, BadSignature),
        "a changed signature": (front[:-1] + bytes([front[-1] ^ 1]) + bodies + END, BadSignature),
        "an unknown blob": (front + blob_head("blobs/sha256/" + "0" * 64, 0, 3) + b"abc" + bodies + END, WrongBytes),
        "a path": (front + b"../../etc/passwd 0 3\nabc" + bodies + END, WrongBytes),
        "another order": (front + two + one + bodies[len(one + two) :] + END, WrongBytes),
        "one twice": (front + one + bodies + END, WrongBytes),
        "none of them": (front + END, WrongBytes),
        "one left out": (front + rest + END, WrongBytes),
        "from the middle": (front + blob_head(first.name, 1, first.size - 1) + body[1:] + rest + END, WrongBytes),
        "a byte too many": (front + blob_head(first.name, 0, first.size + 1) + body + b"x" + rest + END, WrongBytes),
        "a byte more than said": (front + head + body + b"x" + rest + END, WrongBytes),
        "a byte fewer than said": (front + head + body[:-1] + rest + END, DamagedContent),
        "other digits": (front + head.replace(b" 0 ", b" 00 ") + body + rest + END, WrongBytes),
        "a line without end": (front + b"a" * 1_000_000, WrongBytes),
        "a changed body": (front + head + bytes([body[0] ^ 1]) + body[1:] + rest + END, DamagedContent),
        "a second front": (front + front + bodies + END, WrongBytes),
        "a front behind it": (front + bodies + front, WrongBytes),
        "another stream behind it": (data + data, TrailingBytes),
        "a newline behind it": (data + b"\n", TrailingBytes),
    }


def made_body(made: TinyBundle, entry: Entry) -> bytes:
    place = made.layout.place(entry.name)
    return made.path.read_bytes()[place.body : place.body + place.member.size]


def test_hostile_streams(made: TinyBundle, root: Path) -> None:
    """Each is refused under its name; nothing is in use after any of them, and the honest stream ends it."""
    data = stream(made, ask(made, root, ALICE).blobs)
    for name, (hostile, error) in mutations(made, data).items():
        with pytest.raises(BundleError) as caught:
            put(hostile, root, ALICE)
        assert type(caught.value) is error, (name, caught.value)
        assert not (root / "current").is_symlink(), name
        assert not (root / "state" / "site.json").exists(), name
        for folder in ("store/blobs/sha256", "store/incoming"):  # what came whole is good, and is no longer missing
            for path in (root / folder).glob("*/*" if "blobs" in folder else "*"):
                assert Digest.of(path.read_bytes()).hex == path.name, name
        remove(root)
    assert send(made, root, ALICE).changed


def remove(root: Path) -> None:
    if root.exists():
        root.rename(root.with_name(f"old-{len(list(root.parent.iterdir()))}"))


def test_the_question_is_only_the_front(made: TinyBundle, root: Path) -> None:
    data = sender.front(made.path)
    for wrong, error in ((data + b"x", TrailingBytes), (data + data, TrailingBytes), (data[:-1], TruncatedBundle)):
        with arriving(wrong) as descriptor, pytest.raises(error):
            ask_missing(descriptor, root, keys=made.publics, threshold=None)


def test_the_trust_is_as_with_a_file(tmp_path: Path, made: TinyBundle, root: Path) -> None:
    for keys, error in (((), Usage), ((BOB,), UntrustedSigner)):
        with pytest.raises(error):
            ask(made, root, *keys)
        with pytest.raises(error):
            put(stream(made, {}), root, *keys)
    assert not root.exists()
    second = tiny_bundle(tmp_path, number=2, name="second.bundle")
    send(second, root, ALICE)
    for attempt in (lambda: ask(made, root), lambda: put(stream(made, {}), root)):
        with pytest.raises(OlderRelease):
            attempt()
    with pytest.raises(TrustChanged):
        ask(second, root, BOB)
    assert in_use(root)["keys"] == [ALICE.public.keyid]


def test_a_signature_from_beside_comes_along(tmp_path: Path, root: Path) -> None:
    made = tiny_bundle(tmp_path, keys=())
    made.sign_beside(BOB)
    found = ask(made, root, BOB)
    with sender.sending(made.path, (BOB.public,), found.blobs) as sent:
        assert put(b"".join(sent.chunks()), root, BOB).signed == (BOB.public.keyid,)


def test_no_room(made: TinyBundle, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before the first body is read."""
    data = stream(made, ask(made, root, ALICE).blobs)
    with monkeypatch.context() as patched:
        patched.setattr(files, "free_space", lambda path: 1000)
        with pytest.raises(DiskFull) as caught:
            put(data[: len(sender.front(made.path))], root, ALICE)
    assert caught.value.missing >= len(BIG)
    assert send(made, root, ALICE).changed


def test_a_package_description_that_says_more(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bundles.Blobs.deb

    def hostile(self: bundles.Blobs, made: Made) -> LockedDeb:
        locked = real(self, made)
        object.__setattr__(locked, "control", locked.control + "\nFilename: ../../../files/model.bin")
        return locked

    monkeypatch.setattr(bundles.Blobs, "deb", hostile)
    with pytest.raises(MalformedStatement):
        send(tiny_bundle(tmp_path), root, ALICE)
    assert not (root / "current").exists()
    assert not list((root / "generations").iterdir())


def test_what_a_site_says_of_itself(tmp_path: Path, made: TinyBundle, root: Path) -> None:
    nothing = dict.fromkeys(("generation", "release", "content", "threshold"))
    assert in_use(root) == {"root": str(root), "keys": [], **nothing}
    send(made, root, ALICE)
    first = in_use(root)
    assert first == {
        "root": str(root),
        "generation": (root / "current").readlink().name,
        "release": {"line": "tiny", "number": 1},
        "content": str(made.statement.content),
        "keys": [ALICE.public.keyid],
        "threshold": 1,
    }
    folder = (root / "current").resolve()
    send(tiny_bundle(tmp_path, number=2, name="second.bundle"), root)
    (root / "current").unlink()
    (root / "current").symlink_to(folder.relative_to(root))  # rolled back
    assert in_use(root) == first
    (root / "state" / "site.json").unlink()
    with pytest.raises(StateDamaged):
        in_use(root)


def test_a_key_that_was_put_there_is_used(tmp_path: Path, made: TinyBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts of one site: the same key, the same indexes; on each the date only grows."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    first, second = tmp_path / "first", tmp_path / "second"
    send(made, first, ALICE)
    secret = (first / "keys" / "apt.secret.asc").read_bytes()
    (second / "keys").mkdir(parents=True, mode=0o700)
    (second / "keys" / "apt.secret.asc").write_bytes(secret)
    send(made, second, ALICE)
    assert (second / "keys" / "apt.secret.asc").read_bytes() == secret
    served = {path.relative_to(first): path.read_bytes() for path in (first / "current/apt").rglob("Packages")}
    served |= {path.relative_to(first): path.read_bytes() for path in (first / "current/apt").rglob("key.*")}
    assert len(served) >= 3
    for path, data in served.items():
        assert (second / path).read_bytes() == data
    releases = [next((root / "current/apt").rglob("Release")).read_bytes() for root in (first, second)]
    assert releases[0] == releases[1]
    monkeypatch.setattr(clock, "now", lambda: now - timedelta(days=1))
    send(tiny_bundle(tmp_path, number=2, name="second.bundle"), second)
    assert b"Date: Fri, 02 Jan 2026 03:04:06 GMT" in next((second / "current/apt").rglob("Release")).read_bytes()


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b'{"missing":[{"name":"x","offset":-1}]}', b'{"content":"md5:0"}', bytes(10)],
)
def test_an_answer_that_is_none(answer: bytes) -> None:
    with pytest.raises(InvalidDocument):
        parse_missing(answer, source="b")


@pytest.mark.parametrize("held", [{"blobs/sha256/" + "0" * 64: 0}, {"bundle.json": 0}, {"index.json": 0}])
def test_only_blobs_of_the_bundle_are_sent(made: TinyBundle, held: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="does not have"), sender.sending(made.path, made.publics, held):
        pass


def test_no_more_than_a_blob_has(made: TinyBundle) -> None:
    entry = blob_entries(made)[0]
    with pytest.raises(ValueError, match="does not have"):
        stream(made, {entry.name: entry.size + 1})
