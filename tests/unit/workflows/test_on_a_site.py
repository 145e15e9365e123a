"""A site has the tool with a few packages, and not all that the connected side needs."""

import re
import subprocess
import sys
import tomllib

import pytest

from bundler.sources.bootstrap import REQUIREMENTS
from tests.lab import ROOT

# What a site host runs by itself.
COMMANDS = ("gc", "install", "receipt", "receive", "releases", "rollback", "scrub", "verify", "watch")
_BLOCKED = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None
import bundler.components
bundler.components.components()
import importlib
importlib.import_module("bundler.workflows." + sys.argv[1])
"""


def name_of(requirement: str) -> str:
    return re.match(r"[\w-]+", requirement)[0]  # type: ignore[index]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_need_no_more_than_it_gets(command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    absent = {name_of(each) for each in project["dependencies"]} - {name_of(each) for each in REQUIREMENTS}
    assert "packaging" in absent
    done = subprocess.run([sys.executable, "-c", _BLOCKED, command, ",".join(absent)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
