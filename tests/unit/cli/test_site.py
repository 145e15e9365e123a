"""`bundle site` on a terminal and for scripts."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bundler.cli.main import main
from tests.sites import KEY


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_init_then_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "init", "--hosts", "a=10.0.0.1,b=10.0.0.2"]) == 0
    assert "bundle site check site.yaml" in capsys.readouterr().out
    assert main(["site", "check"]) == 0
    out, err = capsys.readouterr()
    assert "site.yaml: the site lab (lab.example) is well formed" in out
    assert ["a", "10.0.0.1", "site", "ssh", "root"] in [line.split() for line in out.splitlines()]
    assert "no host_key for a, b;" in err


def test_init_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "init"]) == 0
    before = Path("site.yaml").read_bytes()
    assert main(["site", "init", "--hosts", "a=10.0.0.1"]) == 52
    assert "site.yaml: it exists" in capsys.readouterr().err
    assert Path("site.yaml").read_bytes() == before


def test_how_hosts_are_reached(capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yaml").write_text(
        "site: s\ndomain: s.example\nhosts:\n- {name: a, address: 10.0.0.1, roles: [site], local: true}\n"
        f"- {{name: b, address: 10.0.0.2, roles: [], user: me, become: true, port: 24, jump: c, host_key: {KEY}}}\n"
        f"- {{name: c, address: 10.0.0.3, roles: [gpu, worker], host_key: {KEY}}}\n"
    )
    assert main(["site", "check"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1:] == [
        "HOST  ADDRESS   ROLES        REACHED",
        "a     10.0.0.1  site         local",
        "b     10.0.0.2  -            ssh me, port 24, sudo, through c",
        "c     10.0.0.3  gpu, worker  ssh root",
    ]
    assert err == ""


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["site", "init"])
    capsys.readouterr()
    assert main(["site", "check", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["ok"], facts["problems"], facts["site"], len(facts["hosts"])) == (True, [], "lab", 3)


def test_problems(capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yaml").write_text("site: s\ndomain: S\nhosts: []\n")
    assert main(["site", "check"]) == 10
    out, err = capsys.readouterr()
    assert out == ""
    assert "site.yaml:2: found 'S' at 'domain'" in err
    assert main(["site", "check", "--json"]) == 10
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False
    assert [problem["line"] for problem in facts["problems"]] == [2, 3]


def test_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "check", "absent.yaml"]) == 12
    assert "bundle site init" in capsys.readouterr().err


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["site", "schema"]) == 0
    Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(("name", "code"), [("caf\udce9.yaml", 0), ("half\ud83d.yaml", 2), ("no/such/folder.yaml", 52)])
def test_names_of_files(name: str, code: int, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """One that is no UTF-8 (as argv has it), one that no file can have, and one that has no place."""
    assert main(["site", "init", "-o", name]) == code
    assert main(["site", "check", name]) == (code if code != 52 else 12)
    assert len(list(Path().iterdir())) == (code == 0)
