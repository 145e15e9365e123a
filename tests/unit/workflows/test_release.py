"""The release that a site is brought to: judged each time, remembered whole, and never taken from what was changed."""

from pathlib import Path

import pytest

from bundler.errors import NotASite, NotReadable, ThresholdNotMet, UntrustedSigner, Usage
from bundler.model.digest import Digest
from bundler.model.lock_text import write_lock
from bundler.support.progress import Silent
from bundler.workflows.install import install
from bundler.workflows.release import Release, installed_release, is_remembered, release_of, remember
from tests.bundles import ALICE, BOB, CAROL, TinyBundle, tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> TinyBundle:
    return tiny_bundle(tmp_path, keys=(ALICE, BOB))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "site.state"


def known(bundle: TinyBundle, state: Path, *, threshold: int | None = None) -> Release:
    with release_of(bundle.path, state, keys=bundle.publics, threshold=threshold) as release:
        remember(release, state)
    return release


def test_what_is_remembered_is_what_was_judged(bundle: TinyBundle, state: Path) -> None:
    assert not is_remembered(state)
    first = known(bundle, state, threshold=2)
    assert is_remembered(state)
    with release_of(None, state, keys=(), threshold=None) as again:
        assert (again.statement, again.lock, again.trust) == (first.statement, first.lock, first.trust)
        assert again.signed.statement == first.signed.statement
    assert (again.trust.threshold, again.source) == (2, None)


def test_a_bundle_later_is_judged_by_the_keys_of_the_first_time(
    tmp_path: Path, bundle: TinyBundle, state: Path
) -> None:
    known(bundle, state, threshold=2)
    for keys, error in (((ALICE,), ThresholdNotMet), ((CAROL,), UntrustedSigner)):
        other = tiny_bundle(tmp_path, keys=keys, number=2, name=f"{keys[0].public.keyid}.bundle")
        with pytest.raises(error), release_of(other.path, state, keys=(), threshold=None):
            pass
    newer = tiny_bundle(tmp_path, keys=(BOB, ALICE), number=2, name="newer.bundle")
    with release_of(newer.path, state, keys=(), threshold=None) as release:
        assert release.statement.release.number == 2
        assert release.source is not None


def test_nothing_to_judge_by(bundle: TinyBundle, state: Path) -> None:
    for path in (None, bundle.path):
        with pytest.raises(Usage, match="--trust"), release_of(path, state, keys=(), threshold=None):
            pass
    with (
        pytest.raises(Usage, match="no release was installed"),
        release_of(None, state, keys=bundle.publics, threshold=None),
    ):
        pass


def test_a_lock_that_was_changed_is_refused(bundle: TinyBundle, state: Path) -> None:
    known(bundle, state)
    lock = state / "release/images.lock"
    lock.write_text(lock.read_text() + "\n")
    with pytest.raises(NotReadable, match="not the lock of the release"), release_of(None, state, keys=(), threshold=1):
        pass


def test_a_run_that_died_while_it_remembered(bundle: TinyBundle, state: Path) -> None:
    """The statement comes last: without it there is no release, whatever else lies there."""
    known(bundle, state)
    (state / "release/release.front").unlink()
    assert not is_remembered(state)
    with pytest.raises(Usage), release_of(None, state, keys=(), threshold=None):
        pass
    known(bundle, state)
    assert is_remembered(state)


def test_the_release_of_a_site_host_is_in_its_store(tmp_path: Path, bundle: TinyBundle) -> None:
    with pytest.raises(NotASite):
        installed_release(tmp_path / "root")
    install(bundle.path, tmp_path / "root", keys=bundle.publics, threshold=2, jobs=1, progress=Silent())
    found = installed_release(tmp_path / "root")
    assert (found.statement, found.source) == (bundle.statement, None)
    assert Digest.of(write_lock(found.lock).encode()) == bundle.statement.lock
    assert (set(found.trust.keys), found.trust.threshold) == (set(bundle.publics), 2)
