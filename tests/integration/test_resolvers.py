"""The resolvers against the index and the archive that this machine uses."""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bundler.errors import BundleError
from bundler.model.lock import LockedDeb
from bundler.sources.apt_sources import AptMachine
from bundler.sources.debs import DebLocator, resolve_debs
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Resolved
from bundler.sources.wheels import WheelLocator, resolve_wheels
from bundler.transport import Transport, Upstreams
from tests.lab import require, require_program, require_root

GLIBC = ("manylinux_2_36", 36)
LISTS = Path("/var/lib/apt")


@pytest.fixture
def index() -> PackageIndex:
    found = PackageIndex(Transport(), Upstreams())
    try:
        found.files("pip")
    except BundleError as error:
        require("package index", False, error.summary, impossible=True)
    return found


def test_marker_dependent_wheels_of_the_real_index(index: PackageIndex) -> None:
    found = resolve_wheels(["pytest<8.4"], pythons=["3.9", "3.11"], glibc=GLIBC[0], architecture="amd64", index=index)
    pythons: dict[str, set[str]] = {}
    for wheel in found.entries:
        pythons.setdefault(wheel.project, set()).update(wheel.pythons)
    assert {project for project, versions in pythons.items() if "3.11" not in versions} >= {"tomli", "exceptiongroup"}
    assert {project for project, versions in pythons.items() if "3.11" in versions} == {
        "iniconfig",
        "packaging",
        "pluggy",
        "pytest",
    }


def test_pip_would_choose_the_same_wheels(index: PackageIndex, tmp_path: Path) -> None:
    asked = ["numpy", "cryptography", "pyyaml", "requests"]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"  # plain pip evaluates its own markers
    found = resolve_wheels(asked, pythons=[python], glibc=GLIBC[0], architecture="amd64", index=index)
    platforms = [f"manylinux_2_{level}_x86_64" for level in range(GLIBC[1], 4, -1)]
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--only-binary=:all:", f"--python-version={python}", f"--report={report}", f"--target={tmp_path / 't'}"]
    command += [f"--platform={name}" for name in platforms]
    subprocess.run([*command, *(f"{wheel.project}=={wheel.version}" for wheel in found.entries)], check=True)
    chosen: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    assert {each["download_info"]["archive_info"]["hashes"]["sha256"] for each in chosen} == {
        wheel.digest.hex for wheel in found.entries
    }


def test_a_locked_wheel_is_where_the_locator_says(index: PackageIndex) -> None:
    (wheel,) = resolve_wheels(
        ["iniconfig"], pythons=["3.11"], glibc=GLIBC[0], architecture="amd64", index=index
    ).entries
    answer = index.transport.get(WheelLocator(index).locate(wheel), limit=wheel.size)
    assert hashlib.sha256(answer.body).hexdigest() == wheel.digest.hex


def release() -> str:
    """The release that this machine's own sources are for."""
    require_program("apt-get")
    suites = {suite for stanza in AptMachine.read().sources for suite in stanza["Suites"].split()}
    plain = sorted(suite for suite in suites if f"{suite}-security" in suites)
    require("apt sources", plain, "no release with its security suite", impossible=True)
    return plain[0]


def resolve_packages(names: Sequence[str], suite: str) -> Resolved[LockedDeb]:
    return resolve_debs(
        names,
        archive="debian",
        release=suite,
        architecture="amd64",
        transport=Transport(),
        upstreams=Upstreams(),
    )


def test_real_packages_with_the_essential_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    suite, before = release(), sorted((path, path.stat().st_mtime_ns) for path in LISTS.rglob("*"))
    monkeypatch.setenv("LANGUAGE", "de")
    found = resolve_packages(["nginx", "skopeo"], suite)
    packages = {deb.package for deb in found.entries}
    assert packages >= {"nginx", "skopeo", "base-files", "bash", "coreutils", "dpkg", "grep", "apt", "libc6"}
    assert len(packages) == len(found.entries) > 100
    assert sorted((path, path.stat().st_mtime_ns) for path in LISTS.rglob("*")) == before
    small = min(found.entries, key=lambda deb: deb.size)
    transport = Transport()
    answer = transport.get(DebLocator(transport, Upstreams()).locate(small), limit=small.size)
    assert hashlib.sha256(answer.body).hexdigest() == small.digest.hex


def _as_nobody(results: "multiprocessing.SimpleQueue[object]", suite: str) -> None:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        results.put(len(resolve_packages(["hello"], suite).entries))
    except BundleError as error:
        results.put(str(error))


def test_packages_are_resolved_without_root_rights() -> None:
    require_root()
    suite = release()
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_as_nobody, args=(results, suite))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    found = results.get()
    assert isinstance(found, int), found
    assert found > 20
