"""A whole site on real machines: from bare hosts to all of its services with one command, and what comes after."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from tests.campaign_site import (
    LEAVES_NOTHING,
    SHARED_KERNEL,
    Event,
    Office,
    Said,
    at_the_question,
    differences,
    facts_of,
    name_of,
    own_bundle,
)
from tests.nodes import Lab, lab_of

ROLES = {"n1": ["site"], "n2": ["site"], "n3": []}
LEASE = "/var/lib/bundle/lease.json"
# A file of ours on a host that nothing else looks at: changed, it is one action to mend.
OURS = "/etc/security/limits.d/90-bundle.conf"
STALE_PLAN, HELD, OVERTAKEN = 96, 94, 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site that was installed with one command by a user with sudo. `planned` was the plan of the bare hosts, `done`
    what the journal says of the installation, `left` the packets that tried to leave meanwhile."""

    office: Office
    planned: list[dict[str, Any]]
    installed: Said
    done: list[Event]
    left: dict[str, Any]

    @property
    def lab(self) -> Lab:
        return self.office.lab

    def epochs(self) -> list[int]:
        return [int(self.lab.run(node.name, "cat /var/lib/bundle/epoch")) for node in self.lab.nodes]

    def lease(self) -> dict[str, Any]:
        return dict(json.loads(self.lab.run("n1", f"cat {LEASE}")))

    def break_file(self, *nodes: str, path: str = OURS) -> None:
        """As a hand would that does not know whose file it is."""
        for node in nodes:
            self.lab.run(node, f"test -s {path} && echo '# by hand' >>{path}")

    def state(self) -> dict[str, dict[str, str]]:
        """Everything that an installer could have changed."""
        trees = ("/etc", "/var/lib", "/srv/bundle/current", "/usr/local", "/opt")
        return {node.name: facts_of(self.lab, node.name, trees=trees) for node in self.lab.nodes}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lab_of(3) as lab:
        folder = tmp_path_factory.mktemp("site")
        office = Office(lab=lab, folder=folder, bundle=own_bundle(folder))
        office.write_site(roles=ROLES, user="ops", become=True, components=SHARED_KERNEL)
        planned = office.run("plan", *office.release, "--json").json()["actions"]
        assert {lab.run(node.name, "ls -A /var/lib/bundle /etc/bundle 2>/dev/null || :") for node in lab.nodes} == {""}
        lab.packets(reset=True)
        installed = office.run("install", *office.release, "--site", "site.yaml", "--yes")
        left = lab.packets()
        yield Site(office=office, planned=planned, installed=installed, done=office.ended(), left=left)


# --- one command, and the same again


def test_one_command_brings_bare_hosts_to_all_services(site: Site) -> None:
    steps: dict[str, float] = {}
    for event in site.done:
        steps[event["step"]] = steps.get(event["step"], 0) + event["seconds"]
    print(f"\n{len(site.done)} actions on 3 hosts in {site.installed.seconds:.1f} s; seconds by step, hosts together:")
    print("".join(f"  {step}: {seconds:.1f}\n" for step, seconds in steps.items()))
    assert site.left == LEAVES_NOTHING
    assert f"done: {len(site.done)} actions on 3 hosts" in site.installed.out
    for node in site.lab.nodes:
        assert site.lab.run(node.name, "systemctl is-system-running --wait") == "running"
    assert site.office.run("health").code == 0


def test_the_second_run_does_nothing_and_soon(site: Site) -> None:
    epochs, before = site.epochs(), len(site.office.journal())
    runs = [site.office.apply("--json", "--detailed-exitcode") for _ in range(3)]
    print(f"\nnothing to do on 3 hosts, in {', '.join(f'{run.seconds:.2f}' for run in runs)} s")
    assert [run.json()["actions"] for run in runs] == [0, 0, 0]
    assert site.office.journal()[before:] == []
    assert site.epochs() == epochs


def test_the_plan_said_what_was_done(site: Site) -> None:
    """Each action once, in each host's order; what was known only later is filled in, and nothing else differs."""
    planned = [name_of(action) for action in site.planned]
    done = [name_of(event) for event in site.done]
    assert sorted(planned) == sorted(done)
    for node in site.lab.nodes:
        assert [each for each in planned if each[0] == node.name] == [each for each in done if each[0] == node.name]


# --- plans that are no longer true


def test_a_file_changed_by_hand_between_plan_and_apply_stops_everything(site: Site) -> None:
    site.break_file("n1", "n2", "n3")
    site.office.run("plan", *site.office.release, "-o", "plan.json")
    site.break_file("n2")
    before, entries = site.state(), len(site.office.journal())
    said = site.office.apply("--plan", "plan.json", code=STALE_PLAN)
    assert differences(before, site.state()) == []
    assert site.office.journal()[entries:] == []
    assert f"n2 base/kernel write {OURS}" in said.err
    assert "n1 base/kernel" not in said.err
    site.office.run("plan", *site.office.release, "-o", "plan.json")
    assert "done: 3 actions on 3 hosts" in site.office.apply("--plan", "plan.json").out


def test_a_file_changed_while_the_question_stands_is_not_overwritten(site: Site) -> None:
    site.break_file("n3")
    with at_the_question(site.office, "apply", *site.office.release) as installer:
        site.break_file("n3")
        mine = site.lab.run("n3", f"cat {OURS}")
        said = installer.answer("y")
    assert said.code == STALE_PLAN
    assert f"n3: {OURS} changed after the plan was made" in said.err
    assert site.lab.run("n3", f"cat {OURS}") == mine
    site.office.apply()


# --- one installer at a time


def test_the_second_installer_is_told_who_installs(site: Site) -> None:
    site.break_file("n3")
    with at_the_question(site.office, "apply", *site.office.release) as first:
        holder = site.lease()["holder"]
        said = site.office.apply(code=HELD)
        for fact in (holder["user"], f"process {first.process.pid}", holder["process"]["machine"], holder["since"]):
            assert fact in said.err
        assert "n1" in said.err
        assert first.answer("n").code == 0
    assert site.lease()["holder"] is None
    assert "# by hand" in site.lab.run("n3", f"cat {OURS}")
    site.office.apply()


def test_a_killed_installer_of_this_machine_is_in_nobodys_way(site: Site) -> None:
    site.break_file("n3")
    with at_the_question(site.office, "apply", *site.office.release) as first:
        first.process.kill()
        first.process.wait()
    assert site.lease()["holder"] is not None
    epochs = site.epochs()
    said = site.office.apply()
    assert "done: 1 action on 1 host" in said.out
    assert all(now > before for now, before in zip(site.epochs(), epochs, strict=True)), (
        "all hosts know that it is over"
    )


def pretend(site: Site, *, quiet: float) -> None:
    """Make the lease that of an installer on another machine, which renewed it `quiet` seconds ago."""
    lease = site.lease()
    lease["holder"]["process"]["machine"] = "elsewhere"
    lease["uptime"] = float(site.lab.run("n1", "cut -d' ' -f1 /proc/uptime")) - quiet
    site.lab.run("n1", f"cat >{LEASE}", stdin=json.dumps(lease).encode())


def test_an_installer_of_another_machine_is_waited_for_until_its_lease_is_stale(site: Site) -> None:
    site.break_file("n3")
    with at_the_question(site.office, "apply", *site.office.release) as first:
        first.process.kill()
        first.process.wait()
    pretend(site, quiet=50)
    said = site.office.apply(code=HELD)
    assert "elsewhere" in said.err
    assert "# by hand" in site.lab.run("n3", f"cat {OURS}")
    epochs = site.epochs()
    pretend(site, quiet=61)
    assert "done: 1 action on 1 host" in site.office.apply().out
    assert all(now > before for now, before in zip(site.epochs(), epochs, strict=True))


def test_a_lease_is_taken_over_by_force(site: Site) -> None:
    site.break_file("n3")
    with at_the_question(site.office, "apply", *site.office.release) as first:
        first.process.kill()
        first.process.wait()
    pretend(site, quiet=1)
    epochs = site.epochs()
    site.office.apply(code=HELD)
    assert "done: 1 action on 1 host" in site.office.apply("--take-over").out
    assert all(now > before for now, before in zip(site.epochs(), epochs, strict=True))


def test_an_overtaken_installer_is_refused_by_every_host(site: Site) -> None:
    """It slept through being overtaken: whatever it begins with, it does nothing any more."""
    site.break_file("n1", "n2", "n3")
    with at_the_question(site.office, "apply", *site.office.release) as first:
        first.stop()
        assert "done: 3 actions on 3 hosts" in site.office.apply("--take-over").out
        site.break_file("n1", "n2", "n3")
        before = site.state()
        first.go_on()
        said = first.answer("y")
    assert said.code == OVERTAKEN
    assert "newer installer" in said.err
    assert differences(before, site.state()) == []
    assert site.lease()["holder"] is None, "it did not touch the lease of the newer one"
    site.office.apply()


# --- later facts


def test_the_plan_of_a_bare_host_is_complete_and_says_what_it_does_not_know(site: Site) -> None:
    later = {name_of(action): action["later"] for action in site.planned if action["later"]}
    print("\n".join(f"{' '.join(name)}: {why}" for name, why in later.items()))
    assert later


# --- what the site is for


@pytest.fixture(scope="module")
def client(site: Site) -> Site:
    """The host that serves nothing has clients now, from the site's archives like everything else."""
    names = "podman crun conmon netavark aardvark-dns catatonit uidmap containerd runc python3-pip"
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends"
    site.lab.packets(reset=True)
    site.lab.run("n3", f"apt-get update -q && {install} {names} 2>&1", timeout=300)
    return site


def lock_of(site: Site) -> Lock:
    return parse_lock(site.office.bundle.lock.read_text(), file="site.lock")


def pinned(site: Site, name: str) -> str:
    """NAME@DIGEST of an image that the release carries as NAME:TAG."""
    found = next(image for image in lock_of(site).images if str(image.reference).startswith(f"{name}:"))
    return f"{name}@{found.root.digest}"


def test_pip_installs(client: Site) -> None:
    client.lab.run("n3", "pip install -q --break-system-packages requests click", timeout=300)
    assert client.lab.run("n3", "python3 -c 'import click, requests; print(requests.__version__)'").startswith("2.")
    assert client.lab.packets() == LEAVES_NOTHING


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_podman_pulls_under_the_images_own_name(client: Site, by: str) -> None:
    image = "quay.io/metallb/controller:v0.15.2" if by == "tag" else pinned(client, "quay.io/metallb/speaker")
    client.lab.run("n3", f"podman pull -q {image}", timeout=300)
    client.lab.run("n3", f"podman image exists {image}")
    assert client.lab.packets() == LEAVES_NOTHING


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_containerd_pulls_under_the_images_own_name(client: Site, by: str) -> None:
    image = "registry.k8s.io/pause:3.10.2" if by == "tag" else pinned(client, "registry.k8s.io/pause")
    client.lab.run("n3", f"ctr images pull --hosts-dir /etc/containerd/certs.d {image}", timeout=300)
    assert image in client.lab.run("n3", "ctr images ls -q").splitlines()
    assert client.lab.packets() == LEAVES_NOTHING


def test_helm_pulls_from_the_registry_and_from_the_repository(client: Site) -> None:
    file = next(file.name for file in lock_of(client).files if "helm" in file.name)
    lines = f"""cd /root && curl -sSfO https://repo.lab.example/files/{file} && tar -xzf {file} && cd linux-amd64
    mkdir oci repository && (cd oci && ../helm pull oci://registry.lab.example:5000/bundle/chart/metallb)
    ./helm repo update && (cd repository && ../helm pull bundle/metallb)
    cmp oci/metallb-0.15.2.tgz repository/metallb-0.15.2.tgz"""
    client.lab.run("n3", f"set -e; {lines}")
    assert client.lab.packets() == LEAVES_NOTHING


# --- on a host itself


@pytest.mark.slow
def test_a_site_of_one_host_installed_on_the_host_itself(tmp_path: Path) -> None:
    """Nothing but the bundle and a public key were brought there: the tool comes out of the bundle."""
    bundle = own_bundle(tmp_path)
    with lab_of(1) as lab:
        lab.send("n1", bundle.path, "/root/site.bundle")
        lab.send("n1", bundle.public, "/root/release.pub")
        lab.run("n1", "cat >/root/site.yaml", stdin=lab.site_yaml(local="n1", components=SHARED_KERNEL).encode())
        lab.run(
            "n1", "mkdir first && tar --occurrence=1 -xf site.bundle bootstrap.tar && tar -C first -xf bootstrap.tar"
        )
        began = time.monotonic()
        install = "python3 -I first/bootstrap install site.bundle --trust release.pub --site site.yaml --yes"
        said = lab.run("n1", f"{install} 2>&1", timeout=600)
        print(f"\n{said.splitlines()[-1]} in {time.monotonic() - began:.1f} s")
        assert "a second look found nothing left" in said
        assert "nothing to do" in lab.run("n1", "bundle apply --yes 2>&1")
        assert lab.run("n1", "bundle health --json | jq .healthy") == "true"
        assert lab.packets() == LEAVES_NOTHING
