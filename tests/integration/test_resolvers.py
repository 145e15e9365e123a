"""The resolvers against the index and the archive that this machine uses."""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.catalog.manifests import Manifests
from bundler.closure.choices import choices
from bundler.closure.packages import missing_by_apt, missing_by_relations, prove_packages
from bundler.closure.wheels import missing_by_metadata, prove_wheels
from bundler.errors import BundleError
from bundler.model.asked import Asked
from bundler.model.lock import Lock
from bundler.model.platform import Platform
from bundler.model.profile import PackageTarget
from bundler.sources.apt_sources import AptMachine
from bundler.sources.debs import DebLocator, FoundDebs, WantedDebs, resolve_debs
from bundler.sources.index import PackageIndex
from bundler.sources.installed import installed
from bundler.sources.wheels import WheelLocator, resolve_wheels
from bundler.transport import Transport, Upstreams
from tests.bundles import bare_lock
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


def resolve_packages(names: Sequence[str], suite: str, *, architecture: str = "amd64") -> FoundDebs:
    wanted = WantedDebs(
        target=PackageTarget(archive="debian", release=suite), architecture=architecture, roles={"": tuple(names)}
    )
    return resolve_debs(wanted, transport=Transport(), upstreams=Upstreams(), manifests=Manifests(folders=()))


def complete(found: FoundDebs) -> Lock:
    chosen = choices(found.target, found.entries, found.entries, others=[found.target])
    return bare_lock(debs=found.entries, targets=(replace(found.target, chosen=chosen),))


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


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_real_package_is_missed_by_its_name(architecture: str) -> None:
    """The closure of a database and a web server, proved by apt, and not without any one of its packages."""
    lock = complete(resolve_packages(["mariadb-server", "nginx", "skopeo"], release(), architecture=architecture))
    assert len(lock.debs) > 150
    assert prove_packages(lock) == ()
    for deb in lock.debs:
        missing = missing_by_relations(replace(lock, debs=tuple(each for each in lock.debs if each != deb)))
        assert deb.package in {each.name for each in missing}, deb.file
    (target,) = lock.targets
    (role,) = target.roles
    role = replace(role, names=(*role.names, *(package for package, _ in target.chosen)))
    asked = replace(lock, targets=(replace(target, roles=(role,)),))
    for deb in lock.debs[::40]:
        assert missing_by_apt(replace(asked, debs=tuple(each for each in lock.debs if each != deb))), deb.file


def test_real_packages_for_a_host_that_has_some_already(tmp_path: Path) -> None:
    status = Path("/var/lib/dpkg/status")
    suite = release()
    require("dpkg status", status.is_file(), "no Debian host", impossible=True)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/status").write_bytes(status.read_bytes())
    target = PackageTarget(archive="debian", release=suite, status="file:status")
    host = next(stanza["Architecture"] for stanza in installed(status.read_text()) if stanza["Package"] == "dpkg")
    found = resolve_debs(
        WantedDebs(target=target, architecture=host, roles={"": ("hello", "mariadb-server", "dpkg")}),
        transport=Transport(),
        upstreams=Upstreams(),
        manifests=Manifests(folders=(tmp_path,)),
    )
    packages = {deb.package for deb in found.entries}
    assert packages >= {"hello", "mariadb-server"}
    assert not packages & {"dpkg", "libc6", "bash"}
    assert found.target.installed
    assert len("".join(found.target.base)) < 10_000
    assert prove_packages(complete(found)) == ()


def test_wheels_for_many_interpreters_and_platforms_are_proved(index: PackageIndex) -> None:
    pythons, asked = ("3.9", "3.10", "3.11", "3.12", "3.13"), ("cryptography", "requests[socks]", "pytest<8.4")
    entries = [
        wheel
        for architecture in ("amd64", "arm64")
        for wheel in resolve_wheels(
            asked, pythons=pythons, glibc=GLIBC[0], architecture=architecture, index=index
        ).entries
    ]
    nothing = ("images", "revealed", "charts", "packages", "files", "provides", "tools", "silences")
    component = Asked(component="app", version="", wheels=asked, **dict.fromkeys(nothing, ()))
    wheels = tuple(dict.fromkeys(entries))
    platforms = tuple(Platform("linux", architecture) for architecture in ("amd64", "arm64"))
    lock = bare_lock(wheels=wheels, asked=(component,), pythons=pythons, platforms=platforms)
    assert prove_wheels(lock) == ()
    for wheel in wheels:
        missing = missing_by_metadata(replace(lock, wheels=tuple(each for each in wheels if each != wheel)))
        assert {each.name for each in missing} == {wheel.project}, wheel.file


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
