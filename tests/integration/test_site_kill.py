"""An installer killed after every action and in the middle of actions, and hosts whose power is cut during every step:
what comes out is what an undisturbed installation gives, and nothing of a killed one runs beside the next."""

import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from tests.campaign_site import (
    SHARED_KERNEL,
    Campaign,
    Office,
    all_facts,
    differences,
    name_of,
    outward,
    own_bundle,
)
from tests.nodes import Lab, SiteBundle, lab_of

ROLES = {"n1": ["site"], "n2": ["site"], "n3": []}
BARE = "bare"
EARLY = 4  # kills at the beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Bare hosts to come back to; and an undisturbed installation on them: by whom, what it left on the hosts, and the
    seconds of each of its actions."""

    lab: Lab
    folder: Path
    straight: Office
    facts: dict[str, dict[str, str]] = field(repr=False)
    durations: dict[tuple[str, str, str, str], float] = field(repr=False)

    def campaign(self, name: str, seed: int) -> Campaign:
        """On bare hosts again, by somebody who has nothing but the site's secrets."""
        self.lab.restore("all", BARE)
        self.lab.packets(reset=True)
        office = an_office(self.lab, self.folder / name, self.straight.bundle)
        for file in self.straight.folder.glob("site.secrets*"):
            shutil.copy(file, office.folder)
        return Campaign(office=office, durations=self.durations, random=random.Random(seed))

    def check_same(self, campaign: Campaign) -> None:
        """What the campaign left is what the undisturbed installation left, and nothing has asked the outside."""
        print(f"\n{campaign.report()}")
        assert campaign.office.apply("--json").json()["actions"] == 0
        found = differences(all_facts(self.lab), self.facts)
        assert not found, "\n".join(found[:100])
        assert outward(self.lab) == []


def an_office(lab: Lab, folder: Path, bundle: SiteBundle) -> Office:
    office = Office(lab=lab, folder=folder, bundle=bundle)
    office.folder.mkdir()
    office.write_site(roles=ROLES, components=SHARED_KERNEL)
    return office


def kill_early(office: Office, seed: int) -> None:
    """About when the first action begins: while secrets are made, the lease is taken, hosts are asked."""
    moments = random.Random(seed)
    for _ in range(EARLY):
        with office.start("apply", *office.release, "--yes", "--quiet") as process:
            time.sleep(moments.uniform(0.3, 2.0))
            process.kill()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("site")
    with lab_of(3) as lab:
        lab.snapshot("all", BARE)
        office = an_office(lab, folder / "straight", own_bundle(folder))
        kill_early(office, seed=1)
        lab.restore("all", BARE)
        office.journal_file.unlink(missing_ok=True)
        said = office.apply("--quiet")
        durations = {name_of(event): float(event["seconds"]) for event in office.ended()}
        print(f"\nundisturbed: {len(durations)} actions in {said.seconds:.1f} s")
        yield Ground(lab=lab, folder=folder, straight=office, facts=all_facts(lab), durations=durations)


def test_a_sample_of_kills_and_power_cuts(ground: Ground) -> None:
    campaign = ground.campaign("sample", seed=2)
    steps = campaign.random.sample(sorted({step for _, step, _, _ in ground.durations}), 3)
    campaign.cut_power(lambda event: event["step"] in steps, kills=12)
    ground.check_same(campaign)


@pytest.mark.long
def test_killed_after_every_action(ground: Ground) -> None:
    campaign = ground.campaign("every", seed=3)
    campaign.kill_after_each()
    planned = [event["actions"] for run in campaign.runs for event in run.events if event["event"] == "apply"]
    assert planned[0] == len(ground.durations)
    assert all(after < before for before, after in pairwise(planned)), "what is done stays done"
    ground.check_same(campaign)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_killed_in_the_middle_of_actions(ground: Ground, seed: int) -> None:
    campaign = ground.campaign(f"within-{seed}", seed=seed)
    campaign.kill_within()
    ground.check_same(campaign)


@pytest.mark.long
def test_power_is_cut_during_every_step(ground: Ground) -> None:
    campaign = ground.campaign("power", seed=4)
    campaign.cut_power()
    assert {cut.name[1] for cut in campaign.cuts} == {step for _, step, _, _ in ground.durations}
    ground.check_same(campaign)


# --- the remote half of a killed action

_SLOW = '''
from bundler.steps.facts import Ask
from bundler.steps.resources import Done
from bundler.steps.step import Component, Step

TEXT = """
{prelude}
me=$(cat /proc/sys/kernel/random/uuid)
for i in $(seq 80); do echo "$me $(date +%s.%N)" >> /root/slow.log; sleep 0.1; done
touch /root/slow.done
"""
FACT = Ask(name="slow", script="[ ! -e /root/slow.done ] || echo yes", reading=str.strip, bare="")


def resources(goal, host):
    return (Done(name="work slowly", fact=FACT, missing=lambda said: "" if said else "not yet", text=TEXT),)


COMPONENT = Component(name="slow", about="A slow one.", steps=(Step(name="slow", resources=resources),))
'''


@pytest.fixture(scope="module")
def small() -> Iterator[Lab]:
    with lab_of(2) as lab:
        yield lab


def slow_office(lab: Lab, folder: Path, prelude: str) -> Office:
    more = folder / "more" / "slow"
    more.mkdir(parents=True)
    (more / "__init__.py").write_text(_SLOW.replace("{prelude}", prelude))
    office = Office(lab=lab, folder=folder, bundle=own_bundle(folder), more=more.parent)
    office.write_site(components=SHARED_KERNEL)
    for node in lab.nodes:
        lab.run(node.name, "rm -f /root/slow.*")
    return office


ONLY_SLOW = ("--yes", "--quiet", "--only", "slow")


def kill_at_work(office: Office) -> float:
    """Kill an installer while its slow action runs on every host; when."""
    with office.start("apply", *office.release, *ONLY_SLOW) as process:
        for node in office.lab.nodes:
            office.lab.run(node.name, "timeout 120 sh -c 'until [ -s /root/slow.log ]; do sleep 0.1; done'")
        process.kill()
    return time.time()


@pytest.mark.parametrize("prelude", ["", "trap '' TERM HUP INT"])
def test_a_killed_action_does_not_run_beside_the_next(small: Lab, tmp_path: Path, prelude: str) -> None:
    """Shown by what each of the two writes: every line of the first is older than every line of the second."""
    office = slow_office(small, tmp_path, prelude)
    at = kill_at_work(office)
    office.apply(*ONLY_SLOW)
    for node in small.nodes:
        lines = [line.split() for line in small.run(node.name, "cat /root/slow.log").splitlines()]
        first, second = dict.fromkeys(name for name, _ in lines)
        last = max(float(when) for name, when in lines if name == first)
        begin = min(float(when) for name, when in lines if name == second)
        count = sum(name == second for name, _ in lines)
        print(
            f"\n{node.name}: the first wrote for {last - at:.2f} s after the kill, the second from {begin - at:.2f} s"
        )
        assert last < begin
        assert count == 80, "the second ran to its end"


@pytest.mark.slow
def test_what_escaped_from_a_killed_action_is_named(small: Lab, tmp_path: Path) -> None:
    """A program that left its session is not found by ending the session; nothing is begun beside it."""
    office = slow_office(small, tmp_path, "setsid sleep 333 &")
    kill_at_work(office)
    said = office.apply(*ONLY_SLOW, code=None)
    assert said.code != 0
    assert "sleep 333" in said.err
    for node in small.nodes:
        assert len(dict.fromkeys(small.run(node.name, "cut -d' ' -f1 /root/slow.log").splitlines())) == 1
        small.run(node.name, "pkill -f 'sleep 333'")
    office.apply(*ONLY_SLOW)
