"""What is looked after on the cluster's hosts: certificates, silent hosts, disks, what hangs."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bundler.components import settings_parsers
from bundler.components.kubernetes import COMPONENT
from bundler.components.kubernetes.away import AWAY, Away
from bundler.components.kubernetes.certificates import CLIENT, ENDS, SERVING, Certificates, Ends, renewing
from bundler.components.kubernetes.health import READY
from bundler.components.kubernetes.node_check import looked_after
from bundler.components.kubernetes.prefetch import FETCHED, Fetched, prefetched, size_of
from bundler.components.kubernetes.pressure import DISK, Filling
from bundler.model.secret import Secret
from bundler.secrets.ca import ensure_leaf, ensure_root
from bundler.steps.facts import Fact, Facts
from bundler.steps.step import Finding, Goal
from tests.goals import NOW, goal_of, release
from tests.unit.components.kubernetes.test_kubernetes import goal_with

GIB = 1 << 30
Answers = Mapping[str, Mapping[Fact[Any], Any]]


@pytest.fixture(scope="module")
def goal(tmp_path_factory: pytest.TempPathFactory) -> Goal:
    return goal_with(goal_of(release(tmp_path_factory.mktemp("release")), settings_parsers()))


def judged(goal: Goal, check: str, answers: Answers) -> list[Finding]:
    (health,) = (each for each in COMPONENT.health if each.name == f"kubernetes: {check}")
    hosts = [goal.site.host(name) for name in answers]
    return list(health.judge(goal, hosts, Facts(answers)))


def ends(**days: int) -> Ends:
    return Ends(ends={name.replace("_", "-"): NOW + timedelta(days=left) for name, left in days.items()})


# what a host says of its certificates; what is done, and found
RENEWALS: list[tuple[Ends, list[str], list[str]]] = [
    (ends(apiserver=46, kubelet_client=300), [], []),
    (ends(apiserver=44, kubelet_client=300), ["renew certificates"], []),
    (replace(ends(apiserver=300), begun=True), ["renew certificates"], []),
    (
        ends(apiserver=20, front_proxy_client=10),
        ["renew certificates"],
        ["its certificate front-proxy-client ends in 10"],
    ),
    # The authority's end is nothing that another certificate helps against.
    (ends(ca=20), [], ["its certificate ca ends in 20"]),
    (ends(kubelet_client=5), [], ["its certificate kubelet-client ends in 5"]),
    (ends(kubelet_client=-1), ["let its kubelet in again"], ["its certificate kubelet-client ended 2026-11-21"]),
    (ends(kubelet=5), [], ["its certificate kubelet ends in 5"]),
    (Ends(), [], []),
]


@pytest.mark.parametrize(("said", "expected", "found"), RENEWALS)
def test_what_ends_is_renewed_in_time(goal: Goal, said: Ends, expected: list[str], found: list[str]) -> None:
    host = goal.site.host("n1")
    actions = list(Certificates(goal=goal, host=host).wanted(Facts({"n1": {ENDS: said}}).of("n1")))
    assert [action.target for action in actions] == expected
    notes = judged(goal, "certificates", {"n1": {ENDS: said}})
    assert [note.found.removesuffix(" days") for note in notes] == found


def test_certificates_are_read_from_the_host_and_no_key_is(goal: Goal, tmp_path: Path) -> None:
    """The question as the host's shell answers it, over files of ours."""
    ensure_root(goal.vault, "some", "some", NOW)
    leaf = ensure_leaf(goal.vault, "one", ["one"], [], NOW, root="some", days=90)
    both, bare = tmp_path / "both", tmp_path / "bare"
    both.write_text(f"{leaf.certificate}{leaf.key.reveal()}")
    bare.write_text(leaf.certificate)
    script = ENDS.script.replace("/var/lib/kubelet/pki/kubelet-client-current.pem", str(both))
    script = script.replace("/var/lib/kubelet/pki/bundle.crt", str(bare)).replace("/etc/kubernetes", "/nowhere")
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "PRIVATE" not in said
    assert ENDS.reading(said) == Ends(ends={CLIENT: leaf.not_after, SERVING: leaf.not_after})
    assert isinstance(leaf.not_after, datetime)


def test_control_planes_renew_one_after_the_other(goal: Goal) -> None:
    hours = []
    for name in ("n1", "n2", "n3"):
        (timer,) = (file for file in renewing(goal, goal.site.host(name)).files if file.path.endswith(".timer"))
        assert isinstance(timer.content, str)
        hours += [line for line in timer.content.splitlines() if line.startswith("OnCalendar")]
    assert len(set(hours)) == 3


def test_scripts_are_shell(goal: Goal, tmp_path: Path) -> None:
    host = goal.site.host("n1")
    for service in (renewing(goal, host), looked_after(goal, host)):
        for file in service.files:
            assert not isinstance(file.content, Secret)
            if not file.path.startswith("/etc/systemd"):
                subprocess.run(["sh", "-n"], input=file.content, text=True, check=True)


def test_pods_that_wait_for_a_silent_host_are_named(goal: Goal) -> None:
    ready = {**dict.fromkeys(("n1", "n2", "n3"), "True"), "n4": "Unknown"}
    waiting = AWAY.reading("out n9\nwaiting n4 a/web-x=ReplicaSet db/mariadb-0=StatefulSet db/bare= \nwaiting n3 \n")
    assert waiting == Away(waiting={"n4": ("db/mariadb-0", "db/bare", "a/web-x")}, out=frozenset({"n9"}))
    (note,) = judged(goal, "nodes", {"n1": {READY: ready, AWAY: waiting}})
    assert note.found == "the cluster has n4 as not ready; 3 pods wait for it: db/mariadb-0, db/bare, a/web-x"
    assert "kubectl taint node n4 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute" in note.fix
    told = replace(waiting, out=frozenset({"n4"}))
    (note,) = judged(goal, "nodes", {"n1": {READY: ready, AWAY: told}})
    assert note.found == "the cluster has n4 as not ready"
    back = {**ready, "n4": "True"}
    (note,) = judged(goal, "nodes", {"n1": {READY: back, AWAY: replace(told, waiting={})}})
    assert note.warning
    assert note.fix == "`kubectl taint node n4 node.kubernetes.io/out-of-service-`"


def test_disks_that_fill_up(goal: Goal) -> None:
    said = DISK.reading(f"{4 * GIB}\n{30 << 20}\t/var/lib/containerd\n{2 << 20}\t/var/log/pods\n")
    assert said == Filling(free=4 * GIB, taken={"/var/lib/containerd": 30 * GIB, "/var/log/pods": 2 * GIB})
    (note,) = judged(goal, "disks", {"n4": {DISK: said}})
    assert not note.warning
    assert note.found.startswith("4.0 GiB are free, and pods are evicted: /var/lib/containerd has 30.0 GiB, /var/log")
    (early,) = judged(goal, "disks", {"n4": {DISK: replace(said, free=9 * GIB)}})
    assert early.warning
    assert judged(goal, "disks", {"n4": {DISK: Filling(free=11 * GIB)}}) == []


def test_images_that_are_fetched_beforehand(goal: Goal) -> None:
    """Those that the patterns name, the largest first; what is none of them any more is let go."""
    some = goal_with(goal, "{prefetch: ['*']}")
    images = prefetched(some)
    assert {image.name for image in images} == {image.name for image in goal.lock.images}
    assert list(map(size_of, images)) == sorted(map(size_of, images), reverse=True)
    assert prefetched(goal) == ()
    listed = f"{images[0].name} some/type {images[0].root.digest} 1 MiB linux/amd64 -\nold/one t sha256:0 1 MiB\n"
    have = FETCHED.reading(listed)
    actions = list(Fetched(images=images).wanted(Facts({"n4": {FETCHED: have}}).of("n4")))
    assert [action.target.split()[:2] for action in actions] == [
        *(["fetch", image.name] for image in images[1:]),
        ["let", "go"],
    ]
    assert actions[-1].target == "let go of old/one"
    (space,) = COMPONENT.space(some, some.site.host("n4"))
    assert space.size == 3 * sum(map(size_of, images))
    assert list(COMPONENT.space(some, some.site.host("n1"))) == []


def test_a_pattern_that_names_nothing_is_found_before_any_change(goal: Goal) -> None:
    (check,) = (each for each in COMPONENT.preflight if each.name == "kubernetes: images to be fetched")
    typing = goal_with(goal, "{prefetch: [nvcr.io/nvdia/*]}")
    (finding,) = check.judge(typing, typing.site.hosts, Facts({}))
    assert finding.found == "components.kubernetes.prefetch names nvcr.io/nvdia/*: the release has no such image"
