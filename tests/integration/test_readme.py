"""README's commands, run as they are printed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.lab import ROOT, Upstream, require_netns, require_program, require_root
from tests.nodes import lab_of, site_bundle

README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip().partition("  #")[0].strip() for line in README.splitlines() if line.startswith("    ")]
BUNDLE_COMMANDS = [command for command in COMMANDS if command.startswith("bundle ")]
ON_HOSTS = next(at for at, command in enumerate(BUNDLE_COMMANDS) if command.startswith("bundle site "))
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def test_the_two_commands_are_there() -> None:
    assert COMMANDS[:2] == ["scripts/quickstart", "scripts/test"]
    assert all(os.access(ROOT / command, os.X_OK) for command in COMMANDS[:2])


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    """The whole main job by the one command; what it must end with, in this order."""
    require_root()
    require_netns()
    require_program("mmdebstrap")
    done = subprocess.run(
        [ROOT / "scripts/quickstart", tmp_path / "out"], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    at = -1
    for expected in (
        "images.lock is complete: 1 image, ",
        "the bundle is signed",
        "routes here: 0",
        "Signature Verified Successfully",
        "now uses release quickstart 1",
        "numpy 2",
        "<h1>Here across the gap</h1>",
        "linux/amd64 sha256:",
        "done in",
    ):
        found = done.stdout.find(expected, at + 1)
        assert found > at, f"{expected!r} is not where it should be in:\n{done.stdout[-3000:]}"
        at = found


def test_using_it(upstream: Upstream, tmp_path: Path) -> None:
    """The commands of "Use it", in one folder, with the images of docker.io from the lab's registry."""
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    environment = {**ENVIRONMENT, "BUNDLE_UPSTREAM": f"docker.io={upstream.url}"}
    commands = BUNDLE_COMMANDS[:ON_HOSTS]
    verbs = ["keys", "lock", "check", "create", "verify", "install", "serve"]
    assert [command.split()[1] for command in commands] == verbs
    for command in commands[:-1]:
        words = command.replace("/srv/site", "site").split()
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    serve = commands[-1].replace("/srv/site", "site").replace("0.0.0.0:8080", "127.0.0.1:0").split()
    with subprocess.Popen(
        serve, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        address = re.search(r"http://\S+/", server.stdout.readline())
        assert address is not None
        with urllib.request.urlopen(f"{address[0]}files/SHA256SUMS", timeout=10) as answer:
            assert b"welcome.html" in answer.read()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0


@pytest.mark.slow
def test_using_it_on_hosts(tmp_path: Path) -> None:
    """The commands for a whole site, on machines of the lab; where the page asks people, they say yes."""
    with lab_of(2) as lab:
        bundle = site_bundle()
        for name in ("site.bundle", "release.pub"):
            (tmp_path / name).symlink_to(bundle.folder / name)
        environment = {**ENVIRONMENT, **lab.environment, "PATH": ENVIRONMENT["PATH"]}
        said = ""
        for command in BUNDLE_COMMANDS[ON_HOSTS:]:
            for node, address in zip(lab.nodes, ("10.0.0.11", "10.0.0.12"), strict=True):
                command = command.replace(address, node.address)
            words = command.replace("node1", "n1").replace("node2", "n2").split()
            words += ["--yes"] if "trust-hosts" in words or "install" in words else []
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
            said = done.stdout
        assert re.search(r"^registry +1 +well +- ", said, re.MULTILINE), said
        assert lab.packets()["left"] == 0
