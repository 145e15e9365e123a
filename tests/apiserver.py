"""A real API server over a real etcd, both on loopback: what it takes a cluster takes, and CoreDNS can watch it."""

import json
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lab import lab_program

SERVICES = "10.96.0.0/16,fd00:96::/112"
_TOKEN = "of-an-administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The API server: `server` is its URL, `folder` has its files."""

    server: str
    folder: Path

    def kubectl(self, *words: str, given: str = "") -> str:
        """What kubectl prints; it must not fail."""
        done = self.tried(*words, given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tried(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [lab_program("kubernetes") / "kubectl", "--kubeconfig", self.config(_TOKEN), *words]
        return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)

    def apply(self, objects: Iterable[dict[str, Any]]) -> None:
        """Make objects, and let nothing pass that the API does not know."""
        text = yaml.safe_dump_all(objects)
        self.kubectl("apply", "--server-side", "--validate=strict", "--filename", "-", given=text)

    def would_take(self, objects: Iterable[dict[str, Any]]) -> None:
        """The API takes all of them as they are; nothing is made."""
        text = yaml.safe_dump_all(objects)
        words = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-")
        self.kubectl(*words, given=text)

    def account(self, namespace: str, name: str) -> Path:
        """The kubeconfig of a service account."""
        return self.config(self.kubectl("create", "token", name, "--namespace", namespace).strip(), name=name)

    def config(self, token: str, *, name: str = "admin") -> Path:
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": self.server, "insecure-skip-tls-verify": True}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
            "current-context": "lab",
        }
        path.write_text(json.dumps(content))
        return path


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, neither TCP nor UDP."""
    plugs = [socket.socket() for _ in range(count)]
    for plug in plugs:
        plug.bind(("127.0.0.1", 0))
    found: list[int] = [plug.getsockname()[1] for plug in plugs]
    for plug in plugs:
        plug.close()
    return found


@contextmanager
def running(command: list[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program until the end of the block."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=log.parent)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """An API server with nothing behind it: no controllers, no nodes."""
    client, peer, port = free_ports(3)
    store = f"http://127.0.0.1:{client}"
    subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
    etcd: list[str | Path] = [lab_program("etcd") / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync"]
    etcd += ["--listen-client-urls", store, "--advertise-client-urls", store]
    etcd += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
    server: list[str | Path] = [lab_program("kubernetes") / "kube-apiserver", "--etcd-servers", store]
    server += ["--bind-address", "127.0.0.1", "--secure-port", str(port), "--cert-dir", folder / "certificates"]
    server += ["--token-auth-file", folder / "tokens.csv", "--authorization-mode", "RBAC"]
    server += ["--service-account-issuer", "https://kubernetes.default.svc"]
    server += ["--service-account-key-file", folder / "accounts.key"]
    server += ["--service-account-signing-key-file", folder / "accounts.key"]
    server += ["--service-cluster-ip-range", SERVICES, "--endpoint-reconciler-type", "none"]
    cluster = Cluster(server=f"https://127.0.0.1:{port}", folder=folder)
    with ExitStack() as stack:
        stack.enter_context(running(etcd, folder / "etcd.log"))
        process = stack.enter_context(running(server, folder / "apiserver.log"))
        for _ in range(240):
            if cluster.tried("get", "--raw", "/readyz").returncode == 0:
                break
            assert process.poll() is None, (folder / "apiserver.log").read_text()[-2000:]
            time.sleep(0.5)
        else:
            raise AssertionError((folder / "apiserver.log").read_text()[-2000:])
        yield cluster
