"""Who each host is: that every one of them is a machine of its own, and the one that site.yaml means."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

from bundler.components.machine import kinds
from bundler.components.machine.asking import Row, Said, always, each, lines, over_all
from bundler.model.site import SiteHost
from bundler.steps.step import Check, Finding, Goal

_REPLACED = ("/etc/hosts", "/etc/resolv.conf", "/etc/apt/sources.list")

IDENTITY = lines(
    "who it is",
    """echo "boot $(cat /proc/sys/kernel/random/boot_id)"
echo "hostname $(cat /proc/sys/kernel/hostname)"
echo "machine-id $(cat /etc/machine-id 2>/dev/null)"
ip -o addr show 2>/dev/null | awk '{ print "address " $2 " " $4 }'
ip -o link show 2>/dev/null | awk '{ sub(/[:@].*/, "", $2); for (i = 3; i < NF; i++) {
  if ($i == "mtu") m = $(i + 1); if ($i == "state") s = $(i + 1); if ($i == "link/ether") e = $(i + 1) }
  print "nic " $2 " " m " " s " " e; e = "" }'""",
)
GUARDED = lines(
    "what cannot be replaced",
    f"""for f in {" ".join(_REPLACED)}; do
  awk -v f=$f '$2 == f {{ print "mounted " f; exit }}' /proc/self/mounts
  if [ -f $f ] && command -v lsattr >/dev/null; then
    case $(lsattr -d -- $f 2>/dev/null) in *i*\\ $f) echo "immutable $f" ;; esac
  fi
done""",
)


def judge_identities(goal: Goal, rows: Sequence[Row]) -> Iterator[Finding]:
    """Hosts that are one machine are not also said to have one name and one machine-id."""
    own: dict[str, Row] = {}
    for boot, same in _groups((said.one("boot"), (host, said)) for host, said in rows):
        own[boot] = same[0]
        if boot and len(same) > 1:
            addresses = ", ".join(str(host.address) for host, _ in same)
            yield kinds.SAME_MACHINE.at(same[0][0].name, names=_named(same), addresses=addresses)
    for name, same in _groups((said.one("hostname"), (host, said)) for host, said in own.values()):
        if len(same) > 1:
            yield kinds.HOSTNAME_TWICE.at(same[0][0].name, names=_named(same), hostname=name)
    for number, same in _groups((said.one("machine-id"), (host, said)) for host, said in own.values()):
        if len(same) > 1 and number:
            yield kinds.MACHINE_ID_TWICE.at(same[0][0].name, names=_named(same), id=number)
    macs = ((mac, (host, said)) for host, said in own.values() for mac in _macs(goal, said))
    for mac, same in _groups(macs):
        if len(same) > 1:
            yield kinds.MAC_TWICE.at(same[0][0].name, names=_named(same), mac=mac)


def _groups(pairs: Iterable[tuple[str, Row]]) -> Iterable[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for key, row in pairs:
        found[key].append(row)
    return found.items()


def _named(rows: Sequence[Row]) -> str:
    return " and ".join(host.name for host, _ in rows)


def _macs(goal: Goal, said: Said) -> set[str]:
    """Those of the interfaces with an address in the site's networks: bridges and pods have made-up ones."""
    ours = {nic for nic, address in addresses(said) if any(address.ip in net.subnet for net in goal.site.networks)}
    return {mac for nic, _, _, mac in nics(said) if nic in ours and mac}


def addresses(said: Said) -> Iterator[tuple[str, IPv4Interface | IPv6Interface]]:
    for line in said.all("address"):
        nic, _, address = line.partition(" ")
        yield nic, ip_interface(address)


def nics(said: Said) -> Iterator[tuple[str, int, str, str]]:
    """Name, MTU, state and hardware address."""
    for line in said.all("nic"):
        name, mtu, state, mac = (*line.split(" "), "")[:4]
        yield name, int(mtu), state, mac


def judge_names(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    have = [line.partition(" ")[2].partition("/")[0] for line in said.all("address")]
    if have and str(host.address) not in have:
        shown = ", ".join(address for address in have if not ip_address(address).is_loopback)
        yield kinds.ADDRESS.at(host.name, address=host.address, has=shown)
    name = said.one("hostname").partition(".")[0]
    if name != host.name:
        yield kinds.HOSTNAME.at(host.name, hostname=said.one("hostname") or "nothing", name=host.name)
    number = said.one("machine-id")
    if len(number) != 32:
        yield kinds.MACHINE_ID.at(host.name, state=f"{number[:40]!r}, no machine-id" if number else "empty")


def judge_guarded(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    for path in said.all("mounted"):
        yield kinds.MOUNTED_OVER.at(host.name, path=path)
    for path in said.all("immutable"):
        yield kinds.IMMUTABLE.at(host.name, path=path)


CHECKS: tuple[Check, ...] = (
    over_all("machine: identities", always(IDENTITY), judge_identities),
    each("machine: names", always(IDENTITY), judge_names),
    each("machine: files", always(GUARDED), judge_guarded),
)
