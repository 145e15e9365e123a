"""Which process holds a port or a lock of apt's. Read from /proc, with what every host has."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from bundler.components.machine import asking, kinds
from bundler.components.machine.asking import Said, lines
from bundler.components.machine.needs import Needs, needs_of
from bundler.model.site import Address, SiteHost
from bundler.steps.facts import STAMPS, Ask
from bundler.steps.step import Check, Finding, Goal

_LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
_LOGINS = ("ssh.service", "sshd.service")  # what somebody started by hand counts as theirs
_OURS = "/var/lib/bundle/lock"  # open in whatever an action of ours started


def holders(goal: Goal) -> Ask[Said]:
    return goal.once("machine/holders", lambda: lines("its ports and locks", _script(goal)))


def _script(goal: Goal) -> str:
    roles = {frozenset(host.roles): host for host in goal.site.hosts}
    ports = {port for host in roles.values() for _, port in needs_of(goal, host).ports}
    wanted = "".join(f" {port:04X}" for port in sorted(ports))
    locks = " -o ".join(f"-lname {path}" for path in (*_LOCKS, _OURS))
    return f"""s=$(for t in tcp tcp6 udp udp6; do
  if [ -r /proc/net/$t ]; then awk -v t=$t -v w="{wanted} " 'NR > 1 {{ split($2, a, ":")
    if (index(w, " " a[2] " ") && $4 == (t ~ /^tcp/ ? "0A" : "07")) print t, a[1], a[2], $10 }}' /proc/net/$t; fi
done)
[ -z "$s" ] || printf '%s\\n' "$s" | sed 's/^/socket /'
i=$(printf '%s\\n' "$s" | awk '{{ printf " socket:[%s] ", $4 }}')
find /proc/[0-9]*/fd -maxdepth 1 \\( -lname 'socket:*' -o {locks} \\) -printf '%h %l\\n' 2>/dev/null |
  awk -v i="$i" '(/ \\// || index(i, " " $2 " ")) && !seen[$0]++ {{ split($1, p, "/"); print p[3], $2 }}' |
  while read -r p l; do
    case $l in /*) [ /proc/$p/root$l -ef $l ] || continue ;; esac  # else another container's, under the same name
    u=$(sed -n 's#.*/\\([^/]*\\.service\\)\\(/.*\\)*$#\\1#p' /proc/$p/cgroup 2>/dev/null | head -n 1)
    # Pods are kubelet's, wherever the cgroup driver puts them.
    if grep -qs kubepods /proc/$p/cgroup; then u=kubelet.service; fi
    c=$(cat /proc/$p/comm 2>/dev/null)
    if [ -n "$u" ] && [ -f {STAMPS}/"$u" ]; then echo "ours $u"; fi
    echo "open $p $l ${{u:--}} $c"
  done
if [ -e /var/lib/bundle/epoch ]; then echo "begun yes"; fi"""


@dataclass(frozen=True, slots=True)
class Open:
    """A process with something open; `unit` is the systemd service that it belongs to, or empty."""

    pid: str
    what: str
    unit: str
    program: str


def opened(said: Said) -> list[Open]:
    found = []
    for line in said.all("open"):
        pid, what, unit, program = (*line.split(" ", 3), "")[:4]
        found.append(Open(pid, what, "" if unit in ("-", *_LOGINS) else unit, program))
    return found


def judge_ports(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    needs = needs_of(goal, host)
    by_socket = {each.what: each for each in opened(said)}
    seen: set[tuple[str, int, Open | None]] = set()
    for line in said.all("socket"):
        kind, where, number, inode = line.split(" ")
        protocol, port, address = kind[:3].upper(), int(number, 16), address_of(where)
        holder = by_socket.get(f"socket:[{inode}]")
        component = needs.ports.get((protocol, port))
        if component is None or not _in_the_way(address, host) or _is_ours(holder, needs, said):
            continue
        if (protocol, port, holder) not in seen:
            seen.add((protocol, port, holder))
            yield _taken(host, holder, protocol=protocol, port=port, address=address, component=component)


def _taken(host: SiteHost, holder: Open | None, **values: object) -> Finding:
    if holder is None:
        who, how = "a process that is not seen", "perhaps in another container of its machine"
    elif holder.unit:
        who, how = (
            f"{holder.program}, process {holder.pid} of {holder.unit}",
            f"`systemctl disable --now {holder.unit}`",
        )
    else:
        who, how = f"{holder.program}, process {holder.pid}", f"`kill {holder.pid}`, and whatever starts it"
    return kinds.PORT.at(host.name, holder=who, how=how, **values)


def _in_the_way(address: Address, host: SiteHost) -> bool:
    """Whether our program meets it: 127.0.0.53 and other hosts' addresses on this one are free for others."""
    return address.is_unspecified or address == host.address or str(address) in ("127.0.0.1", "::1")


def _is_ours(holder: Open | None, needs: Needs, said: Said) -> bool:
    """A unit of ours that we started; or, once an installation began here, may have started and not noted yet."""
    if holder is None or holder.unit not in needs.units:
        return False
    return holder.unit in said.all("ours") or bool(said.one("begun"))


def address_of(text: str) -> Address:
    """An address of /proc/net: 32-bit words, each with its last byte first (on the machines that we install)."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    data = b"".join(words)
    if len(data) == 4:
        return IPv4Address(data)
    address = IPv6Address(data)
    return address.ipv4_mapped or address


def judge_locks(goal: Goal, host: SiteHost, said: Said) -> Iterator[Finding]:
    """apt's locks, unless an action of ours is about to be ended, or left its dpkg behind: those are waited for."""
    held = opened(said)
    if any(each.what == _OURS for each in held):
        return
    seen = set()
    for each in held:
        if each.what in _LOCKS and each.pid not in seen and (each.unit or not said.one("begun")):
            seen.add(each.pid)
            unit = each.unit or "UNIT"
            yield kinds.APT_LOCKED.at(host.name, program=each.program, pid=each.pid, lock=each.what, unit=unit)


CHECKS: tuple[Check, ...] = (
    asking.each("machine: ports", holders, judge_ports),
    asking.each("machine: apt's locks", holders, judge_locks),
)
