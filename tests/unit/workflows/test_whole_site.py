"""Three site hosts as folders, on which the real tool runs: all go back, all believe the same keys, each says what it
holds."""

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bundler.cli.main import main
from bundler.errors import FactUnknown, Usage
from bundler.fetch.bases import read_known
from bundler.model.renewal import Revocation, Rotation
from bundler.site.state import read_state
from bundler.support import files
from bundler.workflows.deployment import Request
from bundler.workflows.renew import write_statement_of_keys
from bundler.workflows.whole_site import Kept, choose_before, rollback
from tests import histories
from tests.bundles import ALICE, BOB, TinyBundle
from tests.histories import put, serving
from tests.lab import ROOT as CHECKOUT
from tests.simulated import SimulatedSite, Watcher, simulated_site

HOSTS = ("n1", "n2", "n3")
SITE = """\
site: lab
domain: lab.example
hosts:
- {name: n1, address: 10.0.0.1, roles: [site]}
- {name: n2, address: 10.0.0.2, roles: [site]}
- {name: n3, address: 10.0.0.3, roles: [site]}
- {name: n4, address: 10.0.0.4, roles: [worker]}
"""
REQUEST = Request(site=Path("site.yaml"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyBundle]:
    return histories.releases(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, made: dict[str, TinyBundle]) -> Path:
    root = tmp_path_factory.mktemp("store") / "bundle"
    put(made["tiny-1"], root)
    put(made["tiny-2 by 1"], root)
    return root


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: dict[str, TinyBundle], store: Path) -> SimulatedSite:
    """All three site hosts have releases 1 and 2, and the site was brought to 2."""
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    site = simulated_site(tmp_path, monkeypatch)
    for user in ("whole_site", "site_receipts"):
        monkeypatch.setattr(f"bundler.workflows.{user}.COMMAND", "bundle")
    (site.folder / "site.yaml").write_text(SITE)
    for name in HOSTS:
        host = site.host(name)
        host.program("bundle", f'PYTHONPATH={CHECKOUT} exec {sys.executable} -m bundler "$@"')
        shutil.rmtree(host.path("/srv/bundle"), ignore_errors=True)
        histories.copy(store, host.path("/srv/bundle"))
    whole = str(made["tiny-2"].path)
    assert main(["install", whole, "--trust", "release.pub", "--site", "site.yaml", "--yes", "--quiet"]) == 0
    return site


def roots(site: SimulatedSite) -> list[Path]:
    return [site.host(name).path("/srv/bundle") for name in HOSTS]


def remembered(site: SimulatedSite) -> str:
    return (site.folder / "site.state/release/images.lock").read_text()


def test_all_go_back_and_the_site_remembers(site: SimulatedSite, made: dict[str, TinyBundle]) -> None:
    before = remembered(site)
    assert main(["rollback", "--site", "site.yaml", "--yes", "--reason", "slow"]) == 0
    assert {serving(root) for root in roots(site)} == {"tiny-1"}
    assert [read_state(root).history[-1].reason for root in roots(site)] == ["slow"] * 3
    assert remembered(site) != before
    assert main(["rollback", "tiny-1", "--site", "site.yaml", "--yes"]) == 0, "nothing to do"
    assert main(["rollback", "2", "--site", "site.yaml", "--yes", "--json"]) == 0
    assert {serving(root) for root in roots(site)} == {"tiny-2"}
    assert remembered(site) == before


def test_a_dry_run_changes_nothing(site: SimulatedSite, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", "--site", "site.yaml", "--dry-run", "--json"]) == 0
    actions = json.loads(capsys.readouterr().out)["actions"]
    assert [each["host"] for each in actions] == list(HOSTS)
    assert {serving(root) for root in roots(site)} == {"tiny-2"}


def test_one_that_cannot_keeps_all_where_they_are(site: SimulatedSite, made: dict[str, TinyBundle]) -> None:
    lost = next(each for each in made["tiny-1"].statement.blobs if each.digest not in
                {other.digest for other in made["tiny-2"].statement.blobs})  # fmt: skip
    (roots(site)[2] / f"store/blobs/sha256/{lost.digest.hex[:2]}/{lost.digest.hex}").unlink()
    with pytest.raises(FactUnknown, match="n3") as refused:
        rollback(REQUEST, "", reason="", watcher=Watcher(), agree=lambda _: True)
    assert "ReleaseIncomplete" in refused.value.summary
    assert {serving(root) for root in roots(site)} == {"tiny-2"}


@pytest.mark.parametrize("at", [1, 2])
def test_killed_between_two_hosts_it_goes_on(site: SimulatedSite, at: int) -> None:
    """Also without a release: what the site was brought to is remembered until all have left it."""

    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rollback(REQUEST, "", reason="", watcher=Watcher(at, die), agree=lambda _: True)
    assert {serving(root) for root in roots(site)} == {"tiny-1", "tiny-2"}
    assert rollback(REQUEST, "", reason="", watcher=Watcher(), agree=lambda _: True).done == 3 - at
    assert {serving(root) for root in roots(site)} == {"tiny-1"}


def test_what_to_return_to() -> None:
    names = {"t-2-x": "t-2", "t-1-y": "t-1"}
    new, old = (Kept(in_use=name, before={"t-2-x": "t-1-y", "t-1-y": ""}, releases=names) for name in names)
    assert choose_before("t-2-x", {"a": new, "b": new}) == "t-1-y"
    assert choose_before("t-2-x", {"a": old, "b": new}) == "t-1-y"
    assert choose_before("t-2-x", {"a": old, "b": old}) == "t-1-y"
    for remembered_, kept in (("t-1-y", {"a": old}), ("none", {"a": old, "b": new})):
        with pytest.raises(Usage, match="which release"):
            choose_before(remembered_, kept)


def renewal(site: SimulatedSite, made: Rotation | Revocation) -> str:
    path = site.folder / "renewal.json"
    for old in site.folder.glob("renewal.json*"):
        old.unlink()
    write_statement_of_keys(path, made, [ALICE])
    return path.name


def rotation(minute: int) -> Rotation:
    issued = datetime(2026, 11, 1, 12, minute, tzinfo=UTC)
    keys = (ALICE.public.raw, BOB.public.raw)
    return Rotation(keys=keys, threshold=1, issued=issued, expires=None, reason="two now")


def test_all_take_over_a_rotation(site: SimulatedSite, capsys: pytest.CaptureFixture[str]) -> None:
    name = renewal(site, rotation(1))
    assert main(["trust", "apply", name, "--site", "site.yaml", "--dry-run"]) == 0
    assert BOB.public.keyid in capsys.readouterr().out
    for root in roots(site):
        assert BOB.public not in read_state(root).trust.keys  # type: ignore[union-attr]
    for again in range(2):
        assert main(["trust", "apply", name, "--site", "site.yaml", "--yes"]) == 0
        assert ("nothing to do" in capsys.readouterr().out) is bool(again)
        for root in roots(site):
            assert {*read_state(root).trust.keys} == {ALICE.public, BOB.public}  # type: ignore[union-attr]
    here = sorted(path.read_bytes() for path in (site.folder / "site.state/release").glob("trust-*.pub"))
    assert here == sorted(key.public.pem() for key in (ALICE, BOB))
    assert main(["plan", "--site", "site.yaml"]) == 0, "what was installed before is still remembered"


def test_a_rotation_that_one_host_refuses(site: SimulatedSite) -> None:
    """One has a newer one already: none takes the older."""
    newer = renewal(site, rotation(9))
    assert main(["trust", "apply", newer, "--root", str(roots(site)[1])]) == 0
    older = renewal(site, rotation(5))
    assert main(["trust", "apply", older, "--site", "site.yaml", "--yes"]) == FactUnknown.exit_code
    for root in (roots(site)[0], roots(site)[2]):
        assert read_state(root).trust.keys == (ALICE.public,)  # type: ignore[union-attr]


def test_a_revocation_is_followed_here(site: SimulatedSite) -> None:
    assert main(["trust", "apply", renewal(site, rotation(1)), "--site", "site.yaml", "--yes"]) == 0
    issued = datetime(2026, 11, 2, tzinfo=UTC)
    gone = Revocation(key=BOB.public.raw, issued=issued, reason="lost")
    assert main(["trust", "apply", renewal(site, gone), "--site", "site.yaml", "--yes"]) == 0
    (left,) = (site.folder / "site.state/release").glob("trust-*.pub")
    assert left.read_bytes() == ALICE.public.pem()


def test_each_host_says_what_it_holds(
    site: SimulatedSite, made: dict[str, TinyBundle], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["receipt", "--site", "site.yaml", "-o", "site.receipt", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["host"] for each in found] == list(HOSTS)
    paths = [site.folder / f"site.{name}.receipt" for name in HOSTS]
    known = read_known(paths, sites=[each["key"] for each in found])
    assert set(known.blobs) >= {entry.digest for entry in made["tiny-2"].statement.blobs}
    assert not os.path.lexists(site.folder / "site.receipt")


@pytest.mark.parametrize("command", [("rollback",), ("trust", "apply", "x"), ("receipt", "-o", "x")])
def test_one_place_is_named(site: SimulatedSite, command: tuple[str, ...]) -> None:
    assert main([*command]) == Usage.exit_code
    assert main([*command, "--root", "x", "--site", "site.yaml"]) == Usage.exit_code
