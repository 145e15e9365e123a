"""What each step does on a bare host, and that it does nothing where it is so already."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bundler.components.base import clients, kernel, names, sources
from bundler.components.base.logins import PATH, Logins
from bundler.components.base.logins import Known as Logged
from bundler.components.base.names import SYSTEM, System
from bundler.components.base.preflight import live_sysctls, wanted_sysctls
from bundler.components.base.sources import FOUND, Found, Listed
from bundler.components.base.trust import Trust, Trusted
from bundler.components.registry.endpoint import site_ca
from bundler.errors import NotCarried
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.actions import WriteFile
from bundler.steps.facts import Fact, FileFact, FileState, UnitFact, UnitState
from bundler.steps.resources import Resource
from bundler.steps.step import Goal
from tests.facts import CannedFacts, bare, done, file_state, settled, wanted
from tests.unit.components.base.conftest import MakeGoal, step

Known = Mapping[Fact[Any], Any]
BOOKWORM = System(release="bookworm", hostname="n3")
CA = "write /etc/bundle/ca.crt"
APT = [
    CA,
    "write /etc/apt/keyrings/bundle.asc",
    "write /etc/apt/apt.conf.d/90bundle",
    "write /etc/apt/sources.list.d/bundle.sources",
]


def resource(name: str, goal: Goal, kind: type) -> Any:
    """The one resource of that kind in a step on n3."""
    host = goal.site.host("n3")
    found: list[Resource] = [each for each in step(name).resources(goal, host) if isinstance(each, kind)]
    (only,) = found
    return only


def known_of(name: str, goal: Goal, *, satisfied: bool) -> dict[Fact[Any], Any]:
    """What a host says beside files, packages and units: without anything of ours, or with all of it."""
    trust = resource("trust", goal, Trust)
    paths = tuple(file.path for file in trust.files)
    live = {each.key: kernel.Live(value="0", writable=True) for each in wanted_sysctls(goal)}
    set_now = {each.key: kernel.Live(value=each.value, writable=True) for each in wanted_sysctls(goal)}
    limits = "DefaultLimitNOFILE=524288\nDefaultLimitNOFILESoft=1024\nDefaultLimitMEMLOCK=8388608"
    right = "DefaultLimitNOFILE=1048576\nDefaultLimitNOFILESoft=65536\nDefaultLimitMEMLOCK=8388608"
    modules = frozenset(module.name for module in kernel.MODULES)
    said: dict[str, list[tuple[Fact[Any], Any, Any]]] = {
        "hosts": [(SYSTEM, BOOKWORM, BOOKWORM)],
        "sources": [(SYSTEM, BOOKWORM, BOOKWORM), (FOUND, Found(), Found())],
        "archives": [(SYSTEM, BOOKWORM, BOOKWORM), (FOUND, Found(), Found())],
        "kernel": [
            (kernel.modules_fact(), modules - {"br_netfilter"}, modules),
            (live_sysctls(goal), live, set_now),
            (kernel.manager_fact(), limits, right),
        ],
        "trust": [(trust.fact, Trusted(), Trusted(files=paths, stored=paths))],
        "clients": [(resource("clients", goal, clients.Helm).fact, False, True)],
    }
    return {fact: after if satisfied else before for fact, before, after in said.get(name, [])}


def trusted(goal: Goal) -> str:
    return str(resource("trust", goal, Trust).files[0].path)


def test_a_bare_host(goal: Goal) -> None:
    host = goal.site.host("n3")
    certs = "/etc/containerd/certs.d"
    expected = {
        "hosts": ["write /etc/hosts"],
        "archives": APT,
        "packages": ["write /etc/chrony/chrony.conf", "packages ca-certificates chrony curl kmod procps"],
        "time": ["write /etc/systemd/system/chrony.service.d/bundle.conf", "start chrony.service"],
        "kernel": [
            "write /etc/modules-load.d/bundle.conf",
            "run load br_netfilter",
            "write /etc/sysctl.d/99-zz-bundle.conf",
            f"run set {' '.join(each.key for each in wanted_sysctls(goal))}",
            "write /etc/systemd/system.conf.d/90-bundle.conf",
            "run systemctl daemon-reload",
            "write /etc/security/limits.d/90-bundle.conf",
        ],
        "trust": [f"write {trusted(goal)}", "run update-ca-certificates"],
        "names": ["write /etc/resolv.conf"],
        "clients": [
            "write /etc/pip.conf",
            "write /etc/uv/uv.toml",
            "write /etc/containers/registries.conf.d/90-bundle.conf",
            f"write {certs}/docker.io/hosts.toml",
            f"write {certs}/registry.example:5000/hosts.toml",
            f"write {certs}/registry.lab.example:5000/hosts.toml",
            "write /etc/containers/certs.d/registry.lab.example:5000/ca.crt",
            "write /etc/docker/certs.d/registry.lab.example:5000/ca.crt",
            f"write {certs}/builds.lab.example:5001/hosts.toml",
            "write /etc/containers/certs.d/builds.lab.example:5001/ca.crt",
            "write /etc/docker/certs.d/builds.lab.example:5001/ca.crt",
            f"run name the site's charts in {clients.HELM}",
        ],
    }
    for name, actions in expected.items():
        each = step(name)
        assert done(wanted(each, goal, host, bare(each, goal, host, known_of(name, goal, satisfied=False)))) == actions


def test_a_site_host_takes_packages_from_its_own_disk(goal: Goal) -> None:
    host, each = goal.site.host("n1"), step("sources")
    actions = wanted(each, goal, host, bare(each, goal, host, known_of("sources", goal, satisfied=False)))
    assert done(actions) == APT
    (written,) = (it for it in actions if isinstance(it, WriteFile) and it.path == sources.OURS)
    assert "URIs: file:/srv/bundle/current/apt/debian\nSuites: bookworm\n" in str(written.content)
    assert wanted(step("archives"), goal, host, {}) == []  # and needs nobody who serves them


@pytest.mark.parametrize("name", ["hosts", "archives", "packages", "time", "kernel", "trust", "names", "clients"])
def test_done_once_is_done(goal: Goal, name: str) -> None:
    host, each = goal.site.host("n3"), step(name)
    first = bare(each, goal, host, known_of(name, goal, satisfied=False))
    if name == "time":  # its file is written by the step before
        packages = step("packages")
        files = wanted(packages, goal, host, bare(packages, goal, host))
        first = settled(first, files)
    actions = wanted(each, goal, host, first)
    assert actions
    after = settled(first, actions) | known_of(name, goal, satisfied=True)
    assert done(wanted(each, goal, host, after)) == []


def run(name: str, goal: Goal, changed: Known) -> list[str]:
    """What a step does on n3, where all is as it should be but for what `changed` says."""
    host, each = goal.site.host("n3"), step(name)
    first = bare(each, goal, host, known_of(name, goal, satisfied=False))
    good = settled(first, wanted(each, goal, host, first)) | known_of(name, goal, satisfied=True)
    assert set(changed) <= set(good)
    return done(wanted(each, goal, host, good | dict(changed)))


def test_a_key_that_may_only_be_read_or_is_not_there_is_left_alone(goal: Goal) -> None:
    live = {each.key: kernel.Live(value=each.value, writable=True) for each in wanted_sysctls(goal)}
    live["net.core.rmem_max"] = kernel.Live(value="1", writable=False)
    del live["net.ipv4.neigh.default.gc_thresh1"]
    assert run("kernel", goal, {live_sysctls(goal): live}) == []
    live["vm.swappiness"] = kernel.Live(value="60", writable=True)
    assert run("kernel", goal, {live_sysctls(goal): live}) == ["run set vm.swappiness"]


def test_lists_that_point_elsewhere_are_set_aside(goal: Goal) -> None:
    def listed(name: str, *uris: str) -> Listed:
        return Listed(path=f"/etc/apt/{name}", digest=Digest.of(name.encode()), uris=uris)

    found = Found(
        listed=(
            listed("sources.list", "http://deb.example/debian"),
            listed("sources.list.d/bundle.sources", "https://repo.lab.example/apt/debian"),
            listed("sources.list.d/disk.list", "file:/srv/own"),
            listed("sources.list.d/cd.list", "cdrom:[Debian]/"),
            listed("sources.list.d/empty.list"),
        )
    )
    aside = ["set aside /etc/apt/sources.list", "set aside /etc/apt/sources.list.d/cd.list"]
    assert run("archives", goal, {FOUND: found}) == aside


def test_a_host_of_a_release_without_packages(goal: Goal) -> None:
    with pytest.raises(NotCarried, match="trixie"):
        run("archives", goal, {SYSTEM: replace(BOOKWORM, release="trixie")})


def test_a_host_that_calls_itself_something_else_finds_itself(goal: Goal) -> None:
    host, each = goal.site.host("n3"), step("hosts")
    (action,) = wanted(each, goal, host, bare(each, goal, host, {SYSTEM: replace(BOOKWORM, hostname="old-name")}))
    assert isinstance(action, WriteFile)
    assert str(action.content).endswith("\n127.0.1.1 old-name\n")


def test_a_link_is_kept_and_replaced_and_its_program_stopped(goal: Goal) -> None:
    link = FileState(kind="symbolic link", mode=0o777, owner="root", group="root", link="../run/systemd/resolve/x")
    running = UnitState(load="loaded", active="active", sub="running", file="enabled")
    changed: Known = {FileFact(path=names.RESOLV): link, UnitFact(unit=names.RESOLVED): running}
    expected = [f"set aside {names.RESOLV}", f"write {names.RESOLV}", f"stop {names.RESOLVED}"]
    assert run("names", goal, changed) == expected


def test_the_resolver_comes_back_with_its_link(goal: Goal) -> None:
    host, each = goal.site.host("n3"), step("names")
    link = FileState(kind="symbolic link", mode=0o777, owner="root", group="root", link="../run/systemd/resolve/x")
    kept = FileFact(path=f"/var/lib/bundle/before{names.RESOLV}")
    known: Known = {FileFact(path=names.RESOLV): file_state("ours"), FileFact(path=kept.path): link}
    stopped = UnitState(load="loaded", file="disabled")
    answers = bare(each, goal, host, {**known, UnitFact(unit=names.RESOLVED): stopped})
    answers[FileFact(path=kept.path, secret=True)] = link
    actions = each.unwanted(goal, host, CannedFacts("n3", answers), purge=False)
    assert done(actions) == [f"run start {names.RESOLVED}", f"set aside {kept.path}"]


def test_a_ca_that_the_site_gave_up_is_not_trusted_any_more(goal: Goal) -> None:
    trust, old = resource("trust", goal, Trust), "/usr/local/share/ca-certificates/bundle-0123456789ab.crt"
    paths = tuple(file.path for file in trust.files)
    changed = {trust.fact: Trusted(files=(*paths, old), stored=paths)}
    assert run("trust", goal, changed) == [f"remove {old}", "run update-ca-certificates"]
    # Killed between the two: the store has it still, and only a link to it says so.
    cut = {trust.fact: trust.fact.reading(f"file {paths[0]}\nstored {paths[0]}\nleft /etc/ssl/certs/bundle-1.pem\n")}
    assert run("trust", goal, cut) == ["run update-ca-certificates"]


def test_registries_that_the_release_does_not_have_any_more(goal: Goal) -> None:
    fact = resource("clients", goal, clients.Leftovers).fact
    gone = "/etc/containerd/certs.d/gone.example/hosts.toml"
    kept = "/etc/containerd/certs.d/docker.io/hosts.toml"
    assert run("clients", goal, {fact: (gone, kept)}) == [f"remove {gone}"]


USERS = "{registry: {auth: {users: [reader]}}}"


def test_the_registrys_password_comes_and_goes_unseen(make_goal: MakeGoal) -> None:
    """Users are declared, the password is another one, and there are no users any more."""
    with_users = make_goal(USERS)
    without = replace(make_goal(), vault=with_users.vault)
    hosts = ("docker.io", "registry.example:5000", "registry.lab.example:5000")
    files = [f"write /etc/containerd/certs.d/{name}/hosts.toml" for name in hosts]
    first, state = clients_to(without, {})
    assert first
    assert f"write {PATH}" not in first
    for goal, last in ((with_users, "write"), (with_users, "write"), (without, "remove")):
        goal.vault.forget("registry.password.site_hosts")
        goal = replace(goal, _made={})
        changed, state = clients_to(goal, state)
        assert changed == [*files, f"{last} {PATH}"]
        again, state = clients_to(goal, state)
        assert again == []


def clients_to(goal: Goal, before: Known) -> tuple[list[str], dict[Fact[Any], Any]]:
    """What n3 needs to be as the goal has it, and its facts after; no password may be seen on the way."""
    each, host = step("clients"), goal.site.host("n3")
    login = resource("clients", goal, Logins).fact
    files = {fact.path: state for fact, state in before.items() if isinstance(fact, FileFact)}
    asked = bare(each, goal, host, known_of("clients", goal, satisfied=True))
    asked |= {fact: files.get(fact.path) for fact in asked if isinstance(fact, FileFact)}
    asked[login] = before.get(login, Logged())
    actions = wanted(each, goal, host, asked)
    after = settled(asked, actions)
    for action in actions:
        assert "Basic" not in "\n".join(action.diff())
        if isinstance(action, WriteFile) and isinstance(action.content, Secret):
            assert action.mode == 0o600
            text = action.content.reveal()
            assert text not in repr(action)
            if action.path == PATH:
                after[login] = Logged(digest=Digest.of(text.encode()), found=json.loads(text))
        elif action.target == PATH:
            after[login] = Logged()
    # Of a file that only root may read, a host does not tell the content.
    private = {fact: it for fact, it in after.items() if isinstance(it, FileState) and it.mode == 0o600}
    hidden = {fact: replace(it, content=None) for fact, it in private.items()}
    return done(actions), after | hidden


def test_no_secret_is_in_what_base_writes(goal: Goal) -> None:
    site_ca(goal)
    key = goal.vault.get("ca")
    assert key is not None
    for name in ("archives", "trust", "clients"):
        host, each = goal.site.host("n3"), step(name)
        for action in wanted(each, goal, host, bare(each, goal, host, known_of(name, goal, satisfied=False))):
            script = action.script()
            assert isinstance(script.stdin, bytes)
            assert b"PRIVATE" not in script.text.encode() + script.stdin
