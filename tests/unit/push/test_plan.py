"""Names, order and the rule for sparse indexes."""

import json
from typing import Any

import pytest

from bundler.errors import Malformed
from bundler.model.digest import Digest
from bundler.model.statement import ImageArtifact
from bundler.push.plan import Item, items_of
from bundler.push.target import Target
from tests.content import INDEX, MANIFEST, compact, describe

ABSENT = b"absent"


def index(*children: tuple[bytes, str]) -> bytes:
    """Children as bytes and operating system."""
    entries: list[dict[str, Any]] = [
        {**describe(data, MANIFEST), "platform": {"os": system, "architecture": "amd64"}} for data, system in children
    ]
    return compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def manifest(name: str, subject: bytes | None = None) -> bytes:
    more = {"subject": describe(subject, MANIFEST)} if subject is not None else {}
    return compact({"schemaVersion": 2, "mediaType": MANIFEST, "config": name, "layers": [], **more})


def item(root: bytes, *others: bytes, referrers: tuple[bytes, ...] = (), only_platform: bool = False) -> Item:
    documents = {Digest.of(data): data for data in (root, *others, *referrers)}
    artifact = ImageArtifact(
        name="quay.io:5000/team/app:1",
        root=Digest.of(root),
        manifests=tuple(sorted(documents)),
        referrers=tuple(map(Digest.of, referrers)),
        blobs=(),
    )
    target = Target.parse("harbor.example/pre")
    (found,) = items_of(artifact, repository=target.repository, read=documents.__getitem__, only_platform=only_platform)
    return found


A, B = manifest("a"), manifest("b")


def test_parts_come_before_what_lists_them() -> None:
    inner = index((A, "linux"))
    outer = index((inner, "linux"), (B, "linux"))
    about = manifest("about", subject=outer)
    found = item(outer, inner, A, B, referrers=(about,))
    assert set(found.manifests[:2]) == {Digest.of(A), Digest.of(B)}
    assert found.manifests[2:] == tuple(map(Digest.of, (inner, outer, about)))
    assert (found.repository, found.tag, found.sparse) == ("pre/quay.io_5000/team/app", "1", frozenset())
    assert found.refers == ((Digest.of(outer), Digest.of(about)),)


@pytest.mark.parametrize("only_platform", [False, True])
def test_a_whole_index_stays(only_platform: bool) -> None:
    root = index((A, "linux"), (B, "windows"))
    found = item(root, A, B, only_platform=only_platform)
    assert (found.root, found.unresolved) == (Digest.of(root), None)


def test_a_sparse_index_is_kept_as_it_is() -> None:
    root = index((A, "linux"), (ABSENT, "linux"))
    found = item(root, A)
    assert (found.root, found.manifests[-1]) == (Digest.of(root), Digest.of(root))
    assert found.sparse == {Digest.of(root)}


def test_the_one_platform_takes_the_tag() -> None:
    """An attestation beside it is of no platform."""
    root = index((A, "linux"), (B, "unknown"), (ABSENT, "linux"))
    found = item(root, A, B, only_platform=True)
    assert (found.root, found.unresolved) == (Digest.of(A), Digest.of(root))
    assert set(found.manifests) == {Digest.of(A), Digest.of(B)}
    assert found.pin == f"pre/quay.io_5000/team/app@{Digest.of(root)}"


def test_of_two_platforms_none_takes_the_tag() -> None:
    root = index((A, "linux"), (B, "linux"), (ABSENT, "linux"))
    found = item(root, A, B, only_platform=True)
    assert (found.root, found.unresolved) == (Digest.of(root), None)


def test_what_lists_a_sparse_index_is_sparse() -> None:
    inner = index((A, "linux"), (ABSENT, "linux"))
    outer = index((inner, "linux"))
    assert item(outer, inner, A).sparse == {Digest.of(inner), Digest.of(outer)}


@pytest.mark.parametrize("entries", [[1], [{"digest": "md5:1"}], [{}]])
def test_nonsense_in_an_index(entries: list[Any]) -> None:
    with pytest.raises(Malformed):
        item(json.dumps({"manifests": entries}).encode())


@pytest.mark.parametrize(
    ("text", "base", "prefix"),
    [
        ("harbor.example", "https://harbor.example", ""),
        ("harbor.example:8443/a/b/", "https://harbor.example:8443", "a/b"),
        ("http://127.0.0.1:5000/a", "http://127.0.0.1:5000", "a"),
        ("[::1]:5000", "https://[::1]:5000", ""),
    ],
)
def test_targets(text: str, base: str, prefix: str) -> None:
    target = Target.parse(text)
    assert (target.base, target.prefix) == (base, prefix)
    assert str(target) == f"{base.removeprefix('https://')}/{prefix}".rstrip("/")


@pytest.mark.parametrize(
    "text",
    ["", "/a", "me:pass@host", "ftp://host/a", "host/A", "host/a//b", "host/a?b", "host/..", "host:0x/a", "ho st"],
)
def test_no_targets(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        Target.parse(text)
    assert "pass" not in str(caught.value)


def test_names_that_are_too_long() -> None:
    with pytest.raises(Malformed):
        Target.parse("host/pre").repository("a" * 252)
