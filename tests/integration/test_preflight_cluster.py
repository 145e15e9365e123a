"""What makes no cluster on three bare machines: all of it found in one run, before any change. And a release that was
forced past its proof: refused by `create`, and said on the site by who got it nevertheless."""

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.model.component import Silence
from bundler.model.lock import Lock
from bundler.model.lock_parser import parse_lock
from bundler.model.lock_text import write_lock
from tests.campaign_site import SHARED_KERNEL, Office
from tests.campaigns import BUNDLE
from tests.integration.test_preflight import STATE, Defect, found_on
from tests.nodes import Lab, SiteBundle, lab_of, site_bundle

ROLES = {"n1": ["site", "control-plane"], "n2": ["control-plane"], "n3": ["worker"]}
NESTED = "cgroup_driver: cgroupfs, cgroup_v1: true"
LISTEN = "systemd-run -q --unit=taker-{0} python3 -m http.server {0}"
DEFECTS = (
    Defect("n1", ":", "the number of control planes is even: 2"),
    Defect("n1", "ip route add 10.244.7.0/24 via {subnet}.1", "pods are in 10.244.0.0/16, and it has a route to"),
    Defect(
        "n3", "ip addr add 10.96.5.1/24 dev eth0", "services are in 10.96.0.0/16, and it has a route to 10.96.5.0/24"
    ),
    Defect("n1", ":", "services are in 10.96.0.0/16, which overlaps the network more, 10.96.8.0/24"),
    Defect(
        "n2", "echo F > /root/s; echo /dev/vdb >> /root/s; mount --bind /root/s /proc/swaps", "it swaps to /dev/vdb"
    ),
    Defect(
        "n2",
        "mv /usr/bin/date /usr/bin/date.real; "
        'printf \'#!/bin/sh\\nexec date.real -d "-125 seconds" "$@"\\n\' > /usr/bin/date; chmod +x /usr/bin/date',
        " s behind the others'",
    ),
    Defect(
        "n2", "printf '#!/bin/sh\\necho 1\\n' > /usr/local/bin/nproc; chmod +x /usr/local/bin/nproc", "it has 1 CPU"
    ),
    Defect("n1", LISTEN.format(6443), "TCP port 6443, which kubernetes needs"),
    Defect("n2", LISTEN.format(2379), "TCP port 2379, which kubernetes needs"),
    Defect("n3", LISTEN.format(10250), "TCP port 10250, which kubernetes needs"),
    Defect(
        "n3",
        "printf 'Package: docker.io\\nStatus: install ok installed\\nVersion: 20.10\\nArchitecture: amd64\\n"
        "Maintainer: x <x@example.org>\\nDescription: x\\n\\n' >> /var/lib/dpkg/status",
        "it has docker.io of its distribution",
    ),
    Defect("n2", "systemd-run -q --unit=k3s sleep 9999", "k3s.service of somebody else runs there"),
    Defect("n1", "mkdir -p /var/lib/etcd/member", "it has the data of another cluster"),
    Defect("n3", "mount -t tmpfs tmpfs /sys/module", "the kernel has no module overlay"),
    Defect("n3", "mount -t tmpfs tmpfs /proc/sys/net/bridge", "the kernel has no module br_netfilter"),
    Defect("n2", "ip addr add {subnet}.50/32 dev eth0", "it has the virtual address api, {subnet}.50, already"),
    Defect("n1", ":", "somebody has the virtual address {subnet}.1 (other) already"),
    Defect("n1", ":", "the pool main has {subnet}.13, which is the host n3"),
    Defect("n1", ":", "the pool main has {subnet}.1, by which n1 reaches others"),
    Defect("n1", ":", "somebody has {subnet}.1, which is in a pool of MetalLB"),
    Defect("n1", ":", "the virtual address ingress, {subnet}.90, is in no pool"),
)


@pytest.fixture(scope="module")
def bundle() -> SiteBundle:
    return site_bundle(profile="lab-cluster")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_of(3) as running:
        yield running


@pytest.fixture
def office(lab: Lab, bundle: SiteBundle, tmp_path: Path) -> Office:
    return Office(lab=lab, folder=tmp_path, bundle=bundle)


def write_site(office: Office, *, bad: bool) -> str:
    subnet = office.lab.nodes[0].address.rpartition(".")[0]
    pool = f"{subnet}.1-{subnet}.20" if bad else f"{subnet}.200-{subnet}.209"
    pools = f"metallb: {{pools: [{{name: main, addresses: [{pool}]}}]}}"
    nested = "" if bad else "nested: true, "
    components = f"{SHARED_KERNEL.removesuffix('}')}, kubernetes: {{{nested}{NESTED}}}, {pools}}}"
    vips = (
        f"vips: {{api: {subnet}.50, other: {subnet}.1, ingress: {subnet}.90}}" if bad else f"vips: {{api: {subnet}.50}}"
    )
    roles = ROLES if bad else {**ROLES, "n2": ["worker"]}
    office.write_site(roles=roles, components=components, more=vips)
    if bad:
        site = office.folder / "site.yaml"
        site.write_text(site.read_text().replace("networks: [", "networks: [{name: more, subnet: 10.96.8.0/24}, "))
    return subnet


# --- a release that was forced


def real(bundle: SiteBundle) -> Lock:
    return parse_lock(bundle.lock.read_text(), file=str(bundle.lock))


def without(lock: Lock, name: str, *, unsaid: bool = False, silence: str = "") -> Lock:
    """The lock without an image. `unsaid`: whoever took it away also wrote that nobody asks for it, and `silence` why
    that is right."""
    asked = lock.asked
    if unsaid:
        silences = (Silence(image=name, reason=silence),) if silence else ()
        asked = tuple(
            replace(
                each,
                images=tuple(image for image in each.images if str(image) != name),
                revealed=tuple(image for image in each.revealed if str(image) != name),
                silences=each.silences + (silences if name in map(str, each.revealed) else ()),
            )
            for each in asked
        )
    return replace(lock, asked=asked, images=tuple(image for image in lock.images if image.name != name))


def create(folder: Path, lock: Lock, bundle: SiteBundle, *, forced: bool = False) -> "subprocess.CompletedProcess[str]":
    (folder / "bad.lock").write_text(write_lock(lock))
    program = [*BUNDLE]
    if forced:  # by a tool that proves nothing
        text = "import bundler.workflows.create as c; c.prove_before = c.prove_within = lambda *a: None\n"
        program = [sys.executable, "-c", f"{text}import sys; from bundler.cli.main import main; sys.exit(main())"]
    words = ("create", "-q", "--lock", "bad.lock", "--key", bundle.folder / "release.key", "--reuse", bundle.path)
    command = [*program, *map(str, words), "-o", "bad.bundle"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def test_create_refuses_the_lock_without_any_of_its_images(bundle: SiteBundle, tmp_path: Path) -> None:
    lock = real(bundle)
    names = [image.name for image in lock.images]
    assert len(names) >= 12
    for name in names:
        done = create(tmp_path, without(lock, name), bundle)
        assert done.returncode != 0
        assert f"image {name}" in done.stderr
    # Whoever hides that it is asked for is found out by rendering the charts and asking the tools.
    for name in random.Random(6).sample(names, 2):
        done = create(tmp_path, without(lock, name, unsaid=True), bundle)
        assert done.returncode != 0, name
        assert f"image {name}" in done.stderr
    assert not list(tmp_path.glob("*.bundle*"))


def test_a_forced_release_is_found_out_before_any_change(office: Office, bundle: SiteBundle, tmp_path: Path) -> None:
    write_site(office, bad=False)
    lock, chosen = real(bundle), random.Random(7)
    for silence in ("", "somebody is sure that nobody needs it"):
        lost = chosen.choice(
            [image.name for image in lock.images if "flannel" in image.name or "metallb" in image.name]
        )
        forced = without(lock, lost, unsaid=bool(silence), silence=silence)
        done = create(tmp_path, forced, bundle, forced=not silence)
        assert done.returncode == 0, done.stderr
        wanting = ("bad.bundle", "--trust", str(bundle.public))
        told = (planned := office.run("plan", *wanting)).out + planned.err
        if silence:  # its maker's word is passed on to who installs it
            assert f"was let pass although the release lacks {lost}: {silence}" in told
        else:
            found = f"needs the image {lost}, and the release does not have it"
            refused = office.run("apply", *wanting, "--yes", code=99)
            assert found in told
            assert found in refused.err
            assert "nothing was changed" in refused.err
        (tmp_path / "bad.bundle").unlink()


# --- hosts


def test_bare_machines_have_nothing_in_the_way_of_a_cluster(office: Office) -> None:
    write_site(office, bad=False)
    said = office.run("plan", *office.release, "--json")
    stopping = [each for each in said.json()["findings"] if not each["warning"]]
    assert stopping == []
    print(f"\nplan of bare machines: {said.seconds:.1f} s")


def test_what_makes_no_cluster_is_found_in_one_run_and_nothing_is_changed(office: Office) -> None:
    lab = office.lab
    subnet = write_site(office, bad=True)
    for defect in DEFECTS:
        if defect.inject != ":":
            lab.run(defect.host, defect.inject.format(subnet=subnet))
    before = {node.name: lab.run(node.name, STATE) for node in lab.nodes}
    for words, code in ((("plan", *office.release), 0), (("apply", *office.release, "--yes"), 99)):
        said = office.run(*words, code=code)
        told = said.out + said.err
        # What is about the site is said of no host.
        lacking = [each for each in DEFECTS if not found_on(each.host, each.found.format(subnet=subnet), told)]
        lacking = [
            each for each in lacking if f"\n{each.found.format(subnet=subnet)}" not in told.replace("\n  ", "\n")
        ]
        assert not lacking, f"{lacking}\n{told}"
        assert {node.name: lab.run(node.name, STATE) for node in lab.nodes} == before
        print(f"\n{words[0]}: {len(re.findall('^ *fix: ', told, re.MULTILINE))} findings in {said.seconds:.1f} s")
