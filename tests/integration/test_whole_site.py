"""A real site of three machines, two of which serve: a delta comes, all go back and forth, keys change, each says what
it holds; who asks either of them meanwhile is answered."""

import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign_site import SHARED_KERNEL, Office, own_bundle
from tests.lab import ROOT
from tests.nodes import Lab, lab_of

ROLES = {"n1": ["site"], "n2": ["site"], "n3": []}
SERVING = ("n1", "n2")
BUNDLE = (sys.executable, "-m", "bundler")


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("site")
    with lab_of(3) as lab:
        office = Office(lab=lab, folder=folder, bundle=own_bundle(folder))
        office.write_site(roles=ROLES, components=SHARED_KERNEL)
        office.run("install", *office.release, "--site", "site.yaml", "--yes", "--quiet")
        yield office


def tool(folder: Path, *words: object) -> str:
    """On the connected side: the tool's own packages come from where this machine has its own from."""
    command, environment = [*BUNDLE, *map(str, words)], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def next_release(office: Office) -> Path:
    """The same under the next number, as a delta: only documents travel."""
    text = office.bundle.lock.read_text()
    lock, out = office.folder / "next.lock", office.folder / "next.bundle"
    renumbered = re.sub(r"(?m)^(release:\n  line: .+\n  number: )(\d+)", lambda m: f"{m[1]}{int(m[2]) + 1}", text)
    assert renumbered != text
    lock.write_text(renumbered)
    key, base = office.bundle.folder / "release.key", office.bundle.path
    tool(office.folder, "create", "--lock", lock, "--key", key, "-o", out, "--delta-from", base, "-q")
    assert out.stat().st_size < base.stat().st_size / 10
    return out


class Asker:
    """Asks both hosts for packages' indexes and for an image's manifest, again and again."""

    def __init__(self, lab: Lab) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._context, self._stop = context, threading.Event()
        self._urls = [
            url
            for name in SERVING
            for address in (lab.node(name).address,)
            for url in (f"https://{address}/healthz", f"https://{address}:5000/v2/_catalog")
        ]
        self.asked, self.failed = 0, list[str]()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            for url in self._urls:
                try:
                    with urllib.request.urlopen(url, timeout=30, context=self._context) as answer:
                        assert answer.read()
                except OSError as error:
                    self.failed.append(f"{url}: {error}")
                self.asked += 1
            time.sleep(0.1)

    def __enter__(self) -> "Asker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def served(lab: Lab) -> set[str]:
    return {lab.run(name, "readlink /srv/bundle/current").rpartition("/")[2].rpartition("-")[0] for name in SERVING}


def test_a_site_goes_back_and_forth_as_one(office: Office) -> None:
    lab = office.lab
    first = served(lab)
    assert len(first) == 1
    made = next_release(office)
    with Asker(lab) as asker:
        came = office.run("install", str(made), "--site", "site.yaml", "--yes", "--quiet")
        second = served(lab)
        assert second != first
        back = office.run("rollback", "--site", "site.yaml", "--yes", "--reason", "a test")
        assert served(lab) == first
        assert office.run("apply", "--yes", "--json").json()["actions"] == 0
        forth = office.run("rollback", *second, "--site", "site.yaml", "--yes", "--json")
        assert forth.json()["actions"] == len(SERVING)
        assert served(lab) == second
        assert office.run("apply", "--yes", "--json").json()["actions"] == 0
    print(
        f"\ncame {came.seconds:.1f} s, back {back.seconds:.1f} s, forth {forth.seconds:.1f} s; {asker.asked} questions"
    )
    assert asker.failed == []
    assert office.run("rollback", *second, "--site", "site.yaml", "--yes", "--json").json()["actions"] == 0


def test_each_host_says_what_it_holds(office: Office) -> None:
    found = office.run("receipt", "--site", "site.yaml", "-o", "site.receipt", "--json").json()
    assert [each["host"] for each in found] == list(SERVING)
    keys = [word for each in found for word in ("--site-key", each["key"])]
    bases = [word for each in found for word in ("--delta-from", each["receipt"])]
    lock, key = office.bundle.lock, office.bundle.folder / "release.key"
    reuse = ("--reuse", office.bundle.path)
    said = tool(
        office.folder, "create", "--lock", lock, "--key", key, "-o", "r.bundle", "--json", *bases, *keys, *reuse
    )
    assert json.loads(said)["kind"] == "delta"


def test_all_believe_new_keys(office: Office) -> None:
    tool(office.folder, "keys", "create", "other")
    old = office.bundle.folder / "release.key"
    rotate = ("--to", office.bundle.public, "--to", "other.pub", "--threshold", "1", "--key", old)
    tool(office.folder, "keys", "rotate", *rotate, "-o", "rotation.json")
    assert (
        office.run("trust", "apply", "rotation.json", "--site", "site.yaml", "--yes", "--json").json()["actions"] == 2
    )
    assert (
        office.run("trust", "apply", "rotation.json", "--site", "site.yaml", "--yes", "--json").json()["actions"] == 0
    )
    assert office.run("apply", "--yes", "--json").json()["actions"] > 0, "the keys that a delivery is judged by"
    assert office.run("apply", "--yes", "--json").json()["actions"] == 0
