"""The proof that a lock is complete: everything that a site will ask for is in it.

Two halves: what follows from the lock alone (`prove_pins`), and what its charts and tools show (`prove_images`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bundler.closure.judge import Carried, Finding, Severity, judge
from bundler.closure.look import Looker, Seen
from bundler.closure.missing import Missing
from bundler.closure.packages import prove_packages
from bundler.closure.wheels import prove_wheels
from bundler.model.asked import Asked
from bundler.model.lock import Lock
from bundler.model.shortfall import provided, unpinned
from bundler.model.skew import Skew, find_skew


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What is missing, what does not fit together, what images were found to be wrong, and what could not be seen."""

    missing: tuple[Missing, ...] = ()
    skew: tuple[Skew, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    uses: int = 0
    renders: int = 0

    @property
    def errors(self) -> tuple[str, ...]:
        """One line for each thing that makes the bundle come up short."""
        short = (finding for finding in self.findings if finding.severity is Severity.ERROR)
        return (*map(str, self.missing), *map(str, self.skew), *map(line_of, short))

    def __add__(self, other: "Proof") -> "Proof":
        return Proof(
            missing=self.missing + other.missing,
            skew=self.skew + other.skew,
            findings=self.findings + other.findings,
            notes=self.notes + other.notes,
            uses=self.uses + other.uses,
            renders=self.renders + other.renders,
        )


def line_of(finding: Finding) -> str:
    """A finding in one line: the image, what is wrong, the first place and how many more."""
    more = f" and {len(finding.where) - 1} more" if len(finding.where) > 1 else ""
    wants = "in" if finding.severity is Severity.HINT else "wanted by"
    place = f", {wants} {finding.where[0]}{more}" if finding.where else ""
    return f"image {finding.image} ({finding.kind}): {finding.why}{place}"


def prove_pins(lock: Lock) -> Proof:
    """What the lock itself shows: everything asked for is pinned, wheels and packages resolve from it alone, and
    versions fit together. Raises what the resolvers raise when they cannot be run."""
    missing = (*_unpinned(lock), *prove_wheels(lock), *prove_packages(lock))
    return Proof(missing=missing, skew=prove_skew(lock.asked))


def prove_images(lock: Lock, looker: Looker) -> Proof:
    """What rendering every chart and asking every tool shows. Raises what `Looker.look` raises."""
    seen: list[Seen] = [looker.look(asked) for asked in lock.asked]
    silences = [silence for asked in lock.asked for silence in asked.silences]
    skews = {skew.name for skew in find_skew(provided(lock.asked))}
    carried = (
        Carried(
            reference=image.reference,
            digests=frozenset({image.root.digest, *(manifest.digest for manifest in image.manifests)}),
        )
        for image in lock.images
    )
    uses = [use for each in seen for use in each.uses]
    findings = judge(uses, carried, silences=[silence for silence in silences if silence.image not in skews])
    return Proof(
        findings=findings,
        notes=tuple(note for each in seen for note in each.notes),
        uses=len(uses),
        renders=sum(each.renders for each in seen),
    )


def _unpinned(lock: Lock) -> Iterator[Missing]:
    for component, kind, name in unpinned(lock):
        yield Missing(kind=kind, target=lock.profile, name=name, wanted_by=(component,))


def prove_skew(asked: Sequence[Asked]) -> tuple[Skew, ...]:
    """What these components provide and does not fit together, but for what they silence by name."""
    silenced = {silence.image for each in asked for silence in each.silences}
    return tuple(skew for skew in find_skew(provided(tuple(asked))) if skew.name not in silenced)
