"""The real CoreDNS with the configuration that the site's hosts get."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from bundler.components.dns import corefile
from bundler.components.dns.settings import parse_settings
from bundler.components.dns.zones import zones_of
from bundler.steps.facts import answers, grouped, question
from bundler.steps.probe import probe
from bundler.steps.step import Goal
from tests.conftest import LONG
from tests.dnsload import NOERROR, NXDOMAIN, SERVFAIL, ask, load
from tests.goals import SITE, goal_of, release
from tests.lab import lab_program

ADDRESS = "127.0.0.53"  # one of the host's own, and not the one that everybody else on it may have taken
OTHERS = "127.0.0.54"  # the servers of a zone that is not the site's


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on, neither TCP nor UDP."""
    plugs = [socket.socket() for _ in range(count)]
    for plug in plugs:
        plug.bind(("127.0.0.1", 0))
    found = [plug.getsockname()[1] for plug in plugs]
    for plug in plugs:
        plug.close()
    return found


@contextmanager
def coredns(folder: Path, goal: Goal, address: str, *, others: str = "") -> Iterator[int]:
    """The server on `address`, and its port. `others` is where the servers of the forwarded zones listen."""
    port, metrics, health, ready = free_ports(4)
    site_host = replace(goal.site.hosts[0], address=ip_address(address))
    text = corefile(goal, site_host, folder=str(folder), ports={"metrics": metrics, "health": health, "ready": ready})
    (folder / "Corefile").write_text(text.replace(f"forward . {OTHERS} ", f"forward . {others or OTHERS} "))
    for zone in zones_of(goal.site, goal.site.settings["dns"]):
        (folder / f"db.{zone.name}").write_text(zone.text)
    program = lab_program("coredns-server") / "coredns"
    first = ["nice", "-n", "-10"] if os.geteuid() == 0 else []  # as its unit does
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*first, program, "-conf", folder / "Corefile", "-dns.port", str(port)], stdout=log, stderr=log, cwd=folder
        )
    try:
        for _ in range(200):
            with socket.socket() as plug:
                if plug.connect_ex(("127.0.0.1", health)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


MORE = f"""\
components:
  dns:
    forward: {{corp.example: [{OTHERS}], gone.example: [127.0.0.55]}}
    records: {{"*.apps": [10.77.0.200], printer: [10.77.0.9, "fd77::9"]}}
"""


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    bundle = release(tmp_path_factory.mktemp("bundle"))
    return goal_of(bundle, {"dns": parse_settings}, text=SITE + MORE)


@pytest.fixture(scope="module")
def port(goal: Goal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with coredns(tmp_path_factory.mktemp("coredns"), goal, ADDRESS) as found:
        yield found


def test_the_names_of_the_site(port: int) -> None:
    for name, addresses in {
        "n3.lab.example": ("10.77.1.13",),
        "registry.lab.example": ("10.77.0.11", "10.77.0.12"),
        "repo.lab.example": ("10.77.0.11", "10.77.0.12"),
        "ns.lab.example": ("10.77.0.11", "10.77.0.12"),
        "builds.lab.example": ("10.77.0.11",),
        "API.lab.example": ("10.77.0.100",),
        "anything.apps.lab.example": ("10.77.0.200",),
        "printer.lab.example": ("10.77.0.9",),
    }.items():
        reply = ask(ADDRESS, port, name)
        assert (reply.rcode, reply.addresses, reply.authoritative) == (NOERROR, addresses, True), name
    assert ask(ADDRESS, port, "printer.lab.example", "AAAA").addresses == ("fd77::9",)
    assert ask(ADDRESS, port, "lab.example", "NS").answers == 2
    assert ask(ADDRESS, port, "lab.example", "SOA").answers == 1
    assert ask(ADDRESS, port, "13.1.77.10.in-addr.arpa", "PTR").answers == 1


def test_what_nobody_has_is_said_at_once(port: int) -> None:
    ask(ADDRESS, port, "warm.up.example")
    for name in ("absent.lab.example", "registry.example", "www.example.com", "9.9.77.10.in-addr.arpa", "com", "x"):
        for kind in ("A", "AAAA", "PTR", "ANY"):
            replies = [ask(ADDRESS, port, name, kind) for _ in range(5)]
            assert {reply.rcode for reply in replies} == {NXDOMAIN}, (name, kind)
            assert min(reply.milliseconds for reply in replies) <= 5, (name, kind)
    # A name that is there, and has none of what is asked for, is no unknown name.
    reply = ask(ADDRESS, port, "n3.lab.example", "AAAA")
    assert (reply.rcode, reply.answers) == (NOERROR, 0)


def test_only_the_hosts_own_address_is_taken(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
        plug.bind(("127.0.0.54", port))
    with pytest.raises(ConnectionRefusedError):
        ask("127.0.0.56", port, "n3.lab.example", timeout=1)


def test_a_zone_of_others_is_asked_there(goal: Goal, tmp_path: Path) -> None:
    """Another CoreDNS plays them; a zone whose servers are gone fails, and soon."""
    for name in ("theirs", "ours"):
        (tmp_path / name).mkdir()
    there = goal_of(release(tmp_path), {"dns": parse_settings}, text=SITE.replace("lab.example", "corp.example"))
    with (
        coredns(tmp_path / "theirs", there, OTHERS) as theirs,
        coredns(tmp_path / "ours", goal, ADDRESS, others=f"{OTHERS}:{theirs}") as port,
    ):
        assert ask(ADDRESS, port, "n3.corp.example").addresses == ("10.77.1.13",)
        assert ask(ADDRESS, port, "absent.corp.example").rcode == NXDOMAIN
        started = time.monotonic()
        assert ask(ADDRESS, port, "www.gone.example", timeout=10).rcode == SERVFAIL
        assert time.monotonic() - started < 6


def test_the_probe_of_the_health_check(goal: Goal, port: int) -> None:
    names = ["lab.example/SOA", "n3.lab.example/A", "absent.example/A"]
    facts = [
        probe("answers", "bundler.components.dns", "probe.py", [ADDRESS, str(port), *names]),
        probe("nobody", "bundler.components.dns", "probe.py", [ADDRESS, str(free_ports(1)[0]), *names]),
    ]
    groups = grouped(facts)
    said = subprocess.run(["sh", "-c", question(groups)], capture_output=True, text=True, timeout=60).stdout
    good, bad = answers(groups, said).values()
    serial = zones_of(goal.site, goal.site.settings["dns"])[0].serial
    assert [good[name]["rcode"] for name in names] == [NOERROR, NOERROR, NXDOMAIN]
    assert (good[names[0]]["serial"], good[names[1]]["answers"]) == (serial, 1)
    assert all("refused" in bad[name]["failure"] for name in names)


def test_no_query_of_a_steady_load_is_lost(port: int) -> None:
    """The sample of CI asks at the same rate for a shorter time."""
    names = ["n3.lab.example", "registry.lab.example", "absent.lab.example", "www.example.com"]
    measured = load(ADDRESS, port, names, count=60_000 if LONG else 10_000, rate=2500)
    print(measured)
    assert measured.answered == measured.sent, measured
    assert measured.codes == {NOERROR: measured.sent // 2, NXDOMAIN: measured.sent // 2}
    assert measured.p50 <= 5, measured
