"""The site's names: whose they are, in which zone they stand, and what changes the serial."""

from ipaddress import ip_network

import pytest

from bundler.components.dns.settings import DnsSettings, parse_settings
from bundler.components.dns.zones import clashes, reverse_zone, zones_of
from bundler.errors import InvalidDocument
from bundler.model.site import Site
from bundler.model.site_parser import parse_site
from tests.goals import SITE


def site_of(text: str = SITE) -> tuple[Site, DnsSettings]:
    site = parse_site(text, file="site.yaml", components={"dns": parse_settings})
    settings = site.settings["dns"]
    assert isinstance(settings, DnsSettings)
    return site, settings


def test_all_names_of_a_site() -> None:
    more = "components: {dns: {records: {'*.apps': [10.77.0.200], six: ['fd77::5', 10.77.0.5]}}}\n"
    domain, reverse = zones_of(*site_of(SITE + more))
    lines = domain.text.splitlines()
    assert lines[0] == "$ORIGIN lab.example."
    assert lines[2].startswith(f"@ IN SOA n1.lab.example. hostmaster.lab.example. {domain.serial} ")
    assert set(lines[3:]) == {
        "@ IN NS n1.lab.example.",
        "@ IN NS n2.lab.example.",
        "n1 IN A 10.77.0.11",
        "n2 IN A 10.77.0.12",
        "n3 IN A 10.77.1.13",
        "api IN A 10.77.0.100",
        *(f"{name} IN A 10.77.0.{number}" for name in ("ns", "registry", "repo") for number in (11, 12)),
        "builds IN A 10.77.0.11",
        "*.apps IN A 10.77.0.200",
        "six IN A 10.77.0.5",
        "six IN AAAA fd77::5",
    }
    assert reverse.name == "77.10.in-addr.arpa"
    assert "13.1.77.10.in-addr.arpa. IN PTR n3.lab.example." in reverse.text.splitlines()
    assert "100.0.77.10.in-addr.arpa. IN PTR api.lab.example." in reverse.text.splitlines()


@pytest.mark.parametrize(
    ("subnet", "zone"),
    [
        ("10.77.0.0/24", "0.77.10.in-addr.arpa"),
        ("10.77.0.0/20", "77.10.in-addr.arpa"),
        ("10.77.0.128/25", "0.77.10.in-addr.arpa"),
        ("128.0.0.0/2", "in-addr.arpa"),
        ("10.77.0.11/32", "11.0.77.10.in-addr.arpa"),
        ("fd77:1::/64", "0.0.0.0.0.0.0.0.1.0.0.0.7.7.d.f.ip6.arpa"),
        ("fd40::/10", "d.f.ip6.arpa"),
    ],
)
def test_reverse_zones(subnet: str, zone: str) -> None:
    assert reverse_zone(ip_network(subnet)) == zone


def test_a_pointer_stands_in_the_closest_zone() -> None:
    text = SITE.replace(
        "networks:", "networks:\n- {name: near, subnet: 10.78.1.0/24}\n- {name: far, subnet: 10.78.0.0/24}"
    )
    text = text.replace("10.77.1.13", "10.78.1.13")
    by_name = {zone.name: zone.text for zone in zones_of(*site_of(text))}
    assert "13.1.78.10.in-addr.arpa. IN PTR n3" in by_name["1.78.10.in-addr.arpa"]
    assert "PTR n3" not in by_name["0.78.10.in-addr.arpa"]


def test_without_networks_the_hosts_addresses_have_zones() -> None:
    text = SITE.partition("networks:")[0]
    assert [zone.name for zone in zones_of(*site_of(text))[1:]] == ["0.77.10.in-addr.arpa", "1.77.10.in-addr.arpa"]


def test_the_serial_follows_the_content() -> None:
    one, again, other = (zones_of(*site_of(text))[0] for text in (SITE, SITE, SITE.replace("10.77.0.12", "10.77.0.9")))
    assert one == again
    assert 0 < one.serial < 2**32
    assert one.serial != other.serial


def test_a_name_that_two_give() -> None:
    assert clashes(*site_of()) == {}
    text = SITE.replace("name: n3", "name: repo") + "components: {dns: {records: {api: [10.77.0.7]}}}\n"
    assert clashes(*site_of(text)) == {
        "repo": ("the site itself", "a host"),
        "api": ("a VIP", "components.dns.records"),
    }


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("forward: {Corp.example: [10.1.1.1]}", "Corp.example"),
        ("forward: {corp.example: []}", "0 addresses"),
        ("forward: {corp.example: [dns.corp.example]}", "dns.corp.example"),
        ("records: {'a.*': [10.1.1.1]}", "a.*"),
        ("records: {'x y': [10.1.1.1]}", "x y"),
        ("record: {}", "unknown key 'components.dns.record'"),
    ],
)
def test_settings_that_are_none(settings: str, found: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        site_of(f"{SITE}components: {{dns: {{{settings}}}}}\n")
    (problem,) = caught.value.problems
    assert found in problem.found
    assert problem.line == SITE.count("\n") + 1
