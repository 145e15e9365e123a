"""What comes back by itself on a site host: by systemd in seconds, by `bundle watch` when systemd cannot help; and what
does not, with the reason in its journal."""

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from bundler.model.lock_parser import parse_lock
from bundler.secrets.ca import CA
from bundler.secrets.certificates import Pair, new_leaf
from bundler.secrets.unlock import KeyFile
from bundler.secrets.vault import Vault
from bundler.support import clock
from tests.campaign_site import SHARED_KERNEL, Office, at_the_question
from tests.nodes import Lab, lab_of, site_bundle

ROLES = {"n1": ["site"], "n2": ["site"]}
OURS = "/etc/security/limits.d/90-bundle.conf"
WATCH, REGISTRY, BUILDS, DNS = (f"bundle-{name}.service" for name in ("watch", "registry", "registry-writable", "dns"))
NGINX, TIME = "nginx.service", "chrony.service"
BY_SYSTEMD, BY_WATCH = 10.0, 30.0  # seconds on a machine that has nothing else to do
BUSY = 4  # times as long where the processors are shared: a service that does not come back never does
CPU, RSS_KB = 0.06, 80_000  # of a processor; a quiet one takes a third of it

_GET = "curl -fsk -o /dev/null --max-time 3"
_MANIFESTS = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
# Runs on a node: `until.sh SECONDS CONDITION` says after how many seconds it holds.
_UNTIL = """read -r began rest < /proc/uptime
until (eval "$2") >/dev/null 2>&1; do
  read -r now rest < /proc/uptime
  [ "${now%.*}" -lt "$((${began%.*} + $1))" ] || { echo "not after $1 s: $2"; exit 1; }
  sleep 0.2
done
read -r now rest < /proc/uptime; echo "$began $now"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Two site hosts, installed with one command; `manifest` is the path of one of the release's, at the registry."""

    office: Office
    manifest: str

    @property
    def lab(self) -> Lab:
        return self.office.lab

    def answers(self, unit: str) -> str:
        """The sh text that says whether a service on its host does what it is for."""
        return {
            REGISTRY: f"{_GET} -H 'Accept: {_MANIFESTS}' https://127.0.0.1:5000{self.manifest}",
            BUILDS: "curl -sk --max-time 3 -o /dev/null -w '%{http_code}' https://127.0.0.1:5001/v2/ | grep -q 401",
            NGINX: f"{_GET} https://127.0.0.1/healthz",
            DNS: f"python3 -I /root/ask {self.lab.nodes[0].address} 53 lab.example/SOA | grep -q '\"rcode\": 0'",
            TIME: "chronyc -n tracking",
            WATCH: f"systemctl is-active -q {WATCH}",
        }[unit]

    def time(self, fault: str, condition: str, *, within: float, node: str = "n1") -> float:
        """Seconds from a fault until the condition holds."""
        limit = within * BUSY
        words = f"{fault}\nset -- {limit:.0f} {shlex.quote(condition)}\n{_UNTIL}"
        began, ended = map(float, self.lab.run(node, words, timeout=limit + 120).split()[-2:])
        return ended - began

    def renew(self, node: str = "n1") -> None:
        """As after a boot: nothing was tried yet. In the middle between two looks."""
        text = f"systemctl stop {WATCH}; rm -f /var/lib/bundle/watch.json; systemctl start {WATCH}; sleep 6"
        self.lab.run(node, text)

    def now(self, node: str = "n1") -> str:
        return self.lab.run(node, "date +@%s.%6N")

    def said(self, since: str, node: str = "n1") -> list[str]:
        """What watch said since."""
        text = f"journalctl -u {WATCH} -o cat --no-pager --since={since}"
        systemd = ("Started", "Starting", "Stopped", "Stopping", WATCH)
        return [line for line in self.lab.run(node, text).splitlines() if not line.startswith(systemd)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lab_of(2) as lab:
        office = Office(lab=lab, folder=tmp_path_factory.mktemp("site"), bundle=site_bundle())
        office.write_site(roles=ROLES, user="ops", become=True, components=SHARED_KERNEL)
        office.run("install", *office.release, "--site", "site.yaml", "--yes")
        yield prepared(office)


def prepared(office: Office) -> Site:
    lock = parse_lock(office.bundle.lock.read_text(), file="site.lock")
    image = lock.images[0]
    for node in office.lab.nodes:
        office.lab.send(node.name, Path("bundler/components/dns/probe.py").absolute(), "/root/ask")
    return Site(office=office, manifest=f"/v2/{image.reference.site_repository}/manifests/{image.root.digest}")


def load() -> str:
    return f"load {Path('/proc/loadavg').read_text().split()[0]}"


# --- by systemd


@pytest.mark.parametrize("unit", [REGISTRY, BUILDS, NGINX, DNS, TIME, WATCH])
def test_a_killed_service_answers_again(site: Site, unit: str) -> None:
    """Nothing of watch's is in it: that holds still meanwhile."""
    if unit != WATCH:
        site.lab.run("n1", f"systemctl stop {WATCH}")
    pid = f"systemctl show -p MainPID --value {unit}"
    other = f'p=$({pid}); [ "$p" != "$was" ] && [ "$p" != 0 ] && {site.answers(unit)}'
    fault = f"was=$({pid}); {site.answers(unit)} || exit 1; systemctl kill -s KILL --kill-who=main {unit}"
    try:
        taken = site.time(fault, other, within=BY_SYSTEMD)
    finally:
        site.lab.run("n1", f"systemctl start {WATCH}")
    print(f"\nkill -9 {unit}: {taken:.1f} s ({load()})")


# --- by watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`holds` is said of the host when it is mended, beside that `unit` answers."""

    inject: str
    unit: str
    holds: str = ":"


_CURRENT = "/srv/bundle/current"
_WRITES = (
    f"nsenter -m -t $(systemctl show -p MainPID --value {BUILDS}) -- "
    "sh -c 'touch /var/lib/bundle-registry/.try && rm /var/lib/bundle-registry/.try'"
)


def kill(unit: str) -> str:
    return f"systemctl kill -s KILL --kill-who=main {unit}"


def by_hand(path: str, unit: str) -> str:
    """Somebody edits a file, and later the service dies."""
    return f"sed -i '1i }} by hand' {path} && {kill(unit)}"


FAULTS = {
    "registry stopped": Fault(inject=f"systemctl stop {REGISTRY}", unit=REGISTRY),
    "writable registry stopped": Fault(inject=f"systemctl stop {BUILDS}", unit=BUILDS),
    "nginx stopped": Fault(inject=f"systemctl stop {NGINX}", unit=NGINX),
    "name server stopped": Fault(inject=f"systemctl stop {DNS}", unit=DNS),
    "chrony stopped": Fault(inject=f"systemctl stop {TIME}", unit=TIME),
    "nginx stopped and masked": Fault(inject=f"systemctl mask -q --now {NGINX}", unit=NGINX),
    "name server disabled": Fault(
        inject=f"systemctl disable -q --now {DNS}", unit=DNS, holds=f"systemctl is-enabled -q {DNS}"
    ),
    "name server's unit removed": Fault(
        inject=f"rm /etc/systemd/system/{DNS}; systemctl daemon-reload; systemctl stop {DNS}", unit=DNS
    ),
    "name server's program removed": Fault(inject=f"rm /usr/local/lib/bundle/coredns; {kill(DNS)}", unit=DNS),
    "config.yml by hand": Fault(inject=by_hand("/etc/bundle/registry/config.yml", REGISTRY), unit=REGISTRY),
    "nginx.conf by hand": Fault(inject=by_hand("/etc/nginx/nginx.conf", NGINX), unit=NGINX),
    "Corefile by hand": Fault(inject=by_hand("/etc/bundle/dns/Corefile", DNS), unit=DNS),
    "registry view removed": Fault(inject=f"rm -rf {_CURRENT}/registry", unit=REGISTRY),
    "apt view removed": Fault(
        inject=f"rm -rf {_CURRENT}/apt",
        unit=NGINX,
        holds=f"{_GET} https://127.0.0.1/apt/debian/dists/bookworm/InRelease",
    ),
    "pip view removed": Fault(
        inject=f"rm -rf {_CURRENT}/pypi", unit=NGINX, holds=f"{_GET} https://127.0.0.1/pypi/simple/"
    ),
    "generation removed": Fault(
        inject=f"rm -rf $(readlink -f {_CURRENT})", unit=REGISTRY, holds=f"{_GET} https://127.0.0.1/charts/index.yaml"
    ),
    "generation and link removed": Fault(
        inject=f"rm -rf $(readlink -f {_CURRENT}) {_CURRENT}",
        unit=REGISTRY,
        holds=f"{_GET} https://127.0.0.1/files/SHA256SUMS",
    ),
    "builds removed": Fault(inject="rm -rf /var/lib/bundle-registry", unit=BUILDS, holds=_WRITES),
}


# One of each kind; the rest belongs to the long campaigns.
SAMPLE = ("name server stopped", "nginx.conf by hand", "registry view removed")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.long) for name in FAULTS]
)
def test_watch_mends(site: Site, name: str) -> None:
    fault = FAULTS[name]
    site.renew()
    well = f"{site.answers(fault.unit)} && {fault.holds}"
    since = site.now()
    inject = f"{fault.inject}\n! ( {well} ) >/dev/null 2>&1 || {{ echo 'it does not hurt' >&2; exit 9; }}"
    if name == "builds removed":  # a read-only file system at once, but the registry says so at a push alone
        inject = fault.inject
    taken = site.time(inject, well, within=BY_WATCH)
    said = site.said(since)
    print(f"\n{name}: {taken:.1f} s ({load()})\n" + "\n".join(f"  {line}" for line in said))
    assert any("bring" in line or "restart" in line for line in said), "somebody else did it"


def test_watch_replaces_a_certificate_that_ended(site: Site) -> None:
    folder = site.office.folder
    vault = Vault.open(folder / "site.secrets", KeyFile(path=folder / "site.secrets.key"))
    kept = vault.get(CA)
    root = Pair.parse(kept) if kept else None
    assert root is not None
    address = ip_address(site.lab.nodes[0].address)
    names, year = ["registry.lab.example"], timedelta(days=365)
    old = new_leaf(root, "registry.n1", names, [address], now=clock.now() - 2 * year, life=year)
    get = "curl -fsS --cacert /etc/bundle/ca.crt --resolve registry.lab.example:5000:127.0.0.1 -o /dev/null"
    valid = f"{get} https://registry.lab.example:5000/v2/"
    site.renew()
    site.lab.run("n1", valid)
    since = site.now()
    for name, text in (("crt", old.certificate), ("key", old.key.reveal())):
        site.lab.run("n1", f"cat > /etc/bundle/registry/tls.{name}", stdin=text.encode())
    taken = site.time(f"systemctl restart {REGISTRY}", valid, within=BY_WATCH)
    print(f"\ncertificate ended: {taken:.1f} s ({load()})\n" + "\n".join(site.said(since)))


@pytest.mark.long
def test_what_only_a_bundle_has_is_said(site: Site) -> None:
    site.renew()
    since = site.now()
    site.lab.run("n1", f"rm -rf /srv/bundle/store/blobs/sha256/* {_CURRENT}/registry")
    why = "only its bundle has them"
    heard = f"journalctl -u {WATCH} -o cat --since={since} | grep -q {shlex.quote(why)}"
    taken = site.time(":", heard, within=BY_WATCH)
    print(f"\nblobs removed: said after {taken:.1f} s ({load()})\n" + "\n".join(site.said(since)))
    site.office.apply()
    site.lab.run("n1", site.answers(REGISTRY))
    assert site.office.run("health").code == 0


@pytest.mark.long
def test_what_fails_for_ever_is_not_tried_for_ever(site: Site) -> None:
    """Tries at once, after 15 s and after 60 s, the next after 5 minutes; and systemd tries on, every second."""
    site.renew()
    since = site.now()
    drop_in = f"/run/systemd/system/{DNS}.d"
    site.lab.run(
        "n1",
        f"mkdir -p {drop_in}; printf '[Service]\\nExecStartPre=/bin/false\\n' > {drop_in}/fail.conf; "
        f"systemctl daemon-reload; {kill(DNS)}",
    )
    time.sleep(150)
    said = site.said(since)
    acts = [line for line in said if line.endswith((": bring dns back", f": restart {DNS}"))]
    kept = json.loads(site.lab.run("n1", "cat /var/lib/bundle/watch.json"))
    print(f"\n{len(acts)} tries in 150 s ({load()})\n" + "\n".join(said))
    assert 1 <= len(acts) == len(kept["acts"]) <= 3
    for unit in (REGISTRY, BUILDS, NGINX, TIME):
        site.lab.run("n1", site.answers(unit))
    mended = site.time(f"rm -r {drop_in}; systemctl daemon-reload", site.answers(DNS), within=BY_SYSTEMD)
    print(f"well again {mended:.1f} s after the cause is gone")


# --- whose business it is


@pytest.mark.long
def test_it_holds_still_while_an_installer_works(site: Site) -> None:
    """And goes on by itself when that is killed."""
    site.renew()
    site.lab.run("n1", f"test -s {OURS} && echo '# by hand' >>{OURS}")
    with at_the_question(site.office, "apply", *site.office.release) as asked:
        since = site.now()
        site.lab.run("n1", f"systemctl stop {DNS}")
        time.sleep(40)
        assert site.said(since) == []
        assert not site.lab.run("n1", f"{site.answers(DNS)} && echo up || :")
        asked.process.kill()
        killed = site.time(":", site.answers(DNS), within=60 + BY_WATCH)
    print(f"\nmended {killed:.1f} s after the installer was killed ({load()})\n" + "\n".join(site.said(since)))
    assert killed > 60 - 15 - 20, "it was not the hold that kept it still"
    site.office.apply()


@pytest.mark.long
def test_another_host_is_not_its_business(site: Site) -> None:
    site.renew()
    site.lab.run("n2", f"systemctl stop {WATCH} {DNS}")
    since = site.now()
    epoch = site.lab.run("n2", "cat /var/lib/bundle/epoch; ls /var/lib/bundle")
    time.sleep(BY_WATCH + 15)
    assert site.lab.run("n2", f"systemctl is-active {DNS} || :") == "inactive"
    assert site.lab.run("n2", "cat /var/lib/bundle/epoch; ls /var/lib/bundle") == epoch
    assert site.said(since) == []
    taken = site.time(f"systemctl start {WATCH}", f"systemctl is-active {DNS}", within=BY_WATCH, node="n2")
    print(f"\nby its own watch: {taken:.1f} s ({load()})")


@pytest.mark.long
def test_looking_costs_little(site: Site) -> None:
    site.renew()
    site.time(":", site.answers(DNS), within=BY_WATCH)
    time.sleep(10)
    pid = site.lab.run("n1", f"systemctl show -p MainPID --value {WATCH}")
    used = f"cut -d' ' -f14-17 /proc/{pid}/stat; cut -d' ' -f1 /proc/uptime; grep VmHWM /proc/{pid}/status"

    def look() -> tuple[float, float, int]:
        ticks, up, peak = site.lab.run("n1", used).splitlines()
        return sum(map(int, ticks.split())) / 100, float(up), int(peak.split()[1])

    before = look()
    time.sleep(125)
    after = look()
    share = (after[0] - before[0]) / (after[1] - before[1])
    print(f"\n{share:.1%} of a processor, {after[2] / 1000:.0f} MB ({load()})")
    assert share <= CPU
    assert after[2] <= RSS_KB
