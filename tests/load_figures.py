"""What became of a steady load: figures of each path, for each fault."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request: when it was due, how many seconds after that its fate was known, and `ok` or what went wrong."""

    client: str
    path: str
    number: int
    due: float
    seconds: float
    outcome: str

    @property
    def ok(self) -> bool:
        return self.outcome == "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What became of a path's requests in a period. `interruption` is the longest time of a client without a success,
    `until` the seconds from the fault to the last request that failed, `slowest` of those that went well."""

    fault: str
    path: str
    requests: int
    failed: int
    interruption: float
    until: float
    slowest: float
    outcomes: dict[str, int]


@dataclass(slots=True, kw_only=True)
class Period:
    """`without` are clients that do not count: on hosts that were taken away."""

    fault: str
    began: float
    without: frozenset[str]
    ended: float = 0.0
    figures: list[Figures] = field(default_factory=list)

    def of(self, path: str) -> Figures:
        return next(each for each in self.figures if each.path == path)


def judged(period: Period, asked: Iterable[Asked]) -> list[Figures]:
    """By path, over all clients that count."""
    found = []
    counted = [each for each in asked if each.client not in period.without]
    for path in dict.fromkeys(each.path for each in counted):
        mine = sorted((each for each in counted if each.path == path), key=lambda each: each.due)
        failed = [each for each in mine if not each.ok]
        clients = {each.client for each in mine}
        gaps = [interruption([each for each in mine if each.client == client], period.ended) for client in clients]
        outcomes: dict[str, int] = {}
        for each in failed:
            outcomes[each.outcome] = outcomes.get(each.outcome, 0) + 1
        found.append(
            Figures(
                fault=period.fault,
                path=path,
                requests=len(mine),
                failed=len(failed),
                interruption=round(max(gaps), 2),
                until=round(failed[-1].due - period.began, 1) if failed else 0.0,
                slowest=round(max((each.seconds for each in mine if each.ok), default=0.0), 3),
                outcomes=outcomes,
            )
        )
    return found


def interruption(asked: Sequence[Asked], ended: float) -> float:
    """The longest time from a success, over failures, to the next; of one client, in the order of time."""
    longest, last, failing = 0.0, asked[0].due, False
    for each in asked:
        if each.ok:
            longest = max(longest, each.due - last) if failing else longest
            last, failing = each.due, False
        else:
            failing = True
    return max(longest, ended - last) if failing else longest


_HEAD = (
    "fault",
    "path",
    "times",
    "requests",
    "failed",
    "interruption p50 / max s",
    "last failure after s",
    "slowest s",
    "how",
)


def table(periods: Sequence[Period]) -> str:
    """A line for each fault and path; a fault that came several times has one line."""
    rows: list[tuple[str, ...]] = [_HEAD]
    for fault in dict.fromkeys(period.fault for period in periods):
        found = [each for period in periods if period.fault == fault for each in period.figures]
        paths = dict.fromkeys(each.path for each in found)
        rows += [_row(fault, path, [each for each in found if each.path == path]) for path in paths]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEAD))]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(fault: str, path: str, figures: Sequence[Figures]) -> tuple[str, ...]:
    gaps = [each.interruption for each in figures]
    outcomes: dict[str, int] = {}
    for each in figures:
        for name, count in each.outcomes.items():
            outcomes[name] = outcomes.get(name, 0) + count
    return (
        fault,
        path,
        str(len(figures)),
        str(sum(each.requests for each in figures)),
        str(sum(each.failed for each in figures)),
        f"{statistics.median(gaps):.2f} / {max(gaps):.2f}",
        f"{max(each.until for each in figures):.1f}",
        f"{max(each.slowest for each in figures):.2f}",
        " ".join(f"{name}:{count}" for name, count in sorted(outcomes.items())),
    )
