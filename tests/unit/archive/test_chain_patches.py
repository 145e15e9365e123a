"""In which order blobs are made of each other, and what of them lies about meanwhile."""

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from bundler.archive.chain_patches import Make, makes_of, room_of, steps_of
from bundler.model.digest import Digest
from bundler.model.statement import Held, Patched


def blob(number: int) -> Digest:
    return Digest(f"{number:064x}")


def make(number: int, *bases: int, size: int = 10, scratch: int = 0) -> Make:
    held = tuple(Held(digest=blob(base), size=10, base=0) for base in bases)
    patched = Patched(digest=blob(number), size=size, patch=blob(1000 + number), scratch=scratch, bases=held)
    return Make(link=0, patched=patched)


def made(patches: Sequence[Make], *carried: int) -> Mapping[Digest, Make]:
    return makes_of(patches, {blob(each) for each in carried})


def test_what_can_be_made() -> None:
    chain = [make(3, 2), make(2, 1), make(5, 4), make(6, 5), make(7, 1, 4), make(8, 9), make(9, 8)]
    assert list(made(chain, 1)) == [blob(2), blob(3)]
    assert not made(chain)
    assert list(made([make(2, 1), make(2, 5)], 5)) == [blob(2)]  # two patches of one blob: the one that has its base
    assert not made([make(2, 1)], 1, 2)  # carried: nothing to be made


def test_order_and_room() -> None:
    """1 is there; 2 and 3 are only in between; 4 and 5 are wanted."""
    makes = made([make(2, 1, size=20, scratch=7), make(3, 2, size=30), make(4, 3, scratch=9), make(5, 1)], 1)
    wanted, kept = [blob(4), blob(5)], {blob(1), blob(4), blob(5)}
    steps = steps_of(makes, wanted, kept=kept)
    assert [step.digest for step in steps if step.digest != blob(5)] == [blob(2), blob(3), blob(4)]
    assert {step.digest: step.frees for step in steps if step.frees} == {blob(3): (blob(2),), blob(4): (blob(3),)}
    assert room_of(steps, kept=kept) == 50
    assert [step.digest for step in steps_of(makes, wanted, kept=kept, whole={blob(4)})] == [blob(5)]
    assert room_of((), kept=kept) == 0


@given(st.data())
def test_any_chain(data: st.DataObject) -> None:
    """Whatever is made of whatever: all that is needed is there when it is needed, and let go once."""
    patches = []
    for number in data.draw(st.permutations(range(10, 24))):
        bases = data.draw(st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True))
        patches.append(make(number, *bases, scratch=data.draw(st.integers(0, 9))))
    carried = data.draw(st.sets(st.integers(0, 12)))
    makes = made(patches, *carried)
    kept = data.draw(st.sets(st.sampled_from(sorted(makes)))) if makes else set()
    whole = data.draw(st.sets(st.sampled_from(sorted(kept)))) if kept else set()
    there = {blob(each) for each in carried} | whole
    room = room_of(steps := steps_of(makes, sorted(kept), kept=kept, whole=whole), kept=kept)
    for step in steps:
        assert {held.digest for held in step.make.patched.bases} <= there
        there.add(step.digest)
        beside = there - kept - {blob(each) for each in carried}
        assert 10 * len(beside) + step.make.patched.scratch <= room
        there -= set(step.frees)
    assert kept <= there
    assert there <= kept | {blob(each) for each in carried}
