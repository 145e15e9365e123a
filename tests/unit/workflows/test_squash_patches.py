"""A chain with patches as one: what is made of them is what `create` makes, and what cannot be is refused by name."""

import json
import os
import random
import subprocess
import sys
import zlib
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

from bundler.archive.chain_patches import Step
from bundler.cli.main import main
from bundler.errors import ChainBroken, DiskFull, PatchOutside
from bundler.fetch.partial import Partial
from bundler.model.digest import Digest
from bundler.support import files
from bundler.support.progress import Silent
from bundler.workflows import create as module
from bundler.workflows.chain_making import Maker
from bundler.workflows.install import install
from bundler.workflows.verify import verify
from tests import histories
from tests.bundles import ALICE, SOURCES, tiny_bundle
from tests.campaigns import tree_of
from tests.lab import ROOT
from tests.patched import delta_between, text
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
    again = run(out.with_name("again.bundle"), out.with_name("squashed.bundle.volumes.json"), line.fourth)
    assert again.statement.release.number == 4


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


# Its own peak in KiB is the last that it says.
MEASURED = """
import sys
from bundler.cli.main import main
code = main(sys.argv[1:])
print(*(line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.long
def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 MB, whatever the blob; here its plain stream, which is made twice, is larger than that."""
    monkeypatch.setattr(module, "tool_sources", lambda: SOURCES)
    monkeypatch.setattr(module, "prove_before", lambda lock, progress: None)
    whole = {}
    for number in (1, 2, 3):
        one = zlib.compressobj(1, zlib.DEFLATED, 31)
        packed = [one.compress(random.Random(at).randbytes(9 << 20) + text(at, 3 << 20)) for at in range(24)]
        packed += [one.compress(f"version {number}\n".encode() * 1000), one.flush()]
        name, content = f"{number}.bundle", {"big": b"".join(packed)}
        whole[number] = tiny_bundle(tmp_path, number=number, name=name, files=content, images={}, wheels=(), debs=())
    for number in (2, 3):
        assert delta_between(whole[number - 1], whole[number], name=f"{number}.delta").statement.patches
    (tmp_path / "alice.key").write_bytes(ALICE.pem(None))
    (tmp_path / "alice.key").chmod(0o600)
    line = ["squash", "1.bundle", "2.delta", "3.delta", "--key", "alice.key", "-o", "out.bundle", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, *line],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(said.stdout.split()[-1]) << 10 <= 256 << 20
    assert (tmp_path / "out.bundle").read_bytes() == whole[3].path.read_bytes()
