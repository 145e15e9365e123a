"""`bundle rollback --site` and `bundle trust apply --site`: what each site host does by itself, on all of them, one
after the other."""

import io
import json
import shlex
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.apply.apply import Watcher
from bundler.apply.lease import Taken
from bundler.components import store
from bundler.components.store import COMMAND, ROOT
from bundler.errors import FactUnknown, Usage
from bundler.hosts.base import Host, Script
from bundler.model.digest import Digest
from bundler.model.lock_parser import parse_lock
from bundler.model.renewal import Rotation, parse_renewal
from bundler.model.site import SITE_ROLE, SiteHost
from bundler.model.statement_parser import parse_statement
from bundler.plan.plan import make_plan
from bundler.plan.stack import stack_of
from bundler.signing.keys import PublicKey
from bundler.signing.renewal import renew
from bundler.signing.trust import Signed, Trust
from bundler.site import fronts, generation
from bundler.steps.actions import Action, Run
from bundler.steps.facts import Ask, HostFacts
from bundler.steps.gather import gather
from bundler.steps.step import Step
from bundler.workflows.deploy import Deployed, Planned, carry_out, changing, not_converged
from bundler.workflows.deployment import Deployment, Request, deployment, raise_failed, steps_asked
from bundler.workflows.release import Release, remember, remember_trust
from bundler.workflows.renew import signed_renewal

SLOW = 600  # seconds for a question that looks through a store


# --- one step on all site hosts


@dataclass(frozen=True, kw_only=True)
class _OnHost:
    """What the tool on a host does by itself; `missing` says by the answer to `fact` why, or nothing."""

    name: str
    fact: Ask[Any]
    missing: Callable[[Any], str]
    text: str
    stdin: bytes = b""

    def asks(self) -> tuple[Ask[Any], ...]:
        return (self.fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        if why := self.missing(facts[self.fact]):
            yield Run(name=self.name, text=self.text, timeout=3600, stdin=self.stdin, reason=why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()


def _with(deployed: Deployment, done: _OnHost, name: str) -> Deployment:
    """The same site with one step: on one site host at a time, in the site's order; where it fails, the hosts behind
    stay as they are."""
    step = Step(name=f"store/{name}", resources=lambda goal, host: (done,), roles=(SITE_ROLE,), rolling=True)
    return replace(deployed, stack=stack_of([replace(store.COMPONENT, steps=(step,))]))


def _plan(deployed: Deployment, request: Request) -> Planned:
    facts, failed = gather(steps_asked(deployed, site_hosts(deployed)), deployed.hosts, jobs=request.jobs)
    raise_failed(failed)
    return Planned(plan=make_plan(deployed.stack, deployed.goal, facts), findings=())


def _do(deployed: Deployment, request: Request, lease: Taken, watcher: Watcher, planned: Planned) -> int:
    if not planned.plan:
        return 0
    done = carry_out(deployed, planned.plan, lease, watcher, jobs=request.jobs)
    if left := _plan(deployed, request).plan:
        raise not_converged(left)
    return done


def site_hosts(deployed: Deployment) -> list[SiteHost]:
    """In the site's order."""
    return list(deployed.goal.site.with_role(SITE_ROLE))


def _ask(host: Host, words: str, *, stdin: bytes = b"", what: str) -> bytes:
    """What the tool on a host says. Raises FactUnknown with its words."""
    answer = host.run(Script(text=words, stdin=stdin, timeout=SLOW))
    if answer.code != 0:
        raise FactUnknown(host=host.name, fact=what, why=answer.tail(8) or f"code {answer.code}")
    return answer.stdout


# --- back


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The generations that a site host keeps: the one in use, and what was in use before each."""

    in_use: str
    before: Mapping[str, str]
    releases: Mapping[str, str]


def rollback(
    request: Request, wanted: str, *, reason: str, watcher: Watcher, agree: Callable[[Planned], bool]
) -> Deployed:
    """Bring all site hosts to the release that `wanted` names, or without it to what was in use before the one that the
    site was brought to last. All of them have it whole, or nothing is changed. The site remembers it at the end.

    Raises FactUnknown with what a host says, Usage where they do not agree, LeaseHeld, HostsFailed.
    """
    with changing(request) as (deployed, lease):
        steps, target = _returning(deployed, wanted, reason)
        planned = _plan(steps, request)
        if planned.plan and not agree(planned):
            return Deployed(plan=planned.plan, findings=(), done=0, declined=True)
        release = _release_of(deployed, target)
        done = _do(steps, request, lease, watcher, planned)
        remember(release, deployed.state)
        return Deployed(plan=planned.plan, findings=(), done=done, unreachable=lease.unreachable)


def plan_rollback(request: Request, wanted: str) -> Planned:
    """What `rollback` would do. Changes nothing."""
    with deployment(request, create=False) as deployed:
        return _plan(_returning(deployed, wanted, "")[0], request)


def _returning(deployed: Deployment, wanted: str, reason: str) -> tuple[Deployment, str]:
    """The step, and the generation that it leads to, which every host has whole."""
    kept = {host.name: _kept(deployed.hosts[host.name]) for host in site_hosts(deployed)}
    target = wanted or choose_before(generation.name_of(deployed.goal.statement), kept)
    found = {name: _judged(deployed.hosts[name], target) for name in kept}
    if len(set(found.values())) > 1:
        shown = ", ".join(f"{each} on {name}" for name, each in sorted(found.items()))
        raise Usage(message=f"{target!r} is not the same everywhere: {shown}", advice="Name one of these.")
    name = next(iter(found.values()))

    fact = Ask(name="the release in use", script=f"readlink {ROOT}/current || :", reading=_last, bare="")
    why = f" --reason {shlex.quote(reason)}" if reason else ""
    done = _OnHost(
        name=f"return to {name}",
        fact=fact,
        missing=lambda have: "" if have == name else f"{have or 'no release'} is in use",
        text=f"exec {COMMAND} rollback {shlex.quote(name)} --root {ROOT} --yes{why}",
    )
    return _with(deployed, done, "rollback"), name


def choose_before(remembered: str, kept: Mapping[str, Kept]) -> str:
    """The generation to return to when none is named. Hosts that are not on the remembered one were brought back by a
    run that did not end: they do not say where to. Raises Usage."""
    there = [each for each in kept.values() if each.in_use == remembered]
    if there:
        targets = {each.before.get(remembered, "") for each in there}
    else:
        targets = {each.in_use for each in kept.values()}
    if len(targets) != 1 or "" in targets:
        shown = ", ".join(f"{host} uses {each.in_use or 'none'}" for host, each in sorted(kept.items()))
        names = ", ".join(sorted({short for each in kept.values() for short in each.releases.values()}))
        raise Usage(message=f"nothing says which release to return to: {shown}", advice=f"Name one: {names}.")
    return targets.pop()


def _kept(host: Host) -> Kept:
    said = json.loads(_ask(host, f"exec {COMMAND} releases --root {ROOT} --json", what="its releases"))
    found = said["releases"]
    return Kept(
        in_use=next((each["generation"] for each in found if each["inUse"]), ""),
        before={each["generation"]: each["before"] or "" for each in found},
        releases={each["generation"]: f"{each['release']['line']}-{each['release']['number']}" for each in found},
    )


def _judged(host: Host, target: str) -> str:
    """The generation that a host would return to; it has looked whether it can."""
    words = f"exec {COMMAND} rollback {shlex.quote(target)} --root {ROOT} --dry-run --json"
    found: str = json.loads(_ask(host, words, what=f"whether it can return to {target}"))["to"]["generation"]
    return found


def _last(said: str) -> str:
    return said.strip().rpartition("/")[2]


def _release_of(deployed: Deployment, name: str) -> Release:
    """A kept release as its first site host has it: that host judged it when it was installed, and again just now."""
    host = deployed.hosts[site_hosts(deployed)[0].name]
    where = f"{ROOT}/generations/{shlex.quote(name)}/{generation.EVIDENCE}/{fronts.FRONT}"
    front = _ask(host, f"exec cat {where}", what=f"the statement of {name}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / fronts.FRONT
        path.write_bytes(front)
        signed = fronts.read(path)
    assert signed is not None
    statement = parse_statement(signed.statement, path=f"{host.name}: {name}")
    if generation.name_of(statement) != name:
        raise FactUnknown(host=host.name, fact=f"the statement of {name}", why="it has another one there")
    blob = f"{ROOT}/store/blobs/sha256/{statement.lock.hex[:2]}/{statement.lock.hex}"
    lock = _ask(host, f"exec cat {blob}", what=f"the lock of {name}")
    if Digest.of(lock) != statement.lock:
        raise FactUnknown(host=host.name, fact=f"the lock of {name}", why="its store has other bytes")
    parsed = parse_lock(lock.decode(), file=f"{host.name}: images.lock")
    return Release(statement=statement, lock=parsed, signed=signed, trust=deployed.release.trust, source=None)


# --- trust


def apply_trust(
    request: Request, path: Path, *, watcher: Watcher, agree: Callable[[Planned], bool]
) -> tuple[Deployed, Trust]:
    """Let all site hosts take over a rotation or revocation; each judges it by its own trust, all of them before the
    first change. The keys that releases are judged by here follow. Raises as `rollback`, and the errors of trust."""
    signed = signed_renewal(path)
    with changing(request) as (deployed, lease):
        steps, trust = _trusting(deployed, signed)
        planned = _plan(steps, request)
        if planned.plan and not agree(planned):
            return Deployed(plan=planned.plan, findings=(), done=0, declined=True), deployed.release.trust
        done = _do(steps, request, lease, watcher, planned)
        remember_trust(deployed.state, trust)
    return Deployed(plan=planned.plan, findings=(), done=done, unreachable=lease.unreachable), trust


def plan_trust(request: Request, path: Path) -> tuple[Planned, Trust]:
    """What `apply_trust` would do. Changes nothing."""
    signed = signed_renewal(path)
    with deployment(request, create=False) as deployed:
        steps, trust = _trusting(deployed, signed)
        return _plan(steps, request), trust


def _trusting(deployed: Deployment, signed: Signed) -> tuple[Deployment, Trust]:
    """The step, which no host would refuse, and whom this machine judges by afterwards."""
    digest, load = str(Digest.of(signed.statement)), _packed(signed)
    fact: Ask[list[str]] = Ask(
        name="changes of trust",
        script=f"exec {COMMAND} history --root {ROOT} --json",
        reading=lambda said: [each["statement"] for each in json.loads(said)],
        bare=[],
    )
    asked, failed = gather({host.name: [fact] for host in site_hosts(deployed)}, deployed.hosts)
    raise_failed(failed)
    lacking = [host.name for host in site_hosts(deployed) if digest not in asked.of(host.name)[fact]]
    trust = renewed_here(deployed.release.trust, signed, everywhere=not lacking)
    for name in lacking:
        _ask(deployed.hosts[name], _applying("--dry-run"), stdin=load, what="whether it would take this")
    done = _OnHost(
        name=f"take over {Path(signed.path).name}",
        fact=fact,
        missing=lambda said: "" if digest in said else "the host has not taken it over",
        text=_applying(""),
        stdin=load,
    )
    return _with(deployed, done, "trust"), trust


def renewed_here(trust: Trust, signed: Signed, *, everywhere: bool) -> Trust:
    """The trust that this machine judges by, after it; the same where it has it already. What all hosts have taken over
    is not judged again: a run was killed before it remembered that. Raises the errors of trust."""
    renewal = parse_renewal(signed.statement, path=signed.path)
    if isinstance(renewal, Rotation):
        keys, threshold = tuple(PublicKey(raw) for raw in renewal.keys), renewal.threshold
    else:
        keys, threshold = tuple(key for key in trust.keys if key.raw != renewal.key), trust.threshold
    if (set(keys), threshold) == (set(trust.keys), trust.threshold):
        return trust
    return Trust(keys=keys, threshold=threshold) if everywhere else renew(trust, signed)[0]


def _applying(option: str) -> str:
    return f"""d=$(mktemp -d) || exit 1
trap 'rm -rf "$d"' EXIT
tar -xf - -C "$d" && {COMMAND} trust apply "$d/renewal.json" --root {ROOT} {option}
"""


def _packed(signed: Signed) -> bytes:
    """The statement and its signatures as a tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        named = {"renewal.json": signed.statement}
        named |= {f"renewal.json.{keyid}.sig": data for keyid, data in sorted(signed.beside.items())}
        for name, data in named.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
