"""Make and keep bundles of the lab's profiles (scripts/lab/site-bundle)."""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scripts.lab.common import CACHE, CANNOT_BUILD, LAB, filled, key_of, locked, say

ROOT = LAB.parent.parent
PROFILE = "lab-site"
FOLDER = CACHE / "lab/site"  # PROFILE/bundle-KEY; key, upstream
PROFILES = {path.stem for path in (LAB / "manifests/profiles").glob("*.yaml")}
# What no bundle of a profile can be without: where one of them cannot be built, the bundle cannot be made.
SITE = ("helm", "coredns-server")
CLUSTER = (*SITE, "kubernetes", "containerd", "haproxy-ingress")
PROGRAMS = {
    "lab-site": SITE,
    "lab-cluster": CLUSTER,
    "lab-cluster-before": (*CLUSTER, "kubernetes-before"),
    "lab-cluster-tests": (*CLUSTER, "agnhost"),
}
# What the upstream has for these alone (scripts/lab/upstream).
MORE = {
    "lab-kubernetes": ("--big",),
    "lab-cluster-before": ("--with", "before"),
    "lab-cluster-tests": ("--with", "tests"),
}
# What the tool is made of, and what says what the bundle holds.
TOOL = ("bundler", "manifests", "charts", "pyproject.toml", "README.md", "LICENSE")
SHAPES = (*TOOL, "scripts/lab/manifests", "scripts/lab/recipes", "scripts/lab/roots.toml", "scripts/lab/charts")
# What the upstream is made of: with another, the same names lead to other bytes.
UPSTREAM = ("scripts/lab/recipes/", "scripts/lab/roots.toml", "scripts/lab/charts/")
STORY = ("upstream", "lock", "create")
KEPT = 3  # bundles of a profile, besides those of the last quarter of an hour


def main() -> int:
    parser = argparse.ArgumentParser(prog="site-bundle")
    parser.add_argument("--profile", choices=sorted(PROFILES), default=PROFILE)
    parser.add_argument("--last", action="store_true")
    options = parser.parse_args()
    folder = FOLDER / options.profile
    made = _made(folder)
    if options.last and made:
        print(made[-1].parent)
        return 0
    for program in PROGRAMS.get(options.profile, SITE):
        built = subprocess.run([LAB / "build", program], stdout=subprocess.DEVNULL, check=False)
        if built.returncode:
            return CANNOT_BUILD
    with locked("site-bundle"), tempfile.TemporaryDirectory(prefix="bundle-tool-") as scratch:
        copy = Path(scratch)  # an edit while it runs changes nothing
        files = list(_copied(copy))
        target = folder / f"bundle-{key_of(*files)}"
        if not target.is_dir():
            upstream = key_of(*(file for file in files if file[0].startswith(UPSTREAM)))
            _make(target, options.profile, copy, made[-1] if made else None, upstream)
        (target / "site.bundle").touch()
        _prune(folder)
    print(target)
    return 0


def _made(folder: Path) -> list[Path]:
    """The bundles that there are, the newest last."""
    return sorted(folder.glob("bundle-*/site.bundle"), key=lambda path: path.stat().st_mtime)


def _copied(into: Path) -> Iterator[tuple[str, str]]:
    """Copy all that shapes a bundle; give each file's path and digest."""
    for name in SHAPES:
        source, target = ROOT / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    for path in sorted(path for path in into.rglob("*") if path.is_file()):
        yield str(path.relative_to(into)), hashlib.sha256(path.read_bytes()).hexdigest()


def _make(target: Path, profile: str, tool: Path, last: Path | None, upstream: str) -> None:
    """The bundle takes its bytes from the one before; the lock keeps its pins if they are of the same upstream."""
    began = time.monotonic()
    manifests = ("--manifests", str(tool / "scripts/lab/manifests"), "--manifests", str(tool / "manifests"))
    with _upstream(profile) as hosts, filled(target) as scratch:
        environment = {**os.environ, "BUNDLE_UPSTREAM": hosts, "PYTHONPATH": str(tool)}
        (scratch / "upstream").write_text(upstream)
        if last and (known := last.with_name("upstream")).exists() and known.read_text() == upstream:
            shutil.copyfile(last.with_name("site.lock"), scratch / "site.lock")
        _key(scratch, environment)
        raised = time.monotonic()
        _bundle(scratch, environment, "lock", "-q", "-p", profile, *manifests, "-o", "site.lock")
        resolved = time.monotonic()
        reuse = ("--reuse", str(last)) if last else ()
        options = ("--lock", "site.lock", "--key", "release.key", *manifests, "-o", "site.bundle", *reuse)
        _bundle(scratch, environment, "create", "-q", *options)
    marks = (began, raised, resolved, time.monotonic())
    parts = [f"{name} {end - start:.1f} s" for name, start, end in zip(STORY, marks, marks[1:], strict=False)]
    say(f"site-bundle: {profile}: {(target / 'site.bundle').stat().st_size / 1e6:.0f} MB; {', '.join(parts)}")


def _key(folder: Path, environment: Mapping[str, str]) -> None:
    """The key of every bundle of the line, as a site expects: made with the first one."""
    kept = FOLDER / "key"
    if not kept.is_dir():
        with filled(kept) as scratch:
            _bundle(scratch, environment, "keys", "create", "release")
    for name in ("release.key", "release.pub"):
        shutil.copy(kept / name, folder / name)


@contextmanager
def _upstream(profile: str) -> Iterator[str]:
    state = ("--state", str(FOLDER / "upstream"))
    options = ("--empty", "--platform", *MORE.get(profile, ()))
    up = subprocess.run([LAB / "upstream", "up", *state, *options], stdout=subprocess.PIPE, check=False)
    if up.returncode:
        raise SystemExit(up.returncode)
    try:
        yield up.stdout.decode().splitlines()[-1]
    finally:
        subprocess.run([LAB / "upstream", "down", *state], check=True)


def _bundle(folder: Path, environment: Mapping[str, str], *words: str) -> None:
    command = [sys.executable, "-m", "bundler", *words]
    if subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr).returncode:
        raise SystemExit(f"site-bundle: bundle {words[0]} failed")


def _prune(folder: Path) -> None:
    for path in _made(folder)[:-KEPT]:
        if path.stat().st_mtime < time.time() - 900:
            shutil.rmtree(path.parent)


if __name__ == "__main__":
    sys.exit(main())
