import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bundler.catalog.load import load
from bundler.catalog.manifests import Manifests
from bundler.closure.packages import prove_packages
from bundler.errors import ResolutionFailed
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.resolve.resolve import resolve
from bundler.resolve.run import Resolvers
from bundler.sources.images import Registry
from bundler.sources.index import PackageIndex
from bundler.sources.pins import Update
from bundler.support.progress import Silent
from bundler.transport import Transport, Upstreams
from tests.hostile_server import HostileServer
from tests.lab import require_program
from tests.upstreams import TinyArchive, apt_machine, base, package

PROFILE = """\
profile: hosts
release: {{line: hosts, number: 1}}
platforms: {platforms}
bootstrap: {{python: []}}
kernels: {kernels}
packages:
- {{archive: debian, release: bookworm}}
- {{archive: ubuntu, release: jammy}}
components: [{components}]
"""


@dataclass(kw_only=True)
class Site:
    """Manifests for hosts of Debian and Ubuntu, and the archives of both, each with a key of its own."""

    folder: Path
    debian: TinyArchive
    ubuntu: TinyArchive
    components: list[str] = field(default_factory=list)

    def component(self, name: str, *sets: str) -> None:
        path = self.folder / "manifests/components" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"component: {name}\npackages:\n" + "".join(f"- {{format: deb, {each}}}\n" for each in sets))
        self.components.append(name)

    def lock(self, *, kernels: str = "[]", platforms: str = "[linux/amd64]") -> Lock:
        path = self.folder / "manifests/profiles/hosts.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        components = ", ".join(self.components)
        path.write_text(PROFILE.format(platforms=platforms, kernels=kernels, components=components))
        transport, upstreams = Transport(), Upstreams()
        declared = load(str(path), manifests=Manifests(folders=()))
        resolvers = Resolvers(
            transport=transport,
            registry=Registry(transport=transport, upstreams=upstreams),
            index=PackageIndex(transport, upstreams),
            upstreams=upstreams,
            scratch=self.folder,
        )
        return resolve(declared, resolvers, before=None, update=Update(), progress=Silent(), refresh="")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    require_program("apt-get")
    # Not below pytest's own folder, which is closed to the user as whom apt reads keys.
    with HostileServer() as server, tempfile.TemporaryDirectory() as folder:
        debian = TinyArchive(server=server)
        ubuntu = TinyArchive(server=server, root="/ubuntu", origin="Ubuntu")
        lines = [
            f"deb [signed-by={folder}/{archive.root[1:]}.asc] {archive.url} {release} main"
            for archive, release in ((debian, "bookworm"), (ubuntu, "jammy"))
        ]
        keys = {"debian.asc": debian.key, "ubuntu.asc": ubuntu.key}
        monkeypatch.setenv("APT_CONFIG", str(apt_machine(Path(folder), lines, keys)))
        yield Site(folder=Path(folder), debian=debian, ubuntu=ubuntu)


def packages(lock: Lock) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for deb in lock.debs:
        found.setdefault(f"{deb.archive}/{deb.release}", set()).add(deb.package)
    return found


BASE = {"apt", "tiny-shell", "tiny-libc"}


def test_releases_and_roles_side_by_side(site: Site) -> None:
    site.debian.suite("bookworm", base(package("agent"), package("db", Depends="api"), package("lib", Provides="api")))
    site.ubuntu.suite("jammy", base(package("agent"), package("db"), package("snap")))
    site.component("agent", "names: [agent]", "names: [snap], releases: [jammy]")
    site.component("store", "names: [db], roles: [db, all-in-one]")
    lock = site.lock()
    assert packages(lock) == {
        "debian/bookworm": {"agent", "db", "lib", *BASE},
        "ubuntu/jammy": {"agent", "snap", "db", *BASE},
    }
    roles = {target.name: {role.role: role.names for role in target.roles} for target in lock.targets}
    assert roles == {
        "debian/bookworm/amd64": {"": ("agent",), "all-in-one": ("agent", "db"), "db": ("agent", "db")},
        "ubuntu/jammy/amd64": {
            "": ("agent", "snap"),
            "all-in-one": ("agent", "snap", "db"),
            "db": ("agent", "snap", "db"),
        },
    }
    assert {target.name: target.chosen for target in lock.targets} == {
        "debian/bookworm/amd64": (("lib", "api"),),
        "ubuntu/jammy/amd64": (),
    }
    assert prove_packages(lock) == ()
    assert write_lock(parse_lock(write_lock(lock), file="x")) == write_lock(lock)


def test_headers_for_each_kernel_where_its_release_has_them(site: Site) -> None:
    site.debian.suite("bookworm", base(package("headers-6.1-amd64")))
    site.ubuntu.suite("jammy", base(package("headers-5.15-generic")))
    site.component("driver", 'names: ["headers-{kernel}"]')
    lock = site.lock(kernels="[6.1-amd64, 5.15-generic]")
    assert {target.name: target.roles[0].names for target in lock.targets} == {
        "debian/bookworm/amd64": ("headers-6.1-amd64",),
        "ubuntu/jammy/amd64": ("headers-5.15-generic",),
    }
    with pytest.raises(ResolutionFailed, match=r"headers-6\.2-amd64, for the kernel 6\.2-amd64"):
        site.lock(kernels="[6.1-amd64, 6.2-amd64]")
    with pytest.raises(ResolutionFailed, match=r"headers-\{kernel\}.*\n?.*names no `kernels:`"):
        site.lock()


def test_architectures_share_what_is_for_all(site: Site) -> None:
    for archive, release in ((site.debian, "bookworm"), (site.ubuntu, "jammy")):
        for architecture in ("amd64", "arm64"):
            own = [text.replace("amd64", architecture) for text in base(package("app", Depends="data"))]
            archive.suite(release, [*own, package("data", Architecture="all")], architecture=architecture)
    site.component("app", "names: [app], releases: [bookworm]")
    lock = site.lock(platforms="[linux/amd64, linux/arm64]")
    assert [target.name for target in lock.targets] == ["debian/bookworm/amd64", "debian/bookworm/arm64"]
    assert sorted(deb.architecture for deb in lock.debs if deb.package in ("app", "data")) == ["all", "amd64", "arm64"]
    assert prove_packages(lock) == ()


def test_nothing_is_asked_of_a_release_that_no_set_is_for(site: Site) -> None:
    site.component("app", "names: [app], releases: [trixie]")
    lock = site.lock()
    assert (lock.targets, [asked.packages for asked in lock.asked]) == ((), [()])
