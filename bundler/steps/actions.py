"""Actions: what is done to a host, as values. Each compiles to one sh script that may be run again at any point."""

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import ClassVar

from bundler.hosts.base import STALE, Answer, Host, Script
from bundler.hosts.transfer import write_file_script
from bundler.model.digest import Digest
from bundler.model.secret import Secret
from bundler.steps.facts import STAMPS

_KEEP = "-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
_APT = "DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0"
_SHOWN_LINES = 60
BEFORE = "/var/lib/bundle/before"
OURS = "# Written by bundle"  # what a file that takes another's place begins with


@dataclass(frozen=True, kw_only=True)
class Action:
    """`reason` says why it is needed, `later` what of it is known only when an earlier step is done."""

    kind: ClassVar[str]
    reason: str
    later: str = ""

    @property
    def target(self) -> str:
        """What it changes: with host, step and kind, its name in the plan and the journal."""
        raise NotImplementedError

    def script(self) -> Script:
        raise NotImplementedError

    def perform(self, host: Host, epoch: int) -> Answer:
        """Do it. Raises what the host's `run` raises."""
        return host.run(replace(self.script(), epoch=epoch))

    def diff(self) -> tuple[str, ...]:
        """The change of a text, as a unified difference; secrets masked."""
        return ()

    @property
    def precondition(self) -> str:
        """What must still be so when it runs; part of what a saved plan is compared by."""
        return ""


@dataclass(frozen=True, kw_only=True)
class WriteFile(Action):
    """Replace a file whole. `old` is the digest of what lies there (None: nothing); `units` lose their stamp first, so
    that they are restarted even if the installer dies between. `keep`: what was there at first is kept below BEFORE."""

    kind: ClassVar[str] = "write"
    path: str
    content: str | Secret
    old: Digest | None
    before: str | None = None
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    units: tuple[str, ...] = ()
    keep: bool = False

    @property
    def target(self) -> str:
        return self.path

    @property
    def precondition(self) -> str:
        return str(self.old or "nothing")

    def script(self) -> Script:
        text = self.content.reveal() if isinstance(self.content, Secret) else self.content
        script = write_file_script(
            self.path, text.encode(), old=self.old, mode=self.mode, owner=self.owner, group=self.group
        )
        return replace(script, text=forget(self.units) + (_keep(self.path) if self.keep else "") + script.text)

    def diff(self) -> tuple[str, ...]:
        if isinstance(self.content, Secret):
            return ("(secret)",)
        old, new = (self.before or "").splitlines(), self.content.splitlines()
        lines = list(difflib.unified_diff(old, new, lineterm="", n=2))[2:]
        more = len(lines) - _SHOWN_LINES
        return (*lines[:_SHOWN_LINES], *([f"… and {more} lines more"] if more > 0 else ()))


@dataclass(frozen=True, kw_only=True)
class SetAside(Action):
    """Rename a file that is in the way, so that it is kept and has no effect."""

    kind: ClassVar[str] = "set aside"
    path: str
    aside: str
    old: Digest | None = None

    @property
    def target(self) -> str:
        return self.path

    @property
    def precondition(self) -> str:
        return str(self.old or "")

    def script(self) -> Script:
        path, aside = shlex.quote(self.path), shlex.quote(self.aside)
        folder = shlex.quote(str(PurePosixPath(self.aside).parent))
        check = f'[ "$(sha256sum < {path})" = "{self.old.hex}  -" ] || exit {STALE}\n' if self.old else ""
        # Not mv: on another file system it would leave half a file where a whole one is looked for.
        text = f"""[ -e {path} ] || [ -L {path} ] || exit 0
{check}mkdir -p {folder} && rm -rf -- {aside}.bundle-new && cp -aT -- {path} {aside}.bundle-new || exit 1
mv -fT -- {aside}.bundle-new {aside} && sync {folder} && rm -rf -- {path}
"""
        return Script(text=text)


@dataclass(frozen=True, kw_only=True)
class Remove(Action):
    """Remove a file that is ours, or a whole folder when `whole`."""

    kind: ClassVar[str] = "remove"
    path: str
    whole: bool = False

    @property
    def target(self) -> str:
        return self.path

    def script(self) -> Script:
        return Script(text=f"rm {'-rf' if self.whole else '-f'} -- {shlex.quote(self.path)}\n", timeout=600)


@dataclass(frozen=True, kw_only=True)
class MakeFolder(Action):
    kind: ClassVar[str] = "folder"
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    @property
    def target(self) -> str:
        return self.path

    def script(self) -> Script:
        path = shlex.quote(self.path)
        owner = shlex.quote(f"{self.owner}:{self.group}")
        return Script(text=f"mkdir -p -- {path} && chown {owner} -- {path} && chmod {self.mode:o} -- {path}\n")


@dataclass(frozen=True, kw_only=True)
class InstallPackages(Action):
    """`packages` are (name, version) pairs of the lock, taken from the sources that the host's apt has."""

    kind: ClassVar[str] = "packages"
    packages: tuple[tuple[str, str], ...]
    # A service must not start with its package's own settings: it would be wrong, and in the way.
    masked: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        return " ".join(name for name, _ in self.packages)

    def diff(self) -> tuple[str, ...]:
        return tuple(f"+{name} {version}" for name, version in self.packages)

    def script(self) -> Script:
        asked = " ".join(shlex.quote(f"{name}={version}") for name, version in self.packages)
        units = " ".join(map(shlex.quote, self.masked))
        mask = f"systemctl mask --runtime -q -- {units}\n" if units else ""
        unmask = f"systemctl unmask --runtime -q -- {units}\n" if units else ""
        # Masked first: what a cut left half installed starts when it is configured.
        text = f"""{mask}DEBIAN_FRONTEND=noninteractive dpkg --force-confdef --force-confold --configure -a
{_APT} update
rc=0
{_APT} install --no-install-recommends {_KEEP} -- {asked} || rc=$?
{unmask}exit "$rc"
"""
        return Script(text=text, timeout=1800)


@dataclass(frozen=True, kw_only=True)
class StartUnit(Action):
    """Enable and (re)start a unit, and wait until it is up: active, and listening on `ports` (TCP)."""

    kind: ClassVar[str] = "start"
    unit: str
    stamp: str
    ports: tuple[int, ...] = ()
    reload: bool = False
    timeout: float = 60

    @property
    def target(self) -> str:
        return self.unit

    def script(self) -> Script:
        unit = shlex.quote(self.unit)
        verb = "reload-or-restart" if self.reload else "restart"
        listening = "".join(f"up {port}\n" for port in self.ports)
        text = f"""fail() {{ echo "$1" >&2; journalctl -n 15 --no-pager -u {unit} >&2; exit 1; }}
up() {{
  hex=$(printf %04X "$1"); n=0
  until grep -qs "^ *[0-9]*: [0-9A-F]*:$hex [0-9A-F:]* 0A " /proc/net/tcp /proc/net/tcp6
  do n=$((n+1)); [ $n -lt {int(self.timeout * 5)} ] || fail "nothing listens on port $1"; sleep 0.2; done
}}
systemctl daemon-reload
systemctl unmask --runtime -q -- {unit} 2>/dev/null || :
systemctl unmask -q -- {unit} 2>/dev/null || :
systemctl is-enabled -q -- {unit} 2>/dev/null || systemctl enable -q -- {unit} || fail "it cannot be enabled"
systemctl reset-failed -q -- {unit} 2>/dev/null || :
systemctl {verb} -- {unit} || fail "it does not start"
{listening}systemctl is-active -q -- {unit} || fail "it started and ended"
mkdir -p {STAMPS} && printf '%s\\n' {shlex.quote(self.stamp)} > {STAMPS}/{unit}
"""
        return Script(text=text, timeout=self.timeout + 60)


@dataclass(frozen=True, kw_only=True)
class StopUnit(Action):
    kind: ClassVar[str] = "stop"
    unit: str

    @property
    def target(self) -> str:
        return self.unit

    def script(self) -> Script:
        unit = shlex.quote(self.unit)
        stop = f"systemctl disable -q --now -- {unit} || exit 1\nsystemctl reset-failed -q -- {unit} 2>/dev/null || :\n"
        return Script(text=forget((self.unit,)) + stop, timeout=120)


@dataclass(frozen=True, kw_only=True)
class Run(Action):
    """A component's own sh text; `name` is what it does, in the infinitive. It must be safe to run twice."""

    kind: ClassVar[str] = "run"
    name: str
    text: str = field(repr=False)
    timeout: float = 120
    stdin: bytes | Secret = b""

    @property
    def target(self) -> str:
        return self.name

    def script(self) -> Script:
        stdin = self.stdin.reveal().encode() if isinstance(self.stdin, Secret) else self.stdin
        return Script(text=self.text, timeout=self.timeout, stdin=stdin)


def before(path: str) -> str:
    """Where a file of the host's own is kept while ours is in its place."""
    return f"{BEFORE}{path}"


def _keep(path: str) -> str:
    """sh text that copies the file aside, the first time only, and never one of ours: nothing was there before that."""
    kept, folder = shlex.quote(before(path)), shlex.quote(str(PurePosixPath(before(path)).parent))
    there = shlex.quote(path)
    ours = f"head -n 1 -- {there} 2>/dev/null | grep -q '^{OURS}'"
    return f"""if [ -e {there} ] || [ -L {there} ]; then if [ ! -e {kept} ] && [ ! -L {kept} ] && ! {ours}; then
  mkdir -p {folder}; cp -a -- {there} {kept}.new && sync {folder} && mv -T -- {kept}.new {kept}
fi; fi || exit 1
"""


def forget(units: Sequence[str]) -> str:
    """sh text that makes units count as not started by us."""
    names = " ".join(f"{STAMPS}/{shlex.quote(unit)}" for unit in units)
    return f"rm -f -- {names} || exit 1\n" if names else ""
