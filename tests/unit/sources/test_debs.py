import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bundler.catalog.manifests import Manifests
from bundler.errors import ResolutionFailed, ToolMissing
from bundler.model.lock import LockedDeb
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from bundler.model.profile import ExtraArchive, PackageTarget
from bundler.signing.openpgp import public_armored, public_binary
from bundler.sources.debs import DebLocator, FoundDebs, WantedDebs, resolve_debs
from bundler.sources.pins import Resolved, Update
from bundler.transport import Transport, Upstreams
from tests.bundles import bare_lock
from tests.hostile_server import HostileServer
from tests.lab import require_program
from tests.upstreams import TinyArchive, apt_machine, base, package

BASE = {"apt", "tiny-libc", "tiny-shell"}
BOOKWORM = PackageTarget(archive="debian", release="bookworm")


@dataclass(kw_only=True)
class Machine:
    """A machine whose apt knows one archive and its security archive."""

    folder: Path
    server: HostileServer
    main: TinyArchive
    security: TinyArchive

    def configure(self, *lines: str, settings: str = "", monkeypatch: pytest.MonkeyPatch) -> None:
        keys = {"main.asc": self.main.key, "security.asc": self.security.key}
        named = [line.format(main=self.main.url, security=self.security.url, keys=self.folder) for line in lines]
        monkeypatch.setenv("APT_CONFIG", str(apt_machine(self.folder, named, keys, settings=settings)))

    def resolve(
        self,
        *names: str,
        keep: tuple[LockedDeb, ...] = (),
        update: Update | None = None,
        architecture: str = "amd64",
        upstreams: tuple[str, ...] = (),
        target: PackageTarget = BOOKWORM,
        roles: Mapping[str, tuple[str, ...]] | None = None,
        optional: tuple[str, ...] = (),
    ) -> FoundDebs:
        wanted = WantedDebs(
            target=target, architecture=architecture, roles=roles or {"": names}, optional=frozenset(optional)
        )
        return resolve_debs(
            wanted,
            transport=Transport(),
            upstreams=Upstreams.parse(upstreams),
            manifests=Manifests(folders=(self.folder / "manifests",)),
            keep=keep,
            update=update or Update(),
        )

    def file(self, name: str, data: bytes) -> str:
        """Something in the manifests' `files/`."""
        folder = self.folder / "manifests/files"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return f"file:{name}"


MAIN = "deb [signed-by={keys}/main.asc] {main} bookworm main"
SECURITY = "deb [signed-by={keys}/security.asc] {security} bookworm-security main"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    require_program("apt-get")
    # Not below pytest's own folder, which is closed to the user as whom apt reads keys.
    with HostileServer() as server, tempfile.TemporaryDirectory() as folder:
        main = TinyArchive(server=server)
        security = TinyArchive(server=server, root="/security")
        made = Machine(folder=Path(folder), server=server, main=main, security=security)
        made.configure(MAIN, SECURITY, monkeypatch=monkeypatch)
        security.suite("bookworm-security", [])
        yield made


def versions(found: Resolved[LockedDeb]) -> dict[str, str]:
    return {deb.package: deb.version for deb in found.entries}


def test_essential_packages_are_there_though_nobody_depends_on_them(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app"), package("unrelated")))
    assert set(versions(machine.resolve("app"))) == {"app", *BASE}


def test_dependencies_are_followed_and_recommendations_are_not(machine: Machine) -> None:
    app = package("app", Depends="lib (>= 2) | other", Pre_Depends="early", Recommends="nice", Suggests="also")
    rest = [package(name) for name in ("early", "nice", "also", "other")]
    machine.main.suite("bookworm", base(app, package("lib", "1:2.0-1"), *rest))
    assert set(versions(machine.resolve("app"))) == {"app", "lib", "early", *BASE}


def test_an_entry_says_all_of_its_file_and_keeps_what_apt_compares(machine: Machine) -> None:
    stanza = package(
        "app",
        "2:1.0+b~1-1",
        Installed_Size="12",
        Depends="tiny-libc (>= 1.0-1),  apt",
        Maintainer="Jos\u00e9 <j@example.com>",
        Homepage="http://example.com/a\u202fb",
        Tag="left::out",
    )
    machine.main.suite("bookworm", base(stanza))
    found = machine.resolve("app")
    app = next(deb for deb in found.entries if deb.package == "app")
    assert (app.archive, app.suite, app.release) == ("debian", "bookworm", "bookworm")
    assert app.path == "pool/main/a/app/app_1.0+b~1-1_amd64.deb"
    assert (f"SHA256: {app.digest.hex}" in stanza, f"Size: {app.size}\n" in stanza) == (True, True)
    assert app.control.splitlines() == [
        "Package: app",
        "Version: 2:1.0+b~1-1",
        "Architecture: amd64",
        "Maintainer: Jos\u00e9 <j@example.com>",
        "Installed-Size: 12",
        "Depends: tiny-libc (>= 1.0-1),  apt",
        "Homepage: http://example.com/a b",
        "Description: a test",
    ]
    read = parse_lock(write_lock(bare_lock(debs=found.entries, targets=(found.target,))), file="images.lock")
    assert (set(read.debs), read.targets) == (set(found.entries), (found.target,))


def test_the_security_suite_has_a_role_and_a_key_of_its_own(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app")))
    machine.security.suite("bookworm-security", [package("app", "1.0-2")])
    app = next(deb for deb in machine.resolve("app").entries if deb.package == "app")
    assert (app.version, app.archive, app.suite) == ("1.0-2", "debian-security", "bookworm-security")
    located = DebLocator(Transport(), Upstreams()).locate(app)
    assert located.url == f"{machine.security.url}/pool/main/a/app/app_1.0-2_amd64.deb"
    mapped = DebLocator(Transport(), Upstreams.parse(["debian-security=http://127.0.0.1:9/s"])).locate(app)
    assert mapped.url == "http://127.0.0.1:9/s/pool/main/a/app/app_1.0-2_amd64.deb"


def test_pins_stay_and_update_moves_them(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app", Depends="lib"), package("lib")))
    old = machine.resolve("app")
    machine.security.suite("bookworm-security", [package("app", "2.0-1", Depends="lib"), package("lib", "2.0-1")])
    assert machine.resolve("app", keep=old.entries) == old
    one = machine.resolve("app", keep=old.entries, update=Update(names=frozenset({"lib"})))
    assert (versions(one)["app"], versions(one)["lib"]) == ("1.0-1", "2.0-1")
    every = machine.resolve("app", keep=old.entries, update=Update(everything=True))
    assert (versions(every)["app"], versions(every)["lib"]) == ("2.0-1", "2.0-1")
    assert (one.gone, every.gone) == ((), ())


def test_a_pin_that_another_suite_serves_now_is_kept_from_there(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app")))
    machine.security.suite("bookworm-security", [package("lib")])
    old = machine.resolve("app", "lib")
    machine.main.suite("bookworm", base(package("app"), package("lib")))
    machine.security.suite("bookworm-security", [])
    found = machine.resolve("app", "lib", keep=old.entries)
    moved = {deb.package: (deb.archive, deb.suite) for deb in found.entries if deb not in old.entries}
    assert (moved, found.gone) == ({"lib": ("debian", "bookworm")}, ())


@pytest.mark.parametrize("now", [package("app", "1.1-1"), package("app", Section="other")], ids=["version", "bytes"])
def test_a_pin_that_is_no_longer_served_is_named(machine: Machine, now: str) -> None:
    machine.main.suite("bookworm", base(package("app"), package("other")))
    old = machine.resolve("app", "other")
    machine.main.suite("bookworm", base(now))
    found = machine.resolve("app", keep=old.entries)
    assert [(deb.package, deb.version) for deb in found.gone] == [("app", "1.0-1")]
    assert machine.resolve("app", keep=old.entries, update=Update(names=frozenset({"app"}))).gone == ()


def test_pins_that_block_what_is_asked_are_spoken_of(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("lib")))
    old = machine.resolve("lib")
    machine.security.suite("bookworm-security", [package("app", Depends="lib (>= 2)"), package("lib", "2.0-1")])
    with pytest.raises(ResolutionFailed, match="--update"):
        machine.resolve("app", keep=old.entries)
    assert versions(machine.resolve("app", keep=old.entries, update=Update(everything=True)))["lib"] == "2.0-1"


def unknown(machine: Machine) -> None:
    machine.main.suite("bookworm", base())


def unmet(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app", Depends="lib (>= 2)"), package("lib")))


def forged(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app")), valid=False)


def other_key(machine: Machine) -> None:
    TinyArchive(server=machine.server, key=machine.security.key).suite("bookworm", base(package("app")))


def no_digest(machine: Machine) -> None:
    stanza = re.sub("SHA256: .*\n", "MD5sum: 00\n", package("app"))
    machine.main.suite("bookworm", base(stanza))


def outside(machine: Machine) -> None:
    stanza = package("app").replace("Filename: pool/", "Filename: ../../")
    machine.main.suite("bookworm", base(stanza))


def absent(machine: Machine) -> None:
    del machine


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (unknown, r"Unable to locate package app"),
        (unmet, r"app : Depends: lib \(>= 2\)"),
        (forged, r"BADSIG|invalid|not signed"),
        (other_key, r"NO_PUBKEY|not signed"),
        (no_digest, r"64 lower-case hex digits"),
        (outside, r"file name"),
        (absent, r"does not have a Release file"),
    ],
)
def test_what_cannot_be_met_says_why(machine: Machine, prepare: Callable[[Machine], None], said: str) -> None:
    prepare(machine)
    with pytest.raises(ResolutionFailed) as caught:
        machine.resolve("app")
    assert re.search(said, caught.value.detail), caught.value.detail


def test_a_name_that_apt_reads_as_a_removal_is_refused(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app")))
    with pytest.raises(ResolutionFailed, match="app-"):
        machine.resolve("app-")


def test_a_virtual_name_is_one_that_a_package_provides(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app", Provides="other, thing (= 1)")))
    assert "app" in versions(machine.resolve("thing"))


def test_another_architecture(machine: Machine) -> None:
    stanzas = [text.replace("amd64", "arm64") for text in base(package("app"), package("data", Architecture="all"))]
    machine.main.suite("bookworm", stanzas, architecture="arm64")
    machine.security.suite("bookworm-security", [], architecture="arm64")
    assert {deb.file for deb in machine.resolve("app", "data", architecture="arm64").entries} == {
        "app_1.0-1_arm64.deb",
        "apt_1.0-1_arm64.deb",
        "data_1.0-1_all.deb",
        "tiny-libc_1.0-1_arm64.deb",
        "tiny-shell_1.0-1_arm64.deb",
    }


def test_no_source_of_the_release(machine: Machine) -> None:
    with pytest.raises(ResolutionFailed, match=r"debian trixie; `--upstream debian=URL`"):
        machine.resolve("app", target=replace(BOOKWORM, release="trixie"))


def test_an_upstream_replaces_the_archive_with_the_machines_keys(machine: Machine) -> None:
    mirror = TinyArchive(server=machine.server, root="/mirror", key=machine.main.key)
    mirror.suite("bookworm", base(package("app", "3.0-1")))
    upstream = f"debian={mirror.url}"
    found = machine.resolve("app", upstreams=(upstream,))
    assert versions(found)["app"] == "3.0-1"
    assert not any(seen.path.startswith(("/debian", "/security")) for seen in machine.server.seen)
    mirror.suite("bookworm-updates", [package("app", "3.1-1")])
    app = next(deb for deb in machine.resolve("app", upstreams=(upstream,)).entries if deb.package == "app")
    assert (app.version, app.archive, app.suite) == ("3.1-1", "debian", "bookworm-updates")
    assert DebLocator(Transport(), Upstreams.parse([upstream])).locate(app).url == f"{mirror.url}/{app.path}"


def test_another_archive_with_suites_of_the_same_name_is_left_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TinyArchive(server=machine.server, root="/other", origin="Other", key=machine.main.key)
    other.suite("bookworm", [package("app", "9.0-1")])
    line = MAIN.replace("{main}", other.url)
    machine.configure(line, MAIN, monkeypatch=monkeypatch)
    machine.main.suite("bookworm", base(package("app")))
    found = machine.resolve("app")
    assert versions(found)["app"] == "1.0-1"
    assert DebLocator(Transport(), Upstreams()).locate(found.entries[0]).url.startswith(machine.main.url)


def test_the_machines_own_settings_do_not_leak_in(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = machine.folder / "hook-ran"
    settings = f'APT::Update::Pre-Invoke {{"touch {hook}";}};\nAPT::Install-Recommends "true";\n'
    settings += 'Acquire::AllowInsecureRepositories "true";\nAPT::Architecture "arm64";\n'
    machine.configure(MAIN.replace("signed-by", "trusted=yes signed-by"), settings=settings, monkeypatch=monkeypatch)
    machine.main.suite("bookworm", base(package("app", Recommends="nice"), package("nice")))
    assert set(versions(machine.resolve("app"))) == {"app", *BASE}
    assert not hook.exists()
    assert not (machine.folder / "state").exists()
    machine.main.suite("bookworm", base(package("app")), valid=False)
    with pytest.raises(ResolutionFailed):
        machine.resolve("app")


def test_the_machines_proxy_is_honoured(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = f'Acquire::http::Proxy "{machine.server.url}";\n'
    far = TinyArchive(server=machine.server, root="http://archive.example/debian", key=machine.main.key)
    far.suite("bookworm", base(package("app")))
    machine.configure(MAIN.replace("{main}", far.root), settings=settings, monkeypatch=monkeypatch)
    assert "app" in versions(machine.resolve("app"))


def test_credentials_of_a_source_are_used_and_never_shown(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    line = MAIN.replace("{main}", machine.main.url.replace("http://", "http://user:secret@"))
    machine.configure(line, monkeypatch=monkeypatch)
    machine.main.suite("bookworm", base(package("app")))
    found = machine.resolve("app")
    assert "secret" not in str(found)
    located = DebLocator(Transport(), Upstreams()).locate(found.entries[0])
    assert located.url.startswith("http://user:secret@")
    machine.main.suite("bookworm", base(package("app")), valid=False)
    with pytest.raises(ResolutionFailed) as caught:
        machine.resolve("app")
    assert "secret" not in str(caught.value)


def test_without_apt(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolMissing, match="apt"):
        machine.resolve("app")


def test_locks_of_another_release_are_no_pins(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app"), package("app", "2.0-1")))
    old = tuple(replace(deb, release="trixie", version="1.0-1") for deb in machine.resolve("app").entries)
    assert versions(machine.resolve("app", keep=old))["app"] == "2.0-1"


def test_the_umask_does_not_matter(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app")))
    before = os.umask(0o077)
    try:
        assert "app" in versions(machine.resolve("app"))
    finally:
        os.umask(before)


JAMMY = PackageTarget(archive="ubuntu", release="jammy", components=("main", "universe"))


def test_another_distribution_with_its_keyring_and_components(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ubuntu = TinyArchive(server=machine.server, root="/ubuntu", origin="Ubuntu")
    ubuntu.suite("jammy", base(package("app", Depends="more")))
    ubuntu.suite("jammy", [package("more")], component="universe")
    ubuntu.suite("jammy", [package("lost")], component="multiverse")
    security = TinyArchive(server=machine.server, root="/us", origin="Ubuntu", key=ubuntu.key)
    for component in ("main", "universe"):
        security.suite("jammy-security", [package("app", "1.0-2", Depends="more")], component=component)
    upstreams = (f"ubuntu={ubuntu.url}", f"ubuntu-security={security.url}")
    monkeypatch.setattr("bundler.sources.apt_sources.KEYRINGS", machine.folder)
    with pytest.raises(ResolutionFailed, match=r"ubuntu-archive-keyring\.gpg is not there: the package ubuntu-keyring"):
        machine.resolve("app", target=JAMMY, upstreams=upstreams)
    (machine.folder / "ubuntu-archive-keyring.gpg").write_bytes(public_binary(ubuntu.key))
    found = machine.resolve("app", target=JAMMY, upstreams=upstreams)
    assert versions(found) == {"app": "1.0-2", "more": "1.0-1", **dict.fromkeys(BASE, "1.0-1")}
    assert {(deb.archive, deb.release) for deb in found.entries} == {("ubuntu", "jammy"), ("ubuntu-security", "jammy")}
    with pytest.raises(ResolutionFailed, match="Unable to locate package lost"):
        machine.resolve("lost", target=JAMMY, upstreams=upstreams)


def cuda(machine: Machine, suite: str, key: bytes) -> PackageTarget:
    keyring = machine.file("cuda.asc", public_armored(key))
    return replace(
        BOOKWORM, also=(ExtraArchive(archive="cuda", suite=suite, components=("contrib",), keyring=keyring),)
    )


@pytest.mark.parametrize("suite", ["/", "./", "12/x86_64/", "stable", "bookworm"])
def test_a_further_archive_flat_or_not(machine: Machine, suite: str) -> None:
    machine.main.suite("bookworm", base(package("app")))
    other = TinyArchive(server=machine.server, root="/cuda", origin="NVIDIA")
    stanzas = [package("toolkit", Depends="app").replace("Filename: ", "Filename: ./")]
    if suite.endswith("/"):
        other.flat(suite, stanzas)
    else:
        other.suite(suite, stanzas, component="contrib")
    upstream = f"cuda={other.url}"
    found = machine.resolve("toolkit", target=cuda(machine, suite, other.key), upstreams=(upstream,))
    toolkit = next(deb for deb in found.entries if deb.package == "toolkit")
    assert (toolkit.archive, toolkit.suite, toolkit.release) == ("cuda", suite, "bookworm")
    assert set(versions(found)) == {"toolkit", "app", *BASE}
    located = DebLocator(Transport(), Upstreams.parse([upstream])).locate(toolkit)
    assert located.url == f"{other.url}/pool/main/t/toolkit/toolkit_1.0-1_amd64.deb"
    with pytest.raises(ResolutionFailed, match="--upstream cuda=URL"):
        DebLocator(Transport(), Upstreams()).locate(toolkit)


def test_a_further_archive_is_held_to_its_own_key(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("app")))
    other = TinyArchive(server=machine.server, root="/cuda", origin="NVIDIA")
    other.flat("", [package("toolkit")])
    upstreams = (f"cuda={other.url}",)
    with pytest.raises(ResolutionFailed, match=r"NO_PUBKEY|not signed"):
        machine.resolve("toolkit", target=cuda(machine, "/", machine.main.key), upstreams=upstreams)
    with pytest.raises(ResolutionFailed, match="--upstream cuda=URL"):
        machine.resolve("toolkit", target=cuda(machine, "/", other.key))


def test_every_role_has_a_closure_of_its_own(machine: Machine) -> None:
    rest = [package("one", Conflicts="two"), package("two", Depends="lib"), package("lib"), package("every")]
    machine.main.suite("bookworm", base(*rest))
    found = machine.resolve(roles={"": ("every",), "db": ("every", "one"), "web": ("every", "two")})
    assert set(versions(found)) == {"every", "one", "two", "lib", *BASE}
    assert [(role.role, role.names) for role in found.target.roles] == [
        ("", ("every",)),
        ("db", ("every", "one")),
        ("web", ("every", "two")),
    ]
    assert (found.target.base, found.target.installed) == (("apt", "tiny-shell"), False)
    with pytest.raises(ResolutionFailed, match="for the role web"):
        machine.resolve(roles={"web": ("absent",)})


def test_optional_names_are_left_out_where_nobody_has_them(machine: Machine) -> None:
    machine.main.suite("bookworm", base(package("headers-1")))
    names = ("headers-1", "headers-2")
    assert machine.resolve(*names, optional=names).target.roles[0].names == ("headers-1",)


STATUS = """\
Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.22

Package: lib
Status: install ok installed
Architecture: amd64
Version: 1:2.0-1
Provides: libvirtual, libold (= 1.5)
Depends: gone-since

Package: gone-since
Status: install ok installed
Architecture: all
Version: 9

Package: early
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0-1
"""


def test_a_hosts_status_file_says_what_need_not_be_carried(machine: Machine) -> None:
    app = package("app", Depends="lib (>= 1:2), libvirtual, libold (>= 1.2)", Pre_Depends="early")
    machine.main.suite("bookworm", base(app, package("lib", "1:3.0-1"), package("early"), package("gone-since", "9")))
    target = replace(BOOKWORM, status=machine.file("status", STATUS.encode()))
    found = machine.resolve("app", "lib", "gone-since", target=target)
    assert versions(found) == {"app": "1.0-1", "early": "1.0-1"}
    assert found.target.installed
    assert found.target.base == ("gone-since=9", "lib=1:2.0-1", "libold=1.5", "libvirtual")
    with pytest.raises(ResolutionFailed, match="of a host with amd64, and packages are for arm64"):
        machine.resolve("app", target=target, architecture="arm64")
