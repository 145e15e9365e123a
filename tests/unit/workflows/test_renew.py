"""Keys that change: from the command that makes the statement to the site that judges by it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.cli.main import main
from bundler.errors import BundleError, NotASite, RevokedKey, TrustExpired, UntrustedSigner
from bundler.signing.keys import SigningKey
from bundler.site.state import SiteState, read_state
from bundler.support import clock
from bundler.workflows.receive import rebuild
from bundler.workflows.release import installed_release
from bundler.workflows.releases import history_of
from bundler.workflows.renew import apply
from bundler.workflows.rollback import rollback
from tests import histories
from tests.bundles import ALICE, BOB, CAROL, TinyBundle, tiny_bundle
from tests.histories import put, serving

NAMES = {"alice": ALICE, "bob": BOB, "carol": CAROL}
SMALL: dict[str, Any] = {"images": {}, "debs": ()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    histories.quick(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site with two releases that Alice signed, and everybody's keys."""
    monkeypatch.chdir(tmp_path)
    for name, key in NAMES.items():
        (tmp_path / f"{name}.pub").write_bytes(key.public.pem())
        (tmp_path / f"{name}.key").write_bytes(key.pem(None))
        (tmp_path / f"{name}.key").chmod(0o600)
    for number in (1, 2):
        put(signed(tmp_path, number, ALICE), tmp_path / "site")
    return tmp_path


def signed(folder: Path, number: int, *keys: SigningKey) -> TinyBundle:
    files = {"a": f"{number}".encode()}
    return tiny_bundle(folder, name=f"{number}.bundle", number=number, keys=keys, files=files, **SMALL)


def bring(made: TinyBundle, root: Path) -> bool:
    """As a site does later: by what it has pinned."""
    from bundler.support.progress import Silent
    from bundler.workflows.install import install

    return install(made.path, root, keys=(), threshold=None, jobs=1, progress=Silent()).changed


def make(*words: str, at: str = "") -> None:
    assert main(["keys", *words]) == 0


def test_from_hand_to_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alice hands over to Bob and Carol, of whom both must sign; what she signed stays good, until she is revoked."""
    root, site = folder / "site", ["--root", "site"]
    make("rotate", "--to", "bob.pub", "--to", "carol.pub", "--threshold", "2", "-o", "r.json", "--key", "alice.key")
    assert main(["trust", "apply", "r.json", *site, "--dry-run"]) == 0
    assert read_state(root).trust.keys == (ALICE.public,)  # type: ignore[union-attr]
    assert main(["trust", "apply", "r.json", *site]) == 0
    assert main(["trust", "apply", "r.json", *site]) == 0
    assert "nothing to do" in capsys.readouterr().out
    with pytest.raises(UntrustedSigner):
        bring(signed(folder, 3, ALICE), root)
    assert rollback(root, None).there.short == "tiny-1"
    assert bring(signed(folder, 3, BOB, CAROL), root)
    make("revoke", "alice.pub", "--reason", "stolen", "-o", "x.json", "--key", "bob.key")
    assert main(["trust", "apply", "x.json", *site]) == 32
    make("sign", "x.json", "--key", "carol.key")
    assert main(["trust", "apply", "x.json", *site]) == 0
    with pytest.raises(RevokedKey):
        rollback(root, "1")
    with pytest.raises(RevokedKey):
        bring(signed(folder, 4, ALICE), root)
    assert serving(root) == "tiny-3"
    assert [event.what for event in history_of(root)][-2:] == ["install", "revoke"]
    assert main(["trust", "show", *site, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))
    assert facts["revoked"] == [ALICE.public.keyid]


def test_what_is_served_goes_on(folder: Path) -> None:
    """Its key revoked, its views are made again all the same, and it is known what it is."""
    root = folder / "site"
    make("rotate", "--to", "bob.pub", "-o", "r.json", "--key", "alice.key")
    make("revoke", "alice.pub", "-o", "x.json", "--key", "bob.key")
    apply(folder / "r.json", root)
    apply(folder / "x.json", root)
    assert rebuild(root).statement.release.number == 2
    assert installed_release(root).statement.release.number == 2


def test_a_date(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it nothing new is taken, though the clock was set back; a rotation by the same keys ends that."""
    root, now = folder / "site", clock.now()
    tomorrow = f"{now + timedelta(days=1):%Y-%m-%d}"
    make("rotate", "--to", "alice.pub", "--expires", tomorrow, "-o", "r.json", "--key", "alice.key")
    apply(folder / "r.json", root)
    assert bring(signed(folder, 3, ALICE), root)
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=3))
    for days in (3, -3000):  # a rollback writes down what time it was; then the clock's battery is empty
        with pytest.raises(TrustExpired):
            bring(signed(folder, 4, ALICE), root)
        rollback(root, "2" if days == 3 else "3")
        monkeypatch.setattr(clock, "now", lambda: now - timedelta(days=3000))
    monkeypatch.setattr(clock, "now", lambda: now + timedelta(days=3))
    make("rotate", "--to", "alice.pub", "-o", "more.json", "--key", "alice.key")
    monkeypatch.setattr(clock, "now", lambda: now - timedelta(days=3000))
    apply(folder / "more.json", root)
    assert bring(signed(folder, 4, ALICE), root)


def test_the_time_of_a_site_never_goes_back() -> None:
    date = datetime(2026, 1, 2, tzinfo=UTC)
    later = date + timedelta(days=1)
    assert SiteState().time(date) == date
    assert SiteState(latest=later).time(date) == later
    assert SiteState(signed_at=later).time(date) == later
    assert SiteState(latest=date).time(later) == later
    assert SiteState(latest=later, signed_at=date).next_date(date) == later


def test_keys_that_were_rotated_away_may_still_be_named(folder: Path) -> None:
    """As an installer does that was not told: it widens nothing."""
    root = folder / "site"
    make("rotate", "--to", "bob.pub", "-o", "r.json", "--key", "alice.key")
    apply(folder / "r.json", root)
    third = signed(folder, 3, BOB)
    install = ["install", str(third.path), "--root", "site", "-q", "--trust"]
    assert main([*install, "carol.pub"]) == 38
    assert main([*install, "alice.pub"]) == 0


def test_what_is_not_written(folder: Path) -> None:
    assert main(["keys", "rotate", "--to", "bob.pub", "--threshold", "2", "-o", "r.json"]) == 45
    assert main(["keys", "rotate", "--to", "bob.pub", "--reason", "a\nb", "-o", "r.json"]) == 2
    assert not (folder / "r.json").exists()
    make("rotate", "--to", "bob.pub", "-o", "r.json")
    assert main(["keys", "rotate", "--to", "bob.pub", "-o", "r.json"]) == 52
    with pytest.raises(BundleError):
        apply(folder / "r.json", folder / "site")
    with pytest.raises(NotASite):
        apply(folder / "r.json", folder)
