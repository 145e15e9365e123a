"""Many real defects on three machines at once: all found in one run, each with its fix, before any change."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nodes import Lab, SiteBundle, lab_of, site_bundle

# What a machine is, but for what changes there by itself.
STATE = """for f in /etc /var/lib /srv /opt /usr/local; do
find $f -xdev \\( -path /var/lib/systemd -o -path '/var/lib/bundle/lease*' \\) -prune -o -printf '%p %y %m %U %G %l\\n'
find $f -xdev \\( -path /var/lib/systemd -o -path '/var/lib/bundle/lease*' \\) -prune -o -type f -exec md5sum {} +
done | grep -v '^/var/lib/bundle \\|^/var/lib ' | sort"""
UNIT = "[Service]\\nExecStart=/bin/sleep 9999\\n[Install]\\nWantedBy=multi-user.target\\n"


@dataclass(frozen=True, slots=True)
class Defect:
    """`inject` is sh text on a node; with it `host` must be said to have `found`. Subnet and so on stand in braces."""

    host: str
    inject: str
    found: str


DEFECTS = (
    Defect("n1", "systemd-run -q --unit=squatter python3 -m http.server 443", "TCP port 443, which repositories needs"),
    Defect(
        "n1",
        "setsid python3 -c 'import socket,time; s=socket.socket(2,2); s.bind((\"\",53)); time.sleep(9999)' "
        ">/dev/null 2>&1 </dev/null & sleep 0.5",
        "UDP port 53, which dns needs, is taken by python3, process",
    ),
    Defect("n1", "systemd-run -q --unit=other-registry python3 -m http.server 5000", "of other-registry.service"),
    Defect("n1", "mount -t tmpfs -o size=64m,nr_inodes=600 tmpfs /srv", "the file system at /srv has 64 MiB free"),
    Defect("n1", ":", "the file system at /srv has room for 59"),
    Defect("n1", "mv /usr/bin/python3 /usr/bin/python3.away", "its python3 is missing"),
    Defect(
        "n1",
        "mkdir -p /srv/bundle/state; cat > /srv/bundle/state/site.json <<'E'\n{site_state}\nE",
        "its store trusts ed25519-",
    ),
    Defect("n1", ":", "its store has had lab-site 99 already"),
    Defect(
        "n1",
        "systemd-run -q --unit=slow-apt sh -c 'exec 7>>/var/lib/dpkg/lock-frontend; exec sleep 9999'; sleep 0.3",
        "holds /var/lib/dpkg/lock-frontend",
    ),
    Defect("n1", ":", "somebody has the virtual address {subnet}.1 (api) already"),
    Defect("n1", ":", "it has no interface ens9, which is to be for storage"),
    Defect("n1", "ip link add br9 type bridge", "br9, which is to be for front, is down"),
    Defect(
        "n1",
        "printf 'Package: *\\nPin: release *\\nPin-Priority: -1\\n' > /etc/apt/preferences.d/pin",
        "/etc/apt/preferences.d/pin tells apt which versions to prefer",
    ),
    Defect(
        "n1",
        f"printf '{UNIT}' > /etc/systemd/system/dnsmasq.service; systemctl daemon-reload; systemctl enable -q dnsmasq",
        "dnsmasq.service is enabled",
    ),
    Defect(
        "n1",
        "nft 'add table inet f; add chain inet f in {{ type filter hook input priority 0; policy drop; }}; "
        "add rule inet f in ct state established accept; add rule inet f in tcp dport 22 accept'",
        "its firewall drops what comes in, and has no rule for",
    ),
    Defect("n1", "hostname n2", "n1 and n2 all call themselves n2"),
    Defect("n2", "cat > /etc/machine-id <<'E'\n{machine_id}\nE", "n1 and n2 have the same machine-id"),
    Defect("n2", "mv /usr/bin/sha256sum /usr/bin/sha256sum.away", "it has no sha256sum"),
    Defect("n2", "touch /var/lib/dpkg/updates/0000", "dpkg was interrupted"),
    Defect(
        "n2",
        "sed -i '/^Package: iproute2$/,/^$/ {{ s/^Status: .*/Status: hold ok installed/; "
        "s/^Version: .*/Version: 5.0-1/ }}' /var/lib/dpkg/status",
        "packages are held in another version than the release's: iproute2 5.0-1",
    ),
    Defect("n2", "echo http_proxy=http://proxy.example:3128 >> /etc/environment", "proxy.example"),
    Defect("n2", "systemd-run -q --unit=unattended-upgrades sleep 9999", "unattended-upgrades.service runs"),
    Defect("n2", "systemd-run -q --unit=NetworkManager sleep 9999", "NetworkManager"),
    Defect("n2", "touch /root/r; mount --bind /root/r /etc/resolv.conf", "/etc/resolv.conf is a mount of its own"),
    Defect("n2", "sed -i s/bookworm/trixie/ /usr/lib/os-release", "trixie"),
    Defect(
        "n2",
        "mount --bind /var/lib/dpkg /var/lib/dpkg; mount -o remount,bind,noexec /var/lib/dpkg",
        "nothing can be run from /var/lib/dpkg",
    ),
    Defect("n2", "mount -o remount,noexec /tmp", "nothing can be run from /tmp"),
    Defect("n2", "ip link set eth0 mtu 1400", "eth0 has MTU 1400; the network main says 1500"),
    Defect(
        "n5",
        "useradd -m plain; install -d -o plain -m 700 /home/plain/.ssh; "
        "install -o plain -m 600 /root/.ssh/authorized_keys /home/plain/.ssh/; ip addr add {subnet}.78/32 dev eth0",
        "plain cannot become root on n5",
    ),
    Defect("n3", ": > /etc/machine-id", "/etc/machine-id is empty"),
    Defect(
        "n3",
        "sed -i '/^Package: procps$/,/^$/ s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status",
        "procps is half configured",
    ),
    Defect("n3", "mount --bind /var /var; mount -o remount,bind,ro /var", "/var is mounted read-only"),
    Defect("n3", "systemd-run -q --unit=broken false; sleep 0.2", "units have failed: broken.service"),
    Defect("n3", "ip route add blackhole {subnet}.11/32", "it cannot reach n1 on TCP port 22"),
    Defect("n3", "touch /run/reboot-required", "it waits for a reboot"),
    Defect(
        "n3",
        "ip link add br8 type bridge; ip link set br8 address {mac}; ip addr add {subnet}.99/32 dev br8",
        "n2 and n3 have the same hardware address",
    ),
    Defect("n3", ":", "n3 and n4 are one machine"),
    Defect("n4", ":", "the machine that answers does not have the address {subnet}.77"),
    Defect("n6", ":", "cannot reach n6"),
)
NODES = {"n1": "n1", "n2": "n2", "n3": "n3", "n5": "n2"}


@pytest.fixture(scope="module")
def bundle() -> SiteBundle:
    return site_bundle()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_of(3) as running:
        yield running


def bundle_command(lab: Lab, folder: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """The tool in `folder`, where an ssh configuration leads n4's address to n3: another machine answers there."""
    subnet = lab.nodes[0].address.rpartition(".")[0]
    config = folder / "ssh_config"
    known = (lab.state / "client_config").read_text()
    config.write_text(f"Host {subnet}.77\n  HostName {subnet}.13\n\n{known}")
    command = [sys.executable, "-m", "bundler", *map(str, words)]
    environment = {**lab.environment, "BUNDLE_SSH_CONFIG": str(config)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def site_text(lab: Lab, *, more: bool) -> str:
    subnet = lab.nodes[0].address.rpartition(".")[0]
    keys = {node.name: node.host_key for node in lab.nodes}
    hosts: list[dict[str, object]] = [
        {"name": "n1", "roles": ["site"], "nics": {"storage": "ens9", "front": "br9"} if more else {}},
        {"name": "n2", "roles": ["worker"]},
        {"name": "n3", "roles": ["storage"]},
    ]
    for host, node in zip(hosts, lab.nodes, strict=True):
        host.update(address=node.address, host_key=node.host_key)
    if more:
        hosts += [
            {"name": "n4", "address": f"{subnet}.77", "roles": [], "host_key": keys["n3"]},
            {
                "name": "n5",
                "address": f"{subnet}.78",
                "roles": [],
                "host_key": keys["n2"],
                "user": "plain",
                "become": True,
            },
            {"name": "n6", "address": f"{subnet}.200", "roles": [], "host_key": keys["n1"]},
        ]
    site: dict[str, object] = {"site": "lab", "domain": "lab.example", "hosts": hosts}
    site["networks"] = [{"name": "main", "subnet": f"{subnet}.0/24", "mtu": 1500}]
    site["vips"] = {"api": f"{subnet}.1"} if more else {}
    return json.dumps(site)


def wanting(lab: Lab, bundle: SiteBundle, verb: str) -> tuple[object, ...]:
    return (verb, bundle.path, "--trust", bundle.public, "--site", "site.yaml")


def test_bare_machines_have_nothing_in_the_way_and_are_judged_quickly(
    lab: Lab, bundle: SiteBundle, tmp_path: Path
) -> None:
    (tmp_path / "site.yaml").write_text(site_text(lab, more=False))
    done = bundle_command(lab, tmp_path, *wanting(lab, bundle, "plan"), "--json")
    assert done.returncode == 0, done.stderr
    stopping = [finding for finding in json.loads(done.stdout)["findings"] if not finding["warning"]]
    assert stopping == []


def test_all_defects_are_found_in_one_run_and_nothing_is_changed(lab: Lab, bundle: SiteBundle, tmp_path: Path) -> None:
    values = {
        "subnet": lab.nodes[0].address.rpartition(".")[0],
        "machine_id": lab.run("n1", "cat /etc/machine-id"),
        "mac": lab.run("n2", "ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\) .*/\\1/'"),
        "site_state": json.dumps(
            {
                "releases": [{"content": f"sha256:{'0' * 64}", "line": "lab-site", "number": 99}],
                "signedAt": "2026-01-01T00:00:00Z",
                "trust": {"keys": ["1" * 64], "threshold": 1},
            }
        ),
    }
    for defect in DEFECTS:
        if defect.inject != ":":
            lab.run(NODES[defect.host], defect.inject.format(**values))
    (tmp_path / "site.yaml").write_text(site_text(lab, more=True))
    before = {node.name: lab.run(node.name, STATE) for node in lab.nodes}
    assert all(len(text.splitlines()) > 500 for text in before.values())

    for command in (wanting(lab, bundle, "plan"), (*wanting(lab, bundle, "apply"), "--yes")):
        started = time.monotonic()
        done = bundle_command(lab, tmp_path, *command)
        seconds = time.monotonic() - started
        assert done.returncode == 99, done.stderr
        said = done.stderr
        lacking = [d for d in DEFECTS if not found_on(d.host, d.found.format(**values), said)]
        assert not lacking, f"{lacking}\n{said}"
        findings = re.findall(r"^  ((?:n\d, )*n\d(?: and \d more)?: |cannot reach|plain cannot)", said, re.MULTILINE)
        count = sum(each.count(",") + 1 for each in findings)  # what several hosts have is said once
        assert count >= len(DEFECTS) >= 35
        assert said.count("    fix: ") == len(findings)
        assert "nothing was changed" in said
        after = {node.name: lab.run(node.name, STATE) for node in lab.nodes}
        assert after == before
        print(f"{command[0]}: {len(findings)} findings in {seconds:.1f} s")


def found_on(host: str, found: str, said: str) -> bool:
    """Whether a line about that host says it; what is about several hosts is said of the first of them."""
    hosts = {host, *re.findall(r"\bn\d\b", found)}
    return any(found in line and any(name in line for name in hosts) for line in said.splitlines())
