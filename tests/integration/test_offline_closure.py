"""A complete lock is enough: without any route, stock pip and apt find everything in what was made from it.

And an incomplete one is found out: each wheel and package of the repository's own lock is taken away in turn.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.closure.packages import missing_by_apt, missing_by_relations, prove_packages
from bundler.closure.wheels import missing_by_metadata, prove_wheels
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.views.clients import apt_sources
from tests.content import make_deb
from tests.hostile_server import HostileServer
from tests.lab import ROOT, require_netns, require_program, require_root
from tests.upstreams import TinyArchive, TinyIndex, apt_machine

PROFILE = """\
profile: offline
release: {line: offline, number: 1}
platforms: [linux/amd64]
bootstrap: {python: []}
python: ["3.11", "3.12"]
packages:
- archive: debian
  release: bookworm
  also: [{archive: cuda, suite: /, keyring: "file:cuda.asc"}]
- {archive: ubuntu, release: jammy}
- {archive: ubuntu, release: noble}
components: [app]
"""
COMPONENT = """\
component: app
wheels: ["app[fast]"]
packages:
- {format: deb, names: [tiny-app]}
- {format: deb, names: [tiny-toolkit], releases: [bookworm], roles: [gpu]}
"""
# In the namespace: the site from the bundle, then pip, and apt and dpkg into an empty root for each release.
ISOLATED = """\
set -euo pipefail
ip link set lo up
[ -z "$(ip route show table all type unicast | grep -v ' dev lo ')" ]
"$PYTHON" -m bundler install site.bundle --trust release.pub --root site
"$PYTHON" -m bundler serve --root site --listen 127.0.0.1:8080 2>serve.log &
trap 'kill $!' EXIT
for _ in $(seq 200); do curl -fs http://127.0.0.1:8080/healthz >health && break; sleep 0.1; done
"$PYTHON" -m pip install -q --isolated --no-cache-dir --disable-pip-version-check --root-user-action ignore \
    --index-url http://127.0.0.1:8080/pypi/simple/ --target packages 'app[fast]'
for archive in debian cuda ubuntu; do
    curl -fs "http://127.0.0.1:8080/apt/$archive/key.asc" -o "$archive.asc"
done
for release in bookworm jammy noble; do
    export APT_CONFIG=$PWD/$release/apt.conf
    apt-get -qq update
    names=tiny-app
    [ $release != bookworm ] || names+=' tiny-toolkit'
    apt-get -qq install -y --download-only '?essential' apt $names >$release/said
    dpkg --root="$PWD/$release/root" --force-script-chrootless --install $release/cache/archives/*.deb >>$release/said
done
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not below pytest's own folder, which is closed to the user as whom apt reads keys.
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def publish(archive: TinyArchive, release: str, *debs: str) -> None:
    """A suite of packages that can be installed, all with their release in what they hold."""
    made = [
        make_deb("tiny-base", "1.0-1", "amd64", body=release.encode(), Essential="yes"),
        make_deb("apt", "2.0-1", "amd64", depends="tiny-virtual"),
        make_deb("tiny-lib", "1:1.0-1", body=release.encode(), Provides="tiny-virtual"),
        make_deb("tiny-app", "1.0-1", "amd64", depends="tiny-lib (>= 1:1.0) | tiny-other", body=release.encode()),
    ]
    archive.suite(release, [*(archive.deb(each) for each in made), *debs])


def declare(folder: Path, cuda: TinyArchive) -> Path:
    manifests = folder / "manifests"
    for kind in ("profiles", "components", "files"):
        (manifests / kind).mkdir(parents=True)
    (manifests / "profiles/offline.yaml").write_text(PROFILE)
    (manifests / "components/app.yaml").write_text(COMPONENT)
    (manifests / "files/cuda.asc").write_bytes(cuda.public)
    return manifests / "profiles/offline.yaml"


def empty_root(folder: Path, release: str, *archives: str) -> None:
    """What apt and dpkg need to begin with nothing at all."""
    here = folder / release
    for name in ("root/var/lib/dpkg/updates", "root/var/lib/dpkg/info", "etc/sources.list.d", "etc/preferences.d",
                 "etc/apt.conf.d", "state/lists/partial", "cache/archives/partial"):  # fmt: skip
        (here / name).mkdir(parents=True)
    status = here / "root/var/lib/dpkg/status"
    status.touch()
    stanzas = [
        apt_sources(uri=f"http://127.0.0.1:8080/apt/{archive}", release=release, signed_by=f"{folder}/{archive}.asc")
        for archive in archives
    ]
    (here / "etc/sources.list.d/site.sources").write_text("\n".join(stanzas))
    (here / "apt.conf").write_text(
        f'Dir "{here}";\nDir::Etc "{here}/etc";\nDir::State "{here}/state";\nDir::Cache "{here}/cache";\n'
        f'Dir::State::status "{status}";\nDir::Etc::Trusted "/nonexistent";\n'
        'Dir::Etc::TrustedParts "/nonexistent";\nAPT::Architecture "amd64";\nAPT::Architectures { "amd64"; };\n'
        'APT::Sandbox::User "root";\nAcquire::Languages "none";\nAPT::Update::Error-Mode "any";\n'
        'APT::Install-Recommends "false";\nAcquire::http::Proxy "DIRECT";\n'
    )


def bundle(folder: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", "bundler", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pip_and_apt_install_from_a_bundle_without_any_route(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three releases of two distributions and a further archive in one lock, one bundle and one site."""
    require_root()
    require_netns()
    require_program("dpkg")
    monkeypatch.setenv("UV_CACHE_DIR", str(folder / "uv"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with HostileServer() as server:
        debian, ubuntu = TinyArchive(server=server), TinyArchive(server=server, root="/ubuntu", origin="Ubuntu")
        cuda, index = TinyArchive(server=server, root="/cuda", origin="NVIDIA"), TinyIndex(server=server)
        publish(debian, "bookworm")
        publish(ubuntu, "jammy")
        publish(ubuntu, "noble")
        cuda.flat("/", [cuda.deb(make_deb("tiny-toolkit", "12-1", "amd64", depends="tiny-lib"))])
        index.wheel("app", requires=['fast; extra == "fast"', 'old; python_version < "3.12"'], extras=["fast"])
        for project in ("fast", "old"):
            index.wheel(project)
        lines = [f"deb [signed-by={folder}/d.asc] {debian.url} bookworm main"]
        lines += [f"deb [signed-by={folder}/u.asc] {ubuntu.url} {release} main" for release in ("jammy", "noble")]
        monkeypatch.setenv("APT_CONFIG", str(apt_machine(folder, lines, {"d.asc": debian.key, "u.asc": ubuntu.key})))
        upstreams = ("--upstream", f"cuda={cuda.url}", "--upstream", f"pypi={index.url}")
        bundle(folder, "lock", "-p", declare(folder, cuda), "-o", "images.lock", *upstreams)
        bundle(folder, "keys", "create", "release")
        bundle(folder, "create", "--lock", "images.lock", "--key", "release.key", "-o", "site.bundle", *upstreams)
    for release, archives in (("bookworm", ("debian", "cuda")), ("jammy", ("ubuntu",)), ("noble", ("ubuntu",))):
        empty_root(folder, release, *archives)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", ISOLATED],
        cwd=folder,
        env={**environment, "PYTHON": sys.executable, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    expected = {"app.py", "fast.py", *(["old.py"] if python == "3.11" else [])}
    assert {path.name for path in (folder / "packages").glob("*.py")} == expected
    for release in ("bookworm", "jammy", "noble"):
        root = folder / release / "root"
        names = {path.name for path in (root / "usr/share").iterdir()} - {"doc"}
        assert names == {
            "apt",
            "tiny-base",
            "tiny-lib",
            "tiny-app",
            *(["tiny-toolkit"] if release == "bookworm" else []),
        }
        assert (root / "usr/share/tiny-app/hello").read_text() == release


@pytest.fixture(scope="module")
def own() -> Lock:
    """The repository's lock: real wheels and packages."""
    path = ROOT / "images.lock"
    return parse_lock(path.read_text(), file=str(path))


def test_the_repositorys_lock_is_proved_in_seconds(own: Lock) -> None:
    require_program("apt-get")
    for prove in (prove_packages, prove_wheels):
        start = time.monotonic()
        assert prove(own) == ()
        assert time.monotonic() - start < 10  # a quiet machine takes less than one


def test_every_package_of_the_repositorys_lock_is_missed_by_its_name(own: Lock) -> None:
    for deb in own.debs:
        missing = missing_by_relations(replace(own, debs=tuple(each for each in own.debs if each != deb)))
        assert deb.package in {each.name for each in missing}, deb.file
        assert all(each.wanted_by for each in missing)


def test_every_wheel_of_the_repositorys_lock_is_missed_by_its_project(own: Lock) -> None:
    for wheel in own.wheels:
        less = replace(own, wheels=tuple(each for each in own.wheels if each != wheel))
        assert {each.name for each in missing_by_metadata(less)} == {wheel.project}
    for wheel in own.bootstrap.wheels:
        left = tuple(each for each in own.bootstrap.wheels if each != wheel)
        missing = missing_by_metadata(replace(own, bootstrap=replace(own.bootstrap, wheels=left)))
        assert {each.name for each in missing} == {wheel.project}


def test_apt_agrees_about_every_package(own: Lock) -> None:
    """Asked for what it chose among several when the lock was made, apt misses each package as well."""
    require_program("apt-get")
    (target,) = own.targets
    (role,) = target.roles
    chosen = tuple(package for package, _ in target.chosen)
    asked = replace(own, targets=(replace(target, roles=(replace(role, names=(*role.names, *chosen)),)),))
    assert missing_by_apt(asked) == ()
    for deb in own.debs:
        assert missing_by_apt(replace(asked, debs=tuple(each for each in own.debs if each != deb))), deb.file
