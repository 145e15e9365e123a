"""`bundle plan`, `apply` and `install --site`: exit codes, what is asked, what is printed."""

import json
import os
from pathlib import Path

import pytest

from bundler.cli.main import main
from tests.simulated import BLOCKING, INSTALL, UNIT, SimulatedSite, installed, simulated_site

PLAN = ("plan", "tiny.bundle", "--trust", "release.pub")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimulatedSite:
    return simulated_site(tmp_path, monkeypatch)


@pytest.fixture
def ready(installed_site: SimulatedSite) -> SimulatedSite:
    return installed_site


def everything(site: SimulatedSite) -> dict[str, dict[str, object]]:
    return {name: host.tree() for name, host in site.hosts.items()}


def test_a_first_installation(site: SimulatedSite, capsys: Capture) -> None:
    assert main([*INSTALL, "--yes"]) == 0
    out, err = capsys.readouterr()
    assert out == "done: 26 actions on 3 hosts; a second look found nothing left\n"
    assert "  n1, n2, n3\n    folder /etc/sim  (it is not there)" in err
    assert [line.rpartition(",")[0] for line in err.splitlines() if line.startswith("done")] == [
        "done    sim/files: 15 actions",
        "done    sim: 9 actions",
        "done    other: 2 actions",
    ]
    assert main(["apply", "--yes"]) == 0
    assert capsys.readouterr() == ("everything is as it should be: nothing to do\n", "")


def test_a_plan_is_words_or_json(site: SimulatedSite, capsys: Capture) -> None:
    assert main(list(PLAN)) == 0
    out, err = capsys.readouterr()
    assert out.endswith("26 actions on 3 hosts\n")
    assert err == ""
    assert main([*PLAN, "--no-diff"]) == 0
    assert "+setting" not in capsys.readouterr().out
    assert main([*PLAN, "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert (len(read["actions"]), read["findings"]) == (26, [])
    assert read["actions"][1] == {
        "host": "n1",
        "step": "sim/files",
        "kind": "write",
        "target": "/etc/plain.conf",
        "reason": "it is not there",
        "later": "",
        "before": "nothing",
        "diff": ["@@ -0,0 +1 @@", "+setting = 1"],
    }
    assert all(not host.changed for host in site.hosts.values())


@pytest.mark.parametrize("command", [PLAN, (*INSTALL, "--dry-run")])
def test_nothing_is_changed_by_looking(command: tuple[str, ...], site: SimulatedSite, capsys: Capture) -> None:
    for name in ("n1", "n2", "n3"):
        site.host(name)
    before = everything(site)
    assert main(list(command)) == 0
    assert main([*command, "--detailed-exitcode"]) == 3
    assert everything(site) == before
    assert not Path("site.secrets").exists()
    assert not Path("site.secrets.key").exists()


def test_the_detailed_exit_code(ready: SimulatedSite) -> None:
    assert main(["plan", "--detailed-exitcode"]) == 0
    assert main(["apply", "--yes", "--quiet", "--detailed-exitcode"]) == 0
    ready.write_site(settings="{loud: true}")
    assert main(["plan", "--detailed-exitcode"]) == 3
    assert main(["apply", "--yes", "--quiet", "--dry-run", "--detailed-exitcode"]) == 3
    assert main(["apply", "--yes", "--quiet", "--detailed-exitcode"]) == 3
    assert main(["apply", "--yes", "--quiet", "--detailed-exitcode"]) == 0


@pytest.mark.parametrize("command", [INSTALL, ("apply",), ("restart", "sim"), ("uninstall", "sim")])
def test_without_a_terminal_nothing_is_done_unasked(
    command: tuple[str, ...], ready: SimulatedSite, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: False)
    ready.write_site(settings="{loud: true}")
    before = everything(ready)
    assert main(list(command)) == 2
    assert "nobody can be asked here" in capsys.readouterr().err
    assert everything(ready) == before


def test_a_no_is_taken(ready: SimulatedSite, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _: True)
    monkeypatch.setattr("click.confirm", lambda *_, **__: False)
    ready.write_site(settings="{loud: true}")
    assert main(["apply"]) == 0
    out, err = capsys.readouterr()
    assert out == "nothing was done\n"
    assert "+loud = True" in err
    assert main(["plan", "--detailed-exitcode"]) == 3


def test_the_result_as_json(ready: SimulatedSite, capsys: Capture) -> None:
    ready.write_site(settings="{loud: true}")
    for changed, actions in ((True, 6), (False, 0)):
        assert main(["apply", "--yes", "--quiet", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["changed"], facts["actions"], facts["declined"], facts["unreachable"]) == (
            changed,
            actions,
            False,
            [],
        )
        assert facts["hosts"] == (["n1", "n2", "n3"] if changed else [])


def test_a_written_plan_holds_or_is_refused(ready: SimulatedSite, capsys: Capture) -> None:
    ready.write_site(settings="{loud: true}")
    assert main(["plan", "-o", "plan.json"]) == 0
    assert Path("plan.json").stat().st_mode & 0o777 == 0o600
    assert main(["apply", "--plan", "plan.json", "--dry-run"]) == 0
    ready.host("n2").path("/etc/sim/sim.conf").write_text("by hand\n")
    ready.host("n3").path("/etc/worker.conf").write_text("by hand\n")
    capsys.readouterr()
    before = ready.host("n1").tree()["etc/sim/sim.conf"]
    for command in (["apply", "--plan", "plan.json", "--dry-run"], ["apply", "--plan", "plan.json", "--yes"]):
        assert main(command) == 96
        err = capsys.readouterr().err
        assert "not in the plan that was shown: n3 other write /etc/worker.conf" in err
        assert "on another file: n2 sim write /etc/sim/sim.conf" in err
    assert ready.host("n1").tree()["etc/sim/sim.conf"] == before
    assert main(["plan", "-o", "plan.json"]) == 0
    assert main(["apply", "--plan", "plan.json", "--yes"]) == 0
    Path("plan.json").write_text("{}")
    assert main(["apply", "--plan", "plan.json", "--yes"]) == 96


def test_secrets_are_masked_wherever_a_plan_goes(site: SimulatedSite, capsys: Capture) -> None:
    assert main([*PLAN, "-o", "plan.json"]) == 0
    assert main([*PLAN, "--json"]) == 0
    assert main([*INSTALL, "--yes"]) == 0
    secret = site.host("n1").path("/etc/sim/password").read_text()
    assert len(secret) == 32
    assert main(["plan", "--json"]) == 0
    site.host("n1").path("/etc/sim/password").write_text("an older secret")
    assert main(["plan", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "(secret)" in out
    kept = b"".join(path.read_bytes() for path in Path("site.state").rglob("*") if path.is_file())
    scripts = "".join(text for host in site.hosts.values() for text in (*host.asked, *host.changed))
    for text in (out, err, Path("plan.json").read_text(), kept.decode("latin-1"), scripts):
        assert secret not in text
        assert "an older secret" not in text


def test_a_part_is_done(ready: SimulatedSite, capsys: Capture) -> None:
    ready.write_site(settings="{loud: true}")
    for name in ("n2", "n3"):
        ready.host(name).path("/etc/worker.conf").unlink()

    def planned(*options: str) -> list[str]:
        assert main(["plan", "--json", *options]) == 0
        actions = json.loads(capsys.readouterr().out)["actions"]
        return sorted({f"{action['host']} {action['step']}" for action in actions})

    assert planned("--only", "sim") == ["n1 sim", "n2 sim", "n3 sim"]
    assert planned("--only", "sim", "--limit", "n2") == ["n2 sim"]
    assert planned("--limit", "n1") == ["n1 sim"]
    assert planned("--only", "sim/files") == []
    assert main(["plan", "--from", "other"]) == 2
    assert "needs sim on n1, which is left out and not done" in capsys.readouterr().err
    assert main(["apply", "--only", "sim", "--yes", "--quiet"]) == 0
    capsys.readouterr()
    assert planned("--from", "other") == planned() == ["n2 other", "n3 other"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--limit", "n9"), "there is no host n9 in site.yaml"),
        (("--only", "nothing"), "there is no step or component nothing"),
        (("--from", "nothing"), "there is no step or component nothing"),
    ],
)
def test_unknown_names_are_no_success(
    options: tuple[str, ...], said: str, ready: SimulatedSite, capsys: Capture
) -> None:
    for command in ("plan", "apply"):
        assert main([command, *options, *(["--yes"] if command == "apply" else [])]) == 2
        assert said in capsys.readouterr().err


def test_without_a_release_it_says_what_to_give(site: SimulatedSite, capsys: Capture) -> None:
    assert main(["plan"]) == 2
    assert "needs --trust NAME.pub" in capsys.readouterr().err


def test_hosts_that_do_not_answer(ready: SimulatedSite, capsys: Capture) -> None:
    ready.host("n2").down = True
    assert main(["plan"]) == 90
    assert "cannot reach n2: it does not answer" in capsys.readouterr().err
    ready.host("n3").down = True
    assert main(["apply", "--yes"]) == 68
    err = capsys.readouterr().err
    assert "cannot reach n2" in err
    assert "cannot reach n3" in err
    assert main(["apply", "--yes", "--limit", "n1", "--quiet"]) == 0


def test_what_is_in_the_way_stops_before_the_first_change(site: SimulatedSite, capsys: Capture) -> None:
    site.host("n3").has_unit(BLOCKING, "active")
    assert main(list(PLAN)) == 0
    assert "in the way, before anything can be done:\nn3: blocking.service runs\n  fix: Stop it.\n" in (
        capsys.readouterr().out
    )
    assert main([*INSTALL, "--yes"]) == 99
    assert "n3: blocking.service runs\n    fix: Stop it." in capsys.readouterr().err
    assert not site.host("n1").path("/etc/sim").exists()


def test_what_fails_is_told_and_gone_on_with(site: SimulatedSite, capsys: Capture) -> None:
    broken = site.host("n2").unit(UNIT, "broken")
    broken.touch()
    assert main([*INSTALL, "--yes"]) == 68
    err = capsys.readouterr().err
    assert f"failed  n2: start {UNIT}: n2: sim: start {UNIT} failed with code 1" in err
    assert "not begun, because it needs that: other on n3" in err
    assert "it does not start" in err
    assert not site.host("n3").path("/etc/worker.conf").exists()
    broken.unlink()
    assert main(["apply", "--yes", "--quiet"]) == 0
    assert capsys.readouterr().out == "done: 3 actions on 2 hosts; a second look found nothing left\n"


def test_two_hundred_hosts_read_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    site = simulated_site(tmp_path, monkeypatch, workers=0)
    installed(site)
    capsys.readouterr()
    site.write_site(workers=0, settings="{loud: true}")
    assert main(["plan", "--no-diff"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sim",
        "  n1",
        "    write /etc/sim/sim.conf  (its content differs)",
        f"    start {UNIT}  (/etc/sim/sim.conf changes)",
        "2 actions on 1 host",
    ]
    site.write_site(workers=40)
    assert main(["plan", "--no-diff", "--only", "sim"]) == 0
    many = capsys.readouterr().out.splitlines()
    assert many[:3] == ["sim/files", "  n2, n3, n4 and 37 more", "    folder /etc/sim  (it is not there)"]
    assert (len(many), many[-1]) == (13, "320 actions on 40 hosts")


def test_help_is_fast() -> None:
    """Measured elsewhere; here: nothing heavy is imported for it."""
    import subprocess
    import sys

    code = (
        "import sys; from bundler.cli.main import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "support-bundle" in done.stdout
    assert not loaded & {
        "bundler.cli.support",
        "bundler.workflows.support",
        "bundler.components",
        "yaml",
        "cryptography",
    }
