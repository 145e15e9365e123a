"""Apply: run the plan that was shown, many hosts at once, each host's steps in order; then look again."""

import threading
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from bundler.apply.journal import Journal
from bundler.apply.lease import Taken
from bundler.errors import ActionFailed, BundleError, Overtaken, StalePlan
from bundler.hosts.base import LOCKED, OVERTAKEN, SHORT, STALE, TIMED_OUT, Answer, Host
from bundler.plan.plan import Plan, Unit
from bundler.plan.stack import Place, Stack
from bundler.steps.actions import Action
from bundler.steps.facts import Facts
from bundler.steps.gather import ask
from bundler.steps.step import Goal
from bundler.support import clock


class Watcher(Protocol):
    """Whom the progress is told, from several threads."""

    def expect(self, plan: Plan) -> None:
        """This is what will be done."""

    def starts(self, unit: Unit, action: Action) -> None: ...

    def ended(self, unit: Unit, action: Action, *, seconds: float, error: BundleError | None) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """`done` counts actions; `failed` are hosts with what stopped them; `waited` are units that were not begun because
    something before them failed."""

    done: int
    failed: Mapping[str, BundleError]
    waited: tuple[Unit, ...]


@dataclass(kw_only=True)
class _Run:
    plan: Plan
    stack: Mapping[str, Place]
    goal: Goal
    hosts: Mapping[str, Host]
    journal: Journal
    lease: Taken
    watcher: Watcher
    backwards: bool
    done: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)
    ended: "SimpleQueue[tuple[Unit, Future[None]]]" = field(default_factory=SimpleQueue)


def apply(
    plan: Plan,
    stack: Stack,
    goal: Goal,
    hosts: Mapping[str, Host],
    *,
    journal: Journal,
    lease: Taken,
    watcher: Watcher,
    jobs: int = 32,
    backwards: bool = False,
) -> Applied:
    """Run every action of the plan whose step before went well. A failed action ends its host's part, and what needs
    its step on all hosts; everything else goes on. `backwards`: the plan takes things away, and steps wait for none of
    other hosts. Raises Overtaken when another installer took over. Ctrl-C begins no further action."""
    run = _Run(
        plan=plan,
        stack={place.step.name: place for place in stack},
        goal=goal,
        hosts=hosts,
        journal=journal,
        lease=lease,
        watcher=watcher,
        backwards=backwards,
    )
    watcher.expect(plan)
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            return _all(run, pool)
        except BaseException:
            run.stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _all(run: _Run, pool: ThreadPoolExecutor) -> Applied:
    queues: dict[str, deque[Unit]] = {}
    left: Counter[str] = Counter()  # units of each step that are not done
    for unit in run.plan.units:
        queues.setdefault(unit.host, deque()).append(unit)
        left[unit.step] += 1
    failed: dict[str, BundleError] = {}
    rolling = _Rolling(run)
    running = 0
    free, waiting = list(queues), []  # hosts with nothing in hand; those of them that wait for other hosts
    while free or running:
        for host in free:
            if _may_begin(run, queues[host], left) and rolling.is_next(queues[host][0]):
                future = pool.submit(_unit, run, queues[host][0])
                future.add_done_callback(partial(_tell, run, queues[host][0]))
                running += 1
            elif queues[host]:
                waiting.append(host)
        free = []
        if not running:
            break
        unit, future = run.ended.get()
        running -= 1
        error = future.exception()
        if error is None:
            queues[unit.host].popleft()
            left[unit.step] -= 1
            free = [unit.host]
            if rolling.done(unit) or not left[unit.step]:
                free, waiting = free + waiting, []
        elif isinstance(error, BundleError):
            failed[unit.host] = error
        else:
            raise error
        if run.lease.lost.is_set():
            raise Overtaken(host="the site", epoch=run.lease.epoch)
    waited = tuple(unit for host, queue in queues.items() for unit in list(queue)[1 if host in failed else 0 :])
    return Applied(done=run.done, failed=failed, waited=waited)


class _Rolling:
    """Whose turn it is in the steps that go one host at a time."""

    def __init__(self, run: _Run) -> None:
        self._turns: dict[str, deque[Unit]] = {}
        for unit in run.plan.units:
            if run.stack[unit.step].step.rolling:
                self._turns.setdefault(unit.step, deque()).append(unit)

    def is_next(self, unit: Unit) -> bool:
        return unit.step not in self._turns or self._turns[unit.step][0] is unit

    def done(self, unit: Unit) -> bool:
        """Whether it is another's turn now."""
        if unit.step in self._turns:
            self._turns[unit.step].popleft()
            return True
        return False


def _tell(run: _Run, unit: Unit, future: "Future[None]") -> None:
    run.ended.put((unit, future))


def _may_begin(run: _Run, queue: deque[Unit], left: Counter[str]) -> bool:
    """Whether a host's next unit has all done that must be done anywhere before it."""
    if not queue:
        return False
    return run.backwards or not any(left[step] for step in run.stack[queue[0].step].before_anywhere)


def _unit(run: _Run, unit: Unit) -> None:
    for action in _current(run, unit):
        if run.stopping.is_set():
            return
        if run.lease.lost.is_set():
            raise Overtaken(host=unit.host, epoch=run.lease.epoch)
        started = clock.monotonic()
        facts = {"host": unit.host, "step": unit.step, "kind": action.kind, "target": action.target}
        run.journal.write("begin", epoch=run.lease.epoch, reason=action.reason, **facts)
        run.watcher.starts(unit, action)
        error: BundleError | None = None
        answer: Answer | None = None
        try:
            answer = action.perform(run.hosts[unit.host], run.lease.epoch)
            _judge(run, unit, action, answer)
            with run.lock:
                run.done += 1
        except BundleError as raised:
            error = raised
            raise
        finally:
            seconds = clock.monotonic() - started
            said: dict[str, Any] = {"error": error.summary} if error else {}
            if answer is not None:
                said |= {"code": answer.code, "output": answer.tail()}
            run.journal.write("end", seconds=round(seconds, 2), **facts, **said)
            run.watcher.ended(unit, action, seconds=seconds, error=error)


def _current(run: _Run, unit: Unit) -> tuple[Action, ...]:
    """The unit's actions; when it was planned before everything was known, planned once more from what is known now.

    Raises StalePlan when the result is not what was shown."""
    if not unit.later:
        return unit.actions
    step, host = run.stack[unit.step].step, run.goal.site.host(unit.host)
    known = ask(run.hosts[unit.host], step.asks(run.goal, host))
    actions = tuple(step.wanted(run.goal, host, Facts({unit.host: known}).of(unit.host)))
    keys = tuple((action.kind, action.target) for action in actions)
    if not set(keys) <= set(unit.keys()):
        shown, found = (", ".join(f"{kind} {target}" for kind, target in some) for some in (unit.keys(), keys))
        raise StalePlan(differences=(f"{unit.host}: {unit.step} was planned as {shown}, and is now {found}",))
    return actions


_SAID = {
    TIMED_OUT: "it took too long",
    LOCKED: "programs of an earlier action still run on the host",
    SHORT: "the session ended before everything was sent",
}


def _judge(run: _Run, unit: Unit, action: Action, answer: Answer) -> None:
    if answer.code == 0:
        return
    if answer.code == OVERTAKEN:
        run.lease.lost.set()
        raise Overtaken(host=unit.host, epoch=run.lease.epoch)
    what = f"{action.kind} {action.target}"
    if answer.code == STALE:
        raise StalePlan(differences=(f"{unit.host}: {action.target} changed after the plan was made",))
    raise ActionFailed(
        host=unit.host,
        step=unit.step,
        what=what,
        code=answer.code,
        output="\n".join(part for part in (_SAID.get(answer.code, ""), answer.tail()) if part),
        journal=str(run.journal.path),
    )
