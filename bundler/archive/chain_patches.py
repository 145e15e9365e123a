"""What a chain of deltas has only as patches: which of these blobs it can make itself, in which order, with what room.

Pure. A patch whose bases the chain carries, or makes, can be applied without any site; others stay patches.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from bundler.model.digest import Digest
from bundler.model.statement import PATCH_PREFIX, Patched, Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """A blob as the patch that the chain's link of this number has of it."""

    link: int
    patched: Patched

    @property
    def name(self) -> str:
        """Of the patch's entry in its link."""
        return f"{PATCH_PREFIX}{self.patched.patch.hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A blob to be made; behind it nobody needs the blobs `frees`, which are not of the result, any more."""

    make: Make
    frees: tuple[Digest, ...]

    @property
    def digest(self) -> Digest:
        return self.make.patched.digest


def patches_of(statements: Sequence[Statement]) -> list[Make]:
    return [Make(link=number, patched=each) for number, one in enumerate(statements) for each in one.patches]


def makes_of(patches: Sequence[Make], carried: Set[Digest]) -> dict[Digest, Make]:
    """The blobs that can be made of what is carried, and of each other: each behind what it is made of."""
    known, found, left = set(carried), dict[Digest, Make](), list(patches)
    while True:
        later = []
        for make in left:
            if make.patched.digest in known:
                continue
            if all(held.digest in known for held in make.patched.bases):
                found[make.patched.digest] = make
                known.add(make.patched.digest)
            else:
                later.append(make)
        if len(later) == len(left):
            return found
        left = later


def steps_of(
    makes: Mapping[Digest, Make], wanted: Iterable[Digest], *, kept: Set[Digest], whole: Set[Digest] = frozenset()
) -> tuple[Step, ...]:
    """How to make `wanted`: one after the other, each just behind what only it needs, so that little lies about at
    once. `kept` are the result's own blobs, `whole` those of them that are there already."""
    order: list[Digest] = []
    seen = set(whole)
    stack = [(digest, False) for digest in wanted]
    while stack:
        digest, ready = stack.pop()
        if ready:
            order.append(digest)
        elif digest in makes and digest not in seen:
            seen.add(digest)
            stack.append((digest, True))
            stack += [(held.digest, False) for held in makes[digest].patched.bases]
    last = {held.digest: number for number, digest in enumerate(order) for held in makes[digest].patched.bases}
    frees: dict[int, list[Digest]] = {}
    for digest in order:
        if digest not in kept:
            frees.setdefault(last[digest], []).append(digest)
    return tuple(Step(make=makes[digest], frees=tuple(frees.get(at, ()))) for at, digest in enumerate(order))


def room_of(steps: Sequence[Step], *, kept: Set[Digest]) -> int:
    """The most bytes that lie beside the result at once: blobs that are not of it, and what a patch in work takes."""
    sizes = {step.digest: step.make.patched.size for step in steps}
    there = most = 0
    for step in steps:
        there += 0 if step.digest in kept else sizes[step.digest]
        most = max(most, there + step.make.patched.scratch)
        there -= sum(sizes[digest] for digest in step.frees)
    return most
