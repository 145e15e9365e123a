"""Pins: what a resolver keeps of the lock before, and what it has to report about it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Which pins may move: all of them, or those of the named projects and packages."""

    everything: bool = False
    names: frozenset[str] = frozenset()

    def moves(self, name: str) -> bool:
        return self.everything or name in self.names


KEEP_ALL = Update()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Generic[Entry]):
    """What was resolved. `gone` are entries of the lock before that are still wanted, should have been kept, and
    are no longer served: where there is one, `entries` shows what an update would choose instead."""

    entries: tuple[Entry, ...]
    gone: tuple[Entry, ...] = ()
