"""From one version, or setting, to another: what is done on which host, in which order, and what is refused."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bundler.components.kubernetes.kubeadm import control_settings, kubelet_settings, proxy_settings
from bundler.components.kubernetes.nodes import NODE, Member, Node
from bundler.components.kubernetes.service_proxy import SETTINGS, ServiceProxy
from bundler.components.kubernetes.skew import VERSIONS
from bundler.components.kubernetes.upgrade import ControlPlane
from bundler.components.kubernetes.window import GuardedStart, Window
from bundler.components.store.programs import Programs, Source
from bundler.model.digest import Digest
from bundler.model.lock import LockedFile
from bundler.steps.actions import Action, Run
from bundler.steps.facts import STAMPS, Fact, Facts, FileFact, FileState, UnitFact, UnitState
from bundler.steps.resources import File, Resource, Service
from bundler.steps.step import Goal
from tests.unit.components.kubernetes.test_kubernetes import SITE, goal_with, plain

__all__ = ["plain"]
BARE = Node()
OLD, NEW = "1.35.4", "1.36.3"
UPGRADE, SETTINGS_OF_IT = f"upgrade the control plane to {NEW}", "give the control plane its settings"
MOVE, KEEP, SEE = "move its pods away", "keep what it runs now", "see that it is ready"


@pytest.fixture
def goal(plain: Goal) -> Goal:
    return goal_with(plain)


def programs(name: str) -> Programs:
    file = LockedFile(name=name, url="", digest=Digest.of(b"new"), size=3)
    path = f"/usr/local/bin/{name}"
    return Programs(name=name, file=file, members=(("", path),), source=Source(), proof="--version", version=NEW)


KUBELET, RUNTIME = programs("kubelet"), programs("containerd")
CONFIG = File(path="/etc/containerd/config.toml", content="version = 3\n")
UNIT = File(path="/etc/systemd/system/kubelet.service", content="[Service]\n")
HELD = Service(unit="containerd.service", files=(CONFIG,))
STARTED = Service(unit="kubelet.service", uses=(UNIT,))


def window(goal: Goal, name: str) -> Window:
    return Window(goal=goal, host=goal.site.host(name), runtime=(RUNTIME, HELD), kubelet=KUBELET, unit=UNIT)


def state_of(file: File, content: str | None = None) -> FileState:
    digest = file.digest if content is None else Digest.of(content.encode())
    return FileState(kind="regular file", mode=0o644, owner="root", group="root", digest=digest, content=content)


def answers(node: Node, *, other: str = "", stopped: str = "") -> dict[Fact[Any], Any]:
    """A host that has all, but what `other` names in its state before, and `stopped` runs not."""

    def unit(service: Service) -> UnitState:
        active = ("inactive", "dead") if service.unit.startswith(stopped or "-") else ("active", "running")
        return UnitState(load="loaded", active=active[0], sub=active[1], file="enabled", stamp=service.stamp)

    found: dict[Fact[Any], Any] = {NODE: node}
    for program in (KUBELET, RUNTIME):
        found[program.fact] = str(Digest.of(b"old" if program.name in other else b"new"))
    for word, file in (("config", CONFIG), ("unit", UNIT)):
        found[FileFact(path=file.path)] = state_of(file, "old" if word in other else None)
    return found | {UnitFact(unit=each.unit): unit(each) for each in (HELD, STARTED)}


def done(goal: Goal, name: str, said: Mapping[str, Mapping[Fact[Any], Any]]) -> list[Action]:
    facts = Facts(said).of(name)
    host = goal.site.host(name)
    parts: tuple[Resource, ...] = (
        ControlPlane(goal=goal, host=host),
        *window(goal, name).before(),
        Member(goal=goal, host=host),
        *window(goal, name).after(),
    )
    return [action for part in parts for action in part.wanted(facts)]


JOINED = Node(joined=True, begun=True, kubelet=NEW)
STARTS = ["containerd.service", "kubelet.service"]
BRING = "bring the kubelet's settings"
PUT = {name: f"unpack {name} {NEW}" for name in ("kubelet", "containerd")}
WHOLE = [MOVE, KEEP, PUT["containerd"], PUT["kubelet"], BRING, UNIT.path, "kubelet.service", SEE]
# a worker: what it says of itself, what is another, what does not run, and what is done
WINDOWS: list[tuple[Node, str, str, list[str]]] = [
    (JOINED, "", "", []),
    (JOINED, "kubelet containerd unit", "", WHOLE),
    (replace(JOINED, drained=True), "kubelet containerd unit", "", WHOLE[1:]),
    (replace(JOINED, drained=True, kept=True), "kubelet unit", "", [PUT["kubelet"], *WHOLE[4:]]),
    # Killed before its unit was written, before it was started, and before it was seen to be ready.
    (replace(JOINED, drained=True, kept=True), "unit", "", WHOLE[4:]),
    (replace(JOINED, drained=True, kept=True), "", "kubelet", ["kubelet.service", SEE]),
    (replace(JOINED, drained=True, kept=True), "", "", [SEE]),
    (replace(JOINED, drained=True), "", "", [SEE]),
    # Settings alone: pods stay.
    (JOINED, "config", "", [KEEP, CONFIG.path, "containerd.service", SEE]),
    (JOINED, "unit", "", [KEEP, BRING, UNIT.path, "kubelet.service", SEE]),
    # What only does not run is started, and that is all.
    (JOINED, "", "containerd", ["containerd.service"]),
    (JOINED, "", "kubelet", ["kubelet.service"]),
    # One that is none of the cluster's: its runtime is the business of an earlier step.
    (BARE, "kubelet containerd config", "", [PUT["kubelet"], "join the cluster"]),
]


@pytest.mark.parametrize(("node", "other", "stopped", "expected"), WINDOWS)
def test_what_a_host_runs_changes_while_its_pods_are_elsewhere(
    goal: Goal, node: Node, other: str, stopped: str, expected: list[str]
) -> None:
    actions = done(goal, "n4", {"n4": answers(node, other=other, stopped=stopped)})
    assert [action.target for action in actions] == expected


def test_what_fails_in_the_window_is_put_back(goal: Goal) -> None:
    """Every action that can fail by what the new is; the one before it changes nothing, and says so itself."""
    actions = done(goal, "n4", {"n4": answers(JOINED, other="kubelet containerd unit config")})
    guarded = [
        isinstance(action, GuardedStart) or "is put back" in action.script().text
        for action in actions
        if isinstance(action, Run) or action.kind == "start"
    ]
    assert guarded == [False, False, *[True] * (len(guarded) - 2)]
    assert len(guarded) == 8
    for action in actions:
        checked = subprocess.run(["sh", "-n"], input=action.script().text.encode(), capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, b""), action.target


CURRENT = "the stamp"
SERVES = Node(joined=True, begun=True, serves=NEW, control=CURRENT, kubelet=NEW)
OLDER = replace(SERVES, serves=OLD, control="another", kubelet=OLD)
# what the three control planes say, and by what kubeadm is asked on each
SERVERS: list[tuple[tuple[Node, Node, Node], list[str]]] = [
    ((SERVES, SERVES, SERVES), ["", "", ""]),
    ((OLDER, OLDER, OLDER), ["upgrade apply", "upgrade node", "upgrade node"]),
    ((SERVES, OLDER, OLDER), ["", "upgrade node", "upgrade node"]),
    # Cut off within the first: its API server is new, all else may be old.
    ((replace(OLDER, serves=NEW, control=""), OLDER, OLDER), ["settings apply", "upgrade node", "upgrade node"]),
    ((SERVES, replace(OLDER, serves=NEW, control=""), OLDER), ["", "settings node", "upgrade node"]),
    # The same version with other settings.
    (tuple(replace(SERVES, control="another") for _ in range(3)), ["settings node"] * 3),  # type: ignore[list-item]
    ((SERVES, SERVES, replace(SERVES, control="another")), ["", "", "settings node"]),
    ((BARE, OLDER, OLDER), ["", "upgrade apply", "upgrade node"]),
]


@pytest.mark.parametrize(("nodes", "expected"), SERVERS)
def test_control_planes_run_the_version_and_the_settings(
    goal: Goal, nodes: tuple[Node, Node, Node], expected: list[str]
) -> None:
    names = ("n1", "n2", "n3")
    right = control_settings(goal)
    said: dict[str, dict[Fact[Any], Any]] = {
        name: {NODE: replace(node, control=right) if node.control == CURRENT else node}
        for name, node in zip(names, nodes, strict=True)
    }
    found = []
    for name in names:
        actions = list(ControlPlane(goal=goal, host=goal.site.host(name)).wanted(Facts(said).of(name)))
        kind = {UPGRADE: "upgrade", SETTINGS_OF_IT: "settings"}
        how = ["apply" if "kubeadm upgrade apply" in each.script().text else "node" for each in actions]
        found.append(" ".join([kind[each.target] for each in actions] + how))
        for action in actions:
            text = action.script().text.encode()
            assert subprocess.run(["sh", "-n"], input=text, capture_output=True, check=False).returncode == 0
    assert found == expected


def test_a_worker_has_no_control_plane(goal: Goal) -> None:
    assert list(ControlPlane(goal=goal, host=goal.site.host("n4")).wanted(Facts({"n4": {NODE: JOINED}}).of("n4"))) == []


def test_settings_are_known_by_what_they_are(plain: Goal) -> None:
    """A control plane's by names, arguments and files; a kubelet's and kube-proxy's by theirs; all by the version."""
    goal = goal_with(plain)
    readings = (control_settings, kubelet_settings, proxy_settings)
    before = [reading(goal) for reading in readings]
    assert before == [reading(replace(goal, _made={})) for reading in readings], "the same every time"

    def changed(**other: Any) -> list[bool]:
        now = goal_with(plain, **other)
        return [reading(now) != was for reading, was in zip(readings, before, strict=True)]

    assert changed(version="1.36.4") == [True, True, True]
    assert changed(settings="{proxy: nftables}") == [False, False, True]
    assert changed(settings="{node_dns: false}") == [False, True, False]
    assert changed(site=SITE.replace("10.77.0.100", "10.77.0.101")) == [True, False, False]


def test_what_joins_is_as_the_cluster_is_then(goal: Goal) -> None:
    """It is known to be current where the cluster has the settings, or an earlier one in turn brings them."""
    mark = f"{control_settings(goal)} >"

    def joins_current(name: str, **nodes: Node) -> bool:
        said: dict[str, dict[Fact[Any], Any]] = {each: {NODE: nodes.get(each, BARE)} for each in ("n1", "n2", "n3")}
        (join,) = Member(goal=goal, host=goal.site.host(name)).wanted(Facts(said).of(name))
        return mark in join.script().text

    current, stale = replace(SERVES, control=control_settings(goal)), replace(SERVES, control="another")
    assert joins_current("n2")
    assert joins_current("n1", n2=current, n3=current)
    assert joins_current("n3", n1=stale, n2=stale)
    assert not joins_current("n1", n2=stale, n3=stale)


def test_kube_proxy_follows_when_its_settings_differ(goal: Goal) -> None:
    proxy = ServiceProxy(goal=goal)
    assert list(proxy.wanted(Facts({"n1": {SETTINGS: proxy_settings(goal)}}).of("n1"))) == []
    (action,) = proxy.wanted(Facts({"n1": {SETTINGS: "another"}}).of("n1"))
    assert action.target == f"give kube-proxy {NEW} its settings"
    text = action.script().text.encode()
    assert subprocess.run(["sh", "-n"], input=text, capture_output=True, check=False).returncode == 0


def test_a_node_says_what_it_has() -> None:
    said = "joined\nbegun\nkept\ncontrol=abc\nkubelet=1.35.4\nserves=1.35.4\n"
    assert NODE.reading(said) == Node(joined=True, begun=True, kept=True, control="abc", kubelet=OLD, serves=OLD)
    assert NODE.reading("begun\ndrained\n") == Node(begun=True, drained=True)
    assert STAMPS, "what is kept has the units' marks too"


def serving(version: str, kubelet: str = "") -> Node:
    return Node(joined=True, begun=True, serves=version, kubelet=kubelet or version)


def working(kubelet: str) -> Node:
    return Node(joined=True, begun=True, kubelet=kubelet)


IS, HAS = "its control plane is Kubernetes", "its kubelet is"
APART = "it is a control plane that is not one of the cluster's, which has Kubernetes"
# the release's version, what hosts say (n4 is a worker), and what is found
SKEWS: list[tuple[str, dict[str, Node], list[str]]] = [
    ("1.36.3", dict.fromkeys(("n1", "n2", "n3", "n4"), BARE), []),
    ("1.36.3", {"n1": serving("1.36.3"), "n2": BARE, "n3": BARE, "n4": BARE}, []),
    ("1.36.3", {"n1": serving("1.35.4"), "n4": working("1.35.4")}, []),
    ("1.36.3", {"n1": serving("1.36.1"), "n4": working("1.36.1")}, []),
    ("1.36.3", {"n1": serving("1.36.3-rc.1")}, []),
    ("1.36.3", {"n1": serving("1.35.4"), "n4": BARE}, []),
    # Cut off half way.
    ("1.36.3", {"n1": serving("1.36.3"), "n2": serving("1.36.3", "1.35.4"), "n3": serving("1.35.4")}, []),
    # One that is left out, and two.
    ("1.36.3", {"n1": serving("1.34.2")}, [f"n1: {IS} 1.34.2, and the release's 1.36.3 skips 1.35"]),
    (
        "1.37.0",
        {"n1": serving("1.36.3"), "n2": serving("1.34.2")},
        [f"n2: {IS} 1.34.2, and the release's 1.37.0 skips 1.35, then 1.36"],
    ),
    # Backwards.
    (
        "1.35.4",
        {"n1": serving("1.36.3"), "n2": serving("1.35.4")},
        [f"n1: {IS} 1.36.3, newer than the release's 1.35.4, and cannot go back"],
    ),
    (
        "1.36.1",
        {"n1": serving("1.36.3")},
        [f"n1: {IS} 1.36.3, newer than the release's 1.36.1, and cannot go back"],
    ),
    # Kubelets.
    (
        "1.35.4",
        {"n1": serving("1.35.4"), "n4": working("1.36.3")},
        [f"n4: {HAS} 1.36.3, newer than the API servers of the release, 1.35.4"],
    ),
    (
        "1.36.3",
        {"n1": serving("1.35.4"), "n4": working("1.32.9")},
        [f"n4: {HAS} 1.32.9, too old for the API servers of the release, 1.36.3"],
    ),
    ("1.36.3", {"n1": serving("1.35.4"), "n4": working("1.33.0")}, []),
    ("1.36.3", {"n1": serving("1.35.4"), "n2": BARE}, [f"n2: {APART} 1.35.4 still"]),
    # What kubeadm did otherwise.
    ("1.28.15", {"n1": serving("1.27.1")}, [f"n1: {IS} 1.27.1; here it becomes another only from 1.32 on"]),
    ("1.28.15", {"n1": serving("1.28.15")}, []),
]


@pytest.mark.parametrize(("version", "nodes", "expected"), SKEWS)
def test_versions_that_must_not_follow(plain: Goal, version: str, nodes: dict[str, Node], expected: list[str]) -> None:
    goal = goal_with(plain, version=version)
    hosts = [goal.site.host(name) for name in nodes]
    judged = VERSIONS.judge(goal, hosts, Facts({name: {NODE: node} for name, node in nodes.items()}))
    assert [f"{each.host}: {each.found}" for each in judged] == expected
    assert not any(each.warning for each in judged)
