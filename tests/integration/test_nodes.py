"""The lab of machines: it is what tests of an installation stand on, so what it promises is tried out here."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import SCRIPTS, require_program
from tests.nodes import Lab, lab_of, require_nodes, site_bundle

CARRIED = ("nginx", "chronyd", "podman", "containerd", "docker-registry", "curl", "pip3")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_of(2) as running:
        yield running


@pytest.fixture
def quiet(lab: Lab) -> Lab:
    """The lab with its counters at nothing."""
    lab.packets(reset=True)
    return lab


def router(lab: Lab) -> str:
    return lab.nodes[0].address.rpartition(".")[0] + ".1"


def machine(lab: Lab) -> str:
    """This machine as nodes see it."""
    _, _, number, _ = lab.nodes[0].address.split(".")
    return f"10.76.{number}.1"


def returns(lab: Lab, node: str) -> None:
    for _ in range(100):
        if lab.ask(node, "true").returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"{node} does not answer")


def test_each_node_is_a_machine_of_its_own(lab: Lab) -> None:
    for node in lab.nodes:
        assert lab.run(node.name, "systemctl is-system-running --wait") == "running"
        assert lab.run(node.name, "hostname") == node.name
        assert node.host_key in lab.run(node.name, "cat /etc/ssh/ssh_host_*_key.pub")
        assert lab.run(node.name, "python3 -c 'import sys; print(sys.version_info >= (3, 11))'") == "True"
    assert len({node.host_key for node in lab.nodes}) == len(lab.nodes)
    assert len({lab.run(node.name, "cat /etc/machine-id") for node in lab.nodes}) == len(lab.nodes)


def test_a_node_has_nothing_of_what_a_bundle_brings(lab: Lab) -> None:
    found = lab.ask("n1", f"for name in {' '.join(CARRIED)}; do command -v $name; done; ls /etc/ssl/certs/*.pem")
    assert found.stdout == b""


def test_an_operator_becomes_root(lab: Lab) -> None:
    ssh = ["ssh", "-F", str(lab.state / "ssh_config"), "-l", "ops", "n1"]
    done = subprocess.run([*ssh, "id -un; sudo id -un"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ops", "root"]


def test_a_node_can_be_let_reach_the_others(lab: Lab) -> None:
    ssh = f"ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new {lab.node('n2').address} hostname"
    assert lab.ask("n1", ssh).returncode == 255
    lab.let_reach_others("n1")
    assert lab.run("n1", ssh) == "n2"


@pytest.mark.parametrize(
    "options", [{}, {"user": "ops", "become": True}, {"local": "n1", "roles": {"n1": ["site"], "n2": ["worker"]}}]
)
def test_its_site_yaml_is_one(lab: Lab, tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / "site.yaml").write_text(lab.site_yaml(**options))
    check = [sys.executable, "-m", "bundler", "site", "check"]
    done = subprocess.run(check, cwd=tmp_path, env=lab.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_leaves_and_every_try_is_counted(quiet: Lab) -> None:
    lab = quiet
    lab.run("n1", f"ping -c 1 -W 2 {lab.node('n2').address}")
    assert lab.packets() == {"left": 0, "names": 0, "tried": []}
    assert lab.ask("n1", "getent hosts registry.example").returncode != 0
    assert lab.ask("n2", "ping -c 1 -W 1 192.0.2.1").returncode != 0
    assert lab.ask("n2", "timeout 5 bash -c ': </dev/tcp/198.51.100.7/443'").returncode != 0
    seen = lab.packets()
    tried = {(each["from"], each["to"], each["protocol"], each["port"]) for each in seen["tried"]}
    assert tried == {
        ("n1", router(lab), "udp", 53),
        ("n2", "192.0.2.1", "icmp", 0),
        ("n2", "198.51.100.7", "tcp", 443),
    }
    assert seen["names"] > 0
    assert seen["left"] + seen["names"] == sum(each["packets"] for each in seen["tried"])
    assert lab.packets(reset=True) == seen
    assert lab.packets() == {"left": 0, "names": 0, "tried": []}


def test_this_machine_can_open_connections_and_nodes_cannot(quiet: Lab) -> None:
    lab = quiet
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        for address in (machine(lab), router(lab)):
            assert lab.ask("n1", f"timeout 5 bash -c ': </dev/tcp/{address}/{port}'").returncode != 0
    assert (machine(lab), port) in {(each["to"], each["port"]) for each in lab.packets()["tried"]}
    with socket.create_connection((lab.node("n1").address, 22), timeout=5) as connection:
        assert connection.recv(4) == b"SSH-"


def test_the_clock_is_not_the_nodes(lab: Lab) -> None:
    done = lab.ask("n1", "date -s 2020-01-01")
    assert done.returncode != 0
    assert b"not permitted" in done.stderr
    assert time.gmtime().tm_year > 2020


def test_a_power_cut(lab: Lab) -> None:
    lab.run("n2", "echo kept >/root/file; echo gone >/run/file; ip addr add 10.77.250.9/32 dev eth0")
    before = lab.run("n2", "cat /proc/sys/kernel/random/boot_id")
    lab.kill("n2")
    assert lab.ask("n2", "true").returncode == 255
    assert list(Path("/sys/fs/cgroup").glob(f"*/bundle-lab.{lab.name}.n2")) == []
    lab.start("n2")
    assert lab.run("n2", "cat /root/file; ls /run/file 2>&1 || :").startswith("kept\nls: cannot access")
    assert lab.run("n2", "cat /proc/sys/kernel/random/boot_id") != before
    assert "10.77.250.9" not in lab.run("n2", "ip -br addr")


def test_a_reboot_from_inside(lab: Lab) -> None:
    before = lab.run("n2", "cat /proc/sys/kernel/random/boot_id")
    lab.run("n2", "ip addr add 10.77.250.9/32 dev eth0; nohup sh -c 'sleep 0.2; systemctl reboot' >/dev/null 2>&1 &")
    for _ in range(100):
        now = lab.ask("n2", "cat /proc/sys/kernel/random/boot_id")
        if now.returncode == 0 and now.stdout.decode().strip() != before:
            break
        time.sleep(0.1)
    assert lab.run("n2", "systemctl is-system-running --wait") == "running"
    assert "10.77.250.9" not in lab.run("n2", "ip -br addr")
    assert lab.node("n2").address in lab.run("n2", "ip -br addr")


def test_a_snapshot_of_a_running_node_comes_back(lab: Lab) -> None:
    """Files that came, went and changed, on the overlay and where container engines have their own."""
    engine = "/var/lib/containers"
    inner = f"mount -t overlay -o lowerdir={engine}/low,upperdir={engine}/up,workdir={engine}/work overlay /mnt"
    lab.run("n1", "rm /etc/issue; echo one >/root/file")
    lab.run("n1", f"cd {engine}; mkdir low up work; touch low/a")
    lab.run("n1", f"{inner} && rm /mnt/a && umount /mnt")  # as a layer has it: a device that says it is deleted
    before = lab.run("n1", "cat /proc/sys/kernel/random/boot_id")
    lab.snapshot("n1", "first")
    assert lab.run("n1", "cat /proc/sys/kernel/random/boot_id") == before, "it ran on"
    lab.run("n1", f"echo two >/root/file; touch /etc/issue /root/new; rm -r {engine}/up; rm -r /usr/share/doc")
    lab.snapshot("n1", "second")
    for name, text, docs, new in (("first", "one", 0, 2), ("second", "two", 2, 0), ("first", "one", 0, 2)):
        lab.restore("n1", name)
        assert lab.run("n1", "cat /root/file") == text
        assert lab.ask("n1", "ls /usr/share/doc").returncode == docs
        assert [lab.ask("n1", f"ls {path}").returncode for path in ("/etc/issue", "/root/new")] == [new, new]
    assert lab.run("n1", f"{inner}; ls -A /mnt; umount /mnt") == ""
    assert lab.run("n2", "ls -A /root").find("new") == -1


def test_labs_do_not_meet(quiet: Lab) -> None:
    with lab_of(1) as other:
        other_address = other.node("n1").address
        assert other_address.rpartition(".")[0] != quiet.node("n1").address.rpartition(".")[0]
        assert quiet.ask("n1", f"timeout 5 bash -c ': </dev/tcp/{other_address}/22'").returncode != 0
        assert [(each["to"], each["port"]) for each in quiet.packets()["tried"]] == [(other_address, 22)]
        assert other.packets() == {"left": 0, "names": 0, "tried": []}
        assert quiet.run("n1", "hostname") == other.run("n1", "hostname") == "n1"


def left_of(name: str) -> list[str]:
    """What this machine has of a lab."""
    spaces = [each["name"] for each in json.loads(subprocess.check_output(["ip", "-j", "netns", "list"]) or b"[]")]
    groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/bundle-lab.{name}.*")]
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    running = subprocess.run(["pgrep", "-f", f"bundle-lab.{name}[.]"], capture_output=True, text=True, check=False)
    return [*(each for each in spaces if name in each), *groups, *mounts, *running.stdout.split()]


def nodes(*words: str) -> None:
    subprocess.run([SCRIPTS / "lab/nodes", *words], check=True, capture_output=True)


def test_what_a_crash_leaves_is_swept_away(tmp_path: Path) -> None:
    """By the next lab, once the process that the lab belongs to has ended."""
    require_nodes()
    name = f"crash-{os.getpid()}"
    with subprocess.Popen(["sleep", "600"]) as owner:
        nodes("up", "--name", name, "--state", str(tmp_path / name), "--owner", str(owner.pid), "1")
        with lab_of(1):
            assert left_of(name), "its owner lives"
        owner.kill()
    with lab_of(1):
        assert left_of(name) == []
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize("launcher", ["kept", "killed"])
def test_down_and_up_take_what_died_away(tmp_path: Path, launcher: str) -> None:
    """Processes that were killed from outside leave control groups, namespaces and links."""
    require_nodes()
    name = f"dead-{os.getpid()}-{launcher}"
    place = ("--name", name, "--state", str(tmp_path / "state"))
    nodes("up", *place, "1")
    try:
        groups = Path(f"/sys/fs/cgroup/freezer/bundle-lab.{name}.n1")
        for pid in (groups / "cgroup.procs").read_text().split() if launcher == "killed" else []:
            os.kill(int(pid), signal.SIGKILL)
        for file in groups.rglob("cgroup.procs"):
            for pid in file.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        nodes("up", *place, "1")
        subprocess.run(["ssh", "-F", tmp_path / "state/ssh_config", "n1", "true"], check=True)
    finally:
        nodes("down", *place)
    assert left_of(name) == []


def test_many_labs_at_once(tmp_path: Path) -> None:
    """Each takes a subnet that no other has."""
    require_nodes()
    names = [f"many-{os.getpid()}-{number}" for number in range(3)]
    places = {name: ("--name", name, "--state", str(tmp_path / name)) for name in names}
    try:
        threads = [threading.Thread(target=nodes, args=("up", *place, "1")) for place in places.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shown = [
            json.loads(subprocess.check_output([SCRIPTS / "lab/nodes", "list", "--json", *place]))
            for place in places.values()
        ]
        assert len({each["nodes"][0]["address"] for each in shown}) == len(names)
    finally:
        for place in places.values():
            nodes("down", *place)


def test_a_node_proves_the_bundle_with_the_bundles_own_tool(lab: Lab) -> None:
    """What a site host does first, by its stock python, and no packet leaves for it."""
    require_program("openssl")
    bundle = site_bundle()
    lab.packets(reset=True)
    lab.send("n1", bundle.path, "/root/site.bundle")
    lab.send("n1", bundle.public, "/root/release.pub")
    lab.run("n1", "mkdir first && tar --occurrence=1 -xf site.bundle bootstrap.tar && tar -C first -xf bootstrap.tar")
    said = lab.run("n1", "python3 -I first/bootstrap verify site.bundle --trust release.pub 2>&1", timeout=300)
    assert "lab-site" in said
    assert lab.packets() == {"left": 0, "names": 0, "tried": []}
