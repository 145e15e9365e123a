"""The machine that the tool runs on, as a host: the same guard, no ssh."""

import os
import pwd
import threading

from bundler.errors import HostLost, HostUnreachable
from bundler.hosts import guard
from bundler.hosts.base import Answer, Script
from bundler.hosts.privilege import PROBE, Passwords, Privilege
from bundler.model.site import SiteHost
from bundler.support.run import Talk, run

_FOR = "to run scripts on this machine"


class LocalHost:
    def __init__(self, spec: SiteHost, passwords: Passwords) -> None:
        self.name = spec.name
        self._spec, self._passwords = spec, passwords
        self._privilege: Privilege | None = None
        self._settling = threading.Lock()

    def run(self, script: Script) -> Answer:
        privilege = self._settled()
        talk = Talk([*privilege.prefix, *guard.COMMAND], needed_for=_FOR)
        try:
            return guard.converse(talk, script, reply=privilege.reply)
        except guard.Cut as cut:
            if cut.ready:
                raise HostLost(host=self.name, why="the script's shell was killed", said=cut.said) from None
            if privilege.prefix:
                raise privilege.failed(cut.stderr) from None
            raise HostUnreachable(host=self.name, why=cut.said or "its shell does not start") from None

    def _settled(self) -> Privilege:
        with self._settling:
            if self._privilege is None:
                user = "root" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
                privilege = Privilege(self._spec, user, self._passwords)
                privilege.settle(*(_probe() if privilege.needed else (0, "")))
                self._privilege = privilege
            return self._privilege


def _probe() -> tuple[int, str]:
    outcome = run(["sh", "-c", PROBE], needed_for=_FOR, timeout=30)
    return outcome.code, outcome.stderr
