"""site.yaml read: what it may say, what is left out, and nothing but a value or problems, whatever the text."""

import re
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bundler.errors import InvalidDocument
from bundler.model.document import Fields
from bundler.model.site import Disk, Network, Site
from bundler.model.site_parser import parse_site
from bundler.model.site_scalars import Jump, parse_host_key, parse_jump
from tests.lab import require_program
from tests.manifests import Broken, broken
from tests.sites import COMPONENTS, KEY, SITE, SMALL, TAKEN
from tests.unit.model.test_fuzz import mutated, mutations

CASES = broken("sites", folder="site")


def parse(text: str) -> Site:
    return parse_site(text, file="site.yaml", components=COMPONENTS)


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        parse(text)
    return [str(problem).removeprefix("site.yaml:") for problem in caught.value.problems]


def test_a_whole_site() -> None:
    site = parse(SITE)
    assert (site.name, site.domain) == ("lab", "lab.example")
    one, two, three = site.hosts
    assert (one.name, one.address, one.roles) == ("node1", ip_address("10.77.0.11"), ("site", "control-plane"))
    assert (one.user, one.port, one.become, one.local, one.jump, one.host_key) == ("root", 22, False, True, "", "")
    assert (one.disks, one.nics) == ((), {})
    assert (two.user, two.port, two.become, two.local, two.jump) == ("admin", 2222, True, False, "node3")
    assert two.host_key == KEY
    assert two.disks == (
        Disk(device="/dev/nvme1n1", use="ceph"),
        Disk(device="/dev/disk/by-id/nvme-eui.0025385b2140b0f3", use="seaweedfs"),
    )
    assert two.nics == {"storage": "ens2f0", "front": "bond0.100"}
    assert (three.address, three.roles, three.jump) == (ip_address("fd77::13"), (), "root@[fd77:1::1]:2222")
    assert site.networks == (
        Network(name="main", subnet=ip_network("10.77.0.0/24"), mtu=1500),
        Network(name="six", subnet=ip_network("fd77::/64")),
    )
    assert site.vips == {"api": ip_address("10.77.0.100"), "ingress": ip_address("fd77::100")}
    assert site.host("node3") is three
    assert site.with_role("gpu") == (two,)


def test_every_component_has_settings() -> None:
    """Those of the file, or what its parser makes of nothing."""
    assert parse(SITE).settings == {"registry": (5001, False), "time": []}
    assert parse(SMALL % "").settings == {"registry": (5000, False), "time": []}
    assert parse_site(SMALL % "", file="x", components={}).settings == {}


@pytest.mark.parametrize(("components", "line"), [("", 1), ("components:\n  registry: {}\n", 6)])
def test_a_setting_that_a_component_cannot_do_without(components: str, line: int) -> None:
    def licensed(fields: Fields) -> str:
        return fields.text("key")

    table = {**COMPONENTS, "zabbix": licensed}
    with pytest.raises(InvalidDocument) as caught:
        parse_site(SMALL % "" + components, file="x", components=table)
    assert [str(problem) for problem in caught.value.problems] == [
        f"x:{line}: found no key 'components.zabbix.key', expected it to be there"
    ]


@pytest.mark.parametrize("rest", TAKEN)
def test_taken(rest: str) -> None:
    assert parse(SMALL % f", {rest}").hosts[0].name == "a"


def test_one_host_may_have_a_loopback_address() -> None:
    assert parse((SMALL % "").replace("10.0.0.1", "127.0.0.1")).hosts[0].address.is_loopback


@pytest.mark.parametrize("subnet", ["10.0.0.0/31", "10.0.0.1/32"])
def test_a_subnet_without_edges(subnet: str) -> None:
    assert parse(SMALL % "" + f"networks: [{{name: link, subnet: {subnet}}}]\n").networks


@pytest.mark.parametrize("count", [1, 2, 3])
def test_site_hosts(count: int) -> None:
    more = "".join(f"- {{name: b{at}, address: 10.0.1.{at}, roles: [site]}}\n" for at in range(1, count))
    assert len(parse(SMALL % "" + more).with_role("site")) == count


@pytest.mark.parametrize(
    ("text", "jump"),
    [
        ("bastion", Jump(host="bastion")),
        ("10.0.0.9", Jump(host="10.0.0.9")),
        ("root@10.0.0.9:2222", Jump(host="10.0.0.9", user="root", port=2222)),
        ("a@b.example@bastion.example", Jump(host="bastion.example", user="a@b.example")),
        ("fd00::1", Jump(host="fd00::1")),
        ("me@fd00::1", Jump(host="fd00::1", user="me")),
        ("me@[fd00::1]:22", Jump(host="fd00::1", user="me", port=22)),
    ],
)
def test_jumps(text: str, jump: Jump) -> None:
    assert parse_jump(text) == jump


@pytest.mark.parametrize("kind", ["ed25519", "rsa -b 3072", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521"])
def test_host_keys_of_ssh_keygen(kind: str, tmp_path: Path) -> None:
    require_program("ssh-keygen")
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", tmp_path / "key", "-t", *kind.split()], check=True)
    line = (tmp_path / "key.pub").read_text().strip()
    assert parse_host_key(line) == " ".join(line.split()[:2])


def test_the_table_is_large_and_each_case_its_own() -> None:
    assert len(CASES) >= 130
    assert len({case.title for case in CASES}) == len(CASES)
    assert len({case.text for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_broken(case: Broken) -> None:
    assert case.problems
    found = problems_of(case.text)
    assert found == list(case.problems)
    assert all(problem.isprintable() and len(problem) < 400 for problem in found)
    assert not re.search("b3BlbnNz", "".join(found))  # of a private key


TOO_MANY = {
    "hosts": ("".join(f"- {{name: n{at}, address: fd00::{at + 1:x}, roles: []}}\n" for at in range(5000)), 4, 5001),
    "networks": (
        "networks:\n" + "".join(f"- {{name: n{at}, subnet: 'fd00:{at:x}::/64'}}\n" for at in range(257)),
        6,
        257,
    ),
    "vips": ("vips:\n" + "".join(f"  v{at}: fd00::{at + 1:x}\n" for at in range(257)), 6, 257),
}


@pytest.mark.parametrize("key", TOO_MANY)
def test_too_many(key: str) -> None:
    text, line, count = TOO_MANY[key]
    most = 5000 if key == "hosts" else 256
    assert problems_of(SMALL % "" + text) == [f"{line}: found {count} {key} at {key!r}, expected {most} at most"]


@given(text=st.text())
@example(text="site: &a [*a]")
def test_any_text(text: str) -> None:
    total(text)


@given(changes=mutations)
def test_mutated(changes: list[tuple[float, int, str]]) -> None:
    total(mutated(SITE, changes))


@given(values=st.lists(st.sampled_from([case.text for case in CASES]), min_size=2, max_size=2), cut=st.floats(0, 1))
def test_mixed(values: list[str], cut: float) -> None:
    """The first lines of one broken site and the last of another."""
    first, last = (value.splitlines(keepends=True) for value in values)
    total("".join(first[: int(cut * len(first))] + last[int(cut * len(last)) :]))


def total(text: str) -> None:
    """A site whose every host is one, or problems that can be shown."""
    try:
        site = parse(text)
    except InvalidDocument as error:
        problems = error.problems
    else:
        assert None not in site.hosts
        assert 1 <= len(site.with_role("site")) <= 3
        return
    assert problems
    assert all(problem.line >= 1 and str(problem).encode() for problem in problems)
