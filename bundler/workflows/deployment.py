"""A deployment: everything that is known of a site before its hosts are asked, and what all of them are asked."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundler.components import components
from bundler.components.store import ROOT
from bundler.errors import BundleError, HostsFailed, Usage
from bundler.hosts.base import Host
from bundler.hosts.connect import connect
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.secret import Secret
from bundler.model.site import SITE_ROLE, Site, SiteHost
from bundler.plan.show import listed
from bundler.plan.stack import Stack, stack_of
from bundler.secrets.unlock import KeyFile, Unlock
from bundler.secrets.vault import Vault
from bundler.signing.keys import PublicKey
from bundler.steps.facts import Fact, Facts
from bundler.steps.gather import gather
from bundler.steps.step import Component, Goal
from bundler.support import clock
from bundler.support.files import read_text
from bundler.workflows.release import Release, installed_release, is_remembered, release_of
from bundler.workflows.secrets import ensure_key, key_beside
from bundler.workflows.site import check_site

_GIVEN = 64 << 10  # bytes of a secret that people give


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a command was asked for. Without `unlock` the secrets are opened by the key file beside them, which is made
    at the first need; `password` gives sudo's, by USER@HOST. `here` is the host that this runs on."""

    site: Path
    bundle: Path | None = None
    keys: Sequence[PublicKey] = ()
    threshold: int | None = None
    only: Sequence[str] = ()
    start: str = ""
    limit: Sequence[str] = ()
    jobs: int = 32
    take_over: bool = False
    secrets: Path | None = None
    unlock: Unlock | None = None
    password: Callable[[str], Secret | None] = field(default=lambda host: None)
    here: str = ""

    @property
    def state(self) -> Path:
        """The folder beside site.yaml with what this machine remembers of the site."""
        return self.site.with_name(f"{self.site.stem}.state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Everything that is known before a host is asked."""

    goal: Goal
    stack: Stack
    release: Release
    hosts: Mapping[str, Host]
    state: Path

    def wanted_hosts(self, limit: Sequence[str] = ()) -> list[SiteHost]:
        """The hosts to ask: all, or those of `limit` and the site hosts, which they may need."""
        return [host for host in self.goal.site.hosts if not limit or host.name in limit or host.has(SITE_ROLE)]


@contextmanager
def deployment(request: Request, *, create: bool) -> Iterator[Deployment]:
    """Site, release, secrets and connections. `create`: secrets that are not there yet are made to be kept."""
    site = _with_here(check_site(request.site), request.here)
    check_limit(site, request.limit)
    state = request.state
    state.mkdir(mode=0o700, exist_ok=True)
    with _release(request) as release:
        goal = Goal(
            site=site,
            text=read_text(request.site, limit=LIMITS.manifest),
            lock=release.lock,
            statement=release.statement,
            vault=open_vault(request, create=create),
            now=clock.now(),
            trust=release.trust.keys,
            threshold=release.trust.threshold,
            source=release.source,
            recovery=bool(request.here),
            components=_brought(release.lock),
        )
        if not request.here:
            bring_given(goal, request)
        hosts = connect(site, state=state, password=request.password)
        try:
            yield Deployment(
                goal=goal, stack=stack_of(components()).of(goal.components), release=release, hosts=hosts, state=state
            )
        finally:
            hosts.close()


@contextmanager
def _release(request: Request) -> Iterator[Release]:
    """On a site host by itself, the release that its own store has."""
    if request.here:
        yield installed_release(Path(ROOT))
        return
    with release_of(request.bundle, request.state, keys=request.keys, threshold=request.threshold) as release:
        yield release


def _with_here(site: Site, here: str) -> Site:
    hosts = tuple(replace(host, local=host.local or host.name == here) for host in site.hosts)
    return replace(site, hosts=hosts) if here else site


def _brought(lock: Lock) -> tuple[Component, ...]:
    """The components that a release brings."""
    carried = {each.component for each in lock.asked}
    return tuple(part for part in components() if carried.issuperset(part.catalog))


def check_limit(site: Site, limit: Sequence[str]) -> None:
    """Raises Usage: a name that no host has would leave out everything, and that looks like success."""
    known = [host.name for host in site.hosts]
    if unknown := [name for name in limit if name not in known]:
        message = f"there is no host {', '.join(unknown)} in site.yaml"
        raise Usage(message=message, advice=f"There are: {listed(known)}.")


def secrets_of(request: Request) -> Path:
    return request.secrets or request.site.with_suffix(".secrets")


def open_vault(request: Request, *, create: bool) -> Vault:
    """The site's secrets; without a file, new ones: kept by `save` when `create`, else only in memory.

    Raises SecretsLocked, SecretsDamaged; Usage when the file of a site that is installed is gone.
    """
    path = secrets_of(request)
    beside = key_beside(path)
    if path.exists():
        return Vault.open(path, request.unlock or KeyFile(path=beside))
    if request.here or is_remembered(request.state):
        advice = "Give it with --secrets, or restore it from its backup: a site host has a copy in /etc/bundle."
        raise Usage(message=f"{path} is not there, and new secrets would lock the site out", advice=advice)
    return Vault.create(path, request.unlock or ensure_key(beside)) if create else Vault.empty()


def bring_given(goal: Goal, request: Request) -> None:
    """The secrets that site.yaml names files of. What is kept stays where the file is gone: whoever has given it once
    need not keep it lying there. Raises NotReadable, InvalidDocument."""
    for component in goal.components:
        for given in component.given(goal.site):
            path = request.site.parent / given.path
            if goal.vault.get(given.secret) is not None and not os.path.lexists(path):
                continue
            text = read_text(path, limit=_GIVEN)
            given.check(text, given.path)
            goal.vault.put(given.secret, Secret(text))


def hosts_of(deployed: Deployment, request: Request) -> list[SiteHost]:
    """Those of `limit`, or all."""
    return [host for host in deployed.goal.site.hosts if not request.limit or host.name in request.limit]


def steps_asked(deployed: Deployment, hosts: Iterable[SiteHost]) -> dict[str, list[Fact[Any]]]:
    """What all steps ask of each host."""
    goal, steps = deployed.goal, [place.step for place in deployed.stack]
    return {host.name: [fact for step in steps if step.on(host) for fact in step.asks(goal, host)] for host in hosts}


def ask_all(deployed: Deployment, hosts: Iterable[SiteHost], jobs: int) -> Facts:
    """The answers to what all steps ask. Raises HostsFailed with all hosts that could not be asked, or the one's own
    error."""
    facts, failed = gather(steps_asked(deployed, hosts), deployed.hosts, jobs=jobs)
    raise_failed(failed)
    return facts


def raise_failed(failed: Mapping[str, BundleError], waited: Sequence[str] = ()) -> None:
    """Raises the error of the one host that failed, or HostsFailed for more than that."""
    if failed:
        raise failure(failed, waited)


def failure(failed: Mapping[str, BundleError], waited: Sequence[str] = ()) -> BundleError:
    if len(failed) == 1 and not waited:
        return next(iter(failed.values()))
    said = [line for error in failed.values() for line in (error.summary, *_indented(error.detail))]
    advice = tuple(error.hint for error in failed.values() if error.hint)
    return HostsFailed(hosts=tuple(failed), said=tuple(said), advice=advice, waited=tuple(waited))


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines()]
