"""`bundle site secrets` as its user meets it; what it prints never holds a secret."""

import json
import stat
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.cli.main import main
from bundler.cli.secrets import secrets as group
from bundler.errors import BundleError, CannotWrite, NotReadable, SecretsLocked, Usage
from bundler.model.secret import Secret
from bundler.secrets.ca import CA, LEAF, ensure_ca, ensure_leaf, known_ca
from bundler.secrets.passwords import random_password
from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault
from tests.lab import ROOT, require_program

Run = Callable[..., tuple[str, str]]
NOW = datetime.now(UTC)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a subcommand in `tmp_path`, without a terminal, and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.isatty", lambda descriptor: False)

    def command(*arguments: str) -> tuple[str, str]:
        group.main(list(arguments), prog_name="secrets", standalone_mode=False)
        printed = capsys.readouterr()
        return printed.out, printed.err

    return command


def opened(key: str = "site.secrets.key") -> Vault:
    return Vault.open(Path("site.secrets"), KeyFile(path=Path(key)))


def fill() -> Vault:
    vault = opened()
    ensure_ca(vault, "demo", NOW)
    ensure_leaf(vault, "registry", ("registry.demo",), (), NOW)
    vault.made("registry.password", random_password)
    vault.save()
    return vault


def assert_nothing_shown(vault: Vault, *printed: str) -> None:
    """Neither a password nor the line of a key that its private number begins in: the others may be of public parts."""
    for name in {*vault.names()} - {"ca.previous"}:
        secret = vault.get(name)
        assert secret
        password, _, key = secret.reveal().partition("-----BEGIN PRIVATE KEY-----\n")
        hidden = key[:64] or password
        assert len(hidden) in (32, 64)
        assert not any(hidden in text for text in printed), name


def test_a_file_and_the_key_beside_it(run: Run) -> None:
    out, _ = run("create")
    assert out == "wrote site.secrets; site.secrets.key opens it\n"
    assert [stat.S_IMODE(Path(name).stat().st_mode) for name in ("site.secrets", "site.secrets.key")] == [0o600, 0o600]
    out, err = run("list")
    assert out == ""
    assert "holds no secret yet" in err
    key = Path("site.secrets.key").read_bytes()
    with pytest.raises(CannotWrite):
        run("create")
    assert Path("site.secrets.key").read_bytes() == key


def test_list(run: Run) -> None:
    run("create")
    vault = fill()
    out, err = run("list")
    assert out.splitlines() == [
        f"ca                    ends {NOW + timedelta(days=3652):%Y-%m-%d}",
        f"certificate.registry  ends {vault_end(vault):%Y-%m-%d}",
        "registry.password",
    ]
    listed = json.loads(run("list", "--json")[0])
    assert [each["name"] for each in listed] == list(vault.names())
    assert listed[1]["ends"] == vault_end(vault).isoformat()
    assert listed[2]["ends"] is None
    assert_nothing_shown(vault, out, err, json.dumps(listed))


def vault_end(vault: Vault) -> datetime:
    return ensure_leaf(vault, "registry", ("registry.demo",), (), NOW).not_after


def test_rotate(run: Run) -> None:
    run("create")
    before = fill()
    out, err = run("rotate", "registry.password", "registry.password")
    assert out == "registry.password: the next `bundle apply` replaces it\n"
    assert opened().names() == (CA, f"{LEAF}registry")
    after = fill()
    assert after.get("registry.password") != before.get("registry.password")
    assert after.get(CA) == before.get(CA)
    out, err = run("rotate", "--all")
    assert len(out.splitlines()) == 3
    assert opened().names() == ("ca.previous",)
    assert_nothing_shown(before, out, err)
    renewed = fill()
    assert known_ca(renewed).previous == (known_ca(before).certificate,)


@pytest.mark.parametrize("names", [["other"], ["registry.password", "other"], ["ca.previous"]])
def test_rotating_what_is_not_there_changes_nothing(run: Run, names: Sequence[str]) -> None:
    run("create")
    fill()
    data = Path("site.secrets").read_bytes()
    with pytest.raises(Usage) as caught:
        run("rotate", *names)
    assert "registry.password" in caught.value.hint
    assert Path("site.secrets").read_bytes() == data


@pytest.mark.parametrize(
    "arguments",
    [
        ["rotate"],
        ["rotate", "a", "--all"],
        ["rekey"],
        ["rekey", "--new-key-file", "x", "--new-passphrase"],
        ["list", "--key-file", "site.secrets.key", "--passphrase-file", "phrase"],
        ["create", "--secrets", "other", "--key-file", "x", "--passphrase-file", "phrase"],
        ["ca"],
    ],
)
def test_options_that_do_not_go_together(run: Run, arguments: list[str]) -> None:
    run("create")
    with pytest.raises(Usage):
        run(*arguments)
    assert not Path("x").exists()


def test_rekey(run: Run) -> None:
    run("create")
    vault = fill()
    out, _ = run("rekey", "--new-key-file", "second.key")
    assert out == "second.key opens site.secrets now, and nothing else does\n"
    with pytest.raises(SecretsLocked):
        run("list")  # the key beside it is the old one
    Path("phrase").write_text("open sesame\nmore\n")
    run("rekey", "--key-file", "second.key", "--new-passphrase-file", "phrase")
    with pytest.raises(SecretsLocked):
        run("list", "--key-file", "second.key")
    out, err = run("list", "--passphrase-file", "phrase")
    assert len(out.splitlines()) == 3
    Path("site.secrets.key").unlink()
    with pytest.raises(SecretsLocked) as caught:
        run("list")  # no terminal to ask on
    assert "--passphrase-file" in caught.value.hint
    assert "sesame" not in out + err
    assert_nothing_shown(vault, out, err)


def test_a_key_that_cannot_be_read_leaves_all_as_it_was(run: Run) -> None:
    run("create")
    data = Path("site.secrets").read_bytes()
    Path("open.key").write_bytes(Path("site.secrets.key").read_bytes())
    Path("open.key").chmod(0o644)
    for arguments in (("rekey", "--new-key-file", "open.key"), ("rekey", "--new-passphrase-file", "none")):
        with pytest.raises((SecretsLocked, NotReadable)):
            run(*arguments)
    assert Path("site.secrets").read_bytes() == data


def test_ca(run: Run, tmp_path: Path) -> None:
    require_program("openssl")
    run("create")
    vault = fill()
    out, err = run("ca")
    assert out == known_ca(vault).bundle
    Path("ca.crt").write_text(out)
    command = ["openssl", "x509", "-in", "ca.crt", "-noout", "-fingerprint", "-sha256"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.strip().partition("=")[2] in err
    run("rotate", "ca")
    with pytest.raises(Usage):
        run("ca")
    renewed = fill()
    out, err = run("ca")
    assert out == known_ca(renewed).certificate + known_ca(vault).certificate
    assert len(err.splitlines()) == 2
    assert "ends their trust" in run("ca", "--drop-previous")[1]
    assert "there are none" in run("ca", "--drop-previous")[1]
    assert run("ca")[0] == known_ca(renewed).certificate
    assert_nothing_shown(renewed, out, err)


def test_an_error_shows_no_secret(run: Run) -> None:
    run("create")
    vault = opened()
    vault.put(CA, Secret("correct horse battery"))
    vault.save()
    for arguments in (["ca"], ["rotate", "ca"], ["list", "--key-file", "site.secrets"]):
        with pytest.raises(BundleError) as caught:
            run(*arguments)
        assert "horse" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("command", ["create", "list", "rotate", "rekey", "ca"])
def test_help_has_an_example(run: Run, command: str) -> None:
    assert f"bundle site secrets {command}" in run(command, "--help")[0]


def test_the_commands_of_the_page(run: Run) -> None:
    section = (ROOT / "docs/trust.md").read_text().partition("## The site's own secrets")[2]
    lines = section.partition("```text\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 5
    for line in lines:
        program, *arguments = line.split()
        assert (program, main(arguments)) == ("bundle", 0)
    with pytest.raises(SecretsLocked):
        run("list")
