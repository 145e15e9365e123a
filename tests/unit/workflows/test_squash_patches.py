"""A chain with patches as one: what is made of them is what `create` makes, and what cannot be is refused by name."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from bundler.archive.chain_patches import Step
from bundler.archive.delta import known_of
from bundler.archive.draft import Patching, draft_of
from bundler.cli.main import main
from bundler.errors import BundleError, ChainBroken, DamagedContent, DiskFull, PatchFailed, PatchOutside
from bundler.fetch.partial import Partial
from bundler.model.digest import Digest
from bundler.model.statement import PATCH_PREFIX, Patched
from bundler.patch import coders
from bundler.patch.apply import scratch_size
from bundler.patch.bytes_at import of_bytes
from bundler.patch.form import Head, read_head, write_head
from bundler.patch.match import SEGMENT
from bundler.patch.parts import raw
from bundler.signing.trust import Trust
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows import create as module
from bundler.workflows.chain_making import Maker
from bundler.workflows.install import install
from bundler.workflows.squash import Squashed, squash
from bundler.workflows.verify import verify
from tests.bundles import ALICE, SOURCES, TinyBundle, assemble
from tests.campaigns import tree_of
from tests.patched import delta_between, patch_of, release, text

TRUST = Trust(keys=(ALICE.public,), threshold=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cuts here: what only they could show is left out."""
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Three whole releases, all of whose blobs change each time; the second and the third as deltas with patches to the
    one before, and the second as one without. The fifth has what the second has, and a little that is new: it comes as
    a delta to that, without patches."""

    whole: Mapping[int, TinyBundle]
    second: Path
    third: Path
    unpatched: Path
    fifth: Path


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "tool_sources", lambda: SOURCES)
        patched.setattr(module, "prove_before", lambda lock, progress: None)
        folder = tmp_path_factory.mktemp("line")
        stays = {"stays.bin": text(70, 90_000)}
        whole = {
            1: release(folder, 1, b"old", **stays),
            2: release(folder, 2, b"newer", **stays),
            3: release(folder, 3, b"the last one", **stays),
            5: release(folder, 5, b"newer", fresh=text(99, 9000)),
        }
        yield Line(
            whole=whole,
            second=delta_between(whole[1], whole[2], name="2.delta").out,
            third=delta_between(whole[2], whole[3], name="3.delta").out,
            unpatched=delta_between(whole[1], whole[2], name="2.unpatched", patch=False).out,
            fifth=delta_between(whole[2], whole[5], name="5.delta", patch=False).out,
        )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "squashed.bundle"


def run(out: Path, *paths: Path, **options: object) -> Squashed:
    return squash(paths, out, keys=[ALICE], trust=TRUST, jobs=2, progress=Silent(), **options)  # type: ignore[arg-type]


def put(path: Path, root: Path) -> None:
    install(path, root, keys=[ALICE.public], threshold=None, jobs=2, progress=Silent())


def same_site(first: Path, squashed: Path, whole: Path, folder: Path) -> None:
    """By both ways, but for the statement, in which a delta differs from a whole bundle."""
    for name, last in (("by-squashed", squashed), ("by-whole", whole)):
        put(first, folder / name)
        put(last, folder / name)
    one, two = ({k: v for k, v in tree_of(folder / name).items() if "statement/" not in k}
                for name in ("by-squashed", "by-whole"))  # fmt: skip
    assert one == two


def left(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


# --- what comes out


@pytest.mark.parametrize("count", [2, 3])
def test_the_whole_bundle_byte_for_byte(line: Line, out: Path, count: int) -> None:
    """With three links what the last patches are made of is itself made, and is in no bundle whole."""
    done = run(out, line.whole[1].path, line.second, *([line.third] if count == 3 else []))
    assert out.read_bytes() == line.whole[count].path.read_bytes()
    assert done.made >= 9
    assert left(out) == ["squashed.bundle"]


def test_a_dry_run_and_slices(line: Line, out: Path) -> None:
    chain = (line.whole[1].path, line.second, line.third)
    dry = run(out, *chain, dry_run=True)
    assert left(out) == []
    done = run(out, *chain, volume=70_000)
    assert b"".join(path.read_bytes() for path in done.slices) == line.whole[3].path.read_bytes()
    assert (dry.size, dry.made) == (done.size, done.made)
    again = run(out.with_name("again.bundle"), out.with_name("squashed.bundle.volumes.json"), _fourth(line))
    assert again.statement.release.number == 4


def _fourth(line: Line) -> Path:
    """With little new, of which a patch comes against the third's."""
    fourth = release(line.third.parent, 4, b"the last one", fresh=text(50, 200_000) + b"four")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "tool_sources", lambda: SOURCES)
        patched.setattr(module, "prove_before", lambda lock, progress: None)
        return delta_between(line.whole[3], fourth, name="4.delta").out


def test_deltas_of_which_the_first_has_the_bases(line: Line, out: Path, tmp_path: Path) -> None:
    """They are made, and travel whole: what they were made of the site never had."""
    done = run(out, line.unpatched, line.third)
    assert done.made >= 9
    assert not done.statement.patches
    assert done.statement.requires == ("delta",)
    assert [str(base.release) for base in done.statement.delta.bases] == ["tiny 1"]  # type: ignore[union-attr]
    verify(out, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent())
    same_site(line.whole[1].path, out, line.whole[3].path, tmp_path)


def test_patches_that_go_on(line: Line, out: Path, tmp_path: Path) -> None:
    """What the second release brought as patches, and the fifth still has."""
    before = verify(line.second, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()).statement
    done = run(out, line.second, line.fifth)
    here = verify(out, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()).statement
    assert here.patches
    assert {each.patch for each in here.patches} <= {each.patch for each in before.patches}
    assert here.requires == ("delta", "patch")
    assert done.made == 0
    assert done.size < line.whole[5].path.stat().st_size / 2
    same_site(line.whole[1].path, out, line.whole[5].path, tmp_path)


# --- what cannot be


def test_patches_on_patches_outside(line: Line, out: Path) -> None:
    with pytest.raises(PatchOutside) as refused:
        run(out, line.second, line.third)
    assert "2.delta" in refused.value.summary
    assert "3.delta" in refused.value.detail
    assert "model.bin" in refused.value.detail
    assert "tiny 1" in refused.value.hint
    assert left(out) == []


def test_a_gap_under_a_patch(line: Line, out: Path) -> None:
    with pytest.raises(ChainBroken) as refused:
        run(out, line.whole[1].path, line.third)
    assert "tiny 2" in refused.value.hint
    model = next(each.digest for each in line.whole[2].statement.files if each.name == "model.bin")
    assert any(str(model) == digest and "model.bin" in names for digest, names in refused.value.missing)
    assert left(out) == []


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


# --- full, killed


def test_no_room_for_what_lies_beside(line: Line, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(files, "free_space", lambda path: 1000)
        with pytest.raises(DiskFull) as refused:
            run(out, line.whole[1].path, line.second, line.third)
    assert refused.value.missing > 0
    assert left(out) == []


@pytest.mark.parametrize("late", [0, 3, 9])
def test_the_disk_gets_full_meanwhile(line: Line, out: Path, monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    """Told by the kernel; with room again the same goes on."""
    real, count = files.scratch, 0

    def scratch(folder: Path) -> AbstractContextManager[BinaryIO]:
        nonlocal count
        count += 1
        return Path("/dev/full").open("w+b") if count > late else real(folder)

    with monkeypatch.context() as patched:
        patched.setattr(files, "scratch", scratch)
        with pytest.raises(DiskFull):
            run(out, line.whole[1].path, line.second, line.third)
    assert left(out) == ["squashed.bundle.partial", "squashed.bundle.partial.journal"]
    run(out, line.whole[1].path, line.second, line.third)
    assert out.read_bytes() == line.whole[3].path.read_bytes()


def kill_at(number: int, out: Path, *chain: Path) -> bool:
    """Squash in a child that is killed just before its `number`-th write; whether it was."""
    child = os.fork()
    if child == 0:
        count, real = 0, Partial.write

        def write(self: Partial, data: bytes, offset: int) -> None:
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), 9)
            real(self, data, offset)

        Partial.write = write  # type: ignore[method-assign,assignment]
        try:
            run(out, *chain)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def test_killed_at_any_point(line: Line, out: Path) -> None:
    chain, kills, number = (line.whole[1].path, line.second, line.third), 0, 1
    while kill_at(number, out, *chain):
        kills, number = kills + 1, number + 13
        assert set(left(out)) <= {"squashed.bundle.partial", "squashed.bundle.partial.journal"}
    assert kills >= 8
    assert out.read_bytes() == line.whole[3].path.read_bytes()
    assert left(out) == ["squashed.bundle"]


def test_what_is_whole_is_not_made_again(line: Line, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain, real, made, stop = (line.whole[1].path, line.second, line.third), Maker._make, list[Digest](), 12

    def make(self: Maker, step: Step, stack: ExitStack) -> None:
        if len(made) == stop:
            raise KeyboardInterrupt
        real(self, step, stack)
        made.append(step.digest)

    monkeypatch.setattr(Maker, "_make", make)
    with pytest.raises(KeyboardInterrupt):
        run(out, *chain)
    before = set(made)
    made.clear()
    stop = 99
    run(out, *chain)
    assert not before & set(made) & {entry.digest for entry in line.whole[3].statement.blobs}
    assert len(made) >= 6
    assert out.read_bytes() == line.whole[3].path.read_bytes()


def test_as_a_command(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("alice.key").write_bytes(ALICE.pem(None))
    Path("alice.key").chmod(0o600)
    more = ["--key", "alice.key", "-o", "out.bundle", "-q"]
    assert main(["squash", str(line.whole[1].path), str(line.second), *more]) == 0
    assert "made whole of patches" in capsys.readouterr().out
    assert main(["squash", str(line.unpatched), str(line.third), *more, "--json", "-n"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["made"] >= 9
    assert facts["patches"] == 0
    assert main(["squash", str(line.second), str(line.third), *more]) == PatchOutside.exit_code
    assert issubclass(PatchOutside, BundleError)
