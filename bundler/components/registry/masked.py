"""Units of packages that must never start, because one of the site's own takes their place."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bundler.steps.actions import Action, Run
from bundler.steps.facts import Fact, HostFacts, UnitFact


@dataclass(frozen=True, kw_only=True)
class Masked:
    """Before its package is installed, and for good: it does not start between the package and what comes after it,
    not when the host does, and not with an upgrade."""

    unit: str
    why: str

    @property
    def _fact(self) -> UnitFact:
        return UnitFact(unit=self.unit)

    def asks(self) -> tuple[Fact[Any], ...]:
        return (self._fact,)

    def wanted(self, facts: HostFacts) -> Iterator[Action]:
        have = facts[self._fact]
        if have.load != "masked" or have.active == "active":
            unit = shlex.quote(self.unit)
            yield Run(name=f"mask {self.unit}", text=f"systemctl mask -q --now -- {unit}\n", reason=self.why)

    def unwanted(self, facts: HostFacts, *, purge: bool) -> Iterator[Action]:
        yield from ()  # its package stays, and it would start by itself
