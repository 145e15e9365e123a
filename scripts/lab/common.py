"""What the lab's makers share: the cache, messages, programs, and folders that appear whole or not at all."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

LAB = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bundle-dev"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
CHUNK = 1 << 20
CANNOT_BUILD = 3

Recipe = Mapping[str, Any]


class CannotBuild(Exception):
    """This machine lacks what a recipe needs: no fault of the recipe."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The standard output of a command; what it wrote is shown only if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"failed ({done.returncode}): {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def key_of(*values: object) -> str:
    """A short key of everything that shapes an output."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Of two runs at once, the second waits and finds what the first has made."""
    path = CACHE / "lab" / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def filled(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which becomes `target` when that went well, and is removed otherwise.

    The caller holds the lock of the target: what a run that was killed has left beside it is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{target.name}.????????"):
        shutil.rmtree(left)
    scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@cache
def recipes() -> Mapping[str, Recipe]:
    """All recipes by name."""
    return {path.stem: tomllib.loads(path.read_text()) for path in sorted((LAB / "recipes").glob("*.toml"))}
