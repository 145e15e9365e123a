"""`bundle site init` and `check`: what is written is a site, whatever is uncommented, and nothing is overwritten."""

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from bundler.errors import CannotWrite, InvalidDocument, Malformed, NotReadable
from bundler.model.site_parser import parse_site
from bundler.workflows.site import check_site, init_site, parse_hosts, schema
from bundler.workflows.site_example import EXAMPLE_HOSTS, write_example
from tests.sites import COMPONENTS, KEY

HOSTS = {
    "the example's": EXAMPLE_HOSTS,
    "one": parse_hosts("a=10.0.0.1"),
    "two": parse_hosts("a=10.0.0.1, b=10.0.0.2"),
    "three subnets": parse_hosts("a=10.0.0.1,b=192.168.0.100,c=fd00::1"),
    "one with the address that a VIP would get": parse_hosts("a=10.0.0.100,b=10.0.0.101"),
    "IPv6": parse_hosts("a=fd00::1,b=FD00:0::2"),
}


@pytest.mark.parametrize("name", HOSTS)
def test_the_example_is_a_site(name: str, tmp_path: Path) -> None:
    hosts = HOSTS[name]
    init_site(tmp_path / "site.yaml", hosts)
    site = check_site(tmp_path / "site.yaml")
    assert [(host.name, host.address) for host in site.hosts] == list(hosts)
    assert [host.name for host in site.with_role("site")] == [hosts[0][0]]


@pytest.mark.parametrize("name", HOSTS)
def test_every_option_may_be_taken(name: str) -> None:
    """All of them at once; only the key has to be a real one."""
    text = write_example(HOSTS[name], components=tuple(COMPONENTS))
    whole = re.sub(r"^( *)#(?=[^ ]|  \w+: )", r"\1", text, flags=re.MULTILINE).replace("ssh-ed25519 AAAA...", KEY)
    site = parse_site(whole, file="whole", components=COMPONENTS)
    first, last = site.hosts[0], site.hosts[-1]
    assert (first.local, last.user, last.become, last.host_key) == (True, "admin", True, KEY)
    assert bool(last.jump) == (len(site.hosts) > 1)
    assert last.disks
    assert last.nics
    assert site.networks
    assert site.vips


def test_a_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text("mine\n")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (path, tmp_path / "link"):
        with pytest.raises(CannotWrite) as caught:
            init_site(taken, ())
        assert "it exists" in caught.value.why
    assert path.read_text() == "mine\n"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "text", ["", "a", "a=", "=10.0.0.1", "a=b", "A=10.0.0.1", "a=10.0.0.1,", "a=10.0.0.1,a=10.0.0.2", "a=::1,b=0::1"]
)
def test_hosts_that_are_none(text: str) -> None:
    with pytest.raises(Malformed):
        parse_hosts(text)


def test_hosts() -> None:
    assert parse_hosts("a=10.0.0.1, b=fd00::1") == (("a", ip_address("10.0.0.1")), ("b", ip_address("fd00::1")))


def test_a_site_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotReadable, match="it is not there") as caught:
        check_site(tmp_path / "site.yaml")
    assert "bundle site init" in caught.value.hint


def test_the_problems_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "paris.yaml"
    path.write_text("site: Paris\n")
    with pytest.raises(InvalidDocument) as caught:
        check_site(path)
    assert {problem.file for problem in caught.value.problems} == {str(path)}


def test_every_component_is_in_the_schema_and_gets_settings(tmp_path: Path) -> None:
    init_site(tmp_path / "site.yaml", ())
    site = check_site(tmp_path / "site.yaml")
    assert sorted(site.settings) == sorted(schema()["properties"]["components"]["properties"])
