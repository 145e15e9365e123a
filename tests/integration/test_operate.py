"""A real site of two machines: interrupted, installed, looked at, restarted, taken apart, mended."""

import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault
from tests.lab import ROOT
from tests.nodes import Lab, lab_of, site_bundle

DNS = "bundle-dns.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    lab: Lab
    folder: Path

    def start(self, *words: str) -> "subprocess.Popen[str]":
        environment = {**self.lab.environment, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "bundler", *words],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def bundle(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"{' '.join(words)}: {process.returncode}\n{out}{err}"
        return out if code == 0 else err


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Installed by two runs, of which the first is interrupted by Ctrl-C while it works."""
    made = site_bundle()
    with lab_of(2) as lab:
        here = Site(lab=lab, folder=tmp_path_factory.mktemp("site"))
        yaml = lab.site_yaml(roles={"n1": ["site"], "n2": ["site"]}, user="ops", become=True)
        (here.folder / "site.yaml").write_text(yaml)
        install = ("install", str(made.path), "--trust", str(made.public), "--site", "site.yaml", "--yes")
        first = here.start(*install)
        assert first.stderr is not None
        for line in first.stderr:
            if line.startswith("done"):
                break
        first.send_signal(signal.SIGINT)
        started = time.monotonic()
        assert "the same command goes on where it stopped" in first.communicate(timeout=120)[1]
        assert (first.returncode, time.monotonic() - started < 60) == (130, True)
        here.bundle(*install, "--quiet")
        yield here


def test_it_is_well_and_nothing_is_left_to_do(site: Site) -> None:
    assert "everything is well" in site.bundle("health")
    assert site.bundle("apply", "--yes") == "everything is as it should be: nothing to do\n"
    found = json.loads(site.bundle("status", "--json"))
    assert {part["name"]: (part["hosts"], part["drift"]) for part in found["components"]}["dns"] == (2, 0)
    assert "nobody can be asked here" in site.bundle("apply", code=2)


def test_a_restart_goes_from_host_to_host(site: Site) -> None:
    def since(node: str) -> int:
        # The nodes' clock is one machine's.
        return int(site.lab.run(node, f"systemctl show -p ExecMainStartTimestampMonotonic --value {DNS}"))

    before = [since("n1"), since("n2")]
    assert site.bundle("restart", "dns", "--yes", "--quiet") == "done: 2 actions on 2 hosts\n"
    after = [since("n1"), since("n2")]
    assert before[0] < after[0] < after[1]
    assert before[1] < after[1]
    lines = site.bundle("logs", "dns", "--since", "-5min", "--limit", "n2").splitlines()
    assert lines
    assert all(line.startswith("n2  ") for line in lines)


def test_no_secret_of_the_site_is_in_its_support_bundle(site: Site) -> None:
    vault = Vault.open(site.folder / "site.secrets", KeyFile(path=site.folder / "site.secrets.key"))
    texts = [secret.reveal() for name in vault.names() if (secret := vault.get(name))]
    keys = [text.rpartition("-----END CERTIFICATE-----")[2] for text in texts]
    hidden = {line for text in keys for line in text.splitlines() if len(line) > 16 and not line.startswith("-----")}
    assert len(hidden) > 10
    for text in hidden:  # as a careless program would have it
        site.lab.run("n1", "logger -t careless", stdin=text.encode())
    password = vault.get("registry.password.builder")
    assert password is not None
    site.lab.run("n1", f"systemd-run -q --unit=careless sh -c ': {password.reveal()}; sleep 600; :'")
    told = json.loads(site.bundle("support-bundle", "-o", "support.tar.gz", "--json"))
    assert told["missing"] == {}
    with tarfile.open(site.folder / "support.tar.gz") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    whole = b"\n".join(found.values()).decode("utf-8", "replace")
    assert "sh -c : (secret); sleep 600; :" in whole
    assert not [text for text in hidden if text in whole]
    assert "bundle-registry.service" in whole
    names = {name.removeprefix("support/hosts/n2/") for name in found if name.startswith("support/hosts/n2/")}
    assert {"journal/bundle-watch.service.txt", "ports.txt", "dpkg.txt", "secret-files.txt", "routes.txt"} <= names
    empty = {name for name in names if not found[f"support/hosts/n2/{name}"].strip()}
    assert empty <= {"journal/bundle-registry-writable.service.txt", "kernel.txt", "apt.txt"}


def test_what_is_taken_away_stays_away_until_it_is_applied(site: Site) -> None:
    mine = "/etc/bundle/dns/../mine"
    site.lab.run("n1", f"echo mine > {mine}")
    site.bundle("uninstall", "dns", "--yes", "--quiet", "--limit", "n1")
    assert site.lab.ask("n1", f"systemctl is-active {DNS}").returncode != 0
    assert site.lab.ask("n1", "ls /etc/bundle/dns").returncode != 0
    assert site.lab.run("n1", "cat /etc/bundle/mine") == "mine"
    time.sleep(13)  # recovery looks every 5 s, and acts the second time
    assert site.lab.ask("n1", f"systemctl is-active {DNS}").returncode != 0
    assert "nothing of dns is there" in site.bundle("uninstall", "dns", "--yes", "--limit", "n1")
    site.bundle("health")  # it was meant
    assert "uninstalled" in site.bundle("status")
    site.bundle("apply", "--yes", "--quiet")
    assert "everything is well" in site.bundle("health")


def test_a_machine_without_power_is_part_of_the_answer(site: Site) -> None:
    site.lab.kill("n2")
    found = site.bundle("status")
    assert ", 1 without an answer" in found
    assert "cannot reach n2" in found
    assert "cannot reach n2" in site.bundle("apply", "--yes", code=99)
    site.lab.start("n2")
