"""`bundle plan`, `bundle apply`, `bundle install --site`: bring the hosts of a site to a release."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from bundler.apply.apply import Watcher, apply
from bundler.apply.journal import Journal
from bundler.apply.lease import Taken, leased
from bundler.components import components
from bundler.components.store import ROOT
from bundler.errors import (
    BundleError,
    FactUnknown,
    HostKeyUnknown,
    HostsFailed,
    HostUnreachable,
    NoPrivilege,
    NotCarried,
    NotConverged,
    StalePlan,
    Usage,
)
from bundler.hosts.base import Host
from bundler.hosts.connect import connect
from bundler.model.limits import LIMITS
from bundler.model.secret import Secret
from bundler.model.site import SITE_ROLE, Site, SiteHost
from bundler.plan.plan import Plan, make_plan, select
from bundler.plan.show import as_json, listed
from bundler.plan.stack import Stack, stack_of
from bundler.secrets.unlock import KeyFile, Unlock
from bundler.secrets.vault import Vault
from bundler.signing.keys import PublicKey
from bundler.steps.facts import Fact, Facts
from bundler.steps.gather import gather
from bundler.steps.step import Check, Finding, Goal
from bundler.support import clock
from bundler.support.files import read_file, read_text, write_file
from bundler.workflows.preflight import look, not_ready, preflight_checks
from bundler.workflows.release import Release, installed_release, is_remembered, release_of, remember
from bundler.workflows.removed import note_wanted
from bundler.workflows.secrets import ensure_key, key_beside
from bundler.workflows.site import check_site


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    plan: Plan
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """`done` counts actions; 0 means that everything was so already. `unreachable` hosts know no newer epoch."""

    plan: Plan
    findings: tuple[Finding, ...]
    done: int
    declined: bool = False
    unreachable: tuple[str, ...] = ()


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
        )
        hosts = connect(site, state=state, password=request.password)
        try:
            yield Deployment(goal=goal, stack=stack_of(components()), release=release, hosts=hosts, state=state)
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


def plan(request: Request, *, shown: Path | None = None) -> Planned:
    """What would be done, and what stands in the way. Changes nothing. Raises StalePlan when `shown` is another one."""
    with deployment(request, create=False) as deployed:
        planned = _plan(deployed, request)
        if shown is not None:
            _check_shown(shown, planned.plan)
        return planned


def deploy(
    request: Request,
    *,
    watcher: Watcher,
    agree: Callable[[Planned], bool],
    shown: Path | None = None,
) -> Deployed:
    """Plan, show, do, look again. `shown` is a plan that was written before: another one is refused.

    Raises LeaseHeld, PreflightFailed, StalePlan, NotConverged, HostsFailed or the one host's error.
    """
    with changing(request) as (deployed, lease):
        planned = _plan(deployed, request)
        if shown is not None:
            _check_shown(shown, planned.plan)
        if planned.plan:
            if stopped := not_ready(planned.findings):
                raise stopped
            if not agree(planned):
                return Deployed(plan=planned.plan, findings=planned.findings, done=0, declined=True)
            deployed.goal.vault.save()
        remember(deployed.release, deployed.state)
        if planned.plan:  # else nothing that was taken away is asked back
            _want_again(deployed, request, lease)
        done = carry_out(deployed, planned.plan, lease, watcher, jobs=request.jobs) if planned.plan else 0
        if done and (left := _plan(deployed, request, preflight=False).plan):
            raise not_converged(left)
        return Deployed(plan=planned.plan, findings=planned.findings, done=done, unreachable=lease.unreachable)


@contextmanager
def changing(request: Request) -> Iterator[tuple[Deployment, Taken]]:
    """A deployment whose hosts nobody else changes meanwhile. Raises LeaseHeld."""
    with deployment(request, create=True) as deployed:
        ours = [host.name for host in deployed.goal.site.with_role(SITE_ROLE)]
        with ExitStack() as held:
            try:
                lease = held.enter_context(leased(deployed.hosts, ours[0], watched=ours, force=request.take_over))
            except (HostUnreachable, HostKeyUnknown, NoPrivilege) as error:
                wanted = deployed.wanted_hosts(request.limit)
                raise_not_ready(deployed, wanted, {ours[0]: error}, jobs=request.jobs)
            yield deployed, lease


def _plan(deployed: Deployment, request: Request, *, preflight: bool = True) -> Planned:
    wanted = deployed.wanted_hosts(request.limit)
    facts, failed = gather(steps_asked(deployed, wanted), deployed.hosts, jobs=request.jobs)
    if failed:
        left = [host for host in wanted if preflight and host.name not in failed]
        raise_not_ready(deployed, left, failed, jobs=request.jobs)
    try:
        whole = make_plan(deployed.stack, deployed.goal, facts)
    except (FactUnknown, NotCarried) as error:
        raise_not_ready(deployed, wanted if preflight else [], {"the plan": error}, jobs=request.jobs)
    chosen = select(whole, deployed.stack, only=request.only, start=request.start, limit=request.limit)
    findings: tuple[Finding, ...] = ()
    if preflight and chosen:
        findings = judge(deployed, preflight_checks(), wanted, request.jobs)
    return Planned(plan=chosen, findings=findings)


def raise_not_ready(
    deployed: Deployment, hosts: Sequence[SiteHost], failed: Mapping[str, BundleError], *, jobs: int
) -> NoReturn:
    """What keeps the site from being planned, with what preflight finds on `hosts`."""
    findings, more = look(deployed.goal, preflight_checks(), hosts, deployed.hosts, jobs=jobs)
    failed = {**failed, **more}
    raise not_ready(findings, list(failed.values())) or failure(failed)


def _want_again(deployed: Deployment, request: Request, lease: Taken) -> None:
    """What was uninstalled and is in the plan's reach is recovery's business again."""
    names = {place.component for place in deployed.stack if not request.only or {*request.only} & {*place.names}}
    told = [host.name for host in deployed.goal.site.hosts if not request.limit or host.name in request.limit]
    note_wanted(deployed.hosts, told, names, lease)


def not_converged(left: Plan) -> NotConverged:
    return NotConverged(left=tuple(f"{u.host}: {u.step}: {a.kind} {a.target}" for u, a in left.actions()))


def steps_asked(deployed: Deployment, hosts: Iterable[SiteHost]) -> dict[str, list[Fact[Any]]]:
    """What all steps ask of each host."""
    goal, steps = deployed.goal, [place.step for place in deployed.stack]
    return {host.name: [fact for step in steps if step.on(host) for fact in step.asks(goal, host)] for host in hosts}


def judge(deployed: Deployment, checks: Sequence[Check], hosts: Sequence[SiteHost], jobs: int) -> tuple[Finding, ...]:
    """The findings of all checks over the hosts that they are for. Raises HostsFailed, or the one host's error."""
    findings, failed = look(deployed.goal, checks, hosts, deployed.hosts, jobs=jobs)
    raise_failed(failed)
    return findings


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


def carry_out(
    deployed: Deployment, plan: Plan, lease: Taken, watcher: Watcher, *, jobs: int, backwards: bool = False
) -> int:
    """Run a plan, with a journal; the number of actions done. Raises HostsFailed, or the one host's error."""
    journal = Journal(deployed.state / "journal.jsonl")
    try:
        journal.write("apply", epoch=lease.epoch, release=str(deployed.goal.statement.release), actions=plan.count())
        applied = apply(
            plan,
            deployed.stack,
            deployed.goal,
            deployed.hosts,
            journal=journal,
            lease=lease,
            watcher=watcher,
            jobs=jobs,
            backwards=backwards,
        )
        journal.write("applied", done=applied.done, failed=sorted(applied.failed))
    finally:
        journal.close()
    raise_failed(applied.failed, [f"{unit.step} on {unit.host}" for unit in applied.waited])
    return applied.done


def write_plan(path: Path, planned: Planned) -> None:
    """A plan to look at, and to be compared with what `apply` finds later."""
    text = json.dumps({"plan": 1, "actions": as_json(planned.plan)}, indent=1, ensure_ascii=False)
    write_file(path, f"{text}\n".encode(), mode=0o600)


def _check_shown(path: Path, plan: Plan) -> None:
    """Raises StalePlan with every difference between the plan in the file and this one."""
    try:
        read = json.loads(read_file(path, limit=LIMITS.document))
        keys = ("host", "step", "kind", "target", "before")
        shown = [tuple(str(action[key]) for key in keys) for action in read["actions"]]
    except (ValueError, KeyError, TypeError):
        raise StalePlan(differences=(f"{path} is no plan that `bundle plan -o` wrote",)) from None
    now = list(plan.signature())
    gone = [f"no more needed, or on another file: {' '.join(key[:4])}" for key in shown if key not in set(now)]
    new = [f"not in the plan that was shown: {' '.join(key[:4])}" for key in now if key not in set(shown)]
    if gone or new or shown != now:
        raise StalePlan(differences=tuple(gone + new) or ("the same actions in another order",))
