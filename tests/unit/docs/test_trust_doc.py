"""docs/trust.md against the code: the recipes are those that bundles carry, its commands run, its errors exist."""

import re
import shlex
import subprocess
import textwrap
from pathlib import Path

import pytest

from bundler import errors
from bundler.archive.form import signature_name
from bundler.archive.recipe import recipe
from bundler.cli.main import main
from bundler.errors import bundle as bundle_errors
from bundler.errors import trust as trust_errors
from bundler.errors.base import BundleError
from bundler.model.lock_text import write_lock
from bundler.signing.keys import PublicKey
from tests.bundles import ALICE, BOB, bare_lock, tiny_bundle
from tests.lab import ROOT, require_program

PAGE = (ROOT / "docs/trust.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LOCK = write_lock(bare_lock(profile="demo"))


def commands(text: str) -> str:
    """The commands of a README: its indented block."""
    return textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    "))).strip()


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as a reader would, without a terminal."""
    command = ["sh", "-c", script]
    return subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def on_disk(script: str, folder: Path, bundle: Path, key: PublicKey) -> str:
    """A recipe with its two paths filled in."""
    pub = folder / "NAME.pub"
    pub.write_bytes(key.pem())
    return script.replace("/media/disk/site.bundle", str(bundle)).replace("/media/card/NAME.pub", str(pub))


@pytest.mark.parametrize("signed", [True, False])
def test_the_printed_recipes_are_those_that_bundles_carry(signed: bool) -> None:
    assert f"```sh\n{commands(recipe(signed=signed).decode())}\n```" in PAGE


@pytest.mark.parametrize("signed", [True, False])
def test_the_recipes_run_the_tool_that_was_proved(tmp_path: Path, signed: bool) -> None:
    require_program("openssl")
    made = tiny_bundle(tmp_path, keys=(ALICE,) if signed else ())
    if not signed:
        made.sign_beside(ALICE)
    done = shell(on_disk(commands(recipe(signed=signed).decode()), tmp_path, made.path, ALICE.public), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"install {made.path} --trust ")


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("member", ["bundle.json", "bootstrap.tar", "bundle.json.KEYID.sig"])
def test_the_recipes_run_nothing_of_a_changed_file(tmp_path: Path, signed: bool, member: str) -> None:
    require_program("openssl")
    made = tiny_bundle(tmp_path, keys=(ALICE,) if signed else ())
    beside = made.path if signed else made.sign_beside(ALICE)
    name = signature_name("bundle.json", ALICE.public.keyid) if "KEYID" in member else member
    target = made.path if signed or name == member else beside
    data = bytearray(target.read_bytes())
    data[made.layout.place(name).body + 20 if target == made.path else 20] ^= 1
    target.write_bytes(data)
    done = shell(on_disk(commands(recipe(signed=signed).decode()), tmp_path, made.path, ALICE.public), tmp_path)
    assert done.returncode != 0
    assert "install" not in done.stdout
    assert not (tmp_path / "first-step/bootstrap").exists()


def test_the_recipe_refuses_another_key(tmp_path: Path) -> None:
    require_program("openssl")
    made = tiny_bundle(tmp_path, keys=(ALICE,))
    done = shell(on_disk(commands(recipe(signed=True).decode()), tmp_path, made.path, BOB.public), tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "first-step/bootstrap").exists()


def test_the_commands_about_keys_run_in_the_order_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_program("openssl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.isatty", lambda descriptor: False)
    Path("images.lock").write_text(LOCK)
    keyid, *keys = (block for block in BLOCKS if "mktemp" not in block)
    assert len(keys) == 3
    for line in "".join(keys).splitlines():
        program, *arguments = shlex.split(line)
        code = main(arguments) if program == "bundle" else shell(line, tmp_path).returncode
        assert code == 0, (line, capsys.readouterr())
    made = re.search(r"wrote release\.key and release\.pub\n  ed25519-(\w{64})\n", capsys.readouterr().out)
    assert made is not None
    assert shell(keyid, tmp_path).stdout.strip() == made[1]
    assert f"`NAME.pub`, {Path('release.pub').stat().st_size} bytes" in PAGE


def test_the_table_of_errors_is_that_of_the_code() -> None:
    says = {name: int(code) for name, code in re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)}
    classes = [
        each
        for module in (trust_errors, bundle_errors)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, BundleError) and each is not BundleError
    ]
    assert says == {each.__name__: each.exit_code for each in classes}


def test_every_error_named_in_the_page_exists() -> None:
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", PAGE + (ROOT / "docs/format.md").read_text()))
    assert named <= set(errors.__all__)
