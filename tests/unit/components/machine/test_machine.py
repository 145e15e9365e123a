"""Every kind of finding, from canned answers: what is found on which host, and that nothing else is."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.components import settings_parsers
from bundler.components.machine import COMPONENT, kinds
from bundler.components.machine.holders import address_of
from bundler.components.machine.needs import needs_of
from bundler.components.machine.storage import MARGIN
from bundler.components.machine.system import NEEDED, Programs
from bundler.components.store.space import sizes_of, views_inodes
from bundler.model.asked import Asked
from bundler.model.component import Silence
from bundler.model.reference import Reference
from bundler.model.site import SiteHost
from bundler.signing.keys import PublicKey
from bundler.steps.facts import Ask, Fact, Facts, Unasked
from bundler.steps.step import Finding, Goal
from bundler.workflows.preflight import judged
from tests.content import make_deb
from tests.goals import SITE, goal_of, release

PATHS = ["/etc", "/usr", "/var", "/var/lib", "/var/cache/apt", "/var/lib/dpkg", "/opt", "/tmp"]
PATHS += ["/srv/bundle", "/opt/bundle", "/var/lib/bundle"]
SYSTEM = """\
kernel 6.1.0-40-amd64
architecture x86_64
init systemd
systemd running
python 3.11
cgroup 2
memory 16000000
files 1048576"""
IDENTITY = """\
boot {boot}
hostname {name}
machine-id {id}
address lo 127.0.0.1/8
address eth0 {address}/20
address eth0 fe80::1/64
nic lo 65536 UNKNOWN
nic eth0 1500 UP {mac}"""
DISKS = "\n".join((*(f"path {path} 90000000 900000 1000000 /" for path in PATHS), "mount / rw,relatime"))
HEALTHY = {
    "its system": SYSTEM,
    "who it is": IDENTITY,
    "its clock": "0.2",
    "its file systems": DISKS,
    "its packages": "ii |libc6|2.36\nrc |gone|1.0\nit |man-db|2.11",
}
LOCK = "/var/lib/dpkg/lock-frontend"


def disk(path: str, free: str = "90000000", inodes: str = "900000", mount: str = "/srv", options: str = "rw") -> str:
    others = "\n".join(line for line in DISKS.splitlines() if not line.startswith(f"path {path} "))
    return f"{others}\npath {path} {free} {inodes} 1000000 {mount}\nmount {mount} {options}"


def answer(fact: Fact[Any], host: SiteHost, said: Mapping[str, str]) -> Any:
    text = said.get(fact.label, HEALTHY.get(fact.label, ""))
    number = int(host.address) & 0xFFFFFF
    mac = f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    filled = {"boot": f"b-{host.name}", "id": f"{number:032x}", "mac": mac, "name": host.name, "address": host.address}
    for key, value in filled.items():
        text = text.replace(f"{{{key}}}", str(value))
    if text == "!":
        return Unasked("the question ended with 1")
    if isinstance(fact, Programs):
        return fact.parse(text)
    assert isinstance(fact, Ask)
    return float(text) if fact.label == "its clock" else fact.reading(text)


def facts_of(goal: Goal, changed: Mapping[str, Mapping[str, str]]) -> Facts:
    """Healthy answers of all hosts but for what is `changed`, by host (`*`: all) and fact."""
    return Facts(
        {
            host.name: {
                fact: answer(fact, host, {**changed.get("*", {}), **changed.get(host.name, {})})
                for check in COMPONENT.preflight
                if check.on(host)
                for fact in check.asks(goal, host)
            }
            for host in goal.site.hosts
        }
    )


def findings(goal: Goal, changed: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    return list(dict.fromkeys(judged(goal, COMPONENT.preflight, goal.site.hosts, facts_of(goal, changed))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("release")


def make_goal(folder: Path, text: str = SITE) -> Goal:
    names = ("docker-registry", "nginx", "ca-certificates", "chrony", "kmod", "procps", "iproute2", "apache2-utils")
    bundle = release(folder, debs=tuple(make_deb(name, "2.0-1", "amd64") for name in names))
    return goal_of(bundle, settings_parsers(), text=text)


@pytest.fixture(scope="module")
def goal(folder: Path) -> Goal:
    """A site with a VIP, a network of declared MTU and interfaces by what they are for."""
    text = SITE.replace("subnet: 10.77.0.0/20", "subnet: 10.77.0.0/20, mtu: 1500").replace(
        "roles: [worker]", "roles: [worker], nics: {storage: eth1, front: eth2}"
    )
    return make_goal(folder, text)


NICS = f"{IDENTITY}\nnic eth1 9000 UP 02:00:00:01:00:01\nnic eth2 1500 UP 02:00:00:01:00:02"
TWO = {"n3": {"who it is": NICS}}


def said(old: str, new: str, text: str = SYSTEM) -> str:
    assert old in text
    return text.replace(old, new)


TAKEN = "socket tcp 00000000 0035 77\nopen 12 socket:[77] dnsmasq.service dnsmasq"
OURS = "socket tcp 0B004D0A 0035 77\nopen 12 socket:[77] bundle-dns.service coredns"
OLD_STATE = {"releases": [{"content": f"sha256:{'0' * 64}", "line": "LINE", "number": 99}]}
CASES: tuple[tuple[kinds.Kind, str, str, str, str], ...] = (
    (kinds.UNASKED, "n1", "its system", "!", "its system could not be found out"),
    (kinds.UNASKED, "n1", "who has the virtual addresses", "!", "could not be found out"),
    (kinds.ARCHITECTURE, "n1", "its system", said("x86_64", "aarch64"), "it is arm64, and the release is for amd64"),
    (kinds.KERNEL, "n1", "its system", said("6.1.0", "5.4.0"), "it runs kernel 5.4.0"),
    (kinds.SYSTEMD, "n3", "its system", said("init systemd", "init init"), "process 1 is init"),
    (kinds.BOOTING, "n3", "its system", said("running", "starting"), "systemd is starting"),
    (kinds.BOOTING, "n3", "its system", said("systemd running", "systemd"), "systemd is not answering"),
    (kinds.DEGRADED, "n3", "its system", said("running", "degraded\nfailed a.service"), "a.service"),
    (kinds.PYTHON, "n1", "its system", said("python 3.11", "python 3.9"), "its python3 is 3.9"),
    (kinds.PYTHON, "n1", "its system", said("python 3.11\n", ""), "its python3 is missing"),
    (kinds.PROGRAMS, "n3", "its programs", "sha256sum flock ", "it has no sha256sum, flock"),
    (kinds.CGROUP, "n3", "its system", said("cgroup 2", "cgroup 1"), "cgroup v1"),
    (kinds.MEMORY, "n1", "its system", said("16000000", "1000000"), "control-plane needs 1.7 GiB"),
    (kinds.FILES, "n3", "its system", said("1048576", "65536"), "open 65536 files"),
    (kinds.REBOOT, "n3", "its system", f"{SYSTEM}\nreboot yes", "waits for a reboot"),
    (kinds.SAME_MACHINE, "n1", "who it is", said("b-{name}", "same", IDENTITY.replace("{boot}", "b-{name}")), ""),
    (kinds.ADDRESS, "n2", "who it is", said("eth0 {address}", "eth0 10.77.0.99", IDENTITY), "it has 10.77.0.99"),
    (kinds.HOSTNAME, "n2", "who it is", said("hostname {name}", "hostname localhost", IDENTITY), "itself localhost"),
    (kinds.MACHINE_ID, "n2", "who it is", said("machine-id {id}", "machine-id ", IDENTITY), "is empty"),
    (kinds.MACHINE_ID, "n2", "who it is", said("{id}", "uninitialized", IDENTITY), "'uninitialized', no machine-id"),
    (kinds.MOUNTED_OVER, "n3", "what cannot be replaced", "mounted /etc/hosts", "/etc/hosts is a mount"),
    (kinds.IMMUTABLE, "n3", "what cannot be replaced", "immutable /etc/resolv.conf", "chattr +i"),
    (kinds.CLOCK, "n3", "its clock", "-125.4", "its clock is 126 s behind the others'"),
    (kinds.CLOCK, "n3", "its clock", "2.9", "its clock is 3 s before the others'"),
    (kinds.APT_LOCKED, "n3", "its ports and locks", f"open 12 {LOCK} - apt-get", "apt-get (process 12) holds"),
    (kinds.DPKG_INTERRUPTED, "n3", "what stands in apt's way", "interrupted yes", "in the middle"),
    (kinds.BROKEN, "n3", "its packages", "iF |bad|1.0", "bad is half configured"),
    (kinds.HELD, "n1", "its packages", "hi |nginx|1.0-1", "nginx 1.0-1 (release: 2.0-1)"),
    (kinds.PINNED, "n3", "what stands in apt's way", "pins /etc/apt/preferences.d/x", "preferences.d/x"),
    (kinds.UPGRADES, "n3", "what stands in apt's way", "active unattended-upgrades.service", "runs"),
    (kinds.RIVAL, "n1", "what stands in apt's way", "enabled dnsmasq.service", "dnsmasq.service is enabled"),
    (kinds.READ_ONLY, "n3", "its file systems", disk("/var", mount="/var", options="ro"), "(/var)"),
    (kinds.READ_ONLY, "n1", "its file systems", disk("/srv/bundle", options="ro,x"), "/srv/bundle is mounted"),
    (kinds.NOEXEC, "n1", "its file systems", disk("/opt", mount="/opt", options="rw,noexec"), "run from /opt"),
    (kinds.NOEXEC_TMP, "n3", "its file systems", disk("/tmp", mount="/tmp", options="noexec"), "/tmp"),
    (kinds.SPACE, "n1", "its file systems", disk("/srv/bundle", free="1000"), "at /srv has 1 MiB free"),
    (kinds.INODES, "n1", "its file systems", disk("/srv/bundle", inodes="12"), "room for 12 files"),
    (kinds.PORT, "n1", "its ports and locks", TAKEN, "TCP port 53, which dns needs, is taken by dnsmasq, process 12"),
    (kinds.PORT, "n1", "its ports and locks", "socket udp 0B004D0A 0035 77", "by a process that is not seen"),
    (kinds.PORT, "n1", "its ports and locks", OURS, "process 12 of bundle-dns.service"),
    (kinds.MTU, "n1", "who it is", said("1500", "1400", IDENTITY), "eth0 has MTU 1400; the network main says 1500"),
    (kinds.NIC, "n3", "who it is", NICS.replace("nic eth1", "nic eth9"), "no interface eth1"),
    (
        kinds.NIC_DOWN,
        "n3",
        "who it is",
        NICS.replace("eth2 1500 UP", "eth2 1500 DOWN"),
        "eth2, which is to be for front",
    ),
    (kinds.UNREACHED, "n3", "which site hosts it reaches", "unreached n2", "cannot reach n2 on TCP port 22"),
    (kinds.VIP, "n1", "who has the virtual addresses", "vip api 02:aa:00:00:00:01", "10.77.0.100 (api) already"),
    (kinds.FIREWALL, "n1", "its firewall", "iptables -P INPUT DROP\niptables -A INPUT --dport 443 -j ACCEPT", "UDP 53"),
    (kinds.FIREWALL, "n1", "its firewall", "nft type filter hook input priority 0; policy drop;", "TCP 443"),
    (kinds.OTHER_STORE, "n1", "its store", f"key {'0' * 64}", "another key"),
)


@pytest.mark.parametrize(("kind", "host", "fact", "text", "found"), CASES)
def test_a_defect_is_found_where_it_is(
    goal: Goal, kind: kinds.Kind, host: str, fact: str, text: str, found: str
) -> None:
    changed = {**TWO, host: {**TWO.get(host, {}), fact: text}}
    if kind is kinds.SAME_MACHINE:
        changed["n2"] = {fact: text}
    mine = [finding for finding in findings(goal, changed) if finding.check == kind.name]
    assert [finding.host for finding in mine] == [host]
    assert found in mine[0].found
    assert mine[0].warning == kind.warning
    assert mine[0].fix


def test_a_healthy_site_has_no_finding(goal: Goal) -> None:
    assert findings(goal, TWO) == []


SHARED = (
    (kinds.HOSTNAME_TWICE, said("hostname {name}", "hostname one", IDENTITY), "n1 and n2 all call themselves one"),
    (kinds.MACHINE_ID_TWICE, said("{id}", "ab" * 16, IDENTITY), "n1 and n2 have the same machine-id"),
    (kinds.MAC_TWICE, said("{mac}", "02:00:00:00:00:77", IDENTITY), "n1 and n2 have the same hardware address"),
)


@pytest.mark.parametrize(("kind", "text", "found"), SHARED)
def test_what_two_hosts_share_is_found_once(goal: Goal, kind: kinds.Kind, text: str, found: str) -> None:
    changed = {**TWO, "n1": {"who it is": text}, "n2": {"who it is": text}}
    mine = [finding for finding in findings(goal, changed) if finding.check == kind.name]
    assert [finding.host for finding in mine] == ["n1"]
    assert found in mine[0].found


def test_one_machine_under_two_names_is_not_said_to_be_a_clone(goal: Goal) -> None:
    same = IDENTITY.replace("{boot}", "b").replace("{id}", "ab" * 16).replace("{mac}", "02:00:00:00:00:77")
    changed = {**TWO, "n1": {"who it is": same}, "n2": {"who it is": same}}
    assert [finding.check for finding in findings(goal, changed)] == [kinds.SAME_MACHINE.name]


def test_hosts_of_a_network_without_a_declared_mtu_have_one(folder: Path) -> None:
    goal = make_goal(folder)
    changed = {"n2": {"who it is": said("1500", "9000", IDENTITY)}}
    assert [(f.host, f.check) for f in findings(goal, changed)] == [("n2", kinds.MTU_DIFFERS.name)]


def test_all_clocks_apart_from_ours_are_our_fault(goal: Goal) -> None:
    found = findings(goal, {"*": {"its clock": "300"}, **TWO})
    assert [(f.check, f.warning) for f in found] == [(kinds.CLOCK_HERE.name, True)]
    assert "300 s before" in found[0].found


@pytest.mark.parametrize(
    ("line", "number", "content", "kind"),
    [
        ("same", 99, "0" * 64, kinds.OLDER),
        ("same", 0, "0" * 64, kinds.OLDER),
        ("same", 0, "same", None),
        ("other", 99, "0" * 64, None),
    ],
)
def test_a_store_does_not_go_back(goal: Goal, line: str, number: int, content: str, kind: kinds.Kind | None) -> None:
    release = goal.statement.release
    known = {
        "line": release.line if line == "same" else line,
        "number": number or release.number,
        "content": str(goal.statement.content) if content == "same" else f"sha256:{content}",
    }
    state = json.dumps({"releases": [known], "trust": {"keys": [key.raw.hex() for key in goal.trust]}})
    found = findings(goal, {**TWO, "n1": {"its store": f"state {state}"}})
    assert [finding.check for finding in found] == ([kind.name] if kind else [])


def test_a_store_of_other_keys_and_a_damaged_one(goal: Goal) -> None:
    given = replace(goal, trust=(PublicKey(b"1" * 32),))
    state = json.dumps({"releases": [], "trust": {"keys": ["22" * 32]}})
    found = findings(given, {**TWO, "n1": {"its store": f"state {state}"}, "n2": {"its store": "state {"}})
    assert [(f.host, f.check) for f in found] == [("n1", kinds.TRUST.name), ("n2", kinds.UNASKED.name)]


def test_what_is_ours_is_not_in_the_way(goal: Goal) -> None:
    """A unit that we started or may have started, an address that is not used, an apt of ours, a VIP of a host."""
    ours = (
        f"{OURS}\nours bundle-dns.service",
        f"{OURS}\nbegun yes",
        "socket tcp 3500007F 0035 77\nopen 12 socket:[77] systemd-resolved.service systemd-resolve",
        f"open 12 {LOCK} - dpkg\nopen 11 /var/lib/bundle/lock - apt-get",
        f"open 12 {LOCK} - dpkg\nbegun yes",
    )
    for text in ours:
        assert findings(goal, {**TWO, "n1": {"its ports and locks": text}}) == []
    mac = "02:00:00:00:09:09"
    assert findings(goal, {**TWO, "n1": {"who has the virtual addresses": f"vip api {mac}"}}) != []
    held = {"who it is": NICS.replace("{mac}", mac)}
    assert findings(goal, {"n3": held, "n1": {"who has the virtual addresses": f"vip api {mac}"}}) == []
    assert findings(goal, {**TWO, "n3": {**TWO["n3"], "what stands in apt's way": "begun yes\ninterrupted yes"}}) == []


def with_asked(goal: Goal, **more: Any) -> Goal:
    nothing = ("images", "revealed", "charts", "wheels", "packages", "files", "provides", "tools", "silences")
    part = Asked(**{**dict.fromkeys(nothing, ()), "component": "app", "version": "", **more})
    return replace(goal, lock=replace(goal.lock, asked=(*goal.lock.asked, part)))


RELEASES: tuple[tuple[kinds.Kind, dict[str, Any], str], ...] = (
    (kinds.SHORT, {"images": (Reference.parse("example.org/lost:1"),)}, "app needs the image example.org/lost:1"),
    (kinds.SHORT, {"revealed": (Reference.parse("example.org/lost:1"),)}, "app needs the image example.org/lost:1"),
    (kinds.SHORT, {"files": ("lost.tgz",)}, "app needs the file lost.tgz"),
    (kinds.SKEW, {"provides": (("kubernetes", "1.36.3"), ("containerd", "1.7.29"))}, "containerd >=2.2.0"),
    (
        kinds.SILENCED,
        {"silences": (Silence(image="example.org/lost:1", reason="a test"),)},
        "example.org/lost:1: a test",
    ),
)


@pytest.mark.parametrize(("kind", "asked", "found"), RELEASES)
def test_a_release_that_was_forced_past_its_proof(
    goal: Goal, kind: kinds.Kind, asked: dict[str, Any], found: str
) -> None:
    (only,) = findings(with_asked(goal, **asked), TWO)
    assert (only.check, only.warning) == (kind.name, kind.warning)
    assert found in only.found


def test_a_skew_that_was_let_pass_is_said(goal: Goal) -> None:
    provides = (("kubernetes", "1.36.3"), ("containerd", "1.7.29"))
    silence = Silence(image="kubernetes/containerd", reason="backported")
    (only,) = findings(with_asked(goal, provides=provides, silences=(silence,)), TWO)
    assert (only.check, only.warning) == (kinds.SILENCED.name, True)


def test_who_was_logged_in_does_not_cost_the_login(goal: Goal) -> None:
    text = TAKEN.replace("dnsmasq.service", "ssh.service")
    found = findings(goal, {**TWO, "n1": {"its ports and locks": text}})
    assert [f.check for f in found] == [kinds.PORT.name]
    assert "ssh" not in found[0].fix
    assert "kill 12" in found[0].fix


def test_what_the_store_has_needs_no_room(goal: Goal) -> None:
    sizes = sizes_of(goal.statement)
    views = views_inodes(goal.statement) * 4096
    free = (MARGIN + views + views // 10 >> 10) + 1
    small = {**TWO, "n1": {"its file systems": disk("/srv/bundle", free=str(free))}}
    found = findings(goal, small)
    assert [f.check for f in found] == [kinds.SPACE.name]
    small["n1"]["the release's blobs in /srv/bundle"] = "\n".join(sizes)
    assert findings(goal, small) == []


def test_packages_come_with_what_they_depend_on(folder: Path) -> None:
    goal = make_goal(folder)
    site, worker = goal.site.hosts[0], goal.site.hosts[2]
    assert {"nginx", "docker-registry", "chrony"} <= set(needs_of(goal, site).packages)
    assert "nginx" not in needs_of(goal, worker).packages
    assert ("TCP", 443) in needs_of(goal, site).ports
    assert needs_of(goal, worker).ports == {}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("0B004D0A", "10.77.0.11"),
        ("0" * 32, "::"),
        ("000080FE00000000FF0A000A0B014DFE", "fe80::a00:aff:fe4d:10b"),
        ("0000000000000000FFFF00000B004D0A", "10.77.0.11"),
    ],
)
def test_addresses_of_the_kernel(text: str, address: str) -> None:
    assert str(address_of(text)) == address


def test_every_program_of_our_scripts_is_among_the_needed(goal: Goal) -> None:
    """A question that silently has no answer, because its program is missing, would be a defect not found."""
    scripts = "\n".join(
        fact.script
        for host in goal.site.hosts
        for check in COMPONENT.preflight
        for fact in check.asks(goal, host)
        if isinstance(fact, Ask)
    )
    known = {"awk", "date", "df", "dpkg-query", "find", "grep", "head", "ip", "sed", "sha256sum", "systemctl", "tail"}
    used = {name for name in known if re.search(rf"(?:^|[|;(]\s*|\$\(){name} ", scripts, re.MULTILINE)}
    assert used == known
    assert used <= set(NEEDED)


def test_a_thousand_hosts_are_judged_in_a_second(folder: Path) -> None:
    hosts = "\n".join(
        f"- {{name: h{number}, address: 10.78.{number >> 8}.{number & 255}, roles: [worker]}}" for number in range(1000)
    )
    text = SITE.replace("networks:", f"{hosts}\nnetworks:").replace("10.77.0.0/20", "10.76.0.0/14")
    goal = make_goal(folder, text)
    facts = facts_of(goal, {"h999": {"its clock": "99"}})
    started = time.process_time()
    found = list(judged(goal, COMPONENT.preflight, goal.site.hosts, facts))
    seconds = time.process_time() - started
    assert [(f.host, f.check) for f in found] == [("h999", kinds.CLOCK.name)]
    assert seconds < 1


def test_every_kind_has_a_case() -> None:
    tried = {case[0].name for case in CASES} | {case[0].name for case in (*SHARED, *RELEASES)}
    tried |= {kinds.MTU_DIFFERS.name, kinds.CLOCK_HERE.name, kinds.TRUST.name, kinds.OLDER.name}
    assert tried == {kind.name for kind in kinds.ALL}
    assert len({kind.name for kind in kinds.ALL}) == len(kinds.ALL)
