"""What a release takes on a site host: each blob once, the views as hard links, and the tool."""

from collections.abc import Iterator

from bundler.model.site import SITE_ROLE, SiteHost
from bundler.model.statement import BLOB_PREFIX, Statement
from bundler.steps.facts import Ask
from bundler.steps.step import Goal, Space

_BLOCK = 4096
_FOLDERS = 300  # of the store, whatever is in it
# Links share their file's inode. A registry's view has two folders for a blob, one and a small file for each image that
# it is in, and some for each image; apt, PyPI and the others have fewer. Measured with 241 artifacts of 729 members:
# 3,000 inodes and 12.7 MB.
_FOR_MEMBER, _FOR_ARTIFACT = 5, 10


def release_space(goal: Goal, host: SiteHost, *, root: str, tool: str) -> Iterator[Space]:
    if not host.has(SITE_ROLE):
        return
    statement = goal.statement
    sizes = goal.once("store/sizes", lambda: sizes_of(statement))
    views = views_inodes(statement)
    have = goal.once("store/have", lambda: held_fact(root, sizes))
    why = f"the release {statement.release}"
    yield Space(path=root, size=sum(sizes.values()), inodes=len(sizes) + _FOLDERS, why=why, have=have)
    yield Space(path=root, size=views * _BLOCK, inodes=views, why="its views")
    bootstrap = sum(entry.size for entry in statement.entries if not entry.name.startswith(BLOB_PREFIX))
    yield Space(path=tool, size=bootstrap, inodes=2000, why="the tool")
    yield Space(path="/var/lib/bundle", size=bootstrap, inodes=20, why="the tool as it comes")


def sizes_of(statement: Statement) -> dict[str, int]:
    """Each blob's digest in hexadecimal, and the bytes that it takes: whole blocks."""
    return {entry.digest.hex: -(-entry.size // _BLOCK) * _BLOCK for entry in statement.blobs}


def views_inodes(statement: Statement) -> int:
    artifacts = statement.artifacts
    return _FOR_MEMBER * sum(len(artifact.members) for artifact in artifacts) + _FOR_ARTIFACT * len(artifacts)


def held_fact(root: str, sizes: dict[str, int]) -> Ask[int]:
    """The bytes of the release that the host's store has already."""
    return Ask(
        name=f"the release's blobs in {root}",
        script=f"find {root}/store/blobs/sha256 -type f -printf '%f\\n' 2>/dev/null | head -n 150000",
        reading=lambda said: sum(sizes.get(name, 0) for name in said.split()),
        bare=0,
    )
