"""Which releases stay, from nothing but their names and the site's history."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import pytest

from bundler.model.digest import Digest
from bundler.model.profile import Release
from bundler.site import history, retention
from bundler.site.history import DOWNGRADE, INSTALL, ROLLBACK, Event
from bundler.site.kept import Kept
from bundler.site.retention import Wanted

DATE = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class One:
    """As much of a kept release as the decision looks at."""

    name: str

    @property
    def release(self) -> Release:
        line, _, number = self.name.partition("-")
        return Release(line=line, number=int(number))

    @property
    def digests(self) -> frozenset[Digest]:
        return frozenset((Digest.of(self.name.encode()), Digest.of(b"shared")))


def found_of(names: str) -> tuple[Kept, ...]:
    return tuple(cast(Kept, One(name)) for name in names.split())


def past_of(text: str) -> tuple[Event, ...]:
    """`1 2 3 <2 !1`: installed 1, 2, 3, rolled back to 2, went down to 1. Of line `a` unless another is named."""
    events: tuple[Event, ...] = ()
    here = ""
    for word in text.split():
        what = {"<": ROLLBACK, "!": DOWNGRADE}.get(word[0], INSTALL)
        name = word.lstrip("<!") if "-" in word else f"a-{word.lstrip('<!')}"
        events = history.remember(events, Event(at=DATE, what=what, generation=name, before=here))
        here = name
    return events


# kept, history, in use; in the order of their worth, and what a rollback returns to
ORDERS = [
    ("a-1", "1", "a-1", "a-1", None),
    ("a-1 a-2 a-3", "1 2 3", "a-3", "a-3 a-2 a-1", "a-2"),
    ("a-1 a-2 a-3", "1 2 3 <2", "a-2", "a-2 a-1 a-3", "a-1"),
    ("a-1 a-2 a-3", "1 2 3 <1", "a-1", "a-1 a-3 a-2", None),
    ("a-1 a-2 a-3 a-4", "1 2 3 <1 4", "a-4", "a-4 a-1 a-3 a-2", "a-1"),
    ("a-1 a-2 a-3", "1 2 3 <2 3", "a-3", "a-3 a-2 a-1", "a-2"),
    ("a-1 a-3", "1 2 3", "a-3", "a-3 a-1", "a-1"),  # 2 is not kept: what was before that
    ("a-1 a-2 a-3", "1 2 3 !1", "a-1", "a-1 a-3 a-2", "a-3"),
    ("a-1 b-1 a-2", "1 b-1 2", "a-2", "a-2 b-1 a-1", "b-1"),
    ("a-1 a-2 a-3 b-9", "", "a-3", "a-3 a-2 a-1 b-9", "a-2"),  # an earlier version remembered nothing
    ("a-1 a-2", "", "a-1", "a-1 a-2", None),
]


@pytest.mark.parametrize(("names", "past", "in_use", "ordered", "before"), ORDERS)
def test_what_was_before(names: str, past: str, in_use: str, ordered: str, before: str | None) -> None:
    found, events = found_of(names), past_of(past)
    assert [each.name for each in retention.by_use(found, in_use, events)] == ordered.split()
    here = next(each for each in found if each.name == in_use)
    meant = retention.before(found, here, events)
    assert (meant.name if meant else None) == before


# keep, half done, pinned, running; what stays
STAYS = [
    (1, "", "", "", "a-3"),
    (2, "", "", "", "a-2 a-3"),
    (9, "", "", "", "a-1 a-2 a-3 b-7"),
    (1, "a-1", "", "", "a-1 a-3"),
    (1, "", "a-1 b-7", "", "a-1 a-3 b-7"),
    (2, "", "a-3", "", "a-2 a-3"),
    (1, "", "", "shared", "a-3"),  # the one in use has it
    (1, "", "", "a-1", "a-1 a-3"),
    (1, "", "", "a-1 a-2 gone", "a-1 a-2 a-3"),
    (1, "gone", "gone", "", "a-3"),
]


@pytest.mark.parametrize(("keep", "half", "pinned", "running", "stays"), STAYS)
def test_what_stays(keep: int, half: str, pinned: str, running: str, stays: str) -> None:
    found = found_of("a-1 a-2 a-3 b-7")
    digests = frozenset(Digest.of(word.encode()) for word in running.split())
    wanted = Wanted(keep=keep, names=set(half.split()), pins=set(pinned.split()), digests=digests)
    why = retention.reasons(found, "a-3", past_of("b-7 1 2 3"), wanted)
    assert sorted(why) == stays.split()


def test_done_again_after_a_kill_is_one_event() -> None:
    events = past_of("1 2 <1")
    again = Event(at=DATE.replace(year=2027), what=ROLLBACK, generation="a-1", before="a-2")
    assert history.remember(events, again) == (*events[:-1], again)
    other = Event(at=DATE, what=ROLLBACK, generation="a-1", before="a-2", reason="another one")
    assert len(history.remember(events, other)) == 4


def test_a_history_that_bites_its_tail() -> None:
    events = past_of("1 2 !1 2 !1")
    assert list(history.before(events, "a-1")) == ["a-2"]
