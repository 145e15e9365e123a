"""A registry with the site's certificate and htpasswd line: Debian's own `distribution`, asked by curl and skopeo."""

import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest

from bundler.model.secret import Secret
from bundler.secrets.ca import ensure_ca, ensure_leaf
from bundler.secrets.passwords import ensure_htpasswd, random_password
from bundler.secrets.vault import Vault
from tests.lab import require_program
from tests.registries import registry_program

CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/storage}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {folder}/cert, key: {folder}/key}}}}
auth: {{htpasswd: {{realm: site, path: {folder}/htpasswd}}}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[int, Secret]]:
    """A port of 127.0.0.1 and the password of `push`; the root is in `roots.crt`."""
    program, port, vault, now = registry_program("debian"), free_port(), Vault.empty(), datetime.now(UTC)
    password = vault.made("registry.password", random_password)
    (tmp_path / "roots.crt").write_text(ensure_ca(vault, "demo", now).bundle)
    leaf = ensure_leaf(vault, "registry", ("registry.site.example",), (ip_address("127.0.0.1"),), now)
    (tmp_path / "cert").write_text(leaf.certificate)
    (tmp_path / "key").write_text(leaf.key.reveal())
    (tmp_path / "htpasswd").write_text(ensure_htpasswd(vault, "registry.htpasswd", "push", password).reveal())
    (tmp_path / "config.yml").write_text(CONFIG.format(folder=tmp_path, port=port))
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([program, "serve", tmp_path / "config.yml"], stdout=log, stderr=log) as running,
    ):
        try:
            wait_for(port)
            yield port, password
        finally:
            running.terminate()


def wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.05)


def curl(tmp_path: Path, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """The exit code and the HTTP status."""
    command = [require_program("curl"), "-s", "-o", "/dev/null", "-w", "%{http_code}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=30, cwd=tmp_path)
    return done.returncode, done.stdout


def test_a_registry_of_the_site(tmp_path: Path, registry: tuple[int, Secret]) -> None:
    port, password = registry
    named = ["--cacert", "roots.crt", "--resolve", f"registry.site.example:{port}:127.0.0.1"]
    for url in (f"https://registry.site.example:{port}/v2/", f"https://127.0.0.1:{port}/v2/"):

        def asked(user: str, given: Secret, url: str = url) -> tuple[int, str]:
            login = f'user = "{user}:{given.reveal()}"\n'
            return curl(tmp_path, *named, "-K", "-", url, stdin=login)

        assert asked("push", password) == (0, "200")
        assert asked("push", Secret(random_password())) == (0, "401")
        assert asked("pull", password) == (0, "401")
        assert curl(tmp_path, *named, url) == (0, "401")
    assert curl(tmp_path, "--cacert", "roots.crt", f"https://localhost:{port}/v2/")[0] == 60  # another name
    assert curl(tmp_path, f"https://127.0.0.1:{port}/v2/")[0] == 60  # another's root


def test_skopeo_logs_in(tmp_path: Path, registry: tuple[int, Secret]) -> None:
    port, password = registry
    certificates = tmp_path / "certs"
    certificates.mkdir()
    (tmp_path / "roots.crt").rename(certificates / "ca.crt")
    for given, code in ((password, 0), (Secret("wrong"), 1)):
        command = [require_program("skopeo"), "login", "--cert-dir", "certs", "--authfile", "auth.json"]
        command += ["--username", "push", "--password-stdin", f"127.0.0.1:{port}"]
        done = subprocess.run(
            command, input=given.reveal(), capture_output=True, text=True, check=False, timeout=30, cwd=tmp_path
        )
        assert done.returncode == code, done.stderr
