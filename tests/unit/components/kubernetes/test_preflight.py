"""What makes no cluster, in site.yaml and on hosts, from canned answers: found where it is, and nothing else."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.components import settings_parsers
from bundler.components.flannel import COMPONENT as FLANNEL
from bundler.components.haproxy_ingress import COMPONENT as INGRESS
from bundler.components.kubernetes import preflight, preflight_hosts
from bundler.components.kubernetes.nodes import NODE, Node
from bundler.components.kubernetes.pki import KUBE_CA, root
from bundler.components.kubernetes.preflight_hosts import CGROUP, host_fact
from bundler.components.machine.asking import Said
from bundler.components.machine.names import IDENTITY
from bundler.components.machine.packages import DPKG, read_dpkg
from bundler.components.metallb.preflight import CHECKS as POOLS
from bundler.components.metallb.preflight import holders
from bundler.secrets.ca import ensure_root
from bundler.secrets.vault import Vault
from bundler.steps.facts import Fact, Facts, Unasked, grouped, question
from bundler.steps.step import Finding, Goal
from tests.goals import asked, goal_of, release
from tests.unit.components.kubernetes.test_kubernetes import SITE, goal_with

JOINED, BEGUN, BARE = Node(joined=True, begun=True), Node(begun=True), Node()
WORKER = "- {name: n4, address: 10.77.0.14, roles: [worker]}\n"
THREE = "- {name: n3, address: 10.77.0.13, roles: [control-plane, worker]}\n"
VIP = "vips: {api: 10.77.0.100}\n"
NETWORK = "- {name: main, subnet: 10.77.0.0/20}\n"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), settings_parsers())


def words(findings: list[Finding]) -> list[str]:
    return [f"{'warning: ' if each.warning else ''}{each.found}" for each in findings]


# what becomes of site.yaml, the settings, and what is found
SITES: list[tuple[tuple[str, str], str, list[str]]] = [
    (("", ""), "{}", []),
    (("", ""), "{proxy: ipvs}", ["warning: components.kubernetes.proxy is ipvs, which Kubernetes 1.36.3 still has"]),
    ((VIP, ""), "{}", ["3 control planes have no address in common"]),
    ((THREE, ""), "{}", ["the number of control planes is even: 2"]),
    ((", worker]}\n" + WORKER, "]}\n"), "{}", ["warning: no host has the role worker"]),
    (("control-plane", "storage"), "{}", ["no host has the role control-plane"]),
    (("", ""), "{entry_port: 6443}", ["components.kubernetes.entry_port is 6443"]),
    (("", ""), "{pods: 10.77.8.0/21}", ["pods are in 10.77.8.0/21, which overlaps the network main, 10.77.0.0/20"]),
    (("", ""), "{services: 10.77.12.0/22}", ["services are in 10.77.12.0/22, which overlaps the network main"]),
    (("", ""), "{pods: 10.244.0.0/23}", ["pods are in 10.244.0.0/23, which has room for 2 hosts, and there are 4"]),
    (("", ""), "{pods: 10.244.0.0/25}", ["pods are in 10.244.0.0/25, which has room for 0 hosts"]),
    (("", ""), "{pods: 'fd00::/56', services: 'fd01::/112'}", ["hosts, pods and services are not all IPv4"]),
    (("", ""), "{pods: 'fd00::/32', services: 'fd01::/112'}", ["which is too large", "not all IPv4"]),
    (
        ("10.77.0.0/20}\n" + VIP, "10.77.0.0/28}\n- {name: more, subnet: 10.77.0.64/26}\n" + VIP),
        "{}",
        ["the virtual address api, 10.77.0.100, is in the network more, and n1, n2, n3 not"],
    ),
    (
        (VIP, "- {name: far, subnet: 10.99.0.0/24}\nvips: {api: 10.77.0.100, dns: 10.99.0.9}\n"),
        "{pods: 10.99.0.0/20}",
        ["which overlaps the network far, 10.99.0.0/24", "and so is the virtual address dns, 10.99.0.9"],
    ),
]


@pytest.mark.parametrize(("change", "settings", "expected"), SITES)
def test_what_in_a_site_makes_no_cluster(
    plain: Goal, change: tuple[str, str], settings: str, expected: list[str]
) -> None:
    assert change[0] in SITE
    goal = goal_with(plain, settings, site=SITE.replace(*change))
    bare = Facts({host.name: {NODE: BARE} for host in goal.site.hosts})
    found = words(list(preflight.SITE.judge(goal, goal.site.hosts, bare)))
    assert len(found) == len(expected), found
    for said, text in zip(found, expected, strict=True):
        assert text in said


@pytest.mark.parametrize("said", [JOINED, Unasked("the host is down")])
def test_an_even_number_is_borne_while_a_control_plane_is_replaced(plain: Goal, said: Any) -> None:
    goal = goal_with(plain, site=SITE.replace(THREE, ""))
    facts = Facts({"n1": {NODE: BARE}, "n2": {NODE: said}})
    assert words(list(preflight.SITE.judge(goal, goal.site.hosts, facts))) == [
        "warning: the number of control planes is even: 2"
    ]


HOST = """\
route default via 10.77.0.1 dev eth0
route 10.77.0.0/20 dev eth0 proto kernel scope link src 10.77.0.11
route 169.254.0.0/16 dev eth0 scope link metric 1000
route fe80::/64 dev eth0 proto kernel metric 256 pref medium
address lo 127.0.0.1
address eth0 10.77.0.11
"""
CLUSTER = "route 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink\nroute 10.244.0.0/24 dev cni0 proto kernel\n"


def facts_of(goal: Goal, name: str, **more: Any) -> Facts:
    """What a healthy bare host answers, but for what is given."""
    answers: dict[Fact[Any], Any] = {
        CGROUP: more.get("cgroup", "cgroup2fs"),
        NODE: more.get("node", BARE),
        preflight_hosts.AUTHORITY: more.get("authority", ""),
        DPKG: read_dpkg(more.get("packages", "ii |libc6|2.36")),
        host_fact(goal): host_fact(goal).reading(f"{HOST}cpus {more.get('cpus', 2)}\n{more.get('said', '')}"),
    }
    return Facts({name: answers})


def judged(goal: Goal, name: str, **more: Any) -> list[str]:
    facts = facts_of(goal, name, **more)
    return words(list(preflight_hosts.HOSTS.judge(goal, [goal.site.host(name)], facts)))


# the settings, what the host says, and what is found
HOSTS: list[tuple[str, dict[str, Any], str]] = [
    ("{}", {"cgroup": "tmpfs"}, "it has cgroup v1, on which Kubernetes 1.36.3 does not start"),
    ("{}", {"said": "swap /dev/sda2\nswap /swap.img\n"}, "it swaps to /dev/sda2, /swap.img"),
    (
        "{}",
        {"said": "route 10.244.7.0/24 via 10.77.0.9 dev eth0\n"},
        "pods are in 10.244.0.0/16, and it has a route",
    ),
    (
        "{}",
        {"said": "route blackhole 10.96.0.0/13\n"},
        "services are in 10.96.0.0/16, and it has a route to",
    ),
    ("{pods: 172.17.0.0/16}", {"said": "route 172.17.0.0/16 dev docker0 proto kernel\n"}, "172.17.0.0/16 (docker0)"),
    ("{}", {"said": "address eth0 10.77.0.100\n"}, "it has the virtual address api, 10.77.0.100, already"),
    ("{}", {"packages": "ii |docker.io|20.10\nii |runc|1.1\nii |kubelet|1.30"}, "it has docker.io, kubelet of its"),
    ("{}", {"said": "unit k3s.service\n"}, "k3s.service of somebody else runs there"),
    (
        "{proxy: ipvs}",
        {"said": "module ip_vs\nmodule ip_set\nmodule xt_set\n"},
        "the kernel has no module ip_vs_rr: components",
    ),
    ("{proxy: nftables}", {}, "the kernel has no module nf_tables: components.kubernetes.proxy is nftables"),
    (
        "{proxy: nftables}",
        {"said": "module nf_tables\nkernel 5.10.0-28-amd64\n"},
        "its kernel is 5.10; kube-proxy with",
    ),
    ("{}", {"node": BEGUN}, "it has the data of another cluster"),
    ("{}", {"node": JOINED}, "it has the data of another cluster"),
]


@pytest.mark.parametrize(("settings", "more", "expected"), HOSTS)
def test_hosts_that_make_no_cluster(plain: Goal, settings: str, more: dict[str, Any], expected: str) -> None:
    goal = goal_with(plain, settings)
    (found,) = judged(goal, "n4", **more)
    assert expected in found


def certificate(goal: Goal, *, other: bool = False) -> str:
    pair = ensure_root(Vault.empty(), KUBE_CA, "other", goal.now) if other else root(goal, KUBE_CA)
    return pair.certificate


NO_FINDING: list[tuple[str, str, dict[str, Any]]] = [
    ("n1", "{}", {}),
    ("n1", "{cgroup_v1: true, nested: true}", {"cgroup": "tmpfs", "said": "swap /dev/sda2\n"}),
    ("n4", "{proxy: ipvs}", {"said": "module ip_vs\nmodule ip_vs_rr\nmodule ip_set\nmodule xt_set\n"}),
    ("n4", "{proxy: nftables}", {"said": "module nf_tables\nkernel 5.14.0-427.el9\n"}),
    ("n4", "{proxy: iptables}", {"said": "kernel 5.4.0-26-generic\n"}),
    ("n1", "{}", {"said": "address eth0 10.77.0.100\nannounces\n"}),
    ("n4", "{}", {"cpus": 1, "packages": "rc |docker.io|20.10"}),
]


@pytest.mark.parametrize(("name", "settings", "more"), NO_FINDING)
def test_what_is_as_it_should_be(plain: Goal, name: str, settings: str, more: dict[str, Any]) -> None:
    assert judged(goal_with(plain, settings), name, **more) == []


def test_a_host_of_our_own_cluster_is_no_finding(plain: Goal) -> None:
    goal = goal_with(plain)
    ours = {"authority": certificate(goal), "said": f"{CLUSTER}address eth0 10.77.0.100\nunit kubelet.service\n"}
    assert judged(goal, "n1", node=JOINED, **ours) == []
    foreign, entry = judged(goal, "n1", node=JOINED, **{**ours, "authority": certificate(goal, other=True)})
    assert "another cluster" in foreign
    assert "it has the virtual address api" in entry, "nobody of ours gives it out"


def test_a_control_plane_of_one_cpu(plain: Goal) -> None:
    assert judged(goal_with(plain), "n1", cpus=1) == ["it has 1 CPU; a control plane needs 2"]


def test_ports_of_the_cluster_are_those_of_a_hosts_roles(plain: Goal) -> None:
    goal = goal_with(plain)
    assert ("TCP", 2379) in set(preflight_hosts.listens(goal, goal.site.host("n1")))
    assert set(preflight_hosts.listens(goal, goal.site.host("n4"))) == {("TCP", 10250), ("TCP", 10256)}


# a pool's addresses, more of site.yaml, and what is found
POOL: list[tuple[str, str, list[str]]] = [
    ("10.77.2.0-10.77.2.9", "", []),
    ("10.77.0.10-10.77.0.12", "", ["which is the host n1", "which is the host n2"]),
    ("10.77.0.96/28", "", ["the pool main has 10.77.0.100, which is the virtual address api"]),
    ("10.244.3.0/24", "", ["and pods are in 10.244.0.0/16", "in no network of the site"]),
    ("192.0.2.0/28", "", ["the pool main has 192.0.2.0-192.0.2.15, which is in no network of the site"]),
    ("10.77.2.0/28, 10.77.2.8-10.77.2.20", "", ["the pools main and main overlap"]),
    ("10.77.0.1-10.77.0.5", "", ["the pool main has 10.77.0.1, by which n1 reaches others"]),
    ("10.77.2.0/28", ", ingress: 10.77.2.99", ["the virtual address ingress, 10.77.2.99, is in no pool"]),
    ("10.77.2.0/28", ", ingress: 10.77.2.9", []),
]


def with_pool(plain: Goal, addresses: str, vip: str = "") -> Goal:
    pools = f"{{}}, metallb: {{pools: [{{name: main, addresses: [{addresses}]}}]}}"
    return goal_with(plain, pools, site=SITE.replace("10.77.0.100}", f"10.77.0.100{vip}}}"))


@pytest.mark.parametrize(("addresses", "vip", "expected"), POOL)
def test_pools(plain: Goal, addresses: str, vip: str, expected: list[str]) -> None:
    goal = with_pool(plain, addresses, vip)
    site = (*POOLS[0].judge(goal, goal.site.hosts[:1], facts_of(goal, "n1")),)
    found = words([*site, *INGRESS.preflight[0].judge(goal, goal.site.hosts, Facts({}))])
    assert len(found) == len(expected), found
    for said, text in zip(found, expected, strict=True):
        assert text in said


BGP = "bgp: {asn: 64500, peers: [{name: top, address: 10.77.0.1, asn: 64501}]}"


@pytest.mark.parametrize(
    ("kubernetes", "metallb", "found"),
    [
        ("1.36.3", "0.15.2", ["Kubernetes 1.36.3 takes no BGP peers of MetalLB 0.15.2"]),
        ("1.35.4", "0.15.2", []),
        ("1.36.3", "0.16.0", []),
    ],
)
def test_routers_where_they_are_refused(plain: Goal, kubernetes: str, metallb: str, found: list[str]) -> None:
    goal = goal_with(
        plain, f"{{}}, metallb: {{pools: [{{name: far, addresses: [192.0.2.0/28]}}], {BGP}}}", version=kubernetes
    )
    parts = (*goal.lock.asked, asked("metallb", provides=(("metallb", metallb),)))
    goal = replace(goal, lock=replace(goal.lock, asked=parts), _made={})
    assert words(list(POOLS[0].judge(goal, goal.site.hosts[:1], Facts({})))) == found


def test_routes_between_hosts_need_one_network(plain: Goal) -> None:
    apart = SITE.replace("10.77.0.14", "10.78.0.14")
    for backend, site, count in (("host-gw", SITE, 0), ("host-gw", apart, 1), ("vxlan", apart, 0)):
        site = site.replace("vips:", "- {name: more, subnet: 10.78.0.0/24}\nvips:")
        goal = goal_with(plain, f"{{}}, flannel: {{backend: {backend}}}", site=site)
        assert len(list(FLANNEL.preflight[0].judge(goal, goal.site.hosts, Facts({})))) == count


def test_packets_within_others_need_a_module(plain: Goal) -> None:
    goal = goal_with(plain)
    for backend, said, found in (
        ("vxlan", "", ["the kernel has no module vxlan: components.flannel.backend is vxlan"]),
        ("vxlan", "yes\n", []),
        ("host-gw", "", []),
    ):
        goal = goal_with(plain, f"{{}}, flannel: {{backend: {backend}}}")
        check = FLANNEL.preflight[1]
        asked_of = {ask: ask.reading(said) for ask in check.asks(goal, goal.site.host("n4"))}  # type: ignore[attr-defined]
        facts = Facts({"n4": asked_of})
        assert words(list(check.judge(goal, [goal.site.host("n4")], facts))) == found


def test_addresses_of_pools_that_somebody_has(plain: Goal) -> None:
    goal = with_pool(plain, "10.78.0.0/16")
    ask = holders(goal)
    assert ask.script.count("\nv ") == 64, "not a whole subnet"
    ours = Said.read("nic eth0 1500 UP 02:00:00:00:00:01")
    heard = Said.read("vip 10.78.2.3 02:00:00:00:00:01\nvip 10.78.2.4 02:00:00:00:00:99")
    for node, warning in ((BARE, False), (JOINED, True)):  # a cluster that serves may be who answers
        facts = Facts({"n1": {ask: heard, IDENTITY: ours, NODE: node}})
        (found,) = POOLS[1].judge(goal, goal.site.hosts[:1], facts)
        assert "somebody has 10.78.2.4" in found.found
        assert found.warning is warning


def test_questions_are_shell(plain: Goal) -> None:
    goal = with_pool(plain, "10.77.2.0/28")
    asked: list[Fact[Any]] = [CGROUP, host_fact(goal), holders(goal)]
    done = subprocess.run(["sh", "-n"], input=question(grouped(asked)).encode(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_this_machine_says_is_understood(plain: Goal) -> None:
    """The question itself, asked here."""
    ask = host_fact(goal_with(plain))
    said = subprocess.run(["sh"], input=ask.script.encode(), capture_output=True, check=True).stdout.decode()
    have = ask.reading(said)
    assert have.cpus >= 1
    assert "127.0.0.1" in have.addresses
    assert len(have.swaps) == len(Path("/proc/swaps").read_text().splitlines()) - 1
