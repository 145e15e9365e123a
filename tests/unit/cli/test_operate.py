"""`bundle status`, `health`, `restart`, `uninstall`, `logs` and `support-bundle` as they print and end."""

import json
import tarfile
from pathlib import Path

import pytest

from bundler.cli.main import main
from tests.simulated import UNIT, SimulatedSite, installed, simulated_site

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def site(installed_site: SimulatedSite) -> SimulatedSite:
    return installed_site


def stop(site: SimulatedSite, *names: str) -> None:
    for name in names:
        site.host(name).unit(UNIT).unlink()


def restarts(site: SimulatedSite, name: str) -> int:
    return len([line for line in site.host(name).log if line.startswith("restart ")])


def test_status_and_health_of_a_site_that_is_well(site: SimulatedSite, capsys: Capture) -> None:
    changed = [len(host.changed) for host in site.hosts.values()]
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "release tiny 1, 3 hosts",
        "COMPONENT  HOSTS  HEALTH  DRIFT  VERSION",
        "other      2      well    -      -",
        "sim        3      well    -      hello 1:2.10-3",
    ]
    assert main(["health"]) == 0
    assert capsys.readouterr() == ("3 hosts: everything is well\n", "")
    assert [len(host.changed) for host in site.hosts.values()] == changed


def test_status_of_one_host(site: SimulatedSite, capsys: Capture) -> None:
    assert main(["status", "--limit", "n2", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["hosts"] == [{"name": "n2", "roles": ["worker"]}]
    assert read["components"] == [
        {"name": "other", "hosts": 1, "uninstalled": 0, "drift": 0, "versions": {}},
        {"name": "sim", "hosts": 1, "uninstalled": 0, "drift": 0, "versions": {"hello 1:2.10-3": 1}},
    ]
    assert (read["release"], read["healthy"], read["unreachable"], read["findings"]) == ("tiny 1", True, {}, [])


def test_what_was_uninstalled_is_not_missed(site: SimulatedSite, capsys: Capture) -> None:
    assert main(["uninstall", "sim", "--yes", "--quiet", "--limit", "n2"]) == 0
    capsys.readouterr()
    assert main(["health"]) == 0
    assert main(["status"]) == 0
    assert "sim        3      well, uninstalled on 1  " in capsys.readouterr().out
    assert main(["uninstall", "sim", "--yes", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "sim        3      uninstalled  " in capsys.readouterr().out
    assert main(["apply", "--yes", "--quiet"]) == 0
    stop(site, "n2")
    assert main(["health"]) == 69


def test_what_is_not_well_is_said_with_its_fix(site: SimulatedSite, capsys: Capture) -> None:
    stop(site, "n1", "n3")
    (site.host("n2").root / "packages").write_text("hello ii  1:2.11-1\n")
    site.host("n2").path("/etc/worker.conf").unlink()
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "other      2      well       1 action   -\n" in out
    assert "sim        3      2 failing  2 actions  hello 1:2.10-3 (2), hello 1:2.11-1 (1)\n" in out
    assert out.endswith(f"n1, n3: {UNIT} is inactive\n  fix: bundle restart sim\n")
    assert main(["health"]) == 69
    out, err = capsys.readouterr()
    assert out == f"n1, n3: {UNIT} is inactive\n  fix: bundle restart sim\n"
    assert "not everything is well on n1, n3" in err
    assert main(["health", "--json"]) == 69
    read = json.loads(capsys.readouterr().out)
    assert read["healthy"] is False
    assert read["findings"][0] == {
        "host": "n1",
        "check": "sim",
        "found": f"{UNIT} is inactive",
        "fix": "bundle restart sim",
        "warning": False,
    }


def test_a_host_that_does_not_answer_is_part_of_the_answer(site: SimulatedSite, capsys: Capture) -> None:
    site.host("n2").down = True
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("release tiny 1, 3 hosts, 1 without an answer\n")
    assert out.endswith("cannot reach n2: it does not answer on port 22\n  fix: See that it is up.\n")
    assert main(["health", "--json"]) == 69
    assert list(json.loads(capsys.readouterr().out)["unreachable"]) == ["n2"]


def test_a_host_that_cannot_say_all_does_not_hide_the_others(site: SimulatedSite, capsys: Capture) -> None:
    site.host("n2").program("dpkg-query", "kill -9 $PPID")
    stop(site, "n3")
    assert main(["health", "--json"]) == 69
    read = json.loads(capsys.readouterr().out)
    assert list(read["unreachable"]) == ["n2"]
    assert [finding["host"] for finding in read["findings"]] == ["n3"]


def test_many_hosts_are_not_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    site = installed(simulated_site(tmp_path, monkeypatch, workers=0))
    site.write_site(workers=40)
    for number in range(20, 42):
        site.host(f"n{number}").down = True
    capsys.readouterr()
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "and 12 hosts more; --json names them all\n" in out
    assert f"n2, n3, n4 and 15 more: {UNIT} is inactive\n" in out
    assert len(out.splitlines()) == 4 + 2 * 10 + 1 + 2
    assert main(["health"]) == 69
    assert "and 28 more" in capsys.readouterr().err.splitlines()[0]


def test_a_restart_goes_from_host_to_host(site: SimulatedSite, capsys: Capture) -> None:
    before = {name: restarts(site, name) for name in site.hosts}
    assert main(["restart", "sim", "--yes"]) == 0
    out, err = capsys.readouterr()
    assert out == "done: 3 actions on 3 hosts\n"
    assert [line.partition(":")[0] for line in err.splitlines() if line.startswith("done")] == [
        f"done    sim on n{number}" for number in (1, 2, 3)
    ]
    assert {name: restarts(site, name) - 1 for name in site.hosts} == before
    times = [site.host(name).unit(UNIT).stat().st_mtime_ns for name in ("n1", "n2", "n3")]
    assert times[0] < times[1] < times[2]
    assert main(["restart", "sim", "--yes", "--quiet", "--limit", "n2"]) == 0
    assert capsys.readouterr() == ("done: 1 action on 1 host\n", "")
    assert [restarts(site, name) for name in ("n1", "n2", "n3")] == [2, 3, 2]
    assert main(["plan", "--detailed-exitcode"]) == 0


def test_a_restart_that_fails_leaves_the_others_running(site: SimulatedSite, capsys: Capture) -> None:
    site.host("n2").unit(UNIT, "broken").touch()
    assert main(["restart", "sim", "--yes"]) == 68
    err = capsys.readouterr().err
    assert "not begun, because it needs that: sim on n3" in err
    assert "it does not start" in err
    assert [restarts(site, name) for name in ("n1", "n2", "n3")] == [2, 2, 1]
    assert site.host("n3").unit(UNIT).exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("restart", "nothing", "--yes"), "there is no component 'nothing'"),
        (("restart", "other", "--yes"), "other has no service to restart"),
        (("logs", "other"), "other has no service with a journal"),
        (("logs", "sim", "--limit", "n7"), "there is no host n7"),
        (("uninstall", "nothing", "--yes"), "there is no component 'nothing'"),
    ],
)
def test_what_is_not_there(command: tuple[str, ...], said: str, site: SimulatedSite, capsys: Capture) -> None:
    assert main(list(command)) == 2
    assert said in capsys.readouterr().err


def test_logs(site: SimulatedSite, capsys: Capture) -> None:
    for name in ("n1", "n3"):
        (site.host(name).root / "journal").write_text(f"2026-11-22T12:00:00 {name} sim[1]: hello\n" * 2)
    assert main(["logs", "sim"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["n1", "n1", "n3", "n3"]
    assert lines[0] == "n1  2026-11-22T12:00:00 n1 sim[1]: hello"
    assert main(["logs", "sim", "--lines", "7", "--since", "-1h", "--limit", "n3"]) == 0
    assert f"-n 7 --since=-1h -u {UNIT}" in site.host("n3").asked[-1]
    assert f"--since=-1h -u {UNIT}" not in site.host("n1").asked[-1]


def test_logs_that_cannot_be_had(site: SimulatedSite, capsys: Capture) -> None:
    assert main(["logs", "sim", "--since", "never", "--limit", "n1"]) == 12
    assert "Failed to parse timestamp: never" in capsys.readouterr().err
    (site.host("n1").root / "journal").write_text("a line\n")
    site.host("n2").down = True
    assert main(["logs", "sim"]) == 90
    assert capsys.readouterr().out == "n1  a line\n"


def test_an_uninstallation(site: SimulatedSite, capsys: Capture) -> None:
    host = site.host("n2")
    host.path("/srv/sim/data").write_text("mine\n")
    before = {name: each.tree() for name, each in site.hosts.items()}
    assert main(["uninstall", "sim", "--dry-run"]) == 0
    assert f"stop {UNIT}  (its component goes)" in capsys.readouterr().out
    assert {name: each.tree() for name, each in site.hosts.items()} == before
    assert main(["uninstall", "sim", "--yes"]) == 0
    assert "a second look found nothing left" in capsys.readouterr().out
    assert host.path("/srv/sim/data").read_text() == "mine\n"
    assert not host.path("/etc/sim").exists()
    assert not host.path(f"/etc/systemd/system/{UNIT}").exists()
    assert not host.unit(UNIT).exists()
    assert main(["uninstall", "sim", "--yes"]) == 0
    assert capsys.readouterr().out == "nothing of sim is there: nothing to do\n"
    assert main(["uninstall", "sim", "--yes", "--purge", "--quiet", "--limit", "n2"]) == 0
    assert not host.path("/srv/sim").exists()
    assert site.host("n3").path("/srv/sim").exists()
    assert main(["apply", "--yes", "--quiet"]) == 0
    assert main(["health"]) == 0


def test_a_support_bundle(site: SimulatedSite, capsys: Capture) -> None:
    site.host("n3").down = True
    (site.host("n1").root / "journal").write_text("sim[1]: hello\n")
    assert main(["support-bundle", "-o", "help.tar.gz"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("help.tar.gz: ")
    assert "  not in it: n3: cannot reach n3: it does not answer on port 22\n" in out
    assert main(["support-bundle", "-o", "help.tar.gz", "--json", "--limit", "n1"]) == 0
    read = json.loads(capsys.readouterr().out)
    with tarfile.open("help.tar.gz") as archive:
        inside = {member.name.removeprefix("support/"): member.size for member in archive}
    assert {each["name"]: each["size"] for each in read["files"]} == inside
    assert (read["file"], read["missing"], read["size"]) == ("help.tar.gz", {}, Path("help.tar.gz").stat().st_size)
    assert main(["support-bundle"]) == 0
    assert [path.stat().st_mode & 0o777 for path in Path().glob("support-site-*Z.tar.gz")] == [0o600]
