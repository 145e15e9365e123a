"""The command line as a contract: help, exit codes, one line per error, silence where scripts listen."""

import fcntl
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundler.cli.main import cli, main
from bundler.model.lock_text import write_lock
from tests.bundles import ALICE, BOB, TinyBundle, tiny_bundle
from tests.lab import ROOT

HEAVY = {"requests", "urllib3", "cryptography", "yaml", "tqdm", "pysequoia", "packaging", "uv"}


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyBundle:
    """A bundle and its key in the folder where commands run."""
    monkeypatch.chdir(tmp_path)
    found = tiny_bundle(tmp_path)
    Path("alice.pub").write_bytes(ALICE.public.pem())
    Path("bob.pub").write_bytes(BOB.public.pem())
    Path("alice.key").write_bytes(ALICE.pem(None))
    Path("alice.key").chmod(0o600)
    return found


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=variables)


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()], ids=str)
def test_the_overview_imports_little(arguments: tuple[str, ...]) -> None:
    code = f"import sys\nfrom bundler.cli.main import main\nmain(sys.argv[1:])\nprint({HEAVY} & set(sys.modules))"
    done = python(code, *arguments)
    assert done.stdout.splitlines()[-1] == "set()"
    assert done.stderr == "" or arguments == ()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_teaches(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*path, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example:" in out
    assert f"bundle {' '.join(path)}" in out.partition("Example:")[2]
    assert all(len(line) <= 100 for line in out.splitlines())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_the_overview_names_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for path in COMMANDS:
        assert f"\n  {path[0]} " in out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    import bundler

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bundle {bundler.__version__}\n"


def test_verify(made: TinyBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "tiny.bundle", "--trust", "alice.pub"]) == 0
    assert "good, every byte" in capsys.readouterr().out
    assert main(["verify", "tiny.bundle", "--trust", "alice.pub", "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    assert (facts["size"], facts["signed"], err) == (made.layout.size, [ALICE.public.keyid], "")


def test_inspect(made: TinyBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "tiny.bundle"]) == 0
    out = capsys.readouterr().out
    assert all(artifact.name in out for artifact in made.statement.artifacts)
    assert main(["inspect", "tiny.bundle", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in facts["artifacts"]} == {each.name for each in made.statement.artifacts}
    assert facts["signers"] == [ALICE.public.keyid]


def test_extract(made: TinyBundle, capsys: pytest.CaptureFixture[str]) -> None:
    trust = ("--trust", "alice.pub")
    assert main(["extract", "tiny.bundle", "notes.txt", *trust]) == 0
    assert Path("notes.txt").read_bytes() == b"notes\n"
    assert main(["extract", "tiny.bundle", "notes.txt", "-o", "copy", *trust]) == 0
    assert Path("copy").read_bytes() == b"notes\n"
    assert main(["extract", "tiny.bundle", "images.lock", *trust]) == 0
    assert Path("images.lock").read_text() == write_lock(made.lock)
    before = sorted(Path().iterdir())
    Path("folder").mkdir()
    for arguments, code in {
        ("notes.tx", *trust): 18,
        ("../notes.txt", *trust): 18,
        ("notes.txt",): 2,
        ("notes.txt", "--trust", "bob.pub"): 31,
        ("notes.txt", "-o", "folder", *trust): 52,
        ("notes.txt", "-o", "none/x", *trust): 52,
        ("registry.example:5000/team/app:1.0", *trust): 14,
    }.items():
        assert main(["extract", "tiny.bundle", *arguments]) == code, arguments
    assert "notes.txt" in capsys.readouterr().err  # a close name is offered
    Path("folder").rmdir()
    assert sorted(Path().iterdir()) == before


def test_extract_proves(made: TinyBundle) -> None:
    place = next(place for place in made.layout.places if place.member.size == len(b"notes\n"))
    data = bytearray(made.path.read_bytes())
    data[place.body] ^= 1
    made.path.write_bytes(data)
    assert main(["extract", "tiny.bundle", "notes.txt", "--trust", "alice.pub"]) == 44
    assert not Path("notes.txt").exists()


def test_sign_and_attach(made: TinyBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "second"]) == 0
    assert Path("second.key").stat().st_mode & 0o777 == 0o600
    assert main(["keys", "create", "second"]) == 52
    trust = ("--trust", "second.pub", "--trust", "alice.pub", "--threshold", "2")
    assert main(["verify", "tiny.bundle", *trust]) == 32
    assert main(["sign", "tiny.bundle", "--key", "second.key"]) == 0
    assert main(["verify", "tiny.bundle", *trust]) == 0
    Path("sig").write_bytes(BOB.sign(b"other bytes"))
    assert main(["sign", "tiny.bundle", "--attach", "sig", "--pub", "bob.pub"]) == 33
    Path("sig").write_bytes(b"short")
    assert main(["sign", "tiny.bundle", "--attach", "sig", "--pub", "bob.pub"]) == 12
    assert main(["statement", "tiny.bundle", "-o", "statement"]) == 0
    Path("sig").write_bytes(BOB.sign(Path("statement").read_bytes()))
    assert main(["sign", "tiny.bundle", "--attach", "sig", "--pub", "bob.pub"]) == 0
    assert main(["verify", "tiny.bundle", "--trust", "bob.pub"]) == 0
    for wrong in ((), ("--key", "alice.key", "--attach", "sig"), ("--attach", "sig"), ("--pub", "bob.pub")):
        assert main(["sign", "tiny.bundle", *wrong]) == 2


def test_half_a_pair_of_keys_is_not_left(made: TinyBundle) -> None:
    for existing, other in ((".key", ".pub"), (".pub", ".key")):
        name = f"pair{existing[1:]}"
        Path(f"{name}{existing}").write_bytes(b"mine")
        assert main(["keys", "create", name]) == 52
        assert Path(f"{name}{existing}").read_bytes() == b"mine"
        assert not Path(f"{name}{other}").exists()


def test_install_and_what_it_says(made: TinyBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "tiny.bundle", "--root", "site", "--trust", "alice.pub"]) == 0
    assert "now uses release tiny 1" in capsys.readouterr().out
    assert main(["install", "tiny.bundle", "--root", "site", "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["changed"], err) == (False, "")


def test_errors_are_short(made: TinyBundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Which error, where, what to do; on stderr, and no escape sequences when nobody is there to see colours."""
    Path("broken.bundle").write_bytes(made.path.read_bytes()[:-1])
    assert main(["verify", "broken.bundle", "--trust", "alice.pub"]) == 41
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error [TruncatedBundle]: broken.bundle ends after ")
    assert "  what to do: " in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("create --lock tiny.bundle -o x", 2, "tiny.bundle is a bundle, and a lock is needed"),
        ("verify alice.pub --trust alice.pub", 40, "Locks are read by `bundle check` and `bundle diff`."),
        ("verify tiny.bundle --trust tiny.bundle", 12, "Check that it is the file that was meant."),
        ("lock -p quikstart", 12, "Close to it: quickstart."),
        ("check tiny.bundle", 2, "give at least one --trust NAME.pub"),
    ],
)
def test_the_wrong_file(made: TinyBundle, capsys: pytest.CaptureFixture[str], words: str, code: int, said: str) -> None:
    assert main(words.split()) == code
    out, err = capsys.readouterr()
    assert (out, said in err) == ("", True), err
    assert not Path("x").exists()


@pytest.mark.parametrize(("rows", "columns", "expected"), [(40, 120, "%|"), (0, 0, "note")])
def test_progress_on_a_terminal(rows: int, columns: int, expected: str) -> None:
    """A bar; lines for logs where the terminal has no size, as serial consoles do, for there tqdm shows nothing."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    code = (
        "from bundler.cli.progress import progress_of\n"
        "with progress_of('verify', quiet=False) as progress:\n"
        "    progress.expect(100)\n    progress.advance(50)\n    progress.note('note')\n"
    )
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=variables, check=True)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert expected in shown
    assert ("%|" in shown) == (rows > 0)


def test_a_fault_of_the_tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(cli, "main", broken)
    assert main(["inspect"]) == 1
    assert "a fault of the tool itself: RuntimeError: boom" in capsys.readouterr().err
    monkeypatch.setenv("BUNDLE_DEBUG", "1")
    with pytest.raises(RuntimeError):
        main(["inspect"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert f"_BUNDLE_COMPLETE={shell}_complete" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bundle ver", {"verify"}),
        ("bundle keys cr", {"create"}),
        ("bundle verify --tr", {"--trust"}),
        ("bundle completion z", {"zsh"}),
        ("bundle lock -p qui", {"quickstart"}),
        ("bundle catalog show metall", {"metallb"}),
    ],
)
def test_completions(words: str, expected: set[str]) -> None:
    count = str(len(words.split()) - 1)
    environment = {"_BUNDLE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    done = python("import sys; from bundler.cli.main import main; sys.exit(main())", **environment)
    assert {line.partition(",")[2] for line in done.stdout.splitlines()} == expected
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interruption(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["inspect",], "callback", interrupted)
    assert main(["inspect", "x"]) == 130
    assert "Traceback" not in capsys.readouterr().err


_WORD = st.text(st.characters(exclude_characters="\0/", exclude_categories=()), max_size=12)
_OPTION = st.sampled_from(
    sorted({name for command in COMMANDS.values() for each in command.params for name in each.opts if name[:1] == "-"})
)
_FILE = st.sampled_from(["tiny.bundle", "alice.pub", "alice.key", "x", ".", "..", "/dev/null", "", "-", "bob.pub"])
# `serve` would serve, and `lock` would ask the network.
_PATHS = st.sampled_from(sorted(path for path in COMMANDS if path[0] not in ("serve", "lock")))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_PATHS, st.lists(_WORD | _OPTION | _FILE, max_size=6))
def test_any_arguments(made: TinyBundle, path: tuple[str, ...], words: list[str]) -> None:
    """Whatever is typed: an exit code that says whose fault it is, and never the tool's own."""
    code = main([*path, *words])
    assert code != 1
    assert code == 0 or code == 2 or 10 <= code <= 69
