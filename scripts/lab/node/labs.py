"""A lab: nodes, their network, and the state folder that holds what is known of them between commands."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lab.common import CACHE, locked, run, say
from scripts.lab.node import machine, network, root

REGISTER = Path("/run/bundle-lab")  # NAME.json: the labs of this machine since it started
FIRST = 11  # n1 is 10.77.NUMBER.11
BOOT = 90.0  # seconds until ssh must answer
IDENTITY = "id_ed25519"


class Trouble(Exception):
    """What the caller asked for cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    address: str
    host_key: str  # TYPE BASE64


class Lab:
    """`state` is its folder. Its parts appear in the order in which `up` makes them; `down` takes any of them away."""

    def __init__(self, name: str, state: Path) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,23}", name):
            raise Trouble(f"a lab's name is up to 24 of a-z, 0-9 and -: {name!r}")
        self.name = name
        self.state = state
        self.namespace = f"bundle-lab.{name}"

    # --- what is known

    @property
    def known(self) -> dict[str, Any]:
        """lab.json: number, base, count."""
        path = self.state / "lab.json"
        if not path.exists():
            raise Trouble(f"lab {self.name} is not up ({self.state})")
        return dict(json.loads(path.read_text()))

    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.known["count"] + 1)]

    def node(self, name: str) -> Node:
        if name not in self.names():
            raise Trouble(f"lab {self.name} has no node {name}: {', '.join(self.names())}")
        key = (self._folder(name) / "host_key.pub").read_text().split()
        return Node(name=name, address=self._address(name), host_key=" ".join(key[:2]))

    def nodes(self) -> list[Node]:
        return [self.node(name) for name in self.names()]

    def running(self, name: str) -> bool:
        return machine.running(self._machine(name))

    def packets(self, *, reset: bool = False) -> dict[str, Any]:
        """As network.packets, senders by name where a node sent it."""
        found = network.packets(self.namespace, reset=reset)
        by_address = {node.address: node.name for node in self.nodes()}
        for each in found["tried"]:
            each["from"] = by_address.get(each["from"], each["from"])
        return found

    def _folder(self, name: str) -> Path:
        return self.state / "nodes" / name

    def _machine(self, name: str) -> str:
        return f"{self.name}.{name}"

    def _last(self, name: str) -> int:
        return FIRST - 1 + int(name[1:])

    def _address(self, name: str) -> str:
        return f"{network.subnet(self.known['number'])}.{self._last(name)}"

    def _disk(self, name: str) -> root.Disk:
        return root.Disk(self._folder(name), Path(self.known["base"]))

    # --- the lab as a whole

    def up(self, count: int, owner: int | None = None) -> None:
        """Raise it, or find it up. With `owner`, it is swept away by a later `up` once that process has ended."""
        sweep()
        with self.locked():
            if (self.state / "lab.json").exists():
                if self._stands(count):
                    return
                self._clear()
            base = root.base()
            REGISTER.mkdir(exist_ok=True)
            entry = {"state": str(self.state), "owner": owner, "began": _began(owner) if owner else None}
            self._claim(entry)
            number = network.raise_network(self.namespace)
            _write(self.state / "lab.json", {"number": number, "base": str(base), "count": count})
            self._make_identity()
            for name in self.names():
                self._make(name)
            self.write_ssh_files()
            for name in self.names():
                self._boot(name)
            self._await(self.names())

    def _stands(self, count: int) -> bool:
        """Whether it is up, its nodes switched on if need be. What a restart of this machine leaves is not a lab."""
        if self.namespace not in network.namespaces():
            return False
        if self.known["count"] != count:
            raise Trouble(f"lab {self.name} is up with {self.known['count']} nodes; take it down first")
        off = [name for name in self.names() if not self.running(name)]
        for name in off:
            self._boot(name)
        self._await(off)
        return True

    def _claim(self, entry: dict[str, Any]) -> None:
        path = REGISTER / f"{self.name}.json"
        if path.exists() and json.loads(path.read_text())["state"] != str(self.state):
            raise Trouble(f"another lab named {self.name} is up: {json.loads(path.read_text())['state']}")
        self._clear()
        _write(path, entry)

    def down(self) -> None:
        with self.locked():
            self._clear()
            for name in ("lab.json", IDENTITY, f"{IDENTITY}.pub", "known_hosts", "ssh_config", "client_config"):
                (self.state / name).unlink(missing_ok=True)
            (REGISTER / f"{self.name}.json").unlink(missing_ok=True)

    def _clear(self) -> None:
        """Nothing of it runs any more, however it ended, and its disks are gone."""
        for name in machine.names():
            if name.startswith(f"{self.name}."):
                machine.cut(name)
        for namespace in network.namespaces():
            if namespace == self.namespace or namespace.startswith(f"{self.namespace}."):
                network.remove(namespace)
        for name in ("nodes", "snapshots"):
            run(["rm", "-rf", "--one-file-system", self.state / name])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time changes a lab."""
        self.state.mkdir(parents=True, exist_ok=True)
        with (self.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- nodes

    def kill(self, name: str) -> None:
        with self.locked():
            self._cut(self.node(name).name)

    def start(self, names: Sequence[str]) -> None:
        with self.locked():
            off = [self.node(name).name for name in names if not self.running(name)]
            for name in off:
                self._boot(name)
            self._await(off)

    def snapshot(self, names: Sequence[str], label: str) -> None:
        """Copy the disks as they are now, as after a power cut; nodes that run stand still meanwhile."""
        with self.locked():
            for name in names:
                target = self._snapshot(name, label)
                if target.exists():
                    raise Trouble(f"{name} has a snapshot {label} already")
                with machine.frozen(self._machine(name)):
                    self._disk(name).snapshot(target)

    def restore(self, names: Sequence[str], label: str) -> None:
        """Power cut, the disks of then, and power again where it was on."""
        with self.locked():
            for name in names:
                if not self._snapshot(name, label).exists():
                    raise Trouble(f"{name} has no snapshot {label}")
            on = [name for name in names if self.running(name)]
            for name in names:
                self._cut(name)
                self._disk(name).restore(self._snapshot(name, label))
            for name in on:
                self._boot(name)
            self._await(on)

    def replace(self, name: str) -> None:
        """Another machine in its place, with its name and address: bare, and with a host key of its own."""
        with self.locked():
            self._cut(self.node(name).name)
            self._make(name)
            self.write_ssh_files()
            self._boot(name)
            self._await([name])

    def _snapshot(self, name: str, label: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", label):
            raise Trouble(f"a snapshot's name is up to 64 of A-Z, a-z, 0-9, ., _ and -: {label!r}")
        return self.state / "snapshots" / label / name

    def _boot(self, name: str) -> None:
        place = f"{self.namespace}.{name}"
        wiring = network.wiring(self.namespace, place, name, self.known["number"], self._last(name))
        disk = self._disk(name)
        options = [f"--hostname={name}", *disk.binds()]
        machine.start(
            self._machine(name), self._folder(name), network=place, wiring=wiring, mount=disk.mount(), options=options
        )

    def _cut(self, name: str) -> None:
        machine.cut(self._machine(name))
        network.remove(f"{self.namespace}.{name}")

    def _make(self, name: str) -> None:
        """A disk with an identity of its own on it."""
        folder = self._folder(name)
        disk = self._disk(name)
        disk.create()
        etc = disk.upper / "etc"
        (etc / "ssh").mkdir(parents=True)
        _keygen(etc / "ssh/ssh_host_ed25519_key", name)
        shutil.copy(etc / "ssh/ssh_host_ed25519_key.pub", folder / "host_key.pub")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (etc / "hostname").write_text(f"{name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n")
        (etc / "resolv.conf").write_text(f"nameserver {network.subnet(self.known['number'])}.1\n")
        public = (self.state / f"{IDENTITY}.pub").read_text()
        for home, owner in (("root", 0), (f"home/{root.OPERATOR}", 1000)):
            ssh = disk.upper / home / ".ssh"
            ssh.mkdir(parents=True, mode=0o700)
            (ssh / "authorized_keys").write_text(public)
            (ssh.parent).chmod(0o700)
            for path in (ssh.parent, ssh, ssh / "authorized_keys"):
                os.chown(path, owner, owner)

    def _await(self, names: Sequence[str]) -> None:
        """Until ssh answers on each."""
        end = time.monotonic() + BOOT
        for name in names:
            while not _speaks(self._address(name)):
                if not self.running(name) or time.monotonic() > end:
                    log = (self._folder(name) / "console.log").read_text(errors="replace").splitlines()
                    raise Trouble(f"{name} did not come up:\n" + "\n".join(log[-20:]))
                time.sleep(0.1)

    # --- ssh

    def _make_identity(self) -> None:
        identity = self.state / IDENTITY
        if not identity.exists():
            _keygen(identity, f"lab-{self.name}")

    def write_ssh_files(self) -> None:
        """client_config says who we are and nothing more; ssh_config also knows the nodes by name."""
        identity = f"IdentityFile {self.state / IDENTITY}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
        (self.state / "client_config").write_text(f"Host *\n  {identity}")
        known = [f"{node.name},{node.address} {node.host_key}\n" for node in self.nodes()]
        (self.state / "known_hosts").write_text("".join(known))
        hosts = [f"Host {node.name}\n  HostName {node.address}\n  HostKeyAlias {node.name}\n" for node in self.nodes()]
        common = f"Host *\n  User root\n  UserKnownHostsFile {self.state / 'known_hosts'}\n  BatchMode yes\n"
        strict = "  StrictHostKeyChecking yes\n  ConnectTimeout 5\n  LogLevel ERROR\n"
        (self.state / "ssh_config").write_text("".join(hosts) + common + strict + f"  {identity}")

    def ssh(self, name: str, *words: str) -> list[str]:
        """The command line."""
        return ["ssh", "-F", str(self.state / "ssh_config"), self.node(name).name, *words]


def sweep() -> None:
    """Take away the labs whose owner has ended without doing so."""
    with locked("sweep-labs"):
        for path in sorted(REGISTER.glob("*.json")):
            try:
                entry = json.loads(path.read_text())
            except FileNotFoundError:  # taken down just now
                continue
            if entry["owner"] and _began(entry["owner"]) != entry["began"]:
                say(f"lab {path.stem}: its owner has ended; taking it away")
                Lab(path.stem, Path(entry["state"])).down()
                shutil.rmtree(entry["state"])


def _began(pid: int) -> str | None:
    """When a process started, in ticks; None when there is none. A pid alone may be another's by now."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return None


def _speaks(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _keygen(path: Path, comment: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)


def _write(path: Path, value: dict[str, Any]) -> None:
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(value))
    scratch.rename(path)


def default_state(name: str) -> Path:
    return CACHE / "nodes" / name
