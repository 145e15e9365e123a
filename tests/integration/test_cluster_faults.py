"""What dies in a cluster that is asked at a steady rate: processes, hosts, all control planes. What that does to
requests is printed; it is no fault of this test when a loaded machine needs longer."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster_faults import HOSTS, PROCESSES, Fault, Loss
from tests.cluster_load import CACHE, HERE, SERVICE, Load, running_load
from tests.cluster_names import measured
from tests.clusters import Cluster, cluster_office
from tests.dnsload import NOERROR
from tests.load_figures import Figures, table
from tests.nodes import lab_of, site_bundle

pytestmark = pytest.mark.long
TIMES = 3  # each process is killed so often
AWAY = 45  # seconds until a host that lost its power gets it back: longer than the cluster waits for it
DOWN = 300  # seconds without any control plane
RATES = (250, 500, 1000, 2000, 4000, 8000, 16000)  # questions a second
APART = ("service", "ingress", "cluster-ip", "dns-cache-known", "dns-cache-new", "dns-service-known", "dns-service-new")
BOUND = 240  # seconds: no interruption is as long, unless something is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    cluster: Cluster
    load: Load
    folder: Path

    def judge(self, figures: Sequence[Figures]) -> None:
        """What holds on any machine; and the table so far, for who looks."""
        print(f"\n{table(self.load.periods[-1:])}")
        (self.folder / "faults.json").write_text(self.load.as_json())
        assert self.load.lost() == [], "acknowledged writes"
        for each in figures:
            assert each.interruption < BOUND, each


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with lab_of(5) as lab:
        office = cluster_office(lab, tmp_path_factory.mktemp("site") / "office", site_bundle(profile="lab-cluster"))
        office.apply("--quiet")
        yield Cluster(lab=lab)


@pytest.fixture(scope="module")
def struck(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Struck]:
    with running_load(cluster.lab, inside=cluster.workers) as load:
        yield Struck(cluster=cluster, load=load, folder=tmp_path_factory.mktemp("figures"))
        print(f"\n{load.table()}")


def test_names_per_second(cluster: Cluster) -> None:
    """Before anything else is asked: by a host's cache, and without it, each for names that are asked again and again
    and for names that nobody has asked for."""
    cluster.await_well()
    for kind in ("known", "new"):
        for server in (CACHE, SERVICE):
            for rate in RATES:
                said = measured(cluster.lab, cluster.workers[0], server, kind, rate=rate)
                print(f"\n{server} {kind}: {said}")
                if rate == RATES[0]:
                    assert said.answered == said.codes[NOERROR] > 0.9 * said.sent
                if said.answered < 0.999 * said.sent:
                    break


@pytest.mark.parametrize("fault", PROCESSES, ids=lambda fault: fault.name)
def test_a_process_dies(struck: Struck, fault: Fault) -> None:
    for number in range(TIMES):
        struck.cluster.await_well()
        with struck.load.period(f"kill -9 {fault.name}") as period:
            fault.strike(struck.cluster, number)
            struck.load.settle()
        struck.judge(period.figures)


@pytest.mark.parametrize("loss", HOSTS, ids=lambda loss: loss.name)
def test_a_host_loses_its_power(struck: Struck, loss: Loss) -> None:
    cluster, load = struck.cluster, struck.load
    cluster.await_well()
    victim = loss.victim(cluster)
    with load.period(f"{loss.name} is off", without=[victim]) as period:
        cluster.lab.kill(victim)
        time.sleep(AWAY)
        load.settle(without=[victim])
    struck.judge(period.figures)
    with load.period(f"{loss.name} is back", without=[victim]) as period:
        cluster.lab.start(victim)
        cluster.await_well()
        load.settle(without=[victim])
    struck.judge(period.figures)
    load.settle()


def test_all_control_planes_are_down(struck: Struck) -> None:
    """Nothing that is there already needs them: only the API is away."""
    cluster, load = struck.cluster, struck.load
    cluster.await_well()
    with load.period(f"all control planes are off for {DOWN} s") as period:
        for node in cluster.control:
            cluster.lab.kill(node)
        time.sleep(DOWN)
    print(f"\n{table([period])}")
    with load.period("all control planes are back") as back:
        for node in cluster.control:
            cluster.lab.start(node)
        cluster.await_well()
        load.settle()
    struck.judge(back.figures)
    for path in APART:
        assert period.of(path).requests > DOWN, path
        assert period.of(path).failed == 0, period.of(path)
        assert back.of(path).failed == 0, back.of(path)
    assert period.of("api").failed > DOWN, "they were off"


def test_the_load_came_from_everywhere(struck: Struck) -> None:
    """All that was asked was asked all the time."""
    for client in struck.load.clients:
        assert client.is_alive()
    assert {each.client for each in struck.load.asked()} == {HERE, *struck.cluster.workers}
