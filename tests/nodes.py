"""Labs of real machines for tests (scripts/lab/nodes), and a signed bundle to install there (scripts/lab/site-bundle).

    with lab_of(3) as lab:
        lab.run("n1", "systemctl is-system-running --wait")

Nodes can reach one another and nothing else; `lab.packets()` says what tried.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.lab import SCRIPTS, require, require_program, require_root

_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNode:
    """`host_key` as site.yaml has it: `TYPE BASE64`."""

    name: str
    address: str
    host_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    name: str
    state: Path
    nodes: tuple[LabNode, ...]

    @property
    def environment(self) -> dict[str, str]:
        """What tells the tool who we are; which host keys are right it has to know from site.yaml."""
        return {**os.environ, "BUNDLE_SSH_CONFIG": str(self.state / "client_config")}

    def node(self, name: str) -> LabNode:
        return next(node for node in self.nodes if node.name == name)

    def ask(
        self, node: str, command: str, stdin: bytes = b"", timeout: float = 120
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run sh text as root on a node."""
        ssh = ["ssh", "-F", str(self.state / "ssh_config"), node, command]
        return subprocess.run(ssh, input=stdin, capture_output=True, timeout=timeout, check=False)

    def run(self, node: str, command: str, stdin: bytes = b"", timeout: float = 120) -> str:
        """The same, which must go well; its output without the last newline."""
        done = self.ask(node, command, stdin, timeout)
        assert done.returncode == 0, f"{node}: {command}: {done.returncode}\n{(done.stdout + done.stderr).decode()}"
        return done.stdout.decode().rstrip("\n")

    def send(self, node: str, source: Path, target: str) -> None:
        """Copy a file there, however large."""
        with source.open("rb") as stream:
            ssh = ["ssh", "-F", str(self.state / "ssh_config"), node, f"cat >{target}"]
            subprocess.run(ssh, stdin=stream, check=True, timeout=600)

    def let_reach_others(self, node: str) -> None:
        """Give root there our identity: what runs the tool on a site reaches the other hosts from there."""
        identity = (self.state / "id_ed25519").read_bytes()
        self.run(node, "install -m 600 /dev/stdin /root/.ssh/id_ed25519", stdin=identity)

    def kill(self, node: str) -> None:
        """Cut the power."""
        self._nodes("kill", node)

    def start(self, node: str) -> None:
        """Switch it on; back when ssh answers."""
        self._nodes("start", node)

    def replace(self, node: str) -> "Lab":
        """Another machine in its place, bare and with a host key of its own: the lab as it is then."""
        self._nodes("replace", node)
        known = json.loads(self._nodes("list", "--json"))["nodes"]
        return replace(self, nodes=_nodes_of(known))

    def snapshot(self, node: str, name: str) -> None:
        """The disk of a node, or of `all`, as a power cut would leave it now; the nodes run on."""
        self._nodes("snapshot", node, name)

    def restore(self, node: str, name: str) -> None:
        """Back to that disk, by a power cut. Back when ssh answers, if the node was on."""
        self._nodes("restore", node, name)

    def packets(self, *, reset: bool = False) -> dict[str, Any]:
        """What tried to leave: {"left": N, "names": N, "tried": [{from, to, protocol, port, packets}]}. `names` counts
        questions to the name server that the nodes are told of, which is not there."""
        return dict(json.loads(self._nodes("packets", *(["--reset"] if reset else []))))

    def site_yaml(
        self,
        *,
        roles: Mapping[str, Sequence[str]] | None = None,
        components: str = "{}",
        local: str = "",
        more: str = "",
        **host: object,
    ) -> str:
        """A site.yaml of all nodes: the first has the role `site` unless `roles` says it node by node. `host` is
        for every host (`user="ops", become=True`), `local` names the node that the tool will run on, `components` is
        YAML in flow style, `more` are further lines."""
        roles = {self.nodes[0].name: ["site"]} if roles is None else roles
        lines = ["site: lab", "domain: lab.example", "hosts:"]
        for node in self.nodes:
            entry = {
                "name": node.name,
                "address": node.address,
                "roles": list(roles.get(node.name, [])),
                **({"local": True} if node.name == local else {"host_key": node.host_key, **host}),
            }
            lines.append(f"- {json.dumps(entry)}")
        subnet = self.nodes[0].address.rpartition(".")[0]
        lines += [f"networks: [{{name: main, subnet: {subnet}.0/24}}]", f"components: {components}", more]
        return "\n".join(lines) + "\n"

    def _nodes(self, verb: str, *words: str) -> str:
        return _nodes(verb, "--name", self.name, "--state", str(self.state), *words)


def _nodes_of(known: list[dict[str, Any]]) -> tuple[LabNode, ...]:
    return tuple(LabNode(**{key: each[key] for key in ("name", "address", "host_key")}) for each in known)


def _nodes(*words: str) -> str:
    done = subprocess.run([SCRIPTS / "lab/nodes", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"scripts/lab/nodes {' '.join(words)} failed ({done.returncode}):\n{done.stderr}"
    return done.stdout


def require_nodes() -> None:
    require_root()
    require_program("systemd-nspawn")
    require_program("nft")
    v1 = Path("/sys/fs/cgroup/freezer").is_dir()
    require("cgroup v1", v1, "nodes are made for machines that have it", impossible=True)


@contextmanager
def lab_of(size: int) -> Iterator[Lab]:
    """A lab of its own with nodes n1 … n`size`, in seconds; taken away at the end, or by the next one after a crash."""
    require_nodes()
    state = Path(tempfile.mkdtemp(prefix="bundle-nodes-", dir="/var/tmp"))  # a disk, where /tmp may be memory
    name = f"test-{os.getpid()}-{next(_numbers)}"
    place = ("--name", name, "--state", str(state))
    try:
        _nodes("up", *place, "--owner", str(os.getpid()), str(size))
        known = json.loads(_nodes("list", *place, "--json"))["nodes"]
        yield Lab(name=name, state=state, nodes=_nodes_of(known))
    finally:
        _nodes("down", *place)
        shutil.rmtree(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteBundle:
    """`folder` has site.bundle, site.lock, release.pub and release.key."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "site.bundle"

    @property
    def lock(self) -> Path:
        return self.folder / "site.lock"

    @property
    def public(self) -> Path:
        return self.folder / "release.pub"


@cache
def site_bundle(profile: str = "lab-site") -> SiteBundle:
    """A profile of the lab, made by this checkout's tool: seconds when something has changed, at once otherwise."""
    made = [str(SCRIPTS / "lab/site-bundle"), "--profile", profile]
    done = subprocess.run(made, capture_output=True, text=True, check=False)
    require(f"site-bundle of {profile}", done.returncode != 3, done.stderr.strip(), impossible=True)
    assert done.returncode == 0, done.stderr
    return SiteBundle(folder=Path(done.stdout.splitlines()[-1]))
