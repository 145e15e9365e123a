"""What one host tells for a support bundle: each answer bounded in time and size, and none keeps the others from it."""

import base64
import binascii
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from bundler.errors import HostLost
from bundler.hosts.base import Host, Script
from bundler.model.site import SiteHost
from bundler.steps.step import Component
from bundler.workflows.operate import journal_of

_SECONDS = 10  # for one answer
_TIMEOUT = 120  # for a host
_SIZE = 512 << 10  # bytes of one answer, from its end
_LINES = 3000  # of a unit's journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A file of the archive, and the sh text that prints it."""

    name: str
    text: str


_BUNDLE = "/etc/bundle /var/lib/bundle /srv/bundle /opt/bundle"
_SYSTEM = {
    "uname.txt": "uname -a; uptime; date -u +%FT%TZ",
    "os-release.txt": "cat /etc/os-release",
    "failed-units.txt": "systemctl --no-pager --plain list-units --failed",
    "units.txt": "systemctl --no-pager --plain list-units --all 'bundle-*'; systemctl is-system-running",
    "processes.txt": "ps -eo pid,ppid,user,etime,rss,args -ww --sort=-rss | head -n 300",
    "memory.txt": "free -m; cat /proc/loadavg /proc/pressure/* 2>/dev/null || :",
    "disks.txt": "df -hT; echo; df -iT; echo; lsblk -a 2>/dev/null || :",
    "mounts.txt": "findmnt -A 2>/dev/null || cat /proc/mounts",
    "addresses.txt": "ip -d addr 2>/dev/null || cat /proc/net/fib_trie",
    "routes.txt": "{ ip route show table all && ip -6 route && ip rule; } 2>/dev/null || cat /proc/net/route",
    "ports.txt": "ss -Hlntup 2>/dev/null || cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp",
    "names.txt": "cat /etc/resolv.conf /etc/hosts",
    "kernel.txt": "journalctl --no-pager -q -k -p warning -o short-iso -n 500",
    "dpkg.txt": "tail -n 500 /var/log/dpkg.log",
    "apt.txt": "tail -n 300 /var/log/apt/history.log; ls -l /etc/apt/sources.list /etc/apt/sources.list.d",
    "bundle.txt": f"ls -lA {_BUNDLE} 2>&1; cat /var/lib/bundle/epoch /var/lib/bundle/lease.json 2>/dev/null || :",
}
_HASHED = """[ ! -e "$f" ] || { stat -c '%a %U:%G %s bytes  %n' -- "$f"; sha256sum < "$f"; }"""


def sections_of(
    host: SiteHost, parts: Sequence[Component], *, since: str, packages: Sequence[str], secret_files: Sequence[str]
) -> list[Section]:
    """`packages` are those of the release; of `secret_files` only what they are is told, never what is in them."""
    here = [part for part in parts if any(step.on(host) for step in part.steps)]
    units = [unit for part in here for unit in part.units]
    named = " ".join(map(shlex.quote, packages))
    versions = f"dpkg-query -W -f '${{Package}} ${{Version}} ${{db:Status-Abbrev}}\\n' {named} 2>/dev/null || :"
    found = [Section(name=name, text=text) for name, text in _SYSTEM.items()]
    found.append(Section(name="packages.txt", text=versions))
    found += [
        Section(name=f"journal/{unit}.txt", text=journal_of((unit,), lines=_LINES, since=since))
        for unit in dict.fromkeys(units)
    ]
    if secret_files:
        files = " ".join(map(shlex.quote, secret_files))
        text = f"for f in {files}; do {_HASHED}; done"
        found.append(Section(name="secret-files.txt", text=text))
    return found


def tell(host: Host, sections: Sequence[Section]) -> dict[str, bytes]:
    """The answers that came, by name. Raises what the host's `run` raises."""
    asked = "\n".join(f"s {shlex.quote(each.name)} {shlex.quote(each.text)}" for each in sections)
    answer = host.run(Script(text=_ASKING + asked, timeout=_TIMEOUT))
    said = dict(line.split(b" ") for line in answer.stdout.splitlines() if line.count(b" ") == 1)
    # By the names that were asked for: what a host says is no name of a file.
    found = {each.name: _read(said[name]) for each in sections if (name := each.name.encode()) in said}
    if not found:
        raise HostLost(host=host.name, why=f"it said nothing (code {answer.code})", said=answer.tail(1))
    return found


_ASKING = f"""s() {{
  printf '%s ' "$1"
  {{ timeout -k 2 {_SECONDS} sh -c "$2" </dev/null; r=$?; [ $r -eq 0 ] || echo "(it ended with code $r)"; }} 2>&1 |
    tail -c {_SIZE} | gzip -c | base64 -w0
  echo
}}
"""


def _read(packed: bytes) -> bytes:
    try:
        data = zlib.decompressobj(wbits=31).decompress(base64.b64decode(packed, validate=True), _SIZE)
    except (binascii.Error, zlib.error):
        data = b"(what came of it cannot be read)\n"
    if len(data) == _SIZE:  # a line that is cut off may be half a secret, which nobody would know again
        data = b"(only the end of it)\n" + data.partition(b"\n")[2]
    return data
