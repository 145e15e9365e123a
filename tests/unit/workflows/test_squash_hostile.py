"""A chain with patches that somebody changed, or made to do harm: refused by name, in bounds, and nothing is left."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from bundler.archive.delta import known_of
from bundler.archive.draft import Patching, draft_of
from bundler.errors import DamagedContent, PatchFailed
from bundler.model.digest import Digest
from bundler.model.statement import PATCH_PREFIX, Patched
from bundler.patch import coders
from bundler.patch.apply import scratch_size
from bundler.patch.bytes_at import of_bytes
from bundler.patch.form import Head, read_head, write_head
from bundler.patch.match import SEGMENT
from bundler.patch.parts import raw
from bundler.support.progress import Silent
from bundler.workflows.verify import verify
from tests import histories
from tests.bundles import ALICE, SOURCES, TinyBundle, assemble
from tests.patched import patch_of, release, text
from tests.squashed import Line, left, line_of, run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return line_of(tmp_path_factory.mktemp("line"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "squashed.bundle"


def flipped(path: Path, at: int, folder: Path) -> Path:
    data = bytearray(path.read_bytes())
    data[at] ^= 8
    (folder / path.name).write_bytes(data)
    return folder / path.name


@pytest.mark.parametrize("travels", [False, True])
def test_a_tampered_patch(line: Line, out: Path, tmp_path: Path, travels: bool) -> None:
    data = line.second.read_bytes()
    statement = verify(line.second, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()).statement
    model = next(each.digest for each in line.whole[2].statement.files if each.name == "model.bin")
    name = next(f"{PATCH_PREFIX}{each.patch.hex}" for each in statement.patches if each.digest == model)
    at = data.index(b"bundle patch 1", data.rindex(name.encode())) + 200
    wrong = flipped(line.second, at, tmp_path)
    chain = (wrong, line.fifth) if travels else (line.whole[1].path, wrong, line.third)
    with pytest.raises(DamagedContent) as refused:
        run(out, *chain)
    assert refused.value.path == str(wrong)
    assert refused.value.damaged == ((name, ("model.bin",)),)
    assert left(out) == []


def test_a_base_that_rotted(line: Line, out: Path, tmp_path: Path) -> None:
    """It is in no place of the result, so only what is made of it tells; with a good copy the same goes on."""
    first = line.whole[1]
    model = next(each.digest for each in first.statement.files if each.name == "model.bin")
    wrong = flipped(first.path, first.layout.place(f"blobs/sha256/{model.hex}").body + 1000, tmp_path)
    with pytest.raises(DamagedContent) as refused:
        run(out, wrong, line.second, line.third)
    assert refused.value.path == str(wrong)
    assert [names for _, names in refused.value.damaged] == [("model.bin",)]
    assert not out.exists()
    run(out, first.path, line.second, line.third)
    assert out.read_bytes() == line.whole[3].path.read_bytes()


def test_another_compressor(line: Line, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = coders._ENCODERS["deflate"]
    with monkeypatch.context() as patched:
        patched.setitem(coders._ENCODERS, "deflate", lambda coder, plain: real("zlib-1-8", plain))
        coders.probe.cache_clear()
        with pytest.raises(PatchFailed) as refused:
            run(out, line.whole[1].path, line.second)
    coders.probe.cache_clear()
    assert "another deflate" in refused.value.detail
    assert "2.delta" in refused.value.summary
    assert left(out) == []


# --- hostile patches, signed

OLD_FILE, NEW_FILE = text(3, 100_000), text(3, 50_000) + b"new" + text(3, 100_000)[50_000:]


def headed(patch: bytes, **facts: object) -> bytes:
    """The same patch with another head."""
    head, start = read_head(of_bytes(patch))
    return write_head(replace(head, **facts)) + patch[start:]  # type: ignore[arg-type]


def bomb(patch: bytes) -> bytes:
    """Its one segment is a frame of a GiB."""
    head, _ = read_head(of_bytes(patch))
    frame = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    return write_head(replace(head, segments=(replace(head.segments[0], size=len(frame)),))) + frame


def endless(patch: bytes) -> bytes:
    """Its one base becomes more than the statement says."""
    head, _ = read_head(of_bytes(patch))
    base = replace(head.bases[0].parts[0], kind="deflate", plain=1200 * len(OLD_FILE))
    return headed(patch, bases=(replace(head.bases[0], parts=(base,)),))


def larger(patch: bytes) -> bytes:
    """It makes more than the blob has."""
    head, start = read_head(of_bytes(patch))
    size, segment = head.target.size + SEGMENT, head.segments[0]
    more = (replace(segment, plain=SEGMENT), replace(segment, plain=head.target.size))
    target = replace(head.target, size=size, parts=(raw(size),))
    return write_head(replace(head, target=target, segments=more)) + 2 * patch[start:]


def other_base(patch: bytes) -> bytes:
    head, _ = read_head(of_bytes(patch))
    return headed(patch, bases=(replace(head.bases[0], digest=Digest("1" * 64)),))


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "a bomb": bomb,
    "more scratch": endless,
    "more bytes": larger,
    "another base": other_base,
    "other bytes": lambda patch: patch_of(OLD_FILE + b"other", OLD_FILE, folder=Path("/tmp")),
    "no patch": lambda patch: b"nothing of the kind",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_patches(name: str, out: Path, tmp_path: Path) -> None:
    """By a key that is trusted: refused by name, in bounds, and nothing is left over."""
    first, second = (release(tmp_path, 1, b"old", target=OLD_FILE), release(tmp_path, 2, b"old", target=NEW_FILE))
    patch = patch_of(NEW_FILE, OLD_FILE, folder=tmp_path)
    for bad in (False, True):
        delta = signed_delta(first, second, HOSTILE[name](patch) if bad else patch, read_head(of_bytes(patch))[0])
        if not bad:
            assert run(out, first.path, delta).made == 1
            assert out.read_bytes() == second.path.read_bytes()
            out.unlink()
            continue
        with pytest.raises(PatchFailed) as refused:
            run(out, first.path, delta)
        assert "target" in refused.value.summary
        assert "hostile.delta" in refused.value.summary
        assert left(out) == []


def signed_delta(first: TinyBundle, second: TinyBundle, patch: bytes, head: Head) -> Path:
    known = known_of([first.statement])
    target = Digest.of(NEW_FILE)
    patched = Patched(
        digest=target,
        size=len(NEW_FILE),
        patch=Digest.of(patch),
        scratch=scratch_size(head.bases),
        bases=(known.blobs[Digest.of(OLD_FILE)],),
    )
    draft = draft_of(
        second.lock,
        sources=SOURCES,
        signers=(ALICE.public,),
        known=known,
        patches=(Patching(patched=patched, size=len(patch)),),
    )
    data, _ = assemble(draft, {**second.blobs, Digest.of(patch): patch}, (ALICE,))
    path = second.path.with_name("hostile.delta")
    path.write_bytes(data)
    return path
