"""Which old blobs a new one is compared with."""

from pathlib import Path

import pytest

from bundler.archive.likeness import likes
from bundler.model.digest import Digest
from tests.bundles import TinyBundle, tiny_bundle
from tests.content import make_deb, make_image, make_wheel


def release(folder: Path, number: int) -> TinyBundle:
    """Everything is new in each; images, packages, wheels and files of several names."""
    body = f"{number}" * 5000
    names = ("a/b", "a/c")
    return tiny_bundle(
        folder,
        number=number,
        images={f"r.example/{name}:{number}": make_image({name: body.encode()}) for name in names},
        wheels=[make_wheel(name, f"{number}.0", body=body) for name in ("one", "two")],
        debs=[make_deb(f"lib{name}{number}", f"{number}-1", "amd64", body=body.encode()) for name in ("x", "y")],
        files={f"model-{number}.bin": body.encode(), "notes.txt": body.encode() * 3, "huge": body.encode() * 200},
        name=f"{number}.bundle",
    )


@pytest.fixture
def pair(tmp_path: Path) -> tuple[TinyBundle, TinyBundle]:
    return release(tmp_path, 1), release(tmp_path, 2)


def chosen(old: TinyBundle, new: TinyBundle, there: set[Digest] | None = None) -> dict[str, list[tuple[str, bool]]]:
    """By the names of artifacts; layers are told by their image."""
    sizes = {blob.digest: blob.size for blob in new.statement.blobs if blob.size > 4096}
    known = {blob.digest for blob in old.statement.blobs} if there is None else there
    names = {digest: each.name for made in (old, new) for each in made.statement.artifacts for digest in each.members}
    found = likes(new.statement.artifacts, sizes, [old.statement], known)
    return {names[digest]: [(names[like.digest], like.sure) for like in each] for digest, each in found.items()}


def test_an_older_version_of_the_same(pair: tuple[TinyBundle, TinyBundle]) -> None:
    found = chosen(*pair)
    assert found["r.example/a/b:2"] == [("r.example/a/b:1", True)]
    assert found["two-2.0-py3-none-any.whl"] == [("two-1.0-py3-none-any.whl", True)]
    assert found["libx2_2-1_amd64.deb"][0] == ("libx1_1-1_amd64.deb", False)  # the number is a part of its name
    assert found["notes.txt"] == [("notes.txt", True)]
    assert found["model-2.bin"] == [("model-1.bin", False)]
    assert found["huge"] == [("huge", True)]


def test_only_what_is_there(pair: tuple[TinyBundle, TinyBundle]) -> None:
    assert chosen(*pair, there=set()) == {}
    notes = next(each.digest for each in pair[0].statement.files if each.name == "notes.txt")
    found = chosen(*pair, there={notes})
    assert found["notes.txt"] == [("notes.txt", True)]
    assert found["model-2.bin"] == [("notes.txt", False)]  # no better one: of its kind, and about as large
    assert "huge" not in found


def test_nothing_for_what_is_there_itself(pair: tuple[TinyBundle, TinyBundle]) -> None:
    old, new = pair
    assert chosen(old, new, there={blob.digest for made in pair for blob in made.statement.blobs}) == {}
