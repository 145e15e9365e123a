"""`bundle watch`: on a site host, look at its own components' health, and mend what their remedies can."""

import json
import shlex
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bundler.apply.lease import FOLDER, HOLD, Taken, epoch_of
from bundler.components.store import ROOT, TOOL_STEP
from bundler.errors import BundleError
from bundler.hosts.base import Script
from bundler.plan.plan import Plan, Unit, make_plan, select
from bundler.steps.actions import Action, Run
from bundler.steps.step import Finding, Remedy
from bundler.support import clock
from bundler.support.files import read_text, write_file
from bundler.watch.decide import Act, Decision, Limits, Memory, decide
from bundler.workflows.deploy import carry_out, judge
from bundler.workflows.deployment import Deployment, Request, ask_all, deployment, secrets_of
from bundler.workflows.install import front_file
from bundler.workflows.preflight import in_words
from bundler.workflows.removed import LIST
from bundler.workflows.secrets import key_beside

MEMORY = Path(FOLDER) / "watch.json"
_HOLD_SECONDS = 60
_SOON = 3.0  # seconds to the next look after one that found something
_KEPT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One round: `held` while an installer works on the host, when nothing is looked at."""

    held: bool = False
    findings: tuple[Finding, ...] = ()
    decisions: tuple[Decision, ...] = ()


class _Quiet:
    def expect(self, plan: Plan) -> None: ...
    def starts(self, unit: Unit, action: Action) -> None: ...
    def ended(self, unit: Unit, action: Action, *, seconds: float, error: BundleError | None) -> None: ...


def watch(
    request: Request, here: str, *, say: Callable[[str], None], stop: threading.Event, interval: float, limits: Limits
) -> None:
    """Look and mend until `stop`; what a look raises is said, once, and it goes on."""
    memory = _remembered()
    well: dict[str, float] = {}
    failed, trouble = "", False
    with _Kept(replace(request, here=here)) as kept:
        while not stop.is_set():
            pause = interval
            try:
                look, memory = once(kept.opened(), here, memory, limits, say=say, well=well)
            except BundleError as error:
                if error.summary != failed:
                    failed = error.summary
                    say(f"could not look: {in_words(error)}")
            else:
                failed = ""
                if look.findings:
                    trouble, pause = True, min(interval, _SOON)
                elif trouble and not look.held:
                    trouble = False
                    say("everything is well again")
            stop.wait(pause)


class _Kept:
    """The deployment, kept open from look to look: to open it is most of what a look would cost.

    Opened anew when an installation has brought another site.yaml, release or secrets, and now and then besides:
    certificates are judged by the time when it was opened.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._files = (request.site, secrets_of(request), key_beside(secrets_of(request)), front_file(Path(ROOT)))
        self._stamp: tuple[object, ...] = ()
        self._until = 0.0
        self._stack = ExitStack()
        self._deployed: Deployment | None = None

    def __enter__(self) -> "_Kept":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def opened(self) -> Deployment:
        """Raises what opening the site raises."""
        stamp = tuple(map(_stamp, self._files))
        if self._deployed is None or stamp != self._stamp or clock.monotonic() > self._until:
            self._stack.close()
            self._deployed = None
            self._deployed = self._stack.enter_context(deployment(self._request, create=True))
            self._stamp, self._until = stamp, clock.monotonic() + _KEPT_SECONDS
        return self._deployed


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def once(
    deployed: Deployment,
    here: str,
    memory: Memory,
    limits: Limits,
    *,
    say: Callable[[str], None],
    well: dict[str, float] | None = None,
) -> tuple[Look, Memory]:
    """One look at this host, and what is done about it. `well` has the host's uptime when each check last found
    nothing, and is brought up to date."""
    now, held, removed = _now(deployed, here)
    if held:
        return Look(held=True), memory
    well = {} if well is None else well
    there = [component for component in deployed.goal.components if component.name not in removed]
    health = [check for component in there for check in component.health]
    checks = [check for check in health if now - well.get(check.name, -check.every) >= check.every]
    host = deployed.goal.site.host(here)
    findings = tuple(f for f in judge(deployed, checks, [host], jobs=1) if f.host == here and not f.warning)
    well.update((check.name, now) for check in checks)
    for finding in findings:
        well.pop(finding.check, None)
    before = memory
    decisions, memory = decide(findings, memory, now, limits)
    if memory.told != before.told:
        _remember(memory)
    for decision in decisions:
        if decision.remedy is not None:
            memory = memory.acted(decision.finding.check, now)
            _remember(memory)  # before the act: one that kills us counts
            _mend(deployed, here, decision.finding, decision.remedy, say)
        elif decision.tell:
            say(f"left alone: {decision.finding.found}: {decision.why}")
    return Look(findings=findings, decisions=decisions), memory


def _mend(deployed: Deployment, here: str, finding: Finding, remedy: Remedy, say: Callable[[str], None]) -> None:
    what = f"restart {remedy.restart}" if remedy.restart else f"bring {', '.join(remedy.steps)} back"
    say(f"{finding.found}: {what}")
    started = clock.monotonic()
    try:
        plan = _plan(deployed, here, finding, remedy)
        deployed.goal.vault.save()
        done = carry_out(deployed, plan, _epoch(deployed, here), _Quiet(), jobs=1)
    except BundleError as error:
        say(f"{what}: failed: {in_words(error)}")
        return
    say(
        f"{what}: {done} done in {clock.monotonic() - started:.1f} s"
        if done
        else f"{what}: nothing differs: {finding.fix}"
    )


def _plan(deployed: Deployment, here: str, finding: Finding, remedy: Remedy) -> Plan:
    """A restart, or what brings the steps, and those before them on this host, back to what is wanted."""
    places = {place.step.name: place for place in deployed.stack}
    if remedy.restart:
        unit = shlex.quote(remedy.restart)
        text = f"systemctl reset-failed -q -- {unit} 2>/dev/null || :\nsystemctl restart -- {unit}"
        action = Run(name=f"restart {remedy.restart}", text=text, reason=finding.found)
        step = finding.remedy.steps[0] if finding.remedy and finding.remedy.steps else next(iter(places))
        return Plan(units=(Unit(host=here, step=step, actions=(action,)),))
    facts = ask_all(deployed, [deployed.goal.site.host(here)], 1)
    steps = {name for step in remedy.steps for name in (step, *places[step].before_here, *places[step].before_anywhere)}
    whole = make_plan(deployed.stack, deployed.goal, facts)
    # The tool that mends is the one that runs: what another one needs is a bundle, and an installer.
    ours = Plan(units=tuple(unit for unit in whole.units if unit.step != TOOL_STEP))
    return select(ours, deployed.stack, only=sorted(steps))


def _now(deployed: Deployment, here: str) -> tuple[float, bool, frozenset[str]]:
    """The host's uptime, whether an installer works on it, and the components that were taken away."""
    text = f"read -r up rest < /proc/uptime; echo $up; [ ! -f {HOLD} ] || cat {HOLD}; echo; {LIST}"
    said, _, removed = deployed.hosts[here].run(Script(text=text)).stdout.decode("ascii", "replace").partition("\n\n")
    up, *hold = map(float, said.split())
    return up, bool(hold) and up - hold[0] < _HOLD_SECONDS, frozenset(removed.split())


def _epoch(deployed: Deployment, here: str) -> Taken:
    """The host's own epoch: an installer that comes meanwhile has a higher one, and wins."""
    return Taken(epoch=epoch_of(deployed.hosts[here]), unreachable=(), lost=threading.Event())


def _remembered() -> Memory:
    """What was done and told since this boot: a restart of ours gives nobody new tries."""
    try:
        read = json.loads(read_text(MEMORY, limit=1 << 20))
        if read["boot"] != _boot():
            return Memory()
        acts = tuple(Act(at=float(act["at"]), check=str(act["check"])) for act in read["acts"])
        return Memory(acts=acts, told=frozenset(map(str, read["told"])))
    except (BundleError, ValueError, KeyError, TypeError):
        return Memory()


def _remember(memory: Memory) -> None:
    acts = [{"at": act.at, "check": act.check} for act in memory.acts]
    write_file(MEMORY, json.dumps({"boot": _boot(), "acts": acts, "told": sorted(memory.told)}).encode(), mode=0o600)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
