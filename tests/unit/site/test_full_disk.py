"""No room at each single write of an operation: what was served is served on, the error says how much is missing, gc
works all the same, and done again where there is room it ends where it should."""

import shutil
from pathlib import Path

import pytest

from bundler.errors import DiskFull
from bundler.workflows.gc import gc
from tests import histories
from tests.bundles import TinyBundle
from tests.campaigns import tree_of
from tests.histories import Operation, check_always, check_swept, filling, serving
from tests.unit.site.test_histories import sample

OPERATIONS = {
    "delta": Operation(name="install", release="tiny-3 by 2"),
    "install": Operation(name="install", release="tiny-3"),
    "rollback": Operation(name="rollback", release="tiny-1"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyBundle]:
    return histories.releases(tmp_path_factory.mktemp("bundles"))


@pytest.mark.parametrize("name", OPERATIONS)
def test_full_from_any_write_on(tmp_path: Path, known: dict[str, TinyBundle], name: str) -> None:
    operation, start, calm, root = OPERATIONS[name], tmp_path / "start", tmp_path / "calm", tmp_path / "root"
    for each in ("other-7", "tiny-1", "tiny-2"):
        histories.put(known[each], start)
    histories.copy(start, calm)
    with pytest.MonkeyPatch.context() as patched, filling(0, patched) as counted:
        operation.run(calm, known)
    gc(calm, keep=3)
    writes, expected = counted(), tree_of(calm)
    assert writes > 20
    for at in sample(writes)[::3]:
        histories.copy(start, root)
        with pytest.MonkeyPatch.context() as patched, filling(at, patched):
            with pytest.raises(DiskFull) as full:
                operation.run(root, known)
            assert full.value.missing > 0
            assert "more bytes" in full.value.summary
            assert serving(root) == serving(start), f"full from write {at} of {writes} on"
            check_always(root)
            gc(root, keep=3)
            check_swept(root)
            check_always(root)
        operation.run(root, known)
        gc(root, keep=3)
        assert tree_of(root) == expected, f"full from write {at} of {writes} on"
        shutil.rmtree(root)
