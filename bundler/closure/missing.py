"""What a proof found to be missing."""

from dataclasses import dataclass

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Missing:
    """Something that is asked for and not carried.

    `kind` is `wheel` or `deb`; `name` the project or package, `target` the hosts it is missing for. `wanted_by` are
    those who ask for it, each with what it asks. `why` are the resolver's own words where only these tell.
    """

    kind: str
    target: str
    name: str
    wanted_by: tuple[str, ...]
    why: str = ""

    def __str__(self) -> str:
        more = len(self.wanted_by) - _SHOWN
        wanters = ", ".join(self.wanted_by[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"{self.kind} {self.name} for {self.target}, wanted by {wanters}"
