import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from bundler.archive import tar
from bundler.archive.draft import Draft, draft_of
from bundler.archive.form import BOOTSTRAP, STATEMENT, bundle_layout, owners_of, signature_name
from bundler.errors import Malformed, MalformedStatement
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import Lock
from bundler.model.platform import Platform
from bundler.model.profile import Release
from bundler.model.statement import BLOB_PREFIX, write_statement
from bundler.model.statement_parser import parse_statement
from tests import strategies
from tests.bundles import ALICE, BOB, SOURCES, Blobs, signing_key, tiny_bundle
from tests.content import make_deb, make_image, make_wheel
from tests.unit.model.test_lock import shuffled

BOTH = (ALICE.public, BOB.public)


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    return tiny_bundle(tmp_path_factory.mktemp("draft")).lock


@strategies.fewer(4)
@given(strategies.locks)
def test_everything_is_known_before_the_first_byte(lock: Lock) -> None:
    draft = draft_of(lock, sources=SOURCES, signers=BOTH)
    for seed in range(2):  # neither the order of the lock's entries nor that of the signers counts
        assert draft_of(shuffled(lock, seed), sources=SOURCES, signers=BOTH[::-1]) == draft
    statement = draft.finished(Digest.of(b"the real bootstrap"))
    data = write_statement(statement)
    assert parse_statement(data, path="x") == statement
    keyids = [key.keyid for key in sorted(BOTH, key=lambda key: key.keyid)]
    assert draft.layout == bundle_layout(len(data), keyids, statement.entries)
    names = [place.member.name for place in draft.layout.places]
    assert names == [
        STATEMENT,
        *(signature_name(STATEMENT, keyid) for keyid in keyids),
        BOOTSTRAP,
        *(signature_name(BOOTSTRAP, keyid) for keyid in keyids),
        *(entry.name for entry in statement.entries[1:]),
    ]
    sizes = {place.member.name: place.member.size for place in draft.layout.places}
    assert {name: len(data) for name, data in draft.ready.items()}.items() <= sizes.items()
    assert sizes[BOOTSTRAP] == draft.bootstrap.layout.size
    for place in draft.layout.places:
        assert len(place.header) in (tar.BLOCK, place.body - place.start)
        if place.member.name.startswith(BLOB_PREFIX) and place.member.size >= tar.ALIGNED_FROM:
            assert place.body % tar.ALIGNMENT == 0
    assert owners_of(statement).keys() <= sizes.keys()


def test_the_plan_changes_with_all_that_changes_bytes(lock: Lock) -> None:
    blobs = Blobs()

    def draft(lock: Lock = lock, **facts: Any) -> Draft:
        return draft_of(lock, **{"sources": SOURCES, "signers": BOTH, **facts})

    (wheel,) = lock.bootstrap.wheels
    (image,) = lock.images
    others = [
        draft(signers=()),
        draft(signers=BOTH[:1]),
        draft(signers=(ALICE.public, signing_key("other").public)),
        draft(sources={**SOURCES, "__main__.py": b"x"}),
        draft(sources={**SOURCES, "__main__.py": SOURCES["__main__.py"].swapcase()}),  # the same size
        draft(sources={**SOURCES, "more.py": b""}),
        draft(replace(lock, release=Release(line="tiny", number=2))),
        draft(replace(lock, release=Release(line="tins", number=1))),
        draft(replace(lock, platforms=(Platform("linux", "arm64"),))),
        draft(replace(lock, bootstrap=replace(lock.bootstrap, pythons=("3.12",)))),
        draft(replace(lock, bootstrap=replace(lock.bootstrap, wheels=()))),
        draft(replace(lock, bootstrap=replace(lock.bootstrap, wheels=(replace(wheel, digest=Digest("0" * 64)),)))),
        draft(
            replace(
                lock,
                images=(blobs.image("registry.example:5000/team/app:1.1", make_image({"app": b"app\n"}, index=True)),),
            )
        ),
        draft(replace(lock, images=(replace(image, blobs=image.blobs[:1]),))),
        draft(replace(lock, wheels=(blobs.wheel(make_wheel("tiny", body="# more")),))),
        draft(replace(lock, debs=(blobs.deb(make_deb("hello", "1:2.10-3", "amd64", depends="x")),))),
        draft(replace(lock, debs=(replace(lock.debs[0], control=lock.debs[0].control + "\nX: y"),))),
        draft(replace(lock, files=lock.files[1:])),
        draft(replace(lock, files=(replace(lock.files[0], name="other"), *lock.files[1:]))),
    ]
    plans = [each.plan for each in (draft(), *others)]
    assert len(set(plans)) == len(plans)
    # The bundle carries its lock, so whatever that says is in the bytes; the order in which it says it is not.
    assert draft(replace(lock, profile="other")).plan != draft().plan
    assert draft(replace(lock, files=lock.files[::-1])).plan == draft().plan


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (tiny_bundle(tmp_path, keys=(ALICE, BOB), name=name).path.read_bytes() for name in ("a", "b"))
    assert first == second
    assert first != tiny_bundle(tmp_path, keys=(ALICE, BOB), number=2, name="c").path.read_bytes()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda lock: replace(lock, wheels=lock.wheels * 2), "twice"),
        (lambda lock: replace(lock, files=(replace(lock.files[0], size=LIMITS.integer),)), "2\\^53"),
        (lambda lock: replace(lock, files=(replace(lock.files[0], name="../x"),)), "file name"),
    ],
)
def test_what_no_reader_would_take_is_not_begun(lock: Lock, change: Callable[[Lock], Lock], why: str) -> None:
    with pytest.raises(MalformedStatement, match=why):
        draft_of(change(lock), sources=SOURCES, signers=())


def test_too_many_signers(lock: Lock) -> None:
    keys = tuple(signing_key(str(number)).public for number in range(LIMITS.signers + 1))
    draft_of(lock, sources=SOURCES, signers=keys[1:])
    with pytest.raises(MalformedStatement, match="too many"):
        draft_of(lock, sources=SOURCES, signers=keys)


def test_sizes_at_odds(lock: Lock) -> None:
    with pytest.raises(Malformed):
        draft_of(
            replace(lock, files=(lock.files[0], replace(lock.files[0], name="x", size=1))), sources=SOURCES, signers=()
        )


def test_bootstrap(tmp_path: Path) -> None:
    """A plain tar of the tool's files and its wheels, which says what serves which Python."""
    wheels = (make_wheel("zeta"), make_wheel("alpha"))
    bundle = tiny_bundle(tmp_path, wheels=wheels)
    with tarfile.open(bundle.path) as outer:
        member = outer.extractfile(BOOTSTRAP)
        assert member
        data = member.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as inner:
        found = {each.name: inner.extractfile(each).read() for each in inner}  # type: ignore[union-attr]
    names = ["bootstrap/__main__.py", "bootstrap/bundler/__init__.py", "bootstrap/pythons.json"]
    names += [f"bootstrap/wheels/{made.name}" for made in wheels[::-1]]
    assert list(found) == names
    assert json.loads(found["bootstrap/pythons.json"]) == {"3.11": [made.name for made in wheels[::-1]]}
    assert found["bootstrap/__main__.py"] == SOURCES["__main__.py"]
    assert found[names[-1]] == wheels[0].data
