"""What a site keeps: back to it, down to it, away with it; and what each of these is refused for."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from bundler.cli.main import main
from bundler.errors import (
    BundleError,
    Busy,
    InvalidDocument,
    NoSuchRelease,
    NotASite,
    NothingBefore,
    OlderRelease,
    ReleaseConflict,
    ReleaseIncomplete,
    StateDamaged,
    StoreDamaged,
)
from bundler.model.digest import Digest
from bundler.site import fronts, generation
from bundler.site.kept import kept, unfinished
from bundler.site.state import read_state
from bundler.store.blobs import BlobStore
from bundler.support import clock, files
from bundler.workflows import gc as collecting
from bundler.workflows import install as installing
from bundler.workflows import receive
from bundler.workflows.gc import gc
from bundler.workflows.release import installed_release
from bundler.workflows.releases import history_of, pin, releases
from bundler.workflows.rollback import plan, rollback
from tests import histories
from tests.bundles import TinyBundle, tiny_bundle
from tests.histories import check_swept, put, serving

DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyBundle]:
    return histories.releases(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, known: dict[str, TinyBundle]) -> Path:
    root = tmp_path_factory.mktemp("sites") / "three"
    with pytest.MonkeyPatch.context() as patched:
        histories.quick(patched)
        for number in histories.NUMBERS:
            put(known[f"tiny-{number}"], root)
    return root


@pytest.fixture
def root(tmp_path: Path, three: Path) -> Path:
    histories.copy(three, tmp_path / "site")
    return tmp_path / "site"


def names(root: Path) -> list[str]:
    return [each.short for each in kept(root)]


def refused(error: type[BundleError], run: Callable[[], object], root: Path) -> BundleError:
    """And nothing is another one than before."""
    before = serving(root), (root / "state/site.json").read_bytes()
    with pytest.raises(error) as caught:
        run()
    assert (serving(root), (root / "state/site.json").read_bytes()) == before
    return caught.value


# --- back


def test_back_and_forth(root: Path, known: dict[str, TinyBundle]) -> None:
    """Unnamed, further back each time; what was left is installed again though its number was seen."""
    assert rollback(root, None, reason="slow").there.short == "tiny-2"
    assert rollback(root, None).there.short == "tiny-1"
    refused(NothingBefore, lambda: rollback(root, None), root)
    assert read_state(root).releases["tiny"][0] == 3
    assert rollback(root, "3").there.short == "tiny-3"
    rollback(root, "tiny-1")
    assert put(known["tiny-3"], root)
    assert rollback(root, None).there.short == "tiny-1", "what was in use when it was installed"
    assert not put(known["tiny-1"], root), "what is in use is no step back"
    assert [(event.what, event.reason) for event in history_of(root)][3] == ("rollback", "slow")


def test_what_it_would_change(root: Path) -> None:
    change = plan(root, "tiny-1")
    assert change.gone == ("debian/bookworm/hello_2.3-1_amd64.deb", "tiny-3", "tiny-3.0-py3-none-any.whl")
    assert change.back == ("debian/bookworm/hello_2.1-1_amd64.deb", "tiny-1", "tiny-1.0-py3-none-any.whl")
    assert change.other == ()
    assert plan(root, "tiny-2").other == ("half",)
    assert plan(root, "tiny-3").nothing
    before = (root / "state/site.json").read_bytes()
    assert rollback(root, "tiny-3").nothing
    assert (root / "state/site.json").read_bytes() == before


@pytest.mark.parametrize("text", ["tiny-2", "tiny 2", "2", "generation", "content"])
def test_ways_to_name_one(root: Path, text: str) -> None:
    two = kept(root)[1]
    text = {"generation": two.name, "content": two.statement.content.hex[:12]}.get(text, text)
    assert plan(root, text).there == two


def test_names_that_mean_none_or_several(root: Path, known: dict[str, TinyBundle], tmp_path: Path) -> None:
    for text in ("4", "tiny", "", "../..", "other-7", "sha256:"):
        refused(NoSuchRelease, lambda text=text: rollback(root, text), root)  # type: ignore[misc]
    put(histories.release(tmp_path, 2, line="other"), root)
    error = refused(NoSuchRelease, lambda: rollback(root, "2"), root)
    assert isinstance(error, NoSuchRelease)
    assert len(error.kept) == 2


def test_incomplete_is_refused_by_name(root: Path) -> None:
    one = kept(root)[0]
    wheel = one.statement.wheels[0]
    BlobStore(root).path(wheel.digest).unlink()
    error = refused(ReleaseIncomplete, lambda: rollback(root, "1"), root)
    assert isinstance(error, ReleaseIncomplete)
    assert error.missing == ((str(wheel.digest), (wheel.name,)),)
    assert rollback(root, "2").there.short == "tiny-2"


def test_clients_in_the_middle_of_something(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What content-addressed paths the newer one had are there after it; apt's date grows, whatever the clock."""
    newer = generation.current(root)
    assert newer is not None
    fixed = [path.relative_to(newer) for path in newer.rglob("*.whl")] + [
        path.relative_to(newer) for path in newer.glob("apt/*/dists/*/main/*/by-hash/SHA256/*")
    ]
    before = read_state(root).signed_at
    assert before is not None
    monkeypatch.setattr(clock, "now", lambda: DATE - timedelta(days=5000))
    rollback(root, None)
    assert fixed
    assert all((root / "current" / path).exists() for path in fixed)
    release = next((root / "current").glob("apt/*/dists/*/InRelease")).read_text()
    date = next(line for line in release.splitlines() if line.startswith("Date: "))
    assert datetime.strptime(date, "Date: %a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC) > before


def test_the_release_in_use_is_known_after_it(root: Path) -> None:
    """What other commands read of the release in use; and its views can be made again, though a newer one was seen."""
    rollback(root, "1")
    assert installed_release(root).statement.release.number == 1
    assert receive.rebuild(root).statement.release.number == 1
    assert serving(root) == "tiny-1"
    assert read_state(root).releases["tiny"][0] == 3


def test_a_site_of_an_earlier_version(root: Path) -> None:
    """It remembers no history and kept no fronts: the next lower number of the line is the one before."""
    path = root / "state/site.json"
    facts = json.loads(path.read_bytes())
    trust = {key: facts["trust"][key] for key in ("keys", "threshold")}
    earlier = {"trust": trust, "releases": facts["releases"], "signedAt": facts["signedAt"]}
    path.write_text(json.dumps(earlier))
    for front in root.glob("generations/*/statement/release.front"):
        front.unlink()
    assert rollback(root, None).there.short == "tiny-2"
    assert installed_release(root).statement.release.number == 2


def test_no_site(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "none"):
        runs = (partial(rollback, root, None), partial(releases, root), partial(history_of, root))
        for run in (*runs, partial(gc, root, keep=1)):
            with pytest.raises(NotASite):
                run()
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time(root: Path) -> None:
    with files.exclusive(root / ".lock", what="it"):
        for run in (lambda: rollback(root, None), lambda: gc(root, keep=1), lambda: pin(root, "1", remove=False)):
            with pytest.raises(Busy):
                run()
        assert plan(root, None).there.short == "tiny-2"
        assert len(releases(root).shown) == 3


# --- down


def test_down_only_with_a_reason(root: Path, known: dict[str, TinyBundle], tmp_path: Path) -> None:
    refused(OlderRelease, lambda: put(known["tiny-1"], root), root)
    assert put(known["tiny-1"], root, downgrade="2 and 3 lose connections")
    assert read_state(root).releases["tiny"][0] == 3
    event = history_of(root)[-1]
    assert (event.what, event.reason, event.before.rpartition("-")[0]) == (
        "downgrade",
        "2 and 3 lose connections",
        "tiny-3",
    )
    refused(OlderRelease, lambda: put(known["tiny-2"], root), root)
    other = tiny_bundle(tmp_path, name="other.bundle", number=2, files={"other": b"other\n"}, images={})
    refused(ReleaseConflict, lambda: put(other, root, downgrade="why not"), root)


def test_the_command_wants_both(root: Path, known: dict[str, TinyBundle]) -> None:
    install = ["install", str(known["tiny-1"].path), "--root", str(root), "-q"]
    assert main([*install, "--allow-downgrade"]) == 2
    assert main([*install, "--reason", "x"]) == 2
    assert main([*install, "--allow-downgrade", "--reason", "two\nlines"]) == 2
    assert main([*install, "--allow-downgrade", "--reason", "so"]) == 0
    assert serving(root) == "tiny-1"


# --- away


def test_what_stays(root: Path) -> None:
    found = collecting.plan(root, keep=2)
    assert [each.short for each in found.stays] == ["tiny-2", "tiny-3"]
    assert names(root) == ["tiny-1", "tiny-2", "tiny-3"], "a plan changes nothing"
    before = used(root)
    done = gc(root, keep=2)
    assert done.what.freed == found.what.freed > 10_000
    assert before - used(root) >= found.what.freed
    check_swept(root)
    assert names(root) == ["tiny-2", "tiny-3"]
    assert gc(root, keep=2).what.nothing
    refused(NoSuchRelease, lambda: rollback(root, "1"), root)
    gc(root, keep=1)
    check_swept(root)
    assert names(root) == ["tiny-3"]


def used(root: Path) -> int:
    seen = {path.lstat().st_ino: path.lstat().st_blocks * 512 for path in root.rglob("*") if path.is_file()}
    return sum(seen.values())


def test_after_a_rollback_what_is_behind_stays_before_what_was_left(root: Path) -> None:
    rollback(root, "2")
    assert [each.short for each in collecting.plan(root, keep=2).stays] == ["tiny-1", "tiny-2"]
    assert [each.short for each in collecting.plan(root, keep=3).stays] == ["tiny-1", "tiny-2", "tiny-3"]


def test_pins(root: Path) -> None:
    assert pin(root, "tiny-1", remove=False)[1]
    assert not pin(root, "tiny-1", remove=False)[1]
    assert gc(root, keep=1).why[kept(root)[0].name] == "pinned"
    assert names(root) == ["tiny-1", "tiny-3"]
    assert [each.pinned for each in releases(root).shown] == [False, True]
    assert pin(root, "tiny-1", remove=True)[1]
    gc(root, keep=1)
    assert names(root) == ["tiny-3"]


def test_what_runs(root: Path, tmp_path: Path) -> None:
    one, two, _ = kept(root)
    only_one, in_both = one.statement.wheels[0].manifest, two.statement.lock
    running = tmp_path / "running"
    running.write_text(f"# from the cluster\n\n{only_one}\n{in_both}\n{Digest.of(b'of somebody else')}\n")
    done = gc(root, keep=1, running=[running])
    assert names(root) == ["tiny-1", "tiny-2", "tiny-3"]
    assert done.why[one.name].startswith("runs")
    running.write_text(f"{only_one}\n")
    gc(root, keep=1, running=[running])
    assert names(root) == ["tiny-1", "tiny-3"]
    check_swept(root)


def test_a_slip_in_what_runs(root: Path, tmp_path: Path) -> None:
    running = tmp_path / "running"
    running.write_text("sha256:short\nnginx:latest\n")
    error = refused(InvalidDocument, lambda: gc(root, keep=1, running=[running]), root)
    assert isinstance(error, InvalidDocument)
    assert [problem.line for problem in error.problems] == [1, 2]
    assert len(names(root)) == 3


def test_what_is_not_ours_stays(root: Path) -> None:
    foreign = [
        root / "builds/docker/registry/v2/blobs/data",
        root / "generations/notes.txt",
        root / "generations/mine/file",
        root / "generations/.hidden/file",
        root / "store/blobs/sha256/README",
        root / "store/blobs/sha256/ab/notes.txt",
        root / f"store/blobs/sha256/ab/{'cd' * 32}",  # in the wrong folder: not where we would put it
        root / "keys/other.pem",
        root / "state/other.json",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("foreign")
    gc(root, keep=1)
    assert all(path.read_text() == "foreign" for path in foreign)
    assert names(root) == ["tiny-3"]


def test_an_interrupted_installation(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it brought stays for the next run, unless it is given up."""
    made = histories.release(tmp_path, 4)
    with monkeypatch.context() as patched:

        def killed(*_: object, **__: object) -> None:
            raise histories.Died

        patched.setattr(generation, "build", killed)
        with pytest.raises(histories.Died):
            put(made, root)
    half = unfinished(root)
    assert half is not None
    assert releases(root).unfinished == "tiny 4"
    begun = BlobStore(root).folder / "incoming" / next(iter(kept(root))).statement.lock.hex
    begun.write_bytes(b"of another one")
    gc(root, keep=1)
    store = BlobStore(root)
    assert all(store.holds(entry.digest, entry.size) for entry in half.blobs)
    assert not begun.exists()
    assert put(made, root)
    assert unfinished(root) is None
    fronts.begin(root, kept(root)[0].signed())
    gc(root, keep=1, abandon=True)
    assert unfinished(root) is None
    check_swept(root)


def test_nobody_knows_what_it_needs(root: Path) -> None:
    path = kept(root)[0].folder / "statement/bundle.json"
    path.write_bytes(path.read_bytes()[:-9])
    refused(StoreDamaged, lambda: gc(root, keep=1), root)
    path.unlink()  # no generation any more, so nobody's
    gc(root, keep=1)
    assert path.parent.exists()
    fronts.unfinished_path(root).write_bytes(b"?")
    refused(StateDamaged, lambda: gc(root, keep=1), root)
    gc(root, keep=1, abandon=True)


def test_a_full_disk_is_told_what_gc_gives_back(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "free_space", lambda path: 0)
    with pytest.raises(BundleError) as caught:
        put(histories.release(tmp_path, 4), root)
    assert "bundle gc --root" in caught.value.hint
    assert installing._VIEW_ROOM  # the room that views take is asked for as well
    assert unfinished(root) is None


# --- what is shown


def test_the_list(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = releases(root)
    assert [(each.one.short, each.in_use, each.before.rpartition("-")[0]) for each in found.shown] == [
        ("tiny-3", True, "tiny-2"),
        ("tiny-2", False, "tiny-1"),
        ("tiny-1", False, ""),
    ]
    assert all(0 < each.own < each.size for each in found.shown)
    on_disk = sum(path.stat().st_size for path in (root / "store/blobs").rglob("*") if path.is_file())
    assert found.size == on_disk
    assert main(["releases", "--root", str(root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [each["release"]["number"] for each in facts["releases"]] == [3, 2, 1]
    assert facts["highest"][0]["number"] == 3
    assert main(["releases", "--root", str(root)]) == 0
    assert "in use" in capsys.readouterr().out.splitlines()[0]


def test_the_commands(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    at = ["--root", str(root)]
    assert main(["rollback", *at, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["rollback", *at]) == 130, "nobody says yes"
    assert serving(root) == "tiny-3"
    assert main(["rollback", *at, "--yes", "--json"]) == 0
    assert main(["rollback", "2", *at, "--yes"]) == 0
    assert main(["gc", *at, "--dry-run", "--json"]) == 0
    assert main(["gc", *at, "--keep", "1"]) == 0
    assert main(["pin", "2", *at]) == 0
    assert main(["history", *at]) == 0
    assert main(["history", *at, "--json"]) == 0
    assert serving(root) == "tiny-2"
