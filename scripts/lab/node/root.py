"""The disk of a node: the base that all nodes read, one folder each for what a node writes, and snapshots of that.

A root is an overlay: the base lowest, then the snapshots that a node came from, then its own folder `upper`. A snapshot
is a copy of that folder; to go back to one is to start over from it as a lower layer, whatever its size. Container
engines need a real file system below their own overlays, so `data` holds their folders, which are copied instead.
"""

import shutil
import subprocess
from pathlib import Path

from scripts.lab.common import CACHE, LAB, filled, key_of, locked, run, say

# What any installed Debian server has. What a site host needs beyond it is for the bundle to bring.
PACKAGES = ("dbus", "iproute2", "iptables", "iputils-ping", "kmod", "nftables", "openssh-server", "procps", "python3",
            "sudo", "systemd", "systemd-sysv")  # fmt: skip
ENGINES = ("containerd", "containers", "docker")  # folders below /var/lib
OPERATOR = "ops"  # a user who becomes root by sudo

# The node shares a kernel that has cgroup v1: its mounts of it are made writable, as on a machine of its own.
READY = """[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup/*; do mount -o remount,bind,rw $c 2>/dev/null; done; \\
  mount --make-rshared /; [ -e /dev/kmsg ] || mknod -m 600 /dev/kmsg c 1 11; mkdir -p /run/udev'
[Install]
WantedBy=sysinit.target
"""
# The clock is not the node's own: chrony runs all the same, and leaves it alone.
CHRONY = """[Unit]
ConditionCapability=
[Service]
ExecStart=
ExecStart=!/usr/sbin/chronyd $DAEMON_OPTS -x
"""
# Without a console, a network and a disk of their own; the kernel has no client of NFS.
MASKED = ("console-getty.service", "getty@tty1.service", "systemd-networkd.service", "fstrim.timer", "apt-daily.timer",
          "apt-daily-upgrade.timer", "run-rpc_pipefs.mount")  # fmt: skip


def base() -> Path:
    """The unpacked root that nodes share, made ready to be one. Never written to again."""
    tar = Path(run([LAB / "rootfs", *PACKAGES]).splitlines()[-1])
    target = CACHE / "lab/bases" / key_of(tar.name, READY, CHRONY, MASKED, ENGINES, OPERATOR)
    with locked(target.name):
        if not target.is_dir():
            say("node: unpacking the base")
            with filled(target) as scratch:
                run(["tar", "-C", scratch, "-xf", tar])
                _prepare(scratch)
    return target


def _prepare(root: Path) -> None:
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for folder in ("dev", "usr/lib/modules", "root/.ssh", *(f"var/lib/{name}" for name in ENGINES)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "root/.ssh").chmod(0o700)
    units = root / "etc/systemd/system"
    (units / "lab-ready.service").write_text(READY)
    (units / "sysinit.target.wants/lab-ready.service").symlink_to("../lab-ready.service")
    (units / "chrony.service.d").mkdir()
    (units / "chrony.service.d/lab.conf").write_text(CHRONY)
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/sh", OPERATOR])
    (root / "etc/sudoers.d/ops").write_text(f"{OPERATOR} ALL=(ALL:ALL) NOPASSWD: ALL\n")
    (root / "etc/sudoers.d/ops").chmod(0o440)


class Disk:
    """What a node has written: `folder` holds `upper`, `data` and the list of layers below them."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder = folder
        self.base = base

    @property
    def upper(self) -> Path:
        return self.folder / "upper"

    @property
    def layers(self) -> list[str]:
        """The folders below `upper`, highest first."""
        return [*(self.folder / "layers").read_text().split("\n")[:-1], str(self.base)]

    def create(self) -> None:
        self._start_from([])

    def mount(self) -> str:
        """The sh line that mounts the root at `folder`/root."""
        options = f"lowerdir={':'.join(self.layers)},upperdir={self.upper},workdir={self.folder}/work"
        return f"mount -t overlay -o {options} overlay {self.folder}/root"

    def binds(self) -> list[str]:
        return [f"--bind={self.folder}/data/{name}:/var/lib/{name}" for name in ENGINES]

    def snapshot(self, target: Path) -> None:
        """Copy what was written, from a node that does not write just now."""
        with filled(target) as scratch:
            for name in ("upper", "data"):
                _copy(self.folder / name, scratch / name)
            shutil.copy(self.folder / "layers", scratch / "layers")

    def restore(self, source: Path) -> None:
        layers = (source / "layers").read_text().split("\n")[:-1]
        self._start_from([str(source / "upper"), *layers])
        shutil.rmtree(self.folder / "data")
        _copy(source / "data", self.folder / "data")

    def _start_from(self, layers: list[str]) -> None:
        for name in ("upper", "work", "data", "root"):
            if (self.folder / name).exists():
                run(["rm", "-rf", "--one-file-system", self.folder / name])
            (self.folder / name).mkdir(parents=True, mode=0o755)
        for name in ENGINES:
            (self.folder / "data" / name).mkdir(mode=0o711)
        (self.folder / "layers").write_text("".join(f"{layer}\n" for layer in layers))


def _copy(source: Path, target: Path) -> None:
    """With every attribute: an overlay keeps what was deleted in them, and as devices."""
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=auto", source, target], check=True)
