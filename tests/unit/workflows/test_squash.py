"""A chain of deltas as one: the same bytes as a delta that was made so, and a gap is named."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.archive.chain import Link, _check_order
from bundler.cli.main import main
from bundler.errors import BundleError, ChainBroken, DamagedContent, UntrustedSigner, Usage
from bundler.model.statement import Statement
from bundler.signing.keys import SigningKey
from bundler.signing.trust import Trust
from bundler.support.progress import Silent
from bundler.workflows import squash as workflow
from bundler.workflows.install import install
from bundler.workflows.squash import Squashed, squash
from bundler.workflows.verify import verify
from tests import histories
from tests.bundles import ALICE, BOB, TinyBundle, tiny_bundle
from tests.content import make_deb, make_image, make_wheel
from tests.unit.workflows.test_delta import delta, put, views

SHARED = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Four releases, whole: `whole[1]`; and the delta of each to the one before: `deltas[2]`."""

    folder: Path
    whole: dict[int, TinyBundle]
    deltas: dict[int, Path]

    def squash(self, *paths: Path, key: SigningKey = ALICE, trusted: SigningKey = ALICE, **options: object) -> Squashed:
        trust = Trust(keys=(trusted.public,), threshold=1)
        out = self.folder / "squashed.bundle"
        return squash(paths, out, keys=[key], trust=trust, jobs=2, progress=Silent(), **options)  # type: ignore[arg-type]


@pytest.fixture
def line(tmp_path: Path) -> Line:
    whole = {}
    for number in (1, 2, 3, 4):
        whole[number] = tiny_bundle(
            tmp_path,
            number=number,
            name=f"{number}.bundle",
            wheels=(make_wheel("tiny"), make_wheel("more", f"{number}.0")),
            debs=(make_deb("hello", f"1.{number}-1", "amd64"), make_deb("same", "1-1", "amd64")),
            images={"r.example/a/b:1": make_image({"app": f"{number}\n".encode()})},
            files={
                "shared": SHARED,
                f"own-{number}": f"{number}".encode() * 5000,
                "half": b"%d" % (number % 2) * 4000,
                **{f"since-{old}": b"since %d" % old * 1000 for old in range(2, number + 1)},
            },
        )
    deltas = {}
    for number in (2, 3, 4):
        made = delta(whole[number], whole[number - 1].statement, name=f"{number}.delta")
        deltas[number] = made
    return Line(folder=tmp_path, whole=whole, deltas=deltas)


def test_a_whole_bundle_and_deltas_are_the_last_whole_bundle(line: Line) -> None:
    done = line.squash(line.whole[1].path, line.deltas[2], line.deltas[3])
    assert done.out.read_bytes() == line.whole[3].path.read_bytes()
    assert not list(line.folder.glob("*.partial*"))


def test_deltas_are_the_delta_against_the_first_ones_base(line: Line) -> None:
    done = line.squash(line.deltas[2], line.deltas[3], line.deltas[4])
    # `half` is what it was two releases ago: whoever has only the chain cannot know that the base had it.
    direct = verify(
        delta(line.whole[4], line.whole[1].statement), keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()
    ).statement
    assert done.statement.delta
    assert direct.delta
    assert done.statement.delta.bases == direct.delta.bases
    assert set(done.statement.delta.held) <= set(direct.delta.held)
    assert done.statement.content == line.whole[4].statement.content
    assert {each.digest for each in done.statement.blobs} == {each.digest for each in direct.blobs}
    verify(done.out, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent())
    put(line.whole[1].path, line.folder / "site")
    put(done.out, line.folder / "site")
    put(line.whole[1].path, line.folder / "whole")
    put(line.whole[4].path, line.folder / "whole")
    assert views(line.folder / "site") == views(line.folder / "whole")


def test_a_blob_that_comes_back_travels_from_the_link_that_has_it(line: Line) -> None:
    """Release 3 has what release 1 had and release 2 had not: the second delta carries it."""
    done = line.squash(line.deltas[2], line.deltas[3])
    assert done.out.stat().st_size < line.whole[3].path.stat().st_size


def test_deltas_that_were_made_against_all_before(line: Line) -> None:
    second = verify(line.deltas[2], keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()).statement
    third = delta(line.whole[3], line.whole[1].statement, second, name="chain.delta")
    done = line.squash(line.deltas[2], third)
    direct = delta(line.whole[3], line.whole[1].statement, name="direct.delta")
    assert done.out.read_bytes() == direct.read_bytes()


def test_a_gap_is_named(line: Line) -> None:
    with pytest.raises(ChainBroken) as refused:
        line.squash(line.deltas[2], line.deltas[4])
    assert "tiny 3" in refused.value.summary
    assert "4.delta" in refused.value.summary
    assert "tiny 3" in refused.value.hint
    assert not (line.folder / "squashed.bundle").exists()
    with pytest.raises(ChainBroken) as refused:
        line.squash(line.whole[1].path, line.deltas[3])
    assert "tiny 2" in refused.value.summary
    assert not list(line.folder.glob("squashed*"))


def test_what_nobody_needs_is_no_gap(line: Line) -> None:
    """Content counts: a release whose own blobs are not in the last one may be left out."""
    files = {"shared": SHARED, "own-9": b"9" * 5000}
    last = tiny_bundle(line.folder, number=9, name="9.bundle", files=files)
    made = delta(last, line.whole[3].statement, name="9.delta")
    assert line.squash(line.deltas[2], made).statement.content == last.statement.content


def test_what_is_no_chain(line: Line) -> None:
    one, two = line.deltas[2], line.deltas[3]
    for paths, words in (
        ((two, one), "does not come after"),
        ((one, one), "does not come after"),
        ((one,), "two bundles"),
        ((one, line.whole[3].path), "not the first"),
    ):
        with pytest.raises(Usage, match=words):
            line.squash(*paths)
    other = tiny_bundle(line.folder, line="other", number=9, name="other.bundle")
    with pytest.raises(Usage, match="does not come after"):
        _check_order([Link(path="a", statement=line.whole[1].statement),
                      Link(path="b", statement=_delta_statement(other, line))])  # fmt: skip


def _delta_statement(target: TinyBundle, line: Line) -> Statement:
    made = delta(target, line.whole[1].statement, name="other.delta")
    return verify(made, keys=[ALICE.public], threshold=1, jobs=1, progress=Silent()).statement


def test_only_what_is_trusted_is_signed_anew(line: Line) -> None:
    with pytest.raises(UntrustedSigner):
        line.squash(line.deltas[2], line.deltas[3], key=BOB, trusted=BOB)
    done = line.squash(line.deltas[2], line.deltas[3], key=BOB)
    assert verify(done.out, keys=[BOB.public], threshold=1, jobs=1, progress=Silent()).signed == (BOB.public.keyid,)


def test_a_damaged_link(line: Line) -> None:
    data = bytearray(line.deltas[2].read_bytes())
    at = data.index(b"2" * 600)
    data[at] ^= 1
    line.deltas[2].write_bytes(data)
    with pytest.raises(DamagedContent) as refused:
        line.squash(line.deltas[2], _without(line, "own-2"))
    assert "2.delta" in refused.value.summary
    assert not (line.folder / "squashed.bundle").exists()


def _without(line: Line, name: str) -> Path:
    """A third release that still has a file of the second, and does not carry it."""
    del name
    third = tiny_bundle(line.folder, number=3, name="still.bundle", files={"shared": SHARED, "own-2": b"2" * 5000})
    return delta(third, line.whole[2].statement, name="still.delta")


def test_a_dry_run_writes_nothing(line: Line) -> None:
    done = line.squash(line.deltas[2], line.deltas[3], dry_run=True)
    assert not done.out.exists()
    assert line.squash(line.deltas[2], line.deltas[3]).out.stat().st_size == done.size


def test_volumes(line: Line) -> None:
    done = line.squash(line.whole[1].path, line.deltas[2], volume=70_000)
    assert b"".join(path.read_bytes() for path in done.slices) == line.whole[2].path.read_bytes()


def test_killed_in_the_middle_it_goes_on(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workflow, "write_signed", cut)
        with pytest.raises(KeyboardInterrupt):
            line.squash(line.whole[1].path, line.deltas[2])
    assert list(line.folder.glob("*.partial"))
    done = line.squash(line.whole[1].path, line.deltas[2])
    assert done.out.read_bytes() == line.whole[2].path.read_bytes()


@pytest.mark.parametrize("first", ["whole", "delta"])
def test_a_site_takes_it(line: Line, first: str) -> None:
    start = line.whole[1].path if first == "whole" else line.deltas[2]
    done = line.squash(start, *([line.deltas[2]] if first == "whole" else []), line.deltas[3])
    root = line.folder / "site"
    if first == "delta":
        with pytest.raises(BundleError):
            put(done.out, root)
        put(line.whole[1].path, root)
    found = install(done.out, root, keys=[ALICE.public], threshold=None, jobs=1, progress=Silent())
    assert found.statement.content == line.whole[3].statement.content


def test_as_a_command(line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(line.folder)
    Path("alice.key").write_bytes(ALICE.pem(None))
    Path("alice.key").chmod(0o600)
    chain = ["squash", "2.delta", "3.delta", "--key", "alice.key", "-o", "out.bundle", "-q"]
    assert main([*chain, "--dry-run"]) == 0
    assert "would write out.bundle" in capsys.readouterr().out
    assert main([*chain, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["bases"], facts["release"]["number"]) == ("delta", ["tiny 1"], 3)
    assert facts["size"] == Path("out.bundle").stat().st_size
    assert main(["squash", "2.delta", "4.delta", "--key", "alice.key", "-o", "gap.bundle"]) == ChainBroken.exit_code
    assert "builds on tiny 3" in capsys.readouterr().err
    assert main(["squash", "2.delta", "3.delta", "-o", "none.bundle"]) == Usage.exit_code
    assert main(["squash", "2.delta", "3.delta", "--key", "alice.key", "-o", "3.delta"]) == Usage.exit_code
