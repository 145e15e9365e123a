"""What tests need from this machine, by name; and the lab's upstream registry.

A test asks with `require…` and is skipped, with a name and a reason, where the machine lacks the thing. Of
the two kinds of skip one fails a run under CI=true (conftest.py): set-up could have provided the thing. The
other is of what cannot be had on such a machine: its reason begins with `IMPOSSIBLE`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"
IMPOSSIBLE = "impossible here:"


def require(name: str, met: object, reason: str, *, impossible: bool = False) -> None:
    """Skip the running test, naming what it lacks, unless it is `met`."""
    if not met:
        pytest.skip(f"{IMPOSSIBLE} {name}: {reason}" if impossible else f"{name}: {reason}")


def require_program(name: str) -> str:
    """The path of a program that scripts/setup installs."""
    path = shutil.which(name)
    require(name, path, "not installed (scripts/setup test)")
    return str(path)


def require_root() -> None:
    require("root", os.geteuid() == 0, "the tests run as another user", impossible=True)


@cache
def _can_unshare_network() -> bool:
    return subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0


def require_netns() -> None:
    """Network namespaces: how a machine without any route is played."""
    require("netns", _can_unshare_network(), "no network namespaces for this user", impossible=True)


@cache
def _go_tools() -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPTS / "lab/tools"], capture_output=True, text=True, check=False)


def require_go_tool(name: str) -> str:
    """The path of oras, crane, regctl or helm; impossible where no go can build them."""
    built = _go_tools()
    require(name, built.returncode == 0, built.stderr.strip(), impossible=built.returncode == 3)
    return str(Path(built.stdout.strip()) / name)


@cache
def unpacked(package: str) -> Path:
    """The files of a Debian package that is not installed, for programs that would start as services."""
    command = ["bash", "-euo", "pipefail", "-c", '. "$0"; unpacked "$1"', str(SCRIPTS / "lib.sh"), package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require(package, done.returncode == 0, done.stderr.strip())
    return Path(done.stdout.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A running registry on loopback. `storage` is its root directory (below it: docker/registry/v2/…)."""

    url: str
    storage: Path
    log: Path

    @property
    def host(self) -> str:
        """127.0.0.1:PORT, as references and skopeo want it."""
        return self.url.removeprefix("http://")

    def add_random_images(
        self, count: int, *, blobs: int = 3, size: str = "64K", seed: str = "1", prefix: str = "random/"
    ) -> dict[str, str]:
        """Push images of `blobs` random layers of `size`, always the same: {"random/image-00:1": digest}."""
        options = ["--blobs", str(blobs), "--bytes", size, "--seed", seed, "--prefix", prefix]
        done = _script("random-images", str(count), *options, "--registry", self.url)
        return dict(line.split() for line in done.splitlines())


def _script(name: str, *arguments: str) -> str:
    done = subprocess.run([SCRIPTS / "lab" / name, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"scripts/lab/{name} failed ({done.returncode}):\n{done.stderr}"
    return done.stdout


@cache
def lab_program(name: str) -> Path:
    """The folder of a program that scripts/lab/build builds; impossible where no go can build it."""
    done = subprocess.run([SCRIPTS / "lab/build", name], capture_output=True, text=True, check=False)
    require(name, done.returncode == 0, done.stderr.strip(), impossible=done.returncode == 3)
    return Path(done.stdout.splitlines()[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformUpstream:
    """What plays every host of a platform on loopback: `hosts` has the URL of each, `state` its files."""

    hosts: dict[str, str]
    state: Path

    @property
    def options(self) -> list[str]:
        """What the tool is given to find them all."""
        return [word for host, url in self.hosts.items() for word in ("--upstream", f"{host}={url}")]

    def url(self, path: str) -> str:
        """Where HOST/PATH lies: a file, a chart or an index of charts."""
        host, _, rest = path.partition("/")
        return f"{self.hosts[host]}/{rest}"

    def registry(self, repository: str) -> str:
        """Where the registry API has HOST/REPOSITORY."""
        host, _, rest = repository.partition("/")
        base, _, path = self.hosts[host].rpartition("/")
        return f"{base}/v2/{path}/{rest}"


@contextmanager
def running_platform(state: Path) -> Iterator[PlatformUpstream]:
    """Raise the upstream with all that a platform takes; stop it at the end."""
    lab_program("helm")
    printed = _script("upstream", "up", "--state", str(state), "--empty", "--platform")
    try:
        pairs = [pair.partition("=") for pair in printed.splitlines()[-1].split()]
        yield PlatformUpstream(hosts={host: url for host, _, url in pairs}, state=state)
    finally:
        _script("upstream", "down", "--state", str(state))


@contextmanager
def running_upstream(state: Path, *, empty: bool = False) -> Iterator[Upstream]:
    """Raise the upstream, unless `empty` with the Debian image, its state in `state`; stop it at the end."""
    printed = _script("upstream", "up", "--state", str(state), *(["--empty"] if empty else []))
    try:
        url = printed.splitlines()[-1]
        yield Upstream(url=url, storage=state / "storage", log=state / "log")
    finally:
        _script("upstream", "down", "--state", str(state))
