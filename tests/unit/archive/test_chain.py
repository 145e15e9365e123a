"""A chain whose deltas have patches, as statements alone: what is made, what goes on as a patch, what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.archive.chain import Link, Merged, merge
from bundler.archive.contents import contents_of
from bundler.errors import ChainBroken, PatchOutside
from bundler.model.digest import Digest
from bundler.model.statement import (
    BLOB_PREFIX,
    PATCH_PREFIX,
    Base,
    Delta,
    Entry,
    Held,
    Patched,
    Statement,
    write_statement,
)
from bundler.model.statement_parser import parse_statement
from tests.bundles import ALICE, tiny_bundle

SIZE = 5000


def data(name: str) -> bytes:
    return name.encode().ljust(SIZE, b".")


def digest(name: str) -> Digest:
    return Digest.of(data(name))


class Chain:
    """Releases that have files of these names; `patched` says of which others a delta's patches are made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.known: dict[int, Statement] = {}
        self.payloads: frozenset[Digest] = frozenset()

    def whole(self, number: int, *names: str) -> Statement:
        made = tiny_bundle(
            self._folder, number=number, files={name: data(name) for name in names}, images={}, wheels=(), debs=()
        )
        self.known[number] = made.statement
        self.payloads = contents_of(made.lock).payloads
        return made.statement

    def delta(
        self, number: int, *names: str, bases: Sequence[int], held: dict[str, int], patched: dict[str, dict[str, int]]
    ) -> Statement:
        """`held` and what patches are made of: by the release that it is from."""
        whole = self.whole(number, *names)
        at = {release: number for number, release in enumerate(bases)}

        def hold(name: str, release: int) -> Held:
            return Held(digest=digest(name), size=SIZE, base=at[release])

        def patch(name: str, made_of: dict[str, int]) -> Patched:
            bases = tuple(hold(base, release) for base, release in made_of.items())
            patch = Digest.of(f"{name} of {sorted(made_of)}".encode())
            return Patched(digest=digest(name), size=SIZE, patch=patch, scratch=0, bases=bases)

        patches = [patch(name, made_of) for name, made_of in patched.items()]
        left = {digest(name) for name in (*held, *patched)}
        entries = [entry for entry in whole.entries if entry.digest not in left]
        entries += sorted(
            (Entry(name=f"{PATCH_PREFIX}{each.patch.hex}", digest=each.patch, size=9) for each in patches),
            key=lambda entry: entry.digest,
        )
        delta = Delta(
            bases=tuple(Base(release=self.known[r].release, content=self.known[r].content) for r in bases),
            held=tuple(sorted((hold(*each) for each in held.items()), key=lambda each: each.digest)),
            patches=tuple(sorted(patches, key=lambda each: each.digest)),
        )
        return _read(replace(whole, entries=tuple(entries), delta=delta))

    def merge(self, *statements: Statement) -> Merged:
        links = [Link(path=f"{each.release.number}.bundle", statement=each) for each in statements]
        merged = merge(links, self.payloads, signers=(ALICE.public.raw,))
        _read(merged.statement)
        copied = {entry.name for entry in merged.statement.entries} - {_blob(each) for each in merged.makes}
        assert copied == merged.sources.keys()
        for name, number in merged.sources.items():
            assert name in {entry.name for entry in statements[number].entries}
        return merged


def _blob(digest: Digest) -> str:
    return f"{BLOB_PREFIX}{digest.hex}"


def _read(statement: Statement) -> Statement:
    return parse_statement(write_statement(statement), path="x")


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def made(merged: Merged) -> set[Digest]:
    return set(merged.makes)


def test_from_a_whole_bundle(chain: Chain) -> None:
    """`b`, which the last release has not, is only in between; `x` is nothing's base, and is not made."""
    first = chain.whole(1, "a", "k")
    second = chain.delta(2, "b", "x", "k", bases=[1], held={"k": 1}, patched={"b": {"a": 1}, "x": {"a": 1}})
    third = chain.delta(3, "c", "k", bases=[2], held={"k": 2}, patched={"c": {"b": 2}})
    merged = chain.merge(first, second, third)
    assert merged.statement == chain.known[3]
    assert list(merged.makes) == [digest("b"), digest("c")]
    assert [make.link for make in merged.makes.values()] == [1, 2]


def test_deltas_alone(chain: Chain) -> None:
    """`p` is made of what the site has: it goes on. `c` is made of what the chain carries."""
    chain.whole(1, "a", "k")
    second = chain.delta(2, "b", "p", "k", bases=[1], held={"k": 1}, patched={"p": {"a": 1}})
    third = chain.delta(3, "c", "p", "k", bases=[2], held={"k": 2, "p": 2}, patched={"c": {"b": 2}})
    merged = chain.merge(second, third)
    assert made(merged) == {digest("c")}
    (patched,) = merged.statement.patches
    assert patched == second.patches[0]
    assert [held.digest for held in merged.statement.delta.held] == [digest("k")]  # type: ignore[union-attr]


def test_a_later_patch_against_the_first_base(chain: Chain) -> None:
    """The second link says itself that what it needs is from there, by another number."""
    chain.whole(1, "a")
    second = chain.delta(2, "b", bases=[1], held={}, patched={})
    third = chain.delta(3, "b", "c", bases=[2, 1], held={"b": 2}, patched={"c": {"a": 1}})
    merged = chain.merge(second, third)
    assert [held.base for held in third.patches[0].bases] == [1]
    assert [held.base for held in merged.statement.patches[0].bases] == [0]
    assert not made(merged)


def test_what_the_site_has_is_left_to_it(chain: Chain) -> None:
    """`a` comes back as a patch on top of a patch; but a patch against it says that the site has it."""
    chain.whole(1, "a")
    second = chain.delta(2, "b", bases=[1], held={}, patched={"b": {"a": 1}})
    third = chain.delta(3, "a", bases=[2], held={}, patched={"a": {"b": 2}})
    merged = chain.merge(second, third)
    assert [held.digest for held in merged.statement.delta.held] == [digest("a")]  # type: ignore[union-attr]
    assert merged.statement.requires == ("delta",)


def test_on_top_of_a_patch(chain: Chain) -> None:
    chain.whole(1, "a")
    second = chain.delta(2, "b", bases=[1], held={}, patched={"b": {"a": 1}})
    third = chain.delta(3, "c", bases=[2], held={}, patched={"c": {"b": 2}})
    with pytest.raises(PatchOutside) as refused:
        chain.merge(second, third)
    assert refused.value.blobs == ((str(digest("c")), ("c",), "3.bundle"),)
    assert refused.value.bases == ("tiny 1",)


def test_made_of_both_sides(chain: Chain) -> None:
    """One base only the site has, the other one only the chain."""
    chain.whole(1, "a", "k")
    second = chain.delta(2, "b", "k", bases=[1], held={"k": 1}, patched={})
    third = chain.delta(3, "b", "c", "k", bases=[2], held={"b": 2, "k": 2}, patched={"c": {"b": 2, "k": 2}})
    with pytest.raises(PatchOutside):
        chain.merge(second, third)


def test_a_base_in_no_link(chain: Chain) -> None:
    """Also where it is one of a patch that another one is made on top of: the gap is what counts."""
    first = chain.whole(1, "a")
    chain.whole(2, "b")
    third = chain.delta(3, "c", bases=[2], held={}, patched={"c": {"b": 2}})
    fourth = chain.delta(4, "d", bases=[3], held={}, patched={"d": {"c": 3}})
    for links in ((first, third), (first, third, fourth)):
        with pytest.raises(ChainBroken) as refused:
            chain.merge(*links)
        assert refused.value.missing == ((str(digest("b")), ("c" if len(links) == 2 else "d",)),)
        assert "tiny 2" in refused.value.hint
