"""Generations: whole under their name, switched to by one rename, and killed at any point without harm."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.archive.reader import BundleFile
from bundler.signing.trust import judge
from bundler.site import generation, state
from bundler.store.blobs import BlobStore
from bundler.support import clock
from bundler.support.progress import Silent
from bundler.workflows import install as module
from bundler.workflows.install import install
from tests import histories
from tests.bundles import ALICE, FILES, TinyBundle, tiny_bundle
from tests.campaigns import tree_of
from tests.content import make_deb, make_wheel

DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


class Killed(BaseException):
    """Ends a run where it stands, as a kill would: nothing of ours catches it."""


def put(made: TinyBundle, root: Path) -> bool:
    return install(made.path, root, keys=made.publics, threshold=None, jobs=2, progress=Silent()).changed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def first(folder: Path) -> TinyBundle:
    return tiny_bundle(folder, name="first.bundle")


@pytest.fixture(scope="module")
def second(folder: Path) -> TinyBundle:
    wheels, debs = (make_wheel("tiny", "2.0"),), (make_deb("hello", "1:2.11-1", "amd64"),)
    return tiny_bundle(
        folder, name="second.bundle", number=2, wheels=wheels, debs=debs, files={**FILES, "more.txt": b"more\n"}
    )


@pytest.fixture(scope="module")
def straight(folder: Path, first: TinyBundle, second: TinyBundle) -> dict[str, str]:
    """What a site is after both releases, undisturbed."""
    for made in (first, second):
        assert put(made, folder / "straight")
    return tree_of(folder / "straight")


POINTS: dict[str, tuple[object, str]] = {
    "before the first blob": (module, "_store_blob"),
    "before the blobs are settled": (BlobStore, "settle"),
    "before the generation": (generation, "build"),
    "before the first view": (generation, "build_registry"),
    "before the last view": (generation, "build_files"),
    "before the old paths": (generation, "carry_over"),
    "before apt is signed": (generation, "sign_apt"),
    "before the state": (module, "write_state"),
    "before the switch": (generation, "switch"),
    "after the switch": (generation, "switch"),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_and_run_again(
    tmp_path: Path,
    first: TinyBundle,
    second: TinyBundle,
    straight: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """The old release is in use until the switch, and the second run ends where an undisturbed one would."""
    root = tmp_path / "root"
    assert put(first, root)
    before, (place, name) = (root / "current").readlink(), POINTS[point]
    after = point.startswith("after")
    with monkeypatch.context() as patched:
        patched.setattr(place, name, killer(getattr(place, name), late=after))
        with pytest.raises(Killed):
            put(second, root)
    assert ((root / "current").readlink() != before) == after
    assert put(second, root) != after
    assert tree_of(root) == straight
    assert not put(second, root)


def killer(real: Callable[..., object], *, late: bool) -> Callable[..., object]:
    def killed(*arguments: object, **options: object) -> object:
        if late:
            real(*arguments, **options)
        raise Killed

    return killed


def test_other_content_under_the_number_of_a_killed_installation(
    tmp_path: Path, first: TinyBundle, second: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Release 2 was half installed, never in use, and made again with other content: that is what is published."""
    root = tmp_path / "root"
    put(first, root)
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_state", killer(state.write_state, late=False))
        with pytest.raises(Killed):
            put(second, root)
    again = tiny_bundle(tmp_path, name="again.bundle", number=2, files={"again.txt": b"again\n"})
    assert put(again, root)
    assert (root / "current" / "files" / "again.txt").read_bytes() == b"again\n"
    assert not (root / "current" / "files" / "more.txt").exists()


def test_what_stays_reachable(tmp_path: Path, first: TinyBundle, second: TinyBundle) -> None:
    """A client that read an index of release 1 still finds what it names after the switch to release 2."""
    root = tmp_path / "root"
    put(first, root)
    before = tree_of(root / "current" / "")
    put(second, root)
    fixed = [path for path in before if generation_paths(path)]
    assert {path.split("/")[0] for path in fixed} == {"apt", "pypi", "registry"}
    for path in fixed:
        assert (root / "current" / path).exists(), path
    names = {path.name for path in (root / "current" / "pypi" / "files").rglob("*.whl")}
    assert names == {"tiny-1.0-py3-none-any.whl", "tiny-2.0-py3-none-any.whl"}


def generation_paths(path: str) -> bool:
    return (
        path.endswith((".whl", ".deb", "/data"))
        or "/by-hash/" in path
        or ("/sha256/" in path and path.endswith("/link") and "/tags/" not in path)
    )


def test_bytes_are_on_the_disk_once(tmp_path: Path, first: TinyBundle) -> None:
    root = tmp_path / "root"
    put(first, root)
    for entry in first.statement.entries[4:]:
        if entry.size > 10_000:
            path = root / "store" / "blobs" / "sha256" / entry.digest.hex[:2] / entry.digest.hex
            assert path.stat().st_nlink > 1


def dates(root: Path) -> list[datetime]:
    found = sorted((root / "current" / "apt").rglob("InRelease"))
    assert found
    lines = [line for path in found for line in path.read_text().splitlines() if line.startswith("Date: ")]
    return [datetime.strptime(line, "Date: %a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC) for line in lines]


def test_the_date_of_apt_grows(
    tmp_path: Path, first: TinyBundle, second: TinyBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the clock goes back in between, and at several switches within one second."""
    root = tmp_path / "root"
    monkeypatch.setattr(clock, "now", lambda: DATE)
    put(first, root)
    assert dates(root) == [DATE]
    monkeypatch.setattr(clock, "now", lambda: DATE - timedelta(days=30))
    put(second, root)
    assert dates(root) == [DATE + timedelta(seconds=1)]
    other = tiny_bundle(tmp_path, name="other.bundle", line="other")
    put(other, root)
    put(second, root)
    assert dates(root) == [DATE + timedelta(seconds=3)]


def test_no_generation_is_in_use(tmp_path: Path) -> None:
    assert generation.current(tmp_path) is None
    (tmp_path / "current").symlink_to("generations/gone")
    assert generation.current(tmp_path) is None


def test_the_evidence_is_kept(tmp_path: Path, first: TinyBundle) -> None:
    root = tmp_path / "root"
    put(first, root)
    with BundleFile(first.path) as file:
        signed = file.front()
    assert (root / "current" / "statement" / "bundle.json").read_bytes() == signed.statement
    evidence = root / "current" / "statement" / f"bundle.json.{ALICE.public.keyid}.sig"
    assert judge(first.trust, signed).signatures[ALICE.public.keyid] == evidence.read_bytes()
