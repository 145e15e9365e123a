"""What the registries' steps want of a host, who may do what, and what their checks find."""

import base64
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.components.registry import COMPONENT, UNIT, WRITABLE_UNIT, hosts_token, htpasswd, password_of
from bundler.components.registry.endpoint import builds_host, leaf, registry_host, repositories_host, site_ca
from bundler.components.registry.settings import HOSTS, RegistrySettings, parse_settings
from bundler.errors import InvalidDocument, Malformed
from bundler.model.names import check_label
from bundler.model.secret import Secret
from bundler.model.site_parser import parse_site
from bundler.secrets.certificates import certificate_facts
from bundler.secrets.vault import Vault
from bundler.steps.actions import Action, Run, WriteFile
from bundler.steps.facts import Fact, Facts, FileFact, HostFacts, UnitFact, UnitState
from bundler.steps.probe import Probe
from bundler.steps.step import Check, Finding, Goal, Step
from tests.facts import bare, settled, wanted
from tests.goals import SITE, goal_of, release
from tests.golden import check_texts

REGISTRY, WRITABLE = COMPONENT.steps
MASKED = UnitFact(unit="docker-registry.service")


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_of(release(tmp_path_factory.mktemp("release")), {"registry": parse_settings})


def with_settings(goal: Goal, settings: str) -> Goal:
    text = f"{SITE}components: {{registry: {settings}}}\n"
    site = parse_site(text, file="site.yaml", components={"registry": parse_settings})
    return replace(goal, site=site, text=text, _made={})


def installed(step: Step, goal: Goal) -> tuple[dict[Fact[Any], Any], list[Action]]:
    """The facts of a host when the step is done, and the actions that did it; the writable one comes second."""
    host = goal.site.hosts[0]
    before = installed(REGISTRY, goal)[0] if step is WRITABLE else {}
    answers = bare(step, goal, host)
    answers |= {fact: state for fact, state in before.items() if fact in answers}
    actions = wanted(step, goal, host, answers)
    after = settled(answers, actions)
    if MASKED in after:
        after[MASKED] = UnitState(load="masked", file="masked")
    return after, actions


def keys(actions: list[Action]) -> list[tuple[str, str]]:
    return [(action.kind, action.target) for action in actions]


def test_a_bare_host_gets_a_registry(goal: Goal) -> None:
    after, actions = installed(REGISTRY, goal)
    assert keys(actions) == [
        # Before the package, so that its own unit never runs.
        ("run", "mask docker-registry.service"),
        ("packages", "docker-registry"),
        ("folder", "/etc/bundle/registry"),
        ("write", "/etc/bundle/registry/tls.crt"),
        ("write", "/etc/bundle/registry/tls.key"),
        ("write", "/etc/bundle/registry/config.yml"),
        ("write", f"/etc/systemd/system/{UNIT}"),
        ("start", UNIT),
    ]
    assert wanted(REGISTRY, goal, goal.site.hosts[0], after) == []


def test_the_key_is_the_registrys_alone(goal: Goal) -> None:
    _, actions = installed(REGISTRY, goal)
    (key,) = (action for action in actions if action.target.endswith("tls.key"))
    assert (key.mode, key.owner, key.group) == (0o400, "docker-registry", "docker-registry")  # type: ignore[attr-defined]
    assert key.diff() == ("(secret)",)
    assert "PRIVATE" not in repr(actions)


def test_a_new_certificate_restarts_both_even_after_a_crash(goal: Goal) -> None:
    """The files that both use belong to the first step, which makes the second's unit count as not started by us."""
    both = {**installed(REGISTRY, goal)[0], **installed(WRITABLE, goal)[0]}
    later = replace(goal, now=goal.now + timedelta(days=350), _made={})
    host = goal.site.hosts[0]

    def of(step: Step) -> dict[Fact[Any], Any]:
        return {fact: both[fact] for fact in step.asks(later, host)}

    first, second = wanted(REGISTRY, later, host, of(REGISTRY)), wanted(WRITABLE, later, host, of(WRITABLE))
    assert keys(first) == [("write", f"/etc/bundle/registry/tls.{end}") for end in ("crt", "key")] + [("start", UNIT)]
    assert keys(second) == [("start", WRITABLE_UNIT)]
    assert all(WRITABLE_UNIT in action.units and UNIT in action.units for action in first[:2])  # type: ignore[attr-defined]


def test_the_first_site_host_alone_keeps_what_the_site_builds(goal: Goal) -> None:
    assert WRITABLE.resources(goal, goal.site.hosts[1]) == ()
    after, actions = installed(WRITABLE, goal)
    assert keys(actions)[0] == ("folder", "/var/lib/bundle-registry")
    assert ("write", "/etc/bundle/registry/builders") in keys(actions)
    host = goal.site.hosts[0]
    assert wanted(WRITABLE, goal, host, after) == []
    # Its folder is removed: made again, and the unit starts anew, for it has the one that is gone.
    lost: dict[Fact[Any], Any] = {
        fact: None for fact in after if isinstance(fact, FileFact) and fact.path.startswith("/var/lib/bundle-registry")
    }
    gone = {**after, **lost}
    again = wanted(WRITABLE, goal, host, gone)
    assert keys(again)[:2] == [("folder", "/var/lib/bundle-registry"), ("write", "/var/lib/bundle-registry/README")]
    assert keys(again)[-1] == ("start", WRITABLE_UNIT)
    # What it holds stays when the component goes, unless it is purged.
    for purge in (False, True):
        removed = keys(WRITABLE.unwanted(goal, host, HostFacts(host.name, after), purge=purge))
        assert (("remove", "/var/lib/bundle-registry") in removed) is purge


def test_a_running_registry_of_the_package_is_stopped(goal: Goal) -> None:
    after, _ = installed(REGISTRY, goal)
    for state in (UnitState(load="loaded", active="active"), UnitState(load="masked", active="active")):
        (action,) = wanted(REGISTRY, goal, goal.site.hosts[0], {**after, MASKED: state})
        assert isinstance(action, Run)
        assert "--now" in action.text


def test_names_and_certificates(goal: Goal) -> None:
    first, second, _ = goal.site.hosts
    names = ("registry", "builds")
    facts = certificate_facts(leaf(goal, first, "test", *names).certificate)
    assert facts is not None
    assert set(facts.dns_names) == {"registry.lab.example", "builds.lab.example", "n1.lab.example", "n1"}
    assert facts.addresses == (first.address,)
    assert leaf(goal, first, "test", *names) == leaf(goal, first, "test", *names)
    assert leaf(goal, second, "test", "registry").certificate != leaf(goal, first, "test", *names).certificate
    assert registry_host(goal.site) == "registry.lab.example"
    assert repositories_host(goal.site) == "repo.lab.example"
    assert builds_host(goal.site) == "builds.lab.example"


def test_users(goal: Goal) -> None:
    more = with_settings(goal, "{auth: {users: [reader, ops], builders: [ops]}}")
    lines = htpasswd(more, ("reader", "ops")).reveal().splitlines()
    assert [line.partition(":$2b$")[0] for line in lines] == ["reader", "ops"]
    assert htpasswd(more, ("reader", "ops")).reveal().splitlines() == lines
    assert password_of(more, "ops") != password_of(more, "reader")
    assert password_of(more, "ops").reveal() not in repr(WRITABLE.resources(more, more.site.hosts[0]))
    assert ("write", "/etc/bundle/registry/users") in keys(installed(REGISTRY, more)[1])


def test_the_sites_own_hosts_are_a_user_where_there_are_users_and_never_a_builder(goal: Goal) -> None:
    def users_in(step: Step, name: str) -> list[str]:
        (file,) = (each for each in installed(step, more)[1] if each.target.endswith(f"/{name}"))
        assert isinstance(file, WriteFile)
        assert isinstance(file.content, Secret)
        return [line.partition(":")[0] for line in file.content.reveal().splitlines()]

    more = with_settings(replace(goal, vault=Vault.empty()), "{auth: {users: [reader]}}")
    assert users_in(REGISTRY, "users") == ["reader", HOSTS]
    assert users_in(WRITABLE, "builders") == ["builder"]
    token = hosts_token(more)
    assert token is not None
    shown = base64.b64decode(token.reveal()).decode()
    assert shown == f"{HOSTS}:{password_of(more, HOSTS).reveal()}"
    with pytest.raises(Malformed):  # so that it is none of the users
        check_label(HOSTS)


def test_without_users_there_is_no_password_of_the_hosts(goal: Goal) -> None:
    fresh = replace(goal, vault=Vault.empty(), _made={})
    installed(REGISTRY, fresh)
    assert hosts_token(fresh) is None
    assert not [name for name in fresh.vault.names() if HOSTS in name]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ("{port: 5001}", "5001 twice"),
        ("{port: 0}", "'0'"),
        ("{port: 443}", "port 443, which is that of the repositories"),
        ("{writable_port: 5002}", "port 5002"),
        ("{auth: {users: [a, a]}}", "a user twice"),
        ("{auth: {builders: []}}", "nobody"),
        ("{auth: {users: ['a:b']}}", "a:b"),
        ("{tls: false}", "unknown key"),
    ],
)
def test_settings_that_are_none(goal: Goal, settings: str, found: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        with_settings(goal, settings)
    assert found in caught.value.problems[0].found


def test_settings(goal: Goal) -> None:
    assert goal.site.settings["registry"] == RegistrySettings()
    more = with_settings(goal, "{port: 8443, auth: {users: [reader]}}")
    assert more.site.settings["registry"] == RegistrySettings(port=8443, users=("reader",))


def judged(goal: Goal, check: Check, step: Step, said: dict[str, Any]) -> list[Finding]:
    host = goal.site.hosts[0]
    known = dict(installed(step, goal)[0])
    (probe,) = (fact for fact in check.asks(goal, host) if isinstance(fact, Probe))
    return list(check.judge(goal, [host], Facts({host.name: {**known, probe: said}})))


def test_what_the_checks_find(goal: Goal) -> None:
    reading, writing = COMPONENT.health
    host = goal.site.hosts[0]
    pem = leaf(goal, host, "registry", "registry", "builds").certificate
    image = goal.lock.images[0]
    place, config = f"/v2/{image.reference.site_repository}", min(image.blobs, key=lambda blob: blob.size)
    paths = {
        "/v2/": {"status": 200, "sha256": "", "ms": 1},
        f"{place}/manifests/{image.root.digest}": {"status": 200, "sha256": image.root.digest.hex, "ms": 1},
        f"{place}/blobs/{config.digest}": {"status": 200, "sha256": config.digest.hex, "ms": 1},
    }
    assert judged(goal, reading, REGISTRY, {"certificate": pem, "answers": paths}) == []
    assert judged(goal, writing, WRITABLE, {"certificate": pem, "answers": {"/v2/": {"status": 401, "ms": 1}}}) == []

    def one(said: dict[str, Any]) -> Finding:
        (found,) = judged(goal, reading, REGISTRY, said)
        return found

    found = one({"failure": "refused"})
    assert found.remedy is not None
    assert found.remedy.restart == UNIT
    absent = {path: {**answer, "status": 404 if "blobs" in path else 200} for path, answer in paths.items()}
    found = one({"certificate": pem, "answers": absent})
    assert "404" in found.found
    assert found.remedy is not None
    assert found.remedy.steps == ("registry",)
    rotten = {
        path: {**answer, "sha256": "0" * 64 if "blobs" in path else answer["sha256"]} for path, answer in paths.items()
    }
    found = one({"certificate": pem, "answers": rotten})
    assert "other bytes" in found.found
    assert found.remedy is None
    assert one({"certificate": "", "answers": paths}).found.endswith("cannot be read")
    other = goal_of_other(goal)
    foreign = leaf(other, host, "registry", "registry").certificate
    assert "not by the site's CA" in one({"certificate": foreign, "answers": paths}).found
    assert site_ca(other) != site_ca(goal)
    # It is asked of no other hosts.
    assert not reading.on(goal.site.hosts[2])
    assert list(writing.asks(goal, goal.site.hosts[1])) == []


def goal_of_other(goal: Goal) -> Goal:
    """The same site with secrets of its own."""
    return replace(goal, vault=Vault.empty(), _made={})


def test_the_texts(goal: Goal) -> None:
    users = with_settings(goal, "{auth: {users: [reader]}}")
    check_texts(Path(__file__).parent / "golden", [*installed(REGISTRY, users)[1], *installed(WRITABLE, users)[1]])


def test_a_host_that_mends_itself_puts_no_root_in_the_place_of_the_sites_own(goal: Goal) -> None:
    """The other hosts would not trust it; leaves are its own business."""
    late = goal.now + timedelta(days=3652 - 100)
    fresh = replace(goal, vault=Vault.empty(), _made={})
    before = site_ca(fresh)
    mending = replace(fresh, now=late, recovery=True, _made={})
    assert site_ca(mending) == before
    assert leaf(mending, goal.site.hosts[0], "registry", "registry").not_after > late
    installing = replace(fresh, now=late, _made={})
    assert site_ca(installing).certificate != before.certificate
    assert site_ca(installing).previous == (before.certificate,)
