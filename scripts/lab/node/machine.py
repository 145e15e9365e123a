"""The power of a node: start its container, cut it, freeze it, and remove what is left of one that died.

Everything a node runs lies in control groups of its own name, so that a cut finds all of it and nothing else.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "bundle-lab."  # of control groups and machines
# What container engines and kubelet call inside, beyond what nspawn lets through.
CALLS = "@keyring bpf keyctl perf_event_open @mount"


def hierarchies() -> list[Path]:
    return [path for path in sorted(CGROUPS.iterdir()) if path.is_dir() and not path.is_symlink()]


def _groups(name: str) -> list[Path]:
    return [hierarchy / f"{PREFIX}{name}" for hierarchy in hierarchies()]


def names() -> set[str]:
    """Every machine that has control groups, alive or left over."""
    return {path.name.removeprefix(PREFIX) for each in hierarchies() for path in each.glob(f"{PREFIX}*")}


# $1 wires its network, $2 mounts the root, the rest boots it. A container that asks for a reboot ends with 133, and its
# control groups have to be empty before the next. Mounts are in a namespace of their own: they end with the container.
POWER = """
read -r _
wire=$1 mount=$2
shift 2
while :; do
    sh -ec "$wire" || exit
    unshare --mount sh -ec "$mount"' && exec "$@"' sh "$@" </dev/null
    [ $? = 133 ] || exit
    find /sys/fs/cgroup/*/"$GROUP" -mindepth 1 -depth -type d -exec rmdir {} +
done
"""


def start(name: str, folder: Path, *, network: str, wiring: Sequence[str], mount: str, options: Sequence[str]) -> None:
    """Boot the root that `mount` mounts at `folder`/root, in the network namespace that `wiring` makes."""
    cut(name)
    for group in _groups(name):
        group.mkdir()
        if group.parent.name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((group.parent / file).read_text())
    spawn = [
        "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--machine", f"{PREFIX}{name}"[:63],
        "--directory", str(folder / "root"), f"--network-namespace-path=/run/netns/{network}",
        "--capability=all", "--drop-capability=CAP_SYS_TIME", f"--system-call-filter={CALLS}",
        "--resolv-conf=off", "--timezone=off", "--link-journal=no", *options,
    ]  # fmt: skip
    if Path("/lib/modules").is_dir():
        spawn.append("--bind-ro=/lib/modules")
    with (folder / "console.log").open("ab") as log:
        launcher = subprocess.Popen(
            ["sh", "-c", POWER, "sh", "\n".join(wiring), mount, *spawn],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1", "GROUP": f"{PREFIX}{name}"},
        )
    for group in _groups(name):
        (group / "cgroup.procs").write_text(str(launcher.pid))
    assert launcher.stdin
    with launcher.stdin as go:  # only now, so that all it starts is in the groups
        go.write(b"\n")


def processes(name: str) -> set[int]:
    """Every process of a node, those of containers inside it too."""
    found = set()
    for group in _groups(name):
        if group.parent.name in ("freezer", "pids", "unified"):
            for folder, _, _ in os.walk(group):  # which does not mind a group that goes meanwhile
                with suppress(OSError):
                    found |= {int(line) for line in Path(folder, "cgroup.procs").read_text().split()}
    return found


def running(name: str) -> bool:
    return bool(processes(name))


def cut(name: str) -> None:
    """Cut the power: nothing in the node is told. Leaves no process, mount or control group."""
    _freeze(name, "THAWED")
    for _ in range(500):
        if not (alive := processes(name)):
            break
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    else:
        raise SystemExit(f"{name}: processes {sorted(processes(name))} cannot be killed")
    for group in _groups(name):
        if group.is_dir():
            for folder, _, _ in os.walk(group, topdown=False):
                _remove(Path(folder))


def _remove(group: Path) -> None:
    """The kernel takes a moment to see that the last process has gone."""
    for _ in range(100):
        try:
            group.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"{group} is still in use")


@contextmanager
def frozen(name: str) -> Iterator[None]:
    """The node stands still."""
    if not running(name):
        yield
        return
    _freeze(name, "FROZEN")
    try:
        yield
    finally:
        _freeze(name, "THAWED")


def _freeze(name: str, state: str) -> None:
    file = CGROUPS / "freezer" / f"{PREFIX}{name}" / "freezer.state"
    if not file.exists():
        return
    for _ in range(500):
        file.write_text(state)
        if file.read_text().strip() == state:
            return
        time.sleep(0.02)
    raise SystemExit(f"{name}: does not become {state}")
