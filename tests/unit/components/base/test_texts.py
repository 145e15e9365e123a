"""Every file that base writes, as a reader sees it."""

import tomllib
from collections.abc import Callable

import pytest

from bundler.components.base import clients, clock, kernel, names, sources
from bundler.components.base.settings import settings_of
from bundler.model.secret import Secret
from bundler.model.site import SiteHost
from bundler.steps.step import Goal
from tests.unit.components.base.conftest import MakeGoal

Golden = Callable[[str, str], None]


@pytest.mark.parametrize("name", ["n1", "n2", "n3"])
def test_chrony(goal: Goal, golden: Golden, name: str) -> None:
    host = goal.site.host(name)
    golden(f"chrony-{name}.conf", clock.chrony_text(goal.site, host, settings_of(goal.site)))


def test_site_hosts_follow_the_sources_and_the_others_follow_them(make_goal: MakeGoal, golden: Golden) -> None:
    goal = make_goal("{base: {time: {sources: [10.0.0.1, ntp.corp.example]}}}")
    for name in ("n1", "n3"):
        golden(
            f"chrony-sources-{name}.conf", clock.chrony_text(goal.site, goal.site.host(name), settings_of(goal.site))
        )


def test_names(goal: Goal, golden: Golden) -> None:
    golden("hosts", names.hosts_text(goal.site))
    golden("resolv-n2.conf", names.resolv_text(goal.site, goal.site.host("n2")))
    golden("resolv-n3.conf", names.resolv_text(goal.site, goal.site.host("n3")))


def test_kernel(goal: Goal, golden: Golden) -> None:
    golden("sysctl.conf", kernel.sysctl_text(kernel.sysctls(settings_of(goal.site))))
    golden("modules.conf", kernel.modules_text())
    golden("system.conf", kernel.manager_text(goal.site.host("n3")))
    golden("limits.conf", kernel.limits_text(goal.site.host("n3")))


def test_pinned_memory_has_no_limit_where_there_are_gpus(goal: Goal) -> None:
    gpu = SiteHost(name="g", address=goal.site.hosts[0].address, roles=("gpu",))
    assert "DefaultLimitMEMLOCK=infinity\n" in kernel.manager_text(gpu)
    assert "root - memlock unlimited\n" in kernel.limits_text(gpu)


def test_apt_options(goal: Goal, golden: Golden) -> None:
    golden("apt.conf", sources.options_text(goal.site))


def test_clients(goal: Goal, golden: Golden) -> None:
    mirrors = clients.mirrors_of(goal.site, goal.site.host("n3"))
    written = clients.files(goal.site, goal.lock, "CA\n", mirrors)
    golden("clients", "".join(f"=== {file.path}\n{file.content}" for file in written))


def test_clients_of_a_registry_that_wants_a_password(goal: Goal, golden: Golden) -> None:
    """containerd's files have it for the site's registry, and for nobody else's eyes; all others are the same."""
    mirrors = clients.mirrors_of(goal.site, goal.site.host("n3"))
    without = {file.path: file for file in clients.files(goal.site, goal.lock, "CA\n", mirrors)}
    written = clients.files(goal.site, goal.lock, "CA\n", mirrors, Secret("dTpw"))
    changed = [file for file in written if file != without[file.path]]
    assert {type(file.content) for file in changed} == {Secret}
    assert {file.mode for file in changed} == {0o600}
    texts = {file.path: file.content.reveal() for file in changed if isinstance(file.content, Secret)}
    golden("clients-login", "".join(f"=== {path}\n{text}" for path, text in texts.items()))
    assert all(tomllib.loads(text)["header"] == {"Authorization": "Basic dTpw"} for text in texts.values())


def test_each_site_host_asks_itself_first_and_hosts_are_spread(goal: Goal) -> None:
    order = {host.name: [server.name for server in clients.mirrors_of(goal.site, host)] for host in goal.site.hosts}
    assert order["n1"] == ["n1", "n2"]
    assert order["n2"] == ["n2", "n1"]
    assert sorted(order["n3"]) == ["n1", "n2"]


def test_a_setting_of_the_site_takes_ours_place_and_leave_takes_it_out(make_goal: MakeGoal) -> None:
    own = "{vm.swappiness: 60, vm.max_map_count: leave, net.ipv4.tcp_keepalive_time: 600}"
    wanted = {
        each.key: each.value for each in kernel.sysctls(settings_of(make_goal(f"{{base: {{sysctls: {own}}}}}").site))
    }
    assert wanted["vm.swappiness"] == "60"
    assert wanted["net.ipv4.tcp_keepalive_time"] == "600"
    assert "vm.max_map_count" not in wanted


@pytest.mark.parametrize(
    ("path", "text", "uris"),
    [
        ("a.list", "deb http://one/debian bookworm main\n# deb http://no/ x y\n", ("http://one/debian",)),
        ("a.list", "deb-src [arch=amd64 signed-by=/k] http://one/ x/\n\n", ("http://one/",)),
        ("a.list", "debian is no line\n", ()),
        ("a.sources", "Types: deb\nURIs: http://one/ \n  http://two/\nSuites: x\n", ("http://one/", "http://two/")),
        ("a.sources", "Enabled: no\nURIs: http://one/\n\nuris: http://two/\n", ("http://two/",)),
        ("a.sources", "# URIs: http://one/\nTypes: deb\n", ()),
    ],
)
def test_where_sources_are(path: str, text: str, uris: tuple[str, ...]) -> None:
    assert sources.uris_of(path, text) == uris
