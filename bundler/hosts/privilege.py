"""How the user that reaches a host becomes root there: as root already, by sudo, or by sudo with a password."""

import threading
from collections.abc import Callable

from bundler.errors import NoPrivilege
from bundler.hosts.guard import Reply
from bundler.model.secret import Secret
from bundler.model.site import SiteHost

# Asks without sudo's memory of an earlier password, so that the answer is the same every time.
PROBE = "LC_ALL=C sudo -k -n true"
_NOPASSWD = ("sudo", "-n")
_PROMPT = "bundle-asks-for-the-password"
_ASKING = ("sudo", "-k", "-S", "-p", _PROMPT)


class Passwords:
    """The passwords of users, each asked for once: `ask` is given USER@HOST and gives None where nobody can answer."""

    def __init__(self, ask: Callable[[str], Secret | None]) -> None:
        self._ask = ask
        self._known: dict[str, Secret | None] = {}
        self._lock = threading.Lock()

    def of(self, user: str, host: str) -> Secret | None:
        with self._lock:
            if user not in self._known:
                self._known[user] = self._ask(f"{user}@{host}")
            return self._known[user]


class Privilege:
    """`prefix` stands before a command that needs root; `reply` is what it may want to hear."""

    def __init__(self, host: SiteHost, user: str, passwords: Passwords) -> None:
        self._host, self._user, self._passwords = host, user, passwords
        self.prefix: tuple[str, ...] = ()
        self.reply: Reply | None = None

    @property
    def needed(self) -> bool:
        return self._user != "root" and self._host.become

    def settle(self, code: int, said: str) -> None:
        """What sudo wants, by the code of PROBE there and what it said. Raises NoPrivilege."""
        if self._user == "root":
            return
        if not self._host.become:
            raise self._refused("it is not root, and `become` is not set", "Set `become: true` or `user: root`.")
        if code == 0:
            self.prefix = _NOPASSWD
            return
        if "password" not in said:
            raise self._refused(_last_line(said) or f"sudo ended with {code}", _ADVICE)
        password = self._passwords.of(self._user, self._host.name)
        if password is None:
            advice = "Run it on a terminal, where it is asked for, or let the user use sudo without one."
            raise self._refused("sudo asks for a password, and nobody can be asked", advice)
        self.prefix = _ASKING
        self.reply = Reply(prompt=_PROMPT.encode(), text=password.reveal().encode() + b"\n")

    def failed(self, said: str) -> NoPrivilege:
        """Why a command behind `prefix` did not begin."""
        if said.count(_PROMPT) > 1:
            return self._refused("sudo did not accept the password", "Run it again and give the right one.")
        return self._refused(_last_line(said.replace(_PROMPT, "")) or "sudo said nothing", _ADVICE)

    def _refused(self, why: str, advice: str) -> NoPrivilege:
        return NoPrivilege(host=self._host.name, user=self._user, why=why, advice=advice)


_ADVICE = "Install sudo there and give the user a line `USER ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d, or use root."


def _last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return lines[-1].strip() if lines else ""
