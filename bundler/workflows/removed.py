"""What `bundle uninstall` took away: noted on the hosts, so that nobody misses it, or brings it back."""

import shlex
from collections.abc import Iterable, Mapping

from bundler.apply.lease import FOLDER, Taken
from bundler.errors import BundleError
from bundler.hosts.base import Host, Script
from bundler.steps.facts import Ask
from bundler.support import parallel

REMOVED = f"{FOLDER}/removed"  # a folder with an empty file for each component
LIST = f"[ ! -d {REMOVED} ] || ls {REMOVED}"
NOTED: Ask[frozenset[str]] = Ask(
    name="components taken away", script=LIST, reading=lambda said: frozenset(said.split()), bare=frozenset()
)


def note_removed(hosts: Mapping[str, Host], at: Iterable[str], component: str, lease: Taken) -> dict[str, BundleError]:
    """Before the first thing goes: recovery would start with that. Gives the hosts that could not be told."""
    text = f"mkdir -p {REMOVED} && : > {REMOVED}/{shlex.quote(component)} && sync {REMOVED}"
    return _tell(hosts, at, text, lease)


def note_wanted(
    hosts: Mapping[str, Host], at: Iterable[str], components: Iterable[str], lease: Taken
) -> dict[str, BundleError]:
    """They are wanted again."""
    names = " ".join(f"{REMOVED}/{shlex.quote(name)}" for name in components)
    return _tell(hosts, at, f"[ ! -d {REMOVED} ] || rm -f -- {names}", lease)


def _tell(hosts: Mapping[str, Host], at: Iterable[str], text: str, lease: Taken) -> dict[str, BundleError]:
    return dict(parallel.each(at, lambda name: _run(hosts[name], Script(text=text, epoch=lease.epoch)), jobs=32))


def _run(host: Host, script: Script) -> None:
    host.run(script)
