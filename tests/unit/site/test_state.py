"""What a site remembers: whom it trusts and the highest releases. Damaged or gone, it is no first installation."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.errors import BundleError, Malformed, StateDamaged, TrustChanged, Usage
from bundler.model.digest import Digest
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Trust
from bundler.site.state import SiteState, read_state, settle_trust, write_state
from tests.bundles import ALICE, BOB, CAROL, tiny_bundle

DATE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTENT = Digest.of(b"content")
STATE = SiteState(
    trust=Trust(keys=(ALICE.public, BOB.public), threshold=2), releases={"site": (3, CONTENT)}, signed_at=DATE
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    write_state(tmp_path, STATE)
    return tmp_path


def file_of(root: Path) -> Path:
    return root / "state" / "site.json"


def test_it_comes_back(root: Path) -> None:
    assert read_state(root) == STATE


def test_a_new_root_knows_nothing(tmp_path: Path) -> None:
    assert read_state(tmp_path) == SiteState()
    assert read_state(tmp_path / "none") == SiteState()
    (tmp_path / "file").write_bytes(b"")
    assert read_state(tmp_path / "file") == SiteState()


DAMAGE = {
    "nothing": b"",
    "half": b'{"releases":[{"content":"sha256:',
    "zeros": bytes(200),
    "no UTF-8": b"\xff\xfe",
    "a list": b"[]",
    "no keys": b"{}",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage(root: Path, damage: str) -> None:
    file_of(root).write_bytes(DAMAGE[damage])
    with pytest.raises(StateDamaged):
        read_state(root)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("signedAt", "yesterday"),
        ("signedAt", "2026-13-01T00:00:00Z"),
        ("signedAt", 1),
        ("releases", {}),
        ("releases", [{"line": "../x", "number": 1, "content": str(CONTENT)}]),
        ("releases", [{"line": "x", "number": -1, "content": str(CONTENT)}]),
        ("releases", [{"line": "x", "number": 1, "content": "md5:00"}]),
        ("trust", {"keys": [], "threshold": 1}),
        ("trust", {"keys": ["00"], "threshold": 1}),
        ("trust", {"keys": [ALICE.public.raw.hex()], "threshold": 2}),
        ("trust", {"keys": [ALICE.public.raw.hex()], "threshold": 0}),
        ("trust", {"keys": [ALICE.public.raw.hex()] * 2, "threshold": 1}),
        ("more", 1),
    ],
    ids=str,
)
def test_a_wrong_value(root: Path, key: str, value: object) -> None:
    document = json.loads(file_of(root).read_bytes()) | {key: value}
    file_of(root).write_text(json.dumps(document))
    with pytest.raises(StateDamaged):
        read_state(root)


def test_gone_from_a_site_in_use(root: Path) -> None:
    """A site whose state is lost must not take the next bundle for its first."""
    (root / "current").symlink_to("generations/none")
    assert read_state(root) == STATE
    file_of(root).unlink()
    with pytest.raises(StateDamaged):
        read_state(root)


@given(st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.getbasetemp()
    (root / "state").mkdir(exist_ok=True)
    file_of(root).write_bytes(data)
    with pytest.raises(BundleError):
        read_state(root)


def test_trust_is_pinned() -> None:
    root, both = Path("root"), (ALICE.public, BOB.public)
    for keys, threshold in [((), None), ((), 2), (both, None), (both[::-1], 2), (both[:1], None)]:
        assert settle_trust(STATE, root=root, keys=keys, threshold=threshold) == STATE.trust
    for keys, threshold in [((CAROL.public,), None), ((*both, CAROL.public), None), (both, 1), ((), 3)]:
        with pytest.raises(TrustChanged):
            settle_trust(STATE, root=root, keys=keys, threshold=threshold)


def test_trust_at_first() -> None:
    def first(keys: tuple[PublicKey, ...], threshold: int | None) -> Trust:
        return settle_trust(SiteState(), root=Path("root"), keys=keys, threshold=threshold)

    assert first((ALICE.public,), None) == Trust(keys=(ALICE.public,), threshold=1)
    assert first((ALICE.public, BOB.public), 2).threshold == 2
    with pytest.raises(Usage):
        first((), None)
    with pytest.raises(Malformed):
        first((ALICE.public,), 2)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, DATE),
        (DATE - timedelta(days=1), DATE),
        (DATE, DATE + timedelta(seconds=1)),
        (DATE + timedelta(days=9), DATE + timedelta(days=9, seconds=1)),  # the clock went back
    ],
)
def test_dates_only_grow(last: datetime | None, expected: datetime) -> None:
    now = DATE.replace(microsecond=999_999)
    assert SiteState(signed_at=last).next_date(now) == expected


def test_the_highest_release_stays(tmp_path: Path) -> None:
    older = tiny_bundle(tmp_path, line="site", number=2).statement
    newer = tiny_bundle(tmp_path, line="site", number=4).statement
    other = tiny_bundle(tmp_path, line="other", number=1).statement
    trust = STATE.trust
    assert trust is not None
    assert STATE.after(older, trust=trust, date=DATE).releases == {"site": (3, CONTENT)}
    assert STATE.after(newer, trust=trust, date=DATE).releases == {"site": (4, newer.content)}
    assert STATE.after(other, trust=trust, date=DATE).releases == {"site": (3, CONTENT), "other": (1, other.content)}
