"""The operator's guide: every command in it is one, with options that there are, and its exit codes are the errors'."""

import re
import shlex

import click
import pytest

from bundler import errors
from bundler.cli.main import cli
from bundler.components import components
from tests.lab import ROOT

TEXT = (ROOT / "docs/operate.md").read_text()
COMMANDS = re.findall(r"^(bundle [^#\n]+)", "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)), re.MULTILINE)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    context: click.Context = click.Context(cli, info_name="bundle")
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    made = command.make_context(command.name, words, parent=context)
    if "component" in made.params:
        assert made.params["component"] in {component.name for component in components()}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (68, errors.HostsFailed),
        (69, errors.Unhealthy),
        (94, errors.LeaseHeld),
        (96, errors.StalePlan),
    ],
)
def test_exit_codes(code: int, error: type[errors.BundleError]) -> None:
    assert error.exit_code == code
    assert str(code) in TEXT


def test_it_has_commands() -> None:
    assert len(COMMANDS) > 15
