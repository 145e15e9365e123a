"""The real nginx with the configuration that site hosts get, against our own server over the same views."""

import http.client
import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from bundler.components.registry.endpoint import leaf, site_ca
from bundler.components.registry.settings import parse_settings
from bundler.components.repositories.nginx import configuration
from bundler.model.digest import Digest
from bundler.signing.openpgp import create_apt_key
from bundler.steps.step import Goal
from bundler.views.carry import carry_over
from tests.charts import make_chart
from tests.content import TestSite, make_deb, make_wheel
from tests.goals import goal_of, release
from tests.lab import require_root, unpacked
from tests.serving import Running, running

HOST = "repo.lab.example"
JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
BIG = os.urandom(300_000)


def free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        connection = http.client.HTTPSConnection(HOST, self.port)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sock = context.wrap_socket(plain, server_hostname=HOST)
        return connection

    def certificate(self) -> bytes:
        connection = self.connect()
        try:
            return connection.sock.getpeercert(True) or b""
        finally:
            connection.close()

    def ask(self, path: str, method: str = "GET", **fields: str) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        reply = connection.getresponse()
        found = reply.status, {name.lower(): value for name, value in reply.headers.items()}, reply.read()
        connection.close()
        return found

    def signal(self, name: str) -> "subprocess.CompletedProcess[str]":
        command = [program(), "-c", str(self.folder / "nginx.conf"), "-g", "daemon off;", "-s", name]
        return subprocess.run(command, capture_output=True, text=True)


def program() -> str:
    require_root()  # it writes below /var and changes its user
    return str(unpacked("nginx") / "usr/sbin/nginx")


@contextmanager
def served(folder: Path, goal: Goal, root: Path) -> Iterator[Nginx]:
    made = leaf(goal, goal.site.hosts[0], "repositories", "repo")
    (folder / "tls.crt").write_text(made.certificate)
    (folder / "tls.key").write_text(made.key.reveal())
    (folder / "ca.crt").write_text(site_ca(goal).bundle)
    port = free_port()
    Path("/var/lib/nginx/body").mkdir(parents=True, exist_ok=True)
    Path("/var/log/nginx").mkdir(exist_ok=True)
    text = configuration(
        ip_address("127.0.0.1"),
        "lab.example",
        port=port,
        folder=str(folder),
        root=str(root),
        pid=str(folder / "pid"),
        log=str(folder / "log"),
    )
    (folder / "nginx.conf").write_text(text)
    tested = subprocess.run([program(), "-t", "-c", folder / "nginx.conf"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr, tested.stderr
    with (folder / "err").open("wb") as log:
        process = subprocess.Popen([program(), "-c", folder / "nginx.conf", "-g", "daemon off;"], stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as plug:
                if plug.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "err").read_text()
            time.sleep(0.05)
        yield Nginx(folder=folder, port=port, process=process)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("bundle")), {"registry": parse_settings})


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that nginx' workers, who are not root, can enter; pytest's own are closed by each new run of it."""
    with tempfile.TemporaryDirectory(prefix="bundle-nginx-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def site(public: Path) -> TestSite:
    site = TestSite(public / "site")
    site.wheel(make_wheel("My_Tool", "1.0+x"), "my-tool", "1.0+x")
    site.deb(make_deb("hello", "1.0~rc1+b1", "amd64"))
    site.chart(make_chart("web", "1.0+x"), "web", "1.0+x", provenance=b"proof")
    site.file("big.bin", BIG)
    site.file("notes.txt", b"notes\n")
    site.publish("one", key=create_apt_key("t"))
    return site


@pytest.fixture(scope="module")
def nginx(goal: Goal, site: TestSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with served(tmp_path_factory.mktemp("nginx"), goal, site.root) as found:
        yield found


@pytest.fixture(scope="module")
def ours(site: TestSite) -> Iterator[Running]:
    with running(site.root) as found:
        yield found


def paths_of(site: TestSite) -> list[str]:
    """Every file of the generation that a client may ask for."""
    current = (site.root / "current").resolve()
    found = [path.relative_to(current).as_posix() for path in sorted(current.rglob("*")) if path.is_file()]
    return [f"/{name}" for name in found if name.split("/")[0] in ("apt", "charts", "files", "pypi")]


def test_every_file_is_served_as_by_our_own_server(nginx: Nginx, ours: Running, site: TestSite) -> None:
    """The same status, type, caching and bytes."""
    paths = [path for path in paths_of(site) if not path.startswith("/pypi/simple/")]
    assert len(paths) > 12
    for path in paths:
        asked = path.replace("+", "%2B").replace("~", "%7e")
        status, fields, body = nginx.ask(asked)
        expected = ours.ask(asked)
        assert (status, body) == (expected.status, expected.body), path
        for name in ("content-type", "cache-control", "content-length", "accept-ranges"):
            assert fields.get(name) == expected.fields.get(name), (path, name)
        assert nginx.ask(asked, "HEAD")[0] == 200
        assert nginx.ask(asked, If_None_Match=fields["etag"])[0] == 304
    assert any("immutable" in nginx.ask(path)[1]["cache-control"] for path in paths)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        JSON,
        HTML,
        "text/html",
        # pip, uv and a browser as they ask
        f"{JSON}, {HTML}; q=0.1, text/html; q=0.01",
        f"{JSON}, {HTML};q=0.2, text/html;q=0.01",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
        "application/vnd.pypi.simple.latest+json",
        "application/vnd.pypi.simple.latest+html",
        f"{HTML}, {JSON};q=0.9",
        f"{JSON};q=0.5, {HTML};q=0.7",
        f"text/html;q=0.9, {JSON};q=0.8",
        f"{JSON};q=0, text/html",
        f"{JSON};q=0",
        f"{JSON};q=1.0",
        f"{JSON};level=1",
        f"{JSON.upper()}",
        f"x{JSON}",
        "application/json",
        "text/*",
        "image/png, */*;q=0.1",
    ],
)
@pytest.mark.parametrize("path", ["/pypi/simple/", "/pypi/simple/my-tool/"])
def test_an_index_is_sent_as_the_client_likes_it(nginx: Nginx, ours: Running, path: str, accept: str) -> None:
    status, fields, body = nginx.ask(path, Accept=accept)
    expected = ours.ask(path, Accept=accept)
    assert (status, fields["content-type"], body) == (200, expected.fields["content-type"], expected.body)
    assert (fields["vary"], fields["cache-control"]) == ("Accept", "no-cache")


def test_what_is_not_there(nginx: Nginx, site: TestSite, ours: Running) -> None:
    """Nothing of the site but the views of the release in use, however it is spelled; no listing, but of files."""
    (site.root / "secret").write_text("secret")
    current = site.root / "current"
    links = {
        "files/link": site.root / "secret",
        "files/inner": current.resolve() / "files/notes.txt",
        "apt/out": Path("/etc"),
    }
    for name, place in links.items():
        (current / name).symlink_to(place)
    try:
        absent = [
            "/secret",
            "/files/../../../secret",
            "/files/%2e%2e/%2e%2e/secret",
            "/files/..%2f..%2fsecret",
            "/files//../..//../secret",
            "/files/link",
            "/files/inner",
            "/apt/out/passwd",
            "/files/.hidden",
            "/files/absent",
            "/statement/bundle.json",
            "/registry/docker/registry/v2/",
            "/state/site.json",
            "/_index/json/",
            "/_index/json/my-tool/",
            "/apt/",
            "/apt/debian/pool/",
            "/charts/files/",
            "/pypi/",
            "/pypi/files/",
            "/pypi/simple/absent/",
            "/pypi/simple/my-tool/index.json",
            "/pypi/simple/../../state/",
        ]
        (current / "files/.hidden").write_text("hidden")
        for path in absent:
            status, fields, body = nginx.ask(path)
            assert status in (400, 404), path
            assert b"secret" not in body
            assert b"root:" not in body
            assert fields["server"] == "nginx"
    finally:
        for name in (*links, "files/.hidden"):
            (current / name).unlink()
    assert b"big.bin" in nginx.ask("/files/")[2]
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "MKCOL"):
        assert nginx.ask("/files/notes.txt", method)[0] == 405
    for path in ("/pypi/simple", "/pypi/simple/my-tool"):
        status, fields, _ = nginx.ask(path)
        assert (status, fields["location"]) == (308, f"{path}/")
    assert nginx.ask("/healthz")[2] == b"ok\n"
    assert nginx.ask("/")[0] == 200


def test_ranges(nginx: Nginx) -> None:
    status, fields, body = nginx.ask("/files/big.bin", Range="bytes=299990-")
    assert (status, fields["content-range"], body) == (206, "bytes 299990-299999/300000", BIG[-10:])
    status, _, body = nginx.ask("/files/big.bin", Range="bytes=5-9", If_Range='"another"')
    assert (status, len(body)) == (200, 300_000)


def test_a_switch_is_served_at_once(goal: Goal, public: Path, tmp_path: Path) -> None:
    site = TestSite(public / "switched")
    key = create_apt_key("t")
    site.deb(make_deb("hello", "1.0"))
    site.file("notes.txt", b"one\n")
    one = site.publish("one", key=key)
    pool = next(path for path in paths_of(site) if path.endswith(".deb"))
    (tmp_path / "nginx").mkdir()
    with served(tmp_path / "nginx", goal, site.root) as nginx:
        etag = nginx.ask("/files/notes.txt")[1]["etag"]
        site.artifacts.clear()
        site.deb(make_deb("hello", "2.0"))
        site.file("notes.txt", b"second\n")
        two = site.publish("two", key=key, switch=False)
        carry_over(one, two)
        site.switch(two)
        assert nginx.ask("/files/notes.txt", If_None_Match=etag)[2] == b"second\n"
        assert b"Version: 2.0" in nginx.ask("/apt/debian/dists/bookworm/main/binary-all/Packages")[2]
        assert nginx.ask(pool)[0] == 200
        site.switch(one)
        assert nginx.ask("/files/notes.txt")[2] == b"one\n"


def test_a_wrong_configuration_leaves_the_running_one(goal: Goal, site: TestSite, tmp_path: Path) -> None:
    """What `systemctl reload nginx` does: the unit's ExecReload."""
    with served(tmp_path, goal, site.root) as nginx:
        good = (tmp_path / "nginx.conf").read_text()
        for bad in (good.replace("http {", "http {\n    no_such_directive on;"), good[: len(good) // 2]):
            (tmp_path / "nginx.conf").write_text(bad)
            assert nginx.signal("reload").returncode != 0
            assert nginx.ask("/healthz")[0] == 200
        (tmp_path / "tls.crt").write_text("no certificate\n")
        (tmp_path / "nginx.conf").write_text(good)
        assert nginx.signal("reload").returncode != 0
        assert nginx.ask("/healthz")[0] == 200
        other = replace(goal, vault=goal.vault, _made={"ca": site_ca(goal)})
        made = leaf(other, goal.site.hosts[1], "repositories", "repo")
        (tmp_path / "tls.crt").write_text(made.certificate)
        (tmp_path / "tls.key").write_text(made.key.reveal())
        before = nginx.certificate()
        assert nginx.signal("reload").returncode == 0
        deadline = time.monotonic() + 10
        while nginx.certificate() == before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert nginx.ask("/files/big.bin")[0] == 200
        assert Digest.of(nginx.ask("/files/big.bin")[2]) == Digest.of(BIG)
