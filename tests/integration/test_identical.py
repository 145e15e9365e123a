"""The same lock gives the same bytes, whatever the machine, the moment and the way there."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaigns import BUNDLE, Workshop, frozen_tool, sha256_of
from tests.hostile_server import HostileServer
from tests.lab import Upstream, require
from tests.upstreams import TinyIndex


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, empty_upstream: Upstream) -> Iterator[Workshop]:
    """Random images, wheels and files, all from loopback, and the bundle that everything is compared with."""
    images = empty_upstream.add_random_images(4, size="1M", blobs=4, prefix="same/")
    with HostileServer() as server:
        index = TinyIndex(server=server)
        index.wheel("one", requires=["two"])
        index.wheel("two", "2.0")
        made = Workshop(
            folder=tmp_path_factory.mktemp("same"), upstreams={"lab.example": empty_upstream.url, "pypi": index.url}
        )
        made.declare(
            images=[f"lab.example/{name}" for name in images],
            files={"notes.txt": b"notes\n", "random.bin": os.urandom(3 << 20)},
            wheels=["one"],
        )
        made.lock()
        made.run(*made.create("expected.bundle"))
        yield made


@pytest.fixture
def expected(workshop: Workshop) -> str:
    return sha256_of(workshop.folder / "expected.bundle")


def check(path: Path, expected: str) -> None:
    assert sha256_of(path) == expected
    assert path.stat().st_mode & 0o7777 == 0o644


CIRCUMSTANCES: dict[str, tuple[list[str], dict[str, str]]] = {
    "one job": (["--jobs", "1"], {}),
    "sixteen jobs": (["--jobs", "16"], {}),
    "another time zone": ([], {"TZ": "Pacific/Kiritimati"}),
    "another locale": ([], {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "no locale": ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
    "hash seed 0": ([], {"PYTHONHASHSEED": "0"}),
    "hash seed 4711": ([], {"PYTHONHASHSEED": "4711"}),
    "no byte code": ([], {"PYTHONDONTWRITEBYTECODE": "1"}),
    "optimised": ([], {"PYTHONOPTIMIZE": "2"}),
    "another home": ([], {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "TMPDIR": "/var/tmp"}),
    "a date of the build": ([], {"SOURCE_DATE_EPOCH": "1"}),
}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_circumstances(workshop: Workshop, expected: str, name: str) -> None:
    options, environment = CIRCUMSTANCES[name]
    out = workshop.folder / "other.bundle"
    out.unlink(missing_ok=True)
    workshop.run(*workshop.create(out.name), *options, environment=environment)
    check(out, expected)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o177])
def test_umasks(workshop: Workshop, expected: str, umask: int) -> None:
    out = workshop.folder / f"umask-{umask}.bundle"
    workshop.run(*workshop.create(out.name), umask=umask)
    check(out, expected)


def test_another_directory(workshop: Workshop, expected: str, tmp_path: Path) -> None:
    """From another place, with other paths for everything, over a file that is there."""
    here = Workshop(folder=tmp_path, upstreams=workshop.upstreams)
    shutil.copy(workshop.folder / "campaign.lock", tmp_path / "renamed.lock")
    shutil.copy(workshop.folder / "release.key", tmp_path / "k")
    (tmp_path / "o").write_bytes(b"an older file")
    manifests = str(workshop.folder / "manifests")
    here.run("create", "--lock", "renamed.lock", "--key", "k", "-o", str(tmp_path / "o"), "--manifests", manifests)
    check(tmp_path / "o", expected)


def test_from_what_is_here(workshop: Workshop, expected: str, tmp_path: Path) -> None:
    """Out of an earlier bundle and a site's store, with no source to ask."""
    alone = Workshop(
        folder=workshop.folder, upstreams={"lab.example": "http://127.0.0.1:1", "pypi": "http://127.0.0.1:1"}
    )
    alone.run(*alone.create("reused.bundle"), "--reuse", "expected.bundle")
    check(workshop.folder / "reused.bundle", expected)
    root = tmp_path / "site"
    workshop.run("install", "expected.bundle", "--trust", "release.pub", "--root", str(root))
    alone.run(*alone.create("from-site.bundle"), "--reuse", str(root))
    check(workshop.folder / "from-site.bundle", expected)


def test_after_an_interruption(workshop: Workshop, expected: str) -> None:
    """Ctrl-C says so, leaves what has arrived, and the next run goes on."""
    out = workshop.folder / "interrupted.bundle"
    for delay in (0.2, 0.35, 0.5, 0.65, 0.8):
        with workshop.start(*workshop.create(out.name), "--jobs", "1") as process:
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        # CPython ends by the signal itself, whatever is returned, when it struck inside an exec() (as dataclasses use
        # while they are imported) or before main. A shell calls both 130.
        assert process.returncode in (130, -signal.SIGINT, 0), err
        assert "Traceback" not in err or process.returncode == -signal.SIGINT
    workshop.run(*workshop.create(out.name))
    check(out, expected)


def test_a_statement_signed_elsewhere(workshop: Workshop, tmp_path: Path) -> None:
    """`statement` gives the bytes that `create` writes, and an unsigned bundle takes a signature beside it."""
    lock = ("--lock", "campaign.lock")
    workshop.run("statement", *lock, "--signer", "release.pub", "-o", str(tmp_path / "one"))
    workshop.run("statement", "expected.bundle", "-o", str(tmp_path / "two"))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    workshop.run("create", *lock, "-o", "unsigned.bundle")
    workshop.run("verify", "unsigned.bundle", "--trust", "release.pub", code=30)
    workshop.run("sign", "unsigned.bundle", "--key", "release.key")
    workshop.run("verify", "unsigned.bundle", "--trust", "release.pub")


def other_python() -> str | None:
    """A Python on the PATH or of pyenv, new enough, of another version than the one that runs this."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for version in ("3.14", "3.13", "3.12", "3.11"):
        found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python{version}"))]
        for python in filter(None, found):
            if version != ours and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
                return python
    return None


@pytest.mark.slow
def test_another_python(workshop: Workshop, expected: str, tmp_path: Path) -> None:
    """The tool in an environment of its own, made by another Python, with that one's zlib and libraries."""
    python = other_python()
    require("another python", python, "only one version >= 3.11 is here", impossible=True)
    subprocess.run([str(python), "-m", "venv", tmp_path / "venv"], check=True)
    pip = [f"{tmp_path}/venv/bin/python", "-m", "pip", "install", "-q", str(frozen_tool())]
    done = subprocess.run(pip, capture_output=True, text=True)
    require("the tool's wheels", done.returncode == 0, done.stderr[-200:], impossible=True)
    out = workshop.folder / "other-python.bundle"
    environment = {name: value for name, value in workshop.environment.items() if name != "PYTHONPATH"}
    command = [str(tmp_path / "venv/bin/bundle"), *workshop.create(out.name)]
    made = subprocess.run(command, cwd=workshop.folder, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    check(out, expected)


def test_the_command_is_the_module(workshop: Workshop) -> None:
    assert BUNDLE[1:] == ("-m", "bundler")
    assert workshop.run("--version").startswith("bundle ")
