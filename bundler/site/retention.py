"""Which generations a site keeps: a pure decision. A generation is kept or dropped as a whole."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from bundler.model.digest import Digest
from bundler.site import history
from bundler.site.history import Event
from bundler.site.kept import Kept

KEEP = 2  # the one in use and the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What must stay. `names` are generations that something half done needs (a switch that was not made yet), `pins`
    those that somebody wants; `digests` is what runs on the site, manifests or any other blobs."""

    keep: int = KEEP
    names: Set[str] = frozenset()
    pins: Set[str] = frozenset()
    digests: Set[Digest] = frozenset()


def by_use(found: Sequence[Kept], in_use: str, past: Sequence[Event]) -> tuple[Kept, ...]:
    """The one in use, what was in use before it and before that, then the others, lately used ones first.

    What a rollback left comes late: it was left for a reason, and its bundle brings it back.
    """
    rank = {name: number for number, name in enumerate((in_use, *history.before(past, in_use)))}
    last = {event.generation: number for number, event in enumerate(past) if event.generation}
    return tuple(
        sorted(
            found,
            key=lambda each: (
                rank.get(each.name, len(rank)),
                each.release.line != _line_of(found, in_use),
                -last.get(each.name, -1),
                -each.release.number,
                each.name,
            ),
        )
    )


def _line_of(found: Sequence[Kept], name: str) -> str:
    return next((each.release.line for each in found if each.name == name), "")


def before(found: Sequence[Kept], in_use: Kept, past: Sequence[Event]) -> Kept | None:
    """What a rollback returns to: the last one that was in use before and is kept; where the site remembers nothing
    (an earlier version installed it), the next lower number of the line."""
    named = {each.name: each for each in found}
    for name in history.before(past, in_use.name):
        if name in named:
            return named[name]
    if history.brought(past, in_use.name) is not None:
        return None
    lower = [
        each
        for each in found
        if each.release.line == in_use.release.line and each.release.number < in_use.release.number
    ]
    return max(lower, key=lambda each: each.release.number, default=None)


def reasons(found: Sequence[Kept], in_use: str, past: Sequence[Event], wanted: Wanted) -> Mapping[str, str]:
    """Why each generation that stays does: name to words."""
    why: dict[str, str] = {}
    ordered = by_use(found, in_use, past)
    for number, each in enumerate(ordered):
        if each.name == in_use:
            why[each.name] = "in use"
        elif each.name in wanted.names:
            why[each.name] = "half done"
        elif each.name in wanted.pins:
            why[each.name] = "pinned"
        elif number < wanted.keep:
            why[each.name] = f"among the last {wanted.keep}"
    _keep_what_runs(ordered, wanted.digests, why)
    return why


def _keep_what_runs(ordered: Sequence[Kept], digests: Set[Digest], why: dict[str, str]) -> None:
    """For each digest that no kept generation has, the best one that has it."""
    left = set(digests).difference(*(each.digests for each in ordered if each.name in why))
    for each in ordered:
        runs = left & each.digests
        if runs and each.name not in why:
            why[each.name] = f"runs: {len(runs)} of its blobs" if len(runs) > 1 else "runs: one of its blobs"
            left -= runs
