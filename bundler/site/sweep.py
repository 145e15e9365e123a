"""Taking away what no kept generation needs: generations, their views, then blobs.

Nothing has to be written first, so it works on a full disk; nothing is decided from link counts. Killed anywhere, the
next sweep ends at the same tree. Files that are not ours (no digest for a name, no statement) are never touched.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from bundler.errors import DiskFull
from bundler.model.digest import Digest
from bundler.site.generation import BROKEN, GENERATIONS, HALF, clear_halves
from bundler.site.kept import Kept
from bundler.store.blobs import BlobStore
from bundler.support import files
from bundler.views import carry
from bundler.views.registry import REPOSITORIES

_GONE = ".gone."  # before the name of a generation that is dropped: it is none any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What goes: generations, leftovers of killed work, carried paths that lead to none of the kept generations, blobs,
    and beginnings of blobs. `freed` is what the disk gets back, in bytes."""

    stay: tuple[Kept, ...]
    drop: tuple[Kept, ...]
    leftovers: tuple[Path, ...]
    carried: tuple[tuple[Path, tuple[str, ...]], ...]
    blobs: tuple[Digest, ...]
    begun: tuple[Path, ...]
    freed: int

    @property
    def nothing(self) -> bool:
        return not (self.drop or self.leftovers or self.carried or self.blobs or self.begun)


def plan(root: Path, stay: Sequence[Kept], drop: Sequence[Kept], *, also: Set[Digest], begun: Set[Digest]) -> Sweep:
    """What a sweep would take away; changes nothing. `also` are blobs that stay though no generation needs them,
    `begun` those whose beginnings do."""
    store = BlobStore(root)
    needed = {digest for each in stay for digest in each.digests} | also
    blobs = tuple(sorted(digest for digest in store.digests() if digest not in needed))
    own = _own_paths(stay)
    carried = tuple((each.folder, gone) for each in stay if (gone := _stale(each.folder, own)))
    beginnings = tuple(
        sorted(path for path in store.beginnings() if store.begins(path) not in {each.hex for each in begun})
    )
    sizes = (_size(path) for path in (*(store.path(digest) for digest in blobs), *beginnings))
    return Sweep(
        stay=tuple(stay),
        drop=tuple(drop),
        leftovers=tuple(_leftovers(root)),
        carried=carried,
        blobs=blobs,
        begun=beginnings,
        freed=sum(sizes),
    )


def sweep(root: Path, what: Sweep) -> None:
    """Do it. The caller holds the root's lock. Raises CannotWrite."""
    store, generations = BlobStore(root), root / GENERATIONS
    with files.writing(generations):
        for each in what.drop:
            each.folder.rename(generations / f"{_GONE}{each.name}")
        if what.drop:
            # Surely none of them before the first of their blobs goes: none may come back by a power cut.
            files.sync_directory(generations)
    for folder, paths in what.carried:
        _forget(folder, paths)
    for path in _leftovers(root):
        with files.writing(path):
            _remove(path)
    with files.writing(store.folder):
        for digest in what.blobs:
            store.path(digest).unlink(missing_ok=True)
        for path in what.begun:
            _remove(path)
    for each in what.stay:
        clear_halves(each.folder)
    for folder, paths in what.carried:
        with contextlib.suppress(DiskFull):  # the next sweep does it
            carry.uncarry(folder, paths)


def _own_paths(stay: Iterable[Kept]) -> set[str]:
    return {path for each in stay for path in carry.published(each.folder)}


def _stale(folder: Path, own: Set[str]) -> tuple[str, ...]:
    """Paths that a generation has only from one that is not kept any more."""
    return tuple(sorted(carry.carried(folder) - own))


def _forget(folder: Path, paths: Iterable[str]) -> None:
    """Take the paths away, and the folders that had nothing else; they stay listed until all is done."""
    with files.writing(folder):
        for path in paths:
            place = folder / path
            place.unlink(missing_ok=True)
            for parent in place.relative_to(folder).parents:
                if parent.as_posix() == REPOSITORIES:  # a registry without any has the folder all the same
                    break
                try:
                    (folder / parent).rmdir()
                except FileNotFoundError:
                    continue
                except OSError:
                    break


def _leftovers(root: Path) -> Iterator[Path]:
    """Generations that are not whole, or are dropped already."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted((root / GENERATIONS).iterdir()):
            if path.name in (HALF, BROKEN) or path.name.startswith(_GONE):
                yield path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:
        return 0
