"""What base finds out about hosts, before the first change and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bundler.components.base import COMPONENT, health, kernel, names, preflight
from bundler.components.base.names import SYSTEM, System
from bundler.components.base.sources import FOUND, Found, Listed
from bundler.model.digest import Digest
from bundler.steps.facts import Fact, Facts, FileFact, Unasked, UnitFact, UnitState
from bundler.steps.step import Check, Finding, Goal, Remedy
from tests.facts import file_state

RUNS = UnitState(load="loaded", active="active", sub="running", file="enabled")
CHRONY = UnitFact(unit="chrony.service")


def judge(check: Check, goal: Goal, answers: Mapping[Fact[Any], Any]) -> list[Finding]:
    """What a check says of n3: each of its questions is answered, and no other."""
    host = goal.site.host("n3")
    assert set(check.asks(goal, host)) == set(answers)
    return list(check.judge(goal, [host], Facts({"n3": answers})))


def named(name: str) -> Check:
    return next(check for check in (*COMPONENT.preflight, *COMPONENT.health) if check.name == f"base: {name}")


@dataclass(frozen=True)
class Good:
    """What a host says that is as it should be, by check."""

    goal: Goal

    def answers(self, check: str) -> dict[Fact[Any], Any]:
        goal, site = self.goal, self.goal.site
        host = site.host("n3")
        resolv = file_state(names.resolv_text(site, host))
        known = frozenset({"registry.lab.example", "repo.lab.example"})
        tracking = health.Tracking(stratum=11, leap="Normal", sources=("10.77.0.11", "10.77.0.12"))
        modules = frozenset(module.name for module in kernel.MODULES)
        live = {each.key: kernel.Live(value=each.value, writable=True) for each in preflight.wanted_sysctls(goal)}
        (trusted,) = named("trust").asks(goal, host)
        _, resolved = named("names").asks(goal, host)
        _, reached = named("sources").asks(goal, host)
        index, _ = named("nothing outside").asks(goal, host)
        said: dict[str, dict[Fact[Any], Any]] = {
            "the release's packages": {SYSTEM: System(release="bookworm", hostname="n3")},
            "kernel": {
                kernel.modules_fact(): modules - {"overlay"},
                kernel.loadable_fact(): frozenset({"overlay"}),
                preflight.live_sysctls(goal): live,
            },
            "proxies and writers": {preflight.PROXIES: (), preflight.WRITERS: ()},
            "time": {CHRONY: RUNS, health.TRACKING: tracking},
            "trust": {trusted: "/etc/bundle/ca.crt: OK"},
            "names": {FileFact(path="/etc/resolv.conf"): resolv, resolved: known},
            "sources": {FOUND: Found(), reached: ""},
            "nothing outside": {
                index: (("/etc/pip.conf", "index-url = https://repo.lab.example/pypi/simple/"),),
                preflight.PROXIES: (),
            },
        }
        return said[check]

    def changed(self, check: str, value: Any, at: int = 0) -> list[Finding]:
        """The findings when the answer to one question is another."""
        answers = self.answers(check)
        return judge(named(check), self.goal, answers | {list(answers)[at]: value})


@pytest.fixture
def good(goal: Goal) -> Good:
    return Good(goal)


def test_nothing_is_found_where_all_is_well(good: Good) -> None:
    for check in (*COMPONENT.preflight, *COMPONENT.health):
        assert judge(check, good.goal, good.answers(check.name.removeprefix("base: "))) == []


def test_what_could_not_be_asked_is_found(good: Good) -> None:
    (finding,) = good.changed("time", Unasked("it timed out"))
    assert finding.found == "chrony.service is not known: it timed out"


def test_a_release_that_the_bundle_has_nothing_for(good: Good) -> None:
    (finding,) = good.changed("the release's packages", System(release="jammy", hostname="n3"))
    assert finding.found == "it runs jammy, and the bundle has packages for bookworm"
    assert not finding.warning


def test_a_module_that_the_kernel_lacks(good: Good) -> None:
    (finding,) = good.changed("kernel", frozenset({"br_netfilter", "nf_conntrack"}), at=0) + good.changed(
        "kernel", frozenset(), at=1
    )
    assert "no module overlay" in finding.found
    assert not finding.warning


def test_settings_that_are_needed_stop_and_the_others_warn_once(good: Good) -> None:
    live = {each.key: kernel.Live(value=each.value, writable=True) for each in preflight.wanted_sysctls(good.goal)}
    del live["net.ipv4.ip_forward"], live["vm.swappiness"], live["fs.aio-max-nr"]
    live["net.core.rmem_max"] = kernel.Live(value="1", writable=False)
    stops, lacking, fixed = good.changed("kernel", live, at=2)
    assert (stops.warning, lacking.warning, fixed.warning) == (False, True, True)
    assert stops.found == "the kernel has no net.ipv4.ip_forward = 1: Pods are reached through their hosts."
    assert lacking.found == "the kernel has no vm.swappiness, fs.aio-max-nr"
    assert "sysctls: {KEY: leave}" in lacking.fix
    assert fixed.found == "this host, a container, cannot set net.core.rmem_max"


def test_proxies_and_programs_that_write_names(good: Good) -> None:
    (proxy,) = good.changed("proxies and writers", (("/etc/environment", "http_proxy=http://***@p:3128"),))
    assert proxy.found == "/etc/environment sets a proxy: http_proxy=http://***@p:3128"
    (writer,) = good.changed("proxies and writers", ("NetworkManager",), at=1)
    assert writer.warning
    assert "dns=none" in writer.fix


def test_time(good: Good) -> None:
    again = Remedy(restart="chrony.service", steps=("base/time",))
    (dead,) = good.changed("time", UnitState(load="loaded", active="failed", sub="failed"))
    assert (dead.found, dead.remedy) == ("chrony.service is failed (failed)", again)
    (lost,) = good.changed("time", health.Tracking(stratum=0, leap="Not synchronised"), at=1)
    assert (lost.found, lost.remedy) == ("its clock follows nothing", None)
    strange = health.Tracking(stratum=3, leap="Normal", sources=("10.77.0.11", "162.159.200.1"))
    (outside,) = good.changed("time", strange, at=1)
    assert outside.found == "its clock follows 162.159.200.1, which site.yaml does not name"
    assert outside.remedy == again


def test_trust_names_and_sources(good: Good) -> None:
    (trust,) = good.changed("trust", "error /etc/bundle/ca.crt: verification failed")
    assert trust.remedy is not None
    (resolv,) = good.changed("names", file_state("nameserver 1.1.1.1\n"))
    assert (resolv.found, resolv.remedy) == (
        "/etc/resolv.conf is not what the site wrote",
        Remedy(steps=("base/names",)),
    )
    (unknown,) = good.changed("names", frozenset({"repo.lab.example"}), at=1)
    assert unknown.found == "DNS does not know registry.lab.example"
    outside = Listed(path="/etc/apt/sources.list", digest=Digest("0" * 64), uris=("http://deb.example/debian",))
    (listed,) = good.changed("sources", Found(listed=(outside,)))
    assert listed.found == "/etc/apt/sources.list points apt to http://deb.example/debian"
    assert listed.remedy == Remedy(steps=("base/sources", "base/archives"))
    (reach,) = good.changed("sources", "E: one\nE: Could not connect", at=1)
    assert reach.found.endswith("E: Could not connect")


def test_pip_that_looks_elsewhere(good: Good) -> None:
    ours, theirs = "/etc/pip.conf", "/root/.config/pip/pip.conf"
    line = "extra-index-url = https://index.example/simple"
    (finding,) = good.changed("nothing outside", ((ours, line),))
    assert finding.remedy == Remedy(steps=("base/clients",))
    (finding,) = good.changed("nothing outside", ((theirs, line),))
    assert (finding.found, finding.remedy) == (f"{theirs} points pip to https://index.example/simple", None)


def test_what_chronyc_says() -> None:
    # chronyc -c -n tracking, then sources (chrony 4.3).
    said = (
        "0A4D030B,10.77.3.11,11,1795385908.0,0.000000001,0.000000001,0.000001,1.2,0.0,0.1,0.0003,0.0002,64.0,Normal\n"
        "^,*,10.77.3.11,10,6,377,12,0.000001,0.000001,0.0003\n"
    )
    assert health.TRACKING.reading(said) == health.Tracking(stratum=11, leap="Normal", sources=("10.77.3.11",))
    with pytest.raises(ValueError, match="506"):
        health.TRACKING.reading("506 Cannot talk to daemon\n")
