"""Random histories of a site: installations, rollbacks, pins and sweeps, any of them killed anywhere and done again."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import BaseMissing, NoSuchRelease
from bundler.site.kept import unfinished
from bundler.workflows.gc import gc
from tests import histories
from tests.bundles import TinyBundle
from tests.campaigns import tree_of
from tests.histories import Operation, check_always, check_swept, dying, highest, serving
from tests.strategies import fewer

NAMES = [*(f"tiny-{number}" for number in histories.NUMBERS), "other-7"]
operations = st.one_of(
    st.builds(Operation, name=st.just("install"), release=st.sampled_from([*NAMES, *histories.DELTAS])),
    st.builds(Operation, name=st.just("rollback"), release=st.sampled_from(NAMES)),
    st.builds(Operation, name=st.just("gc"), count=st.integers(1, 3)),
    st.builds(Operation, name=st.just("pin"), release=st.sampled_from(NAMES), count=st.sampled_from([0, 1])),
)
# Operations, each with the change of the disk that it does not live to see (0: it lives).
pasts = st.lists(st.tuples(operations, st.one_of(st.just(0), st.integers(1, 160))), min_size=2, max_size=8)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyBundle]:
    return histories.releases(tmp_path_factory.mktemp("bundles"))


def run(operation: Operation, root: Path, known: dict[str, TinyBundle]) -> bool:
    """False where the site does not keep what was meant, or lacks what a delta builds on."""
    try:
        operation.run(root, known)
    except (NoSuchRelease, BaseMissing):
        return False
    return True


@fewer(10)
@given(past=pasts)
def test_any_history(
    tmp_path_factory: pytest.TempPathFactory, known: dict[str, TinyBundle], past: list[tuple[Operation, int]]
) -> None:
    """Beside a site where nothing is ever killed: after each operation both are the same."""
    folder = tmp_path_factory.mktemp("histories")
    root, calm = folder / "root", folder / "calm"
    with pytest.MonkeyPatch.context() as patched:
        for each in (root, calm):
            histories.put(known["tiny-1"], each)
        for operation, at in past:
            before = highest(root)
            if at:
                with dying(at, patched):
                    run(operation, root, known)
                check_always(root)
                assert all(highest(root)[line] >= number for line, number in before.items())
            assert run(operation, root, known) == run(operation, calm, known)
            check_always(root)
            assert unfinished(root) is None
            if operation.name == "gc":
                check_swept(root)
            assert serving(root) == serving(calm)
            assert all(highest(root)[line] >= number for line, number in before.items())
        gc(root, keep=1)
        gc(calm, keep=1)
        check_swept(root)
        assert tree_of(root) == tree_of(calm)
    shutil.rmtree(folder)


@fewer(10)
@given(past=pasts)
def test_what_died_is_not_always_done_again(
    tmp_path_factory: pytest.TempPathFactory, known: dict[str, TinyBundle], past: list[tuple[Operation, int]]
) -> None:
    """Something else is done after a death: whatever it is, what is kept stays whole, and gc leaves no orphan."""
    root = tmp_path_factory.mktemp("orders") / "root"
    with pytest.MonkeyPatch.context() as patched:
        histories.put(known["tiny-1"], root)
        for operation, at in past:
            before = highest(root)
            with dying(at, patched):
                run(operation, root, known)
            check_always(root)
            assert serving(root)
            assert all(highest(root)[line] >= number for line, number in before.items())
            if operation.name == "gc" and not at:
                check_swept(root)
        gc(root, keep=1, abandon=True)
        check_always(root)
        check_swept(root)
        assert unfinished(root) is None
    shutil.rmtree(root.parent)


@pytest.mark.parametrize("name", ["rollback", "gc", "install", "delta"])
def test_killed_at_every_change(tmp_path: Path, known: dict[str, TinyBundle], name: str) -> None:
    """Every single change of the disk that it makes: what was in use serves until the switch, and done again it ends
    where an undisturbed one would."""
    start, calm = tmp_path / "start", tmp_path / "calm"
    for each in ("tiny-1", "tiny-2", "other-7"):
        histories.put(known[each], start)
    operation = {
        "rollback": Operation(name="rollback", release="tiny-1"),
        "gc": Operation(name="gc", count=1),
        "install": Operation(name="install", release="tiny-3"),
        "delta": Operation(name="install", release="tiny-3 by 2"),
    }[name]
    histories.copy(start, calm)
    with pytest.MonkeyPatch.context() as patched, dying(0, patched) as counted:
        operation.run(calm, known)
    changes, expected, root = counted(), tree_of(calm), tmp_path / "root"
    assert changes > 5
    for at in sample(changes):
        histories.copy(start, root)
        with pytest.MonkeyPatch.context() as patched, dying(at, patched):
            operation.run(root, known)
        check_always(root)
        assert serving(root) in (serving(start), serving(calm))
        operation.run(root, known)
        assert tree_of(root) == expected, f"killed before change {at} of {changes}"
        shutil.rmtree(root)


def sample(changes: int) -> list[int]:
    step = max(1, changes // 20)
    return sorted({*range(1, changes + 1, step), *range(max(1, changes - 8), changes + 1)})
