"""From a site to its hosts."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from bundler.hosts import known
from bundler.hosts.base import Host
from bundler.hosts.hop import hop_of
from bundler.hosts.local import LocalHost
from bundler.hosts.privilege import Passwords
from bundler.hosts.ssh import SshHost, SshSession
from bundler.model.secret import Secret
from bundler.model.site import Site


class Hosts(Mapping[str, Host]):
    """The hosts of a site by name. Nothing is connected before its first script, and nothing runs between two."""

    def __init__(self, hosts: Mapping[str, Host], session: SshSession) -> None:
        self._hosts, self._session = hosts, session

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def connect(site: Site, *, state: Path, password: Callable[[str], Secret | None]) -> Hosts:
    """The hosts of `site`. `state` keeps its known_hosts, to which the `host_key` of each host is added.

    `password` is asked once a user, with USER@HOST, where sudo wants one. Raises CannotWrite, NotReadable.
    """
    passwords = Passwords(password)
    known.declare(state, site)
    session = SshSession(known_hosts=state / known.FILE, passwords=passwords)
    hosts: dict[str, Host] = {
        spec.name: LocalHost(spec, passwords) if spec.local else SshHost(spec, hop_of(site, spec), session)
        for spec in site.hosts
    }
    return Hosts(hosts, session)
