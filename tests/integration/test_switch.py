"""Unmodified clients in a loop, without any route, while the site under them goes from release to release: a whole
bundle, deltas, back, forth, and away with what is old. Not one of their requests fails."""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import pytest

from bundler.components.registry.endpoint import leaf, site_ca
from bundler.components.registry.settings import parse_settings
from bundler.components.repositories.nginx import configuration
from bundler.site.kept import kept
from tests.campaigns import Workshop
from tests.charts import write_chart
from tests.content import make_deb, make_tar
from tests.goals import goal_of, release
from tests.hostile_server import HostileServer
from tests.images import Repository
from tests.integration.test_component_repositories import free_port, program
from tests.integration.test_views import AptClient, docker_registry
from tests.isolated import Isolated, without_route
from tests.lab import Upstream, require_go_tool, require_netns, require_program, require_root
from tests.upstreams import TinyArchive, TinyIndex, apt_machine, sha256

NUMBERS = (1, 2, 3)
HOST = "repo.lab.example"
DELAY = 0.05  # seconds that each request waits on its way
PROFILE = """\
profile: switch
release: {{line: switch, number: {number}}}
platforms: [linux/amd64]
bootstrap: {{python: []}}
python: ["3.11"]
packages: [{{archive: debian, release: bookworm}}]
components: [helm, app]
"""
HELM = """\
component: helm
files: [{name: helm, url: "file:helm"}]
tools: {helm: {file: helm}}
"""
APP = """\
component: app
images: ["registry.example/team/app:stable"]
charts: [{chart: own, repository: "file:own"}]
wheels: [tiny-app, tiny-same]
packages: {format: deb, names: [tiny-app]}
"""
FILES = "files: [{{name: notes.bin, url: 'file:notes.bin', digest: 'sha256:{digest}'}}]\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Three releases as files: the first whole, the others deltas. What each gives to clients: its name, then bytes."""

    shop: Workshop
    given: dict[int, dict[str, bytes]]
    manifests: dict[int, str]

    def bundle(self, number: int) -> str:
        return f"{number}.bundle"


def noise(number: int, what: str, size: int = 300_000) -> bytes:
    return random.Random(f"{what} {number}").randbytes(size)


def publish(number: int, folder: Path, index: TinyIndex, archive: TinyArchive) -> dict[str, bytes]:
    """What pip, apt, helm and curl get of a release. `same` has one name and other bytes each time."""
    app = index.wheel("tiny-app", f"{number}.0", requires=["tiny-lib"], body=f"# {noise(number, 'w').hex()}\n")
    lib = index.wheel("tiny-lib", f"{number}.0")
    same = index.wheel("tiny-same", body=f"# {number}\n") if number == 1 else None
    debs = [
        make_deb("apt", "2.0-1", Essential="yes"),
        make_deb("tiny-lib", f"{number}.0-1", "amd64", body=noise(number, "d")),
        make_deb("tiny-app", f"{number}.0-1", "amd64", depends=f"tiny-lib (= {number}.0-1), tiny-same"),
        make_deb("tiny-same", "1.0-1", body=noise(number, "same")),
    ]
    archive.suite("bookworm", [archive.deb(each) for each in debs])
    notes = noise(number, "f")
    manifests = folder / "manifests"
    (manifests / "files/notes.bin").write_bytes(notes)
    (manifests / "components/app.yaml").write_text(APP + FILES.format(digest=sha256(notes)))
    (manifests / "profiles/switch.yaml").write_text(PROFILE.format(number=number))
    write_chart(manifests / "charts", "own", f"0.{number}.0", add={"values.yaml": f"n: {number}\n".encode()})
    return {each.name: each.data for each in (app, lib, *([same] if same else []), *debs)} | {"notes.bin": notes}


@pytest.fixture(scope="module")
def world(empty_upstream: Upstream) -> Iterator[World]:
    require_root()
    require_netns()
    # Not below pytest's own folder, which is closed to the users as whom apt reads keys and nginx serves.
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch, HostileServer() as server:
        folder = Path(made)
        folder.chmod(0o755)
        for name in ("profiles", "components", "files", "charts"):
            (folder / "manifests" / name).mkdir(parents=True)
        (folder / "manifests/components/helm.yaml").write_text(HELM)
        shutil.copy(require_go_tool("helm"), folder / "manifests/files/helm")
        index, archive = TinyIndex(server=server), TinyArchive(server=server)
        line = f"deb [signed-by={folder}/d.asc] {archive.url} bookworm main"
        patch.setenv("APT_CONFIG", str(apt_machine(folder, [line], {"d.asc": archive.key})))
        patch.setenv("UV_CACHE_DIR", str(folder / "uv"))
        image = Repository(url=empty_upstream.url, name="team/app")
        hosts = {"registry.example": empty_upstream.url, "pypi": index.url}
        shop = Workshop(folder=folder, upstreams=hosts)
        shop.run("keys", "create", "release")
        given, pushed = {}, {}
        for number in NUMBERS:
            given[number] = publish(number, folder, index, archive)
            layers = [make_tar({"./base": noise(0, "base")}), make_tar({"./app": noise(number, "app", 2_000_000)})]
            pushed[number] = image.image("linux/amd64", layers, tag="stable")["digest"]
            shop.run("lock", "-p", "switch", "-o", f"{number}.lock")
            bases = [word for old in range(1, number) for word in ("--delta-from", f"{old}.bundle")]
            create = ("create", "--lock", f"{number}.lock", "--key", "release.key", "-o", f"{number}.bundle")
            shop.run(*create, *bases)
            sizes = [(folder / f"{each}.bundle").stat().st_size for each in (1, number)]
            assert number == 1 or sizes[1] < sizes[0] / 5
        yield World(shop=shop, given=given, manifests=pushed)


# --- who serves


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where clients go: to packages and files, to images; the logs that have a line for each of their requests."""

    packages: str
    images: str
    ca: str
    logs: tuple[Path, ...]

    def answers(self) -> list[str]:
        """All requests: `METHOD PATH STATUS` each."""
        lines = [line for log in self.logs for line in log.read_text(errors="replace").splitlines()]
        found = (re.search(r'"?(GET|HEAD) (\S+)(?: HTTP/1\.[01]")? (\d{3}) ', line) for line in lines)
        return [" ".join(each.groups()) for each in found if each]


@contextmanager
def embedded(world: World, root: Path, folder: Path, space: Isolated) -> Iterator[Served]:
    """`bundle serve`."""
    inner, outer, log = free_port(), free_port(), folder / "serve.log"
    with log.open("wb") as out:
        words = ("serve", "--root", str(root), "--listen", f"127.0.0.1:{inner}")
        with world.shop.start(*words, prefix=space.prefix, stdout=out, stderr=out) as process:
            try:
                space.wait_for(inner)
                with space.relay(outer, inner, delay=DELAY, hold=folder / "hold"):
                    host = f"127.0.0.1:{outer}"
                    yield Served(packages=f"http://{host}", images=host, ca="", logs=(log,))
            finally:
                process.terminate()


@contextmanager
def as_on_a_site(world: World, root: Path, folder: Path, space: Isolated) -> Iterator[Served]:
    """nginx with a site host's configuration, and `distribution`."""
    del world
    inner, outer, images = free_port(), free_port(), free_port()
    goal = goal_of(release(folder), {"registry": parse_settings})
    made = leaf(goal, goal.site.hosts[0], "repositories", "repo")
    (folder / "tls.crt").write_text(made.certificate)
    (folder / "tls.key").write_text(made.key.reveal())
    (folder / "ca.crt").write_text(site_ca(goal).bundle)
    Path("/var/lib/nginx/body").mkdir(parents=True, exist_ok=True)
    Path("/var/log/nginx").mkdir(exist_ok=True)
    text = configuration(
        ip_address("127.0.0.1"),
        "lab.example",
        port=inner,
        folder=str(folder),
        root=str(root),
        pid=str(folder / "pid"),
        log=str(folder / "nginx.log"),
    )
    (folder / "nginx.conf").write_text(text)
    (folder / "registry").mkdir()
    with ExitStack() as stack:
        command = (program(), "-c", folder / "nginx.conf", "-g", "daemon off;")
        stack.enter_context(space.started(command, log=folder / "nginx.err"))
        storage = root / "current/registry"
        address = stack.enter_context(docker_registry(folder / "registry", storage, prefix=space.prefix))
        real = int(address.rpartition(":")[2])
        for port in (inner, real):
            space.wait_for(port)
        stack.enter_context(space.relay(outer, inner, delay=DELAY))
        stack.enter_context(space.relay(images, real, delay=DELAY))
        logs = (folder / "nginx.log", folder / "registry/log")
        ca = str(folder / "ca.crt")
        yield Served(packages=f"https://{HOST}:{outer}", images=f"127.0.0.1:{images}", ca=ca, logs=logs)


# --- clients


@dataclass(kw_only=True)
class Loop:
    """A client that begins anew as soon as it is done. `round` gives the releases whose content it got."""

    name: str
    round: Callable[[int], set[int]]
    rounds: int = 0
    seen: list[set[int]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Loop":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.seen.append(self.round(self.rounds))
            except (OSError, AssertionError, subprocess.SubprocessError) as error:
                self.failed.append(f"{self.name}, round {self.rounds}: {error}")
            self.rounds += 1
            self._stop.wait(0.4)  # for the sake of the machine

    def wait(self, more: int = 2) -> None:
        """Until it was seen to begin and end a round."""
        until = self.rounds + more
        while self.rounds < until:
            time.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    world: World
    served: Served
    space: Isolated
    folder: Path

    def all(self) -> list[Loop]:
        rounds = {"pip": self.pip, "apt": self.apt, "skopeo": self.skopeo, "helm": self.helm, "curl": self.curl}
        return [Loop(name=name, round=each) for name, each in rounds.items()]

    def numbers(self, found: dict[str, bytes]) -> set[int]:
        """The one release that has each of these files, by its bytes."""
        one = set(NUMBERS)
        for name, data in found.items():
            having = {number for number in NUMBERS if self.world.given[number].get(name) == data}
            assert having, f"{name} has bytes of no release"
            one &= having
        assert one, f"no release has all of {', '.join(found)}"
        return one

    def pip(self, number: int) -> set[int]:
        place = self.folder / f"pip-{number}"
        options = ("--isolated", "--no-cache-dir", "--disable-pip-version-check", "--retries", "0")
        ca = ("--cert", self.served.ca) if self.served.ca else ()
        index = ("--index-url", f"{self.served.packages}/pypi/simple/")
        self.space.run(sys.executable, "-m", "pip", "download", *options, *ca, *index, "-d", place, "tiny-app")
        files = {path.name: path.read_bytes() for path in place.iterdir()}
        assert len(files) == 2
        # An index has a page a project: what is between two of them may be seen by a client that reads both.
        return set().union(*(self.numbers({name: data}) for name, data in files.items()))

    def apt(self, number: int) -> set[int]:
        """A machine that keeps its lists, and at every third time one that has none yet."""
        place = self.folder / (f"apt-{number}" if number % 3 == 0 else "apt")
        ca = f'Acquire::https::CaInfo "{self.served.ca}";\n' if self.served.ca else ""
        client = AptClient(
            place,
            f"{self.served.packages}/apt/debian",
            str(self.folder / "key.asc"),
            prefix=self.space.prefix,
            settings=f'Acquire::Retries "0";\n{ca}',
        )
        client.run("update")
        client.download("tiny-app")
        archives = place / "cache/archives"
        found = {re.sub(r"_\d+%3a", "_", path.name): path.read_bytes() for path in archives.glob("*.deb")}
        assert len(found) == 3
        client.run("clean")
        return self.numbers(found)

    def skopeo(self, number: int) -> set[int]:
        place = self.folder / f"skopeo-{number}"
        source = f"docker://{self.served.images}/registry.example/team/app:stable"
        self.space.run(require_program("skopeo"), "copy", "-q", "--src-tls-verify=false", source, f"dir:{place}")
        digest = f"sha256:{sha256((place / 'manifest.json').read_bytes())}"
        return {each for each, manifest in self.world.manifests.items() if manifest == digest}

    def helm(self, number: int) -> set[int]:
        place = self.folder / f"helm-{number}"
        ca = ("--ca-file", self.served.ca) if self.served.ca else ()
        home = [f"{name}={self.folder}/helm-home" for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")]
        where = ("--repo", f"{self.served.packages}/charts", *ca, "-d", place)
        place.mkdir()
        self.space.run("env", *home, require_go_tool("helm"), "pull", "own", *where)
        (chart,) = place.iterdir()
        return {int(chart.name.split(".")[1])}

    def curl(self, number: int) -> set[int]:
        place = self.folder / f"curl-{number}"
        ca = ("--cacert", self.served.ca) if self.served.ca else ()
        self.space.run("curl", "-fsS", *ca, "-o", place, f"{self.served.packages}/files/notes.bin")
        return self.numbers({"notes.bin": place.read_bytes()})

    def key(self) -> None:
        ca = ("--cacert", self.served.ca) if self.served.ca else ()
        text = self.space.run("curl", "-fsS", *ca, f"{self.served.packages}/apt/debian/key.asc")
        (self.folder / "key.asc").write_text(text)


# --- what happens to the site meanwhile

STEPS = (
    ("install", "2.bundle", "-q"),
    ("rollback", "--yes"),
    ("rollback", "2", "--yes"),
    ("install", "3.bundle", "-q"),
    ("gc", "--keep", "2"),
    ("rollback", "--yes"),
)


# Of each kind what an index names: who asks for it has read an index before.
MIDDLE = ("/by-hash/", "/pypi/files/", "/charts/files/", "/blobs/sha256:")


@contextmanager
def in_the_middle(hold: Path, *, possible: bool) -> Iterator[None]:
    """Clients of each kind have read an index, and get what it names only afterwards."""
    if not possible:  # behind TLS nobody sees what is asked
        yield
        return
    held = hold.with_name("hold.held")
    held.unlink(missing_ok=True)
    hold.write_text("|".join(MIDDLE))
    for _ in range(1200):
        if held.exists() and {*MIDDLE} <= {*held.read_text().split()}:
            break
        time.sleep(0.05)
    assert {*MIDDLE} <= {*held.read_text().split()}
    yield
    hold.unlink()


@pytest.mark.parametrize("by", ["embedded", "site"])
def test_no_request_fails(world: World, by: str) -> None:
    """Each step comes into the middle of what every client does, and each client is seen to end a round after it."""
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        folder = Path(made)
        folder.chmod(0o755)
        names = folder / "hosts"
        names.write_text(f"127.0.0.1 localhost {HOST}\n")
        space = stack.enter_context(without_route(str(names)))
        root = folder / "site"
        inside = partial(world.shop.run, prefix=(*space.prefix[:-2], f"--wd={world.shop.folder}", "--"))
        inside("install", world.bundle(1), "--trust", "release.pub", "--root", str(root), "-q")
        served = stack.enter_context((embedded if by == "embedded" else as_on_a_site)(world, root, folder, space))
        clients = Clients(world=world, served=served, space=space, folder=folder)
        clients.key()
        loops = [stack.enter_context(each) for each in clients.all()]
        for each in loops:
            each.wait(1)
        for step in STEPS:
            with in_the_middle(folder / "hold", possible=by == "embedded"):
                inside(*step, "--root", str(root))
            for each in loops:
                each.wait()
        for each in loops:
            each.__exit__()
        failed = [said for each in loops for said in each.failed]
        answers = served.answers()
        bad = [each for each in answers if each.split()[-1] not in ("200", "206", "304", "308")]
        for each in loops:
            print(f"{each.name}: {each.rounds} rounds, of release {' '.join(map(_short, each.seen))}")
        print(
            f"{len(answers)} requests, {len(bad)} refused, {len(failed)} rounds failed, {os.getloadavg()[0]:.1f} load"
        )
        assert not failed, "\n\n".join(failed[:5])
        assert not bad, bad[:10]
        assert len(answers) > 100
        for each in loops:
            assert set().union(*each.seen) == set(NUMBERS), f"{each.name} has seen all releases"
        assert [each.short for each in kept(root)] == ["switch-2", "switch-3"], "what is old is gone"


def _short(seen: set[int]) -> str:
    return "+".join(map(str, sorted(seen)))
