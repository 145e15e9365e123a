"""A host reached by the system's own OpenSSH, one master connection each; everything else goes through that."""

import contextlib
import os
import shlex
import shutil
import tempfile
import threading
from pathlib import Path

from bundler.errors import BundleError, HostLost
from bundler.hosts import guard
from bundler.hosts.base import Answer, Script
from bundler.hosts.failures import explain
from bundler.hosts.hop import Hop
from bundler.hosts.privilege import PROBE, Passwords, Privilege
from bundler.model.site import SiteHost
from bundler.support.run import Talk

_FOR = "to reach the site's hosts"
_SESSIONS = 8  # at once on one connection: sshd's MaxSessions is 10
# Dead air is noticed after 15 s at most; nothing is ever asked or accepted; the user's own settings hold for the rest.
_OPTIONS = (
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    "CheckHostIP=no",
    "ConnectTimeout=10",
    "ConnectionAttempts=1",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=2",
    "ControlMaster=auto",
    "ControlPersist=60",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
)
_SHELL = "bundle-shell"  # said by the login shell, before sudo


class SshSession:
    """What all hosts share: the known keys, the folder of the masters' sockets, the passwords."""

    def __init__(self, *, known_hosts: Path, passwords: Passwords) -> None:
        self.known_hosts, self.passwords = known_hosts, passwords
        base = os.environ.get("XDG_RUNTIME_DIR", "")
        # Sockets have names of 108 bytes at most, and ssh adds some of its own.
        self._folder = Path(tempfile.mkdtemp(prefix="bundle-ssh-", dir=base if 0 < len(base) < 32 else "/tmp"))  # noqa: S108
        self._lock = threading.Lock()
        self._opening: dict[Hop, threading.Lock] = {}
        self._opened: dict[Hop, None] = {}

    def command(self, hop: Hop, *first: str) -> list[str]:
        """The ssh command up to the address; ssh takes the first of two options, and `first` are those."""
        config = os.environ.get("BUNDLE_SSH_CONFIG")
        words = ["ssh", *(["-F", config] if config else [])]
        known = f'UserKnownHostsFile="{self.known_hosts}" ~/.ssh/known_hosts ~/.ssh/known_hosts2'
        for option in (*first, *_OPTIONS, known, f"ControlPath={self._folder}/%C"):
            words += ["-o", option]
        if hop.jump is not None:
            words += ["-o", f"ProxyCommand={self._proxy(hop.jump)}"]
        words += ["-l", hop.user] if hop.user else []
        return [*words, "-p", str(hop.port)] if hop.port else words

    def _proxy(self, jump: Hop) -> str:
        # Not ProxyJump: the ssh that it starts has none of our options, strict keys for one.
        words = shlex.join(self.command(jump)).replace("%", "%%")
        return f"{words} -W '[%h]:%p' -- {shlex.quote(jump.address)}"

    def open_jumps(self, hop: Hop) -> None:
        """Open the way up to `hop`, each jump once: many hosts behind one are more than its sshd lets log in at a time.

        Raises what `explain` gives for the jump: of one that ssh opens by itself it would not say why it failed.
        """
        if hop.jump is None:
            return
        with self._lock:
            opening = self._opening.setdefault(hop.jump, threading.Lock())
        with opening:
            if hop.jump not in self._opened:
                self.ask(hop.jump, "true")

    def ask(self, hop: Hop, command: str) -> tuple[int, str]:
        """Open the master and run a command: its code and what it said on stderr. Raises what `explain` gives."""
        self.open_jumps(hop)
        code, _, stderr = guard.listen(Talk([*self.command(hop), "--", hop.address, command], needed_for=_FOR))
        if code == 255:
            raise explain(hop, stderr)
        self._opened[hop] = None
        return code, stderr

    def close(self) -> None:
        """End the masters; one that we cannot end is gone after a minute."""
        for hop in list(self._opened):
            with contextlib.suppress(BundleError):
                talk = Talk([*self.command(hop), "-O", "exit", "--", hop.address], needed_for=_FOR)
                talk.end(grace=2)
        shutil.rmtree(self._folder, ignore_errors=True)


class SshHost:
    def __init__(self, spec: SiteHost, hop: Hop, session: SshSession) -> None:
        self.name = spec.name
        self._spec, self._hop, self._session = spec, hop, session
        self._privilege = Privilege(spec, spec.user, session.passwords)
        self._slots = threading.BoundedSemaphore(_SESSIONS)
        self._settling = threading.Lock()
        self._settled = False

    def run(self, script: Script) -> Answer:
        with self._slots:
            self._settle()
            remote = shlex.join([*self._privilege.prefix, *guard.COMMAND])
            command = [*self._session.command(self._hop), "--", self._hop.address, f"echo {_SHELL}; exec {remote}"]
            try:
                return guard.converse(Talk(command, needed_for=_FOR), script, reply=self._privilege.reply)
            except guard.Cut as cut:
                raise self._error(cut) from None

    def _settle(self) -> None:
        """The first contact: the master, and what sudo wants. Raises what `explain` gives, NoPrivilege."""
        with self._settling:
            if not self._settled:
                self._privilege.settle(*self._session.ask(self._hop, PROBE if self._privilege.needed else "true"))
                self._settled = True

    def _error(self, cut: guard.Cut) -> BundleError:
        if cut.ready:
            return HostLost(host=self.name, why=cut.why, said=cut.said)
        if _SHELL in cut.stdout and self._privilege.prefix:
            return self._privilege.failed(cut.stderr)
        return explain(self._hop, cut.stderr or ("Timeout: the login took too long" if cut.late else ""))
