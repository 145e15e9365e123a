"""`bundle site trust-hosts`: the first contact, at which a person says that a key is the host's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from bundler.errors import BundleError, HostKeyUnknown, Usage
from bundler.hosts import known
from bundler.hosts.failures import explain
from bundler.hosts.hop import hop_of
from bundler.hosts.privilege import Passwords
from bundler.hosts.scan import shown_key
from bundler.hosts.ssh import SshSession
from bundler.model.site import Site, SiteHost
from bundler.model.site_scalars import parse_jump
from bundler.support import parallel

_JOBS = 32


class Standing(Enum):
    KNOWN = "known"
    NEW = "new"
    CHANGED = "changed"
    TRUSTED = "trusted now"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a host showed: its key `TYPE BASE64` and that key's fingerprint; `before` are the known fingerprints."""

    host: SiteHost
    standing: Standing
    key: str = ""
    fingerprint: str = ""
    before: tuple[str, ...] = ()
    error: BundleError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`replace` names hosts whose key may change; `expected` gives the fingerprints of hosts from elsewhere."""

    replace: frozenset[str] = frozenset()
    expected: Mapping[str, str] | None = None


def trust_hosts(site: Site, state: Path, wish: Wish, agree: Callable[[Sequence[Seen]], bool]) -> list[Seen]:
    """Ask all hosts for their keys and keep those that `agree` says yes to; what was seen, in the site's order.

    Hosts behind a jump are asked after the jump's own key is trusted. Raises Usage, CannotWrite.
    """
    _check_names(site, wish)
    known.declare(state, site)
    session = SshSession(known_hosts=state / known.FILE, passwords=Passwords(lambda _: None))
    found: dict[str, Seen] = {}
    try:
        waiting = [host for host in site.hosts if not host.local]
        while waiting:
            turn = [host for host in waiting if not any(host.jump and _behind(host, other) for other in waiting)]
            seen = _look(site, state, session, turn, wish)
            found |= {each.host.name: each for each in seen}
            fresh = [each for each in seen if _acceptable(each, wish)]
            if fresh and agree(fresh):
                known.write(state, {known.place(each.host): (each.key,) for each in fresh})
                found |= {each.host.name: replace(each, standing=Standing.TRUSTED, error=None) for each in fresh}
            waiting = [host for host in waiting if host not in turn]
    finally:
        session.close()
    return [found[host.name] for host in site.hosts if host.name in found]


def _look(site: Site, state: Path, session: SshSession, hosts: Sequence[SiteHost], wish: Wish) -> list[Seen]:
    seen: list[Seen] = []

    def look(host: SiteHost) -> None:
        hop = hop_of(site, host)
        try:
            key, said = shown_key(session, hop, known.keys_of(state, host))
        except BundleError as error:
            seen.append(Seen(host=host, standing=Standing.UNREACHABLE, error=error))
            return
        if key:
            seen.append(_judge(state, host, key, (wish.expected or {}).get(host.name)))
        else:
            seen.append(Seen(host=host, standing=Standing.UNREACHABLE, error=explain(hop, said)))

    parallel.each(hosts, look, jobs=_JOBS)
    return sorted(seen, key=lambda each: hosts.index(each.host))


def _judge(state: Path, host: SiteHost, key: str, expected: str | None) -> Seen:
    keys, shown = known.keys_of(state, host), known.fingerprint(key)
    before = tuple(known.fingerprint(each) for each in keys)
    if key in keys:
        return Seen(host=host, standing=Standing.KNOWN, key=key, fingerprint=shown, before=before)
    changed = bool(keys) or expected not in (None, shown)
    return Seen(
        host=host,
        standing=Standing.CHANGED if changed else Standing.NEW,
        key=key,
        fingerprint=shown,
        before=before,
        error=HostKeyUnknown(host=host.name, seen=shown, known=(", ".join(before) or str(expected)) if changed else ""),
    )


def _acceptable(seen: Seen, wish: Wish) -> bool:
    if seen.standing is Standing.CHANGED:
        expected = (wish.expected or {}).get(seen.host.name, seen.fingerprint)
        return seen.host.name in wish.replace and not seen.host.host_key and expected == seen.fingerprint
    return seen.standing is Standing.NEW


def _behind(host: SiteHost, other: SiteHost) -> bool:
    return parse_jump(host.jump).host == other.name


def _check_names(site: Site, wish: Wish) -> None:
    names = {host.name for host in site.hosts}
    for name in sorted({*wish.replace, *(wish.expected or {})} - names):
        raise Usage(message=f"the site has no host {name}", advice=f"Its hosts: {', '.join(sorted(names))}.")
