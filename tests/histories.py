"""Sites with a past: bundles of two lines, operations on a site, deaths in the middle of them, and what must hold."""

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from bundler.archive.delta import known_of
from bundler.archive.draft import draft_of
from bundler.model.digest import Digest
from bundler.site import fronts, generation
from bundler.site.kept import Kept, kept, unfinished
from bundler.site.state import read_state
from bundler.store.blobs import BlobStore
from bundler.support import files
from bundler.support.progress import Silent
from bundler.views.promised import promises
from bundler.views.registry import data_path
from bundler.workflows.gc import gc
from bundler.workflows.install import install
from bundler.workflows.releases import pin
from bundler.workflows.rollback import rollback
from tests.bundles import ALICE, FILES, SOURCES, TinyBundle, assemble, tiny_bundle
from tests.content import make_deb, make_wheel

NUMBERS = (1, 2, 3)


def release(
    folder: Path, number: int, *, line: str = "tiny", more: Mapping[str, bytes] | None = None, **facts: Any
) -> TinyBundle:
    """Release `number` of a line: a wheel, a package and a file of its own, one of every second, the rest shared."""
    own = {f"{line}-{number}": f"{line} {number} ".encode() * 900, "half": bytes([number % 2]) * 6000}
    return tiny_bundle(
        folder,
        name=f"{line}-{number}.bundle",
        line=line,
        number=number,
        images={},
        wheels=(make_wheel("tiny", f"{number}.0"),),
        debs=(make_deb("hello", f"1:2.{number}-1", "amd64"),),
        files={**FILES, **own, **(more or {})},
        **facts,
    )


def delta(target: TinyBundle, *bases: TinyBundle, name: str) -> TinyBundle:
    """The same release for who has what `bases` brought, signed by ALICE."""
    known = known_of(base.statement for base in bases)
    draft = draft_of(target.lock, sources=SOURCES, signers=(ALICE.public,), known=known)
    data, statement = assemble(draft, target.blobs, (ALICE,))
    path = target.path.with_name(name)
    path.write_bytes(data)
    return replace(target, path=path, statement=statement, layout=draft.layout)


DELTAS = {"tiny-2 by 1": (2, 1), "tiny-3 by 2": (3, 2), "tiny-3 by 1": (3, 1)}


def releases(folder: Path) -> dict[str, TinyBundle]:
    """By what people call them: `tiny-1`; and deltas, `tiny-2 by 1`."""
    made = [*(release(folder, number) for number in NUMBERS), release(folder, 7, line="other")]
    found = {f"{each.statement.release.line}-{each.statement.release.number}": each for each in made}
    deltas = {
        name: delta(found[f"tiny-{to}"], found[f"tiny-{base}"], name=f"{name}.bundle".replace(" ", "-"))
        for name, (to, base) in DELTAS.items()
    }
    return found | deltas


def put(made: TinyBundle, root: Path, *, downgrade: str = "") -> bool:
    done = install(made.path, root, keys=made.publics, threshold=None, jobs=1, progress=Silent(), downgrade=downgrade)
    return done.changed


def copy(site: Path, to: Path) -> None:
    """With its hard links and times."""
    subprocess.run(["cp", "-a", site, to], check=True)


def rot(root: Path, digest: Digest, *, at: int = 5) -> None:
    """One byte of a blob is another one from now on, under all its names."""
    path = BlobStore(root).path(digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    path.chmod(0o444)


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power cuts here: what only they could show is left out."""
    monkeypatch.setattr(files, "sync_filesystem", lambda path: None)
    monkeypatch.setattr(files, "sync_data", lambda descriptor: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# --- operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`name` is `install`, `rollback`, `gc` or `pin`; `release` of which, `count` how many are kept."""

    name: str
    release: str = ""
    count: int = 2

    def run(self, root: Path, known: dict[str, TinyBundle]) -> None:
        if self.name == "install":
            put(known[self.release], root, downgrade="the test says so")
        elif self.name == "rollback":
            rollback(root, self.release)
        elif self.name == "pin":
            pin(root, self.release, remove=self.count == 0)
        else:
            gc(root, keep=self.count)


class Died(BaseException):
    """Ends a run where it stands, as a kill does: nothing of ours catches it, and nothing is changed after it."""


_CHANGES: tuple[tuple[Any, str], ...] = (
    *((Path, name) for name in ("rename", "unlink", "mkdir", "rmdir", "symlink_to")),
    *((os, name) for name in ("link", "unlink", "rmdir", "pwrite", "write")),
    (files, "exchange"),
    (shutil, "rmtree"),
)


@contextlib.contextmanager
def dying(at: int, patched: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """The process dies before its change number `at` of the disk, and changes nothing from then on. Gives what says how
    many changes there were."""
    count = 0

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count >= at > 0:
                raise Died
            return real(*arguments, **options)

        return change

    with patched.context() as scope:
        for place, name in _CHANGES:
            scope.setattr(place, name, deadly(getattr(place, name)))
        with contextlib.suppress(Died):
            yield lambda: count


@contextlib.contextmanager
def filling(at: int, patched: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """From write number `at` on the disk is full: nothing new finds room, and what is there can be taken away and
    renamed. Gives what says how many writes there were."""
    count = 0

    def full() -> None:
        nonlocal count
        count += 1
        if count >= at > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def needing(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **options: Any) -> Any:
            full()
            return real(*arguments, **options)

        return write

    def opening(real: Callable[..., Any]) -> Callable[..., Any]:
        def open_(path: Any, flags: int, *rest: Any, **options: Any) -> Any:
            if flags & os.O_CREAT and not (options or os.path.lexists(path)):
                full()
            return real(path, flags, *rest, **options)

        return open_

    with patched.context() as scope:
        for place, name in ((Path, "mkdir"), (Path, "symlink_to"), (os, "link"), (os, "write"), (os, "pwrite")):
            scope.setattr(place, name, needing(getattr(place, name)))
        scope.setattr(os, "open", opening(os.open))
        yield lambda: count


# --- what must hold


def check_always(root: Path) -> None:
    """At any time, also when something was killed just now: what is kept is complete, what is served is one of that."""
    store, found = BlobStore(root), kept(root)
    for each in found:
        check_complete(each, store)
    link = root / generation.CURRENT
    if link.is_symlink():
        assert link.resolve() in {each.folder for each in found}, "what is served is whole"


def check_complete(one: Kept, store: BlobStore) -> None:
    for entry in one.statement.blobs:
        assert Digest.of(store.path(entry.digest).read_bytes()) == entry.digest, (one.name, entry.name)
    for artifact in one.statement.artifacts:
        for digest in artifact.members:
            assert (one.folder / data_path(digest)).samefile(store.path(digest)), (one.name, digest)


def check_swept(root: Path) -> None:
    """After gc: no blob that nothing needs, no file that is not needed, each blob once on the disk."""
    store, found, half = BlobStore(root), kept(root), unfinished(root)
    needed = {digest for each in found for digest in each.digests}
    begun = {entry.digest for entry in half.blobs} if half else set()
    here = set(store.digests())
    assert needed <= here <= needed | begun
    assert {path.name for path in store.beginnings()} <= {digest.hex for digest in begun}
    assert {path.name for path in (root / generation.GENERATIONS).iterdir()} == {each.name for each in found}
    own = {store.path(digest).stat().st_ino for digest in here}
    for each in found:
        for path, digest, inode in promises(each.folder):
            assert (inode in own) == (digest in here), f"{path} is another copy of a blob, or of one that is gone"
    assert not half or not fronts.unfinished_path(root).is_symlink()


def highest(root: Path) -> dict[str, int]:
    return {line: number for line, (number, _) in read_state(root).releases.items()}


def serving(root: Path) -> str:
    """`tiny-1`, or nothing."""
    folder = generation.current(root)
    return folder.name.rpartition("-")[0] if folder else ""
