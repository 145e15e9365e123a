"""Far ends for tests: real sshds on loopback, each with namespaces of its own for processes and mounts.

So each has its own users, sudo, /var/lib and /run, and none of it touches this machine. Needs root.
"""

import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from bundler.model.site import Site, SiteHost
from tests.lab import require, require_root, unpacked

PASSWORD = "a pass-word of bob's"
_USERS = {  # name: (uid, what sudo lets it do)
    "alice": (2001, "alice ALL=(ALL) NOPASSWD: ALL"),
    "bob": (2002, "bob ALL=(ALL) ALL"),
    "carol": (2003, ""),
}
_START = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t overlay overlay -o lowerdir={openssh}/usr:{sudo}/usr:{libwrap}/usr:/usr /usr
mount -t overlay overlay -o lowerdir={sudo}/etc:/etc,upperdir={d}/etc,workdir={d}/etc.work /etc
mount -t overlay overlay -o lowerdir=/var/lib,upperdir={d}/lib,workdir={d}/lib.work /var/lib
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd
rm -rf /var/lib/bundle
sed -i '/^root:/s|:/root:|:{d}/home:|' /etc/passwd
echo 'sshd:x:2000:65534::/run/sshd:/usr/sbin/nologin' >>/etc/passwd
install -m 644 {d}/../id.pub /etc/ssh/lab_keys
{users}
exec /usr/sbin/sshd -D -e -f {d}/sshd_config
"""
_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {d}/host_key
AuthorizedKeysFile /etc/ssh/lab_keys
StrictModes no
UsePAM no
PidFile none
"""


@dataclass
class FarEnd:
    """A running sshd. `folder` is seen by both sides."""

    name: str
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def key(self) -> str:
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def lib(self) -> Path:
        """Its /var/lib/bundle."""
        return self.folder / "lib/bundle"

    def spec(self, **fields: Any) -> SiteHost:
        values = {"address": ip_address("127.0.0.1"), "port": self.port, "roles": ("site",), "host_key": self.key}
        return SiteHost(name=self.name, **(values | fields))

    def new_host_key(self) -> None:
        """As if it were installed anew."""
        self.stop()
        for file in self.folder.glob("host_key*"):
            file.unlink()
        self.process = _start(self)

    def sessions(self) -> list[int]:
        """Its processes that serve a connection, as this machine numbers them."""
        return [pid for pid, line in _processes() if line.startswith("sshd: root@") and _inside(pid, self.process.pid)]

    def running(self, word: str) -> list[str]:
        """The command lines there that have a word in them."""
        return [line for pid, line in _processes() if word in line and _inside(pid, self.process.pid)]

    def stop(self) -> None:
        """A power cut."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for _ in range(200):  # all of the namespace ends a moment later
            if not _listens(self.port):
                return
            time.sleep(0.05)


@contextmanager
def far_ends(folder: Path, *names: str) -> Iterator[list[FarEnd]]:
    """Running sshds; `folder`/id is the private key that all of their users accept, `folder`/config names it."""
    require_root()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True)
    (folder / "config").write_text(f"Host *\n  IdentityFile {folder}/id\n  IdentitiesOnly yes\n  IdentityAgent none\n")
    ends: list[FarEnd] = []
    try:
        for name in names:
            end = FarEnd(name=name, folder=folder / name, port=_free_port(), process=None)  # type: ignore[arg-type]
            end.folder.mkdir()
            end.process = _start(end)
            ends.append(end)
        yield ends
    finally:
        for end in ends:
            end.stop()


def site_of(*hosts: SiteHost) -> Site:
    return Site(name="lab", domain="lab.example", hosts=hosts)


def _start(end: FarEnd) -> "subprocess.Popen[bytes]":
    d = end.folder
    for name in ("etc", "etc.work", "lib", "lib.work", "home"):
        (d / name).mkdir(exist_ok=True)
    # A login that talks: nothing of this may be taken for an answer.
    (d / "home/.bashrc").write_text("echo noise of a login; echo more noise >&2\n")
    if not (d / "host_key").exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", d / "host_key"], check=True)
    (d / "sshd_config").write_text(_CONFIG.format(port=end.port, d=d))
    places = {"openssh": unpacked("openssh-server"), "sudo": unpacked("sudo"), "libwrap": unpacked("libwrap0")}
    text = _START.format(d=d, users=_users(), **places)
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", text]
    with (d / "log").open("ab") as log:
        process = subprocess.Popen(unshare, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    for _ in range(200):
        if _listens(end.port):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.05)
    require("sshd", False, (d / "log").read_text()[-500:])
    raise AssertionError


def _users() -> str:
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], capture_output=True, text=True, check=True).stdout
    lines = []
    for name, (uid, rule) in _USERS.items():
        secret = hashed.strip() if name in ("bob", "carol") else "*"
        lines.append(f"echo {name}:x:{uid}:{uid}::/tmp:/bin/bash >>/etc/passwd; echo {name}:x:{uid}: >>/etc/group")
        lines.append(f"echo {shlex.quote(f'{name}:{secret}:19000:0:99999:7:::')} >>/etc/shadow")
        lines += [f"echo {shlex.quote(rule)} >>/etc/sudoers.d/test"] if rule else []
    return "\n".join([*lines, "chmod 440 /etc/sudoers.d/test"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _processes() -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        yield int(folder.name), line


def _inside(pid: int, ancestor: int) -> bool:
    """Whether a process lives in the namespace of processes that `ancestor` made."""
    try:
        mine = Path(f"/proc/{pid}/ns/pid").readlink()
        child = Path(f"/proc/{ancestor}/task/{ancestor}/children").read_text().split()[0]
        return mine == Path(f"/proc/{child}/ns/pid").readlink()
    except (OSError, IndexError):
        return False
