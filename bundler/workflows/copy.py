"""`bundle copy`: a bundle, or slices of one, onto a medium, and the proof that the medium gives them back."""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.reader import BundleFile
from bundler.archive.slices import OneFile, VolumeSet, signatures_beside, volumes_of
from bundler.errors import (
    BundleError,
    CannotWrite,
    DiskFull,
    NotReadable,
    ReadBackDiffers,
    SliceDamaged,
    TooLargeForDisk,
    Usage,
)
from bundler.model.statement_parser import parse_statement
from bundler.model.volumes import numbered
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Signed, Trust, judge, judge_volumes
from bundler.support import files, parallel
from bundler.support.buffers import page_buffer
from bundler.support.progress import Progress, Silent
from bundler.verify.check import check_bodies, layout_of

# What is copied up to here is on the medium before the next byte is: so a file's length tells where to go on.
MARK = 64 << 20
READ_BACK = "read back"  # begins what `progress` hears when a file is read from the medium
_PIECE = 1 << 20
_LARGEST_ON_FAT = (4 << 30) - 1
_FAT = ("vfat", "msdos")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A large file to be copied. `prove` reads the file at a path and raises what is wrong with it."""

    source: Path
    size: int
    prove: Callable[[Path, Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """`written` counts the bytes of this run, `there` those that were on the medium; `cached` bytes were in memory
    when they were read back, and so prove nothing of the medium."""

    disk: Path
    files: tuple[str, ...]
    written: int
    there: int
    cached: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be on the medium: large files, and small ones by name."""

    items: tuple[Item, ...]
    small: dict[str, bytes]

    @property
    def names(self) -> tuple[str, ...]:
        return (*(item.source.name for item in self.items), *self.small)


def copy(
    sources: Sequence[Path],
    disk: Path,
    *,
    keys: Sequence[PublicKey] = (),
    threshold: int = 1,
    dry_run: bool = False,
    jobs: int,
    progress: Progress,
) -> Copied:
    """Copy, sync, forget what is in memory, read back, compare; a file gets its name when it is proved. Signatures
    come along. Killed at any point, the same again goes on; what is on the medium already is only read back.

    Without `keys` nobody's signature is judged. Raises DiskFull and TooLargeForDisk before the first byte,
    ReadBackDiffers, CannotWrite for another file of the same name; nothing is ever replaced or removed.
    """
    if not disk.is_dir():
        raise NotReadable(path=str(disk), why="it is no folder", advice="Mount the medium, and name its folder.")
    trust = Trust(keys=tuple(keys), threshold=threshold) if keys else None
    load = _together([_load(source, trust, jobs) for source in sources])
    there = sum(_there(disk, item) for item in load.items)
    _refuse_too_much(load, disk, there)
    total = sum(item.size for item in load.items)
    cached = 0
    if not dry_run:
        progress.expect(2 * total)
        cached = sum(_bring(item, disk, progress) for item in load.items)
        for name, data in load.small.items():
            _bring_small(disk / name, data)
    return Copied(disk=disk, files=load.names, written=total - there, there=there, cached=cached)


# --- what is to be copied


def _load(source: Path, trust: Trust | None, jobs: int) -> Load:
    volumes = volumes_of(source)
    if volumes is None:
        return _load_file(source, trust, jobs)
    if trust is not None:
        judge_volumes(trust, volumes.signed)
    part = numbered(source.name)
    chosen = [part[1]] if part else list(range(1, len(volumes.volumes.slices) + 1))
    missing = [number for number in chosen if number > len(volumes.volumes.slices) or volumes.find(number) is None]
    if missing:
        raise volumes.lacking(number for number in missing if number <= len(volumes.volumes.slices))
    small = {volumes.path.name: volumes.signed.statement, **_signatures(volumes.path)}
    small |= _signatures(volumes.path.with_name(volumes.name))
    return Load(items=tuple(_slice_item(volumes, number) for number in chosen), small=small)


def _slice_item(volumes: VolumeSet, number: int) -> Item:
    source = volumes.find(number)
    assert source is not None

    def prove(path: Path, progress: Progress) -> None:
        with closing(OneFile(path)) as file:
            if why := volumes.damage_in(file, number, progress.advance):
                raise SliceDamaged(path=str(volumes.path), damaged=((str(path), why),))

    return Item(source=source, size=volumes.volumes.slices[number - 1].size, prove=prove)


def _load_file(source: Path, trust: Trust | None, jobs: int) -> Load:
    with BundleFile(source) as file:
        signed, size = file.front(), file.size
        if trust is not None:
            judge(trust, signed)

    def prove(path: Path, progress: Progress) -> None:
        with BundleFile(path) as file:
            _prove_file(file, signed, jobs, progress)

    return Load(items=(Item(source=source, size=size, prove=prove),), small=_signatures(source))


def _prove_file(file: BundleFile, signed: Signed, jobs: int, progress: Progress) -> None:
    """Every body by the statement, and the statement itself by what was copied."""
    found = file.front()
    if (found.statement, found.inside) != (signed.statement, signed.inside):
        raise NotReadable(path=file.path, why="its statement is another one")
    statement = parse_statement(found.statement, path=file.path)
    layout = layout_of(file, statement, len(found.statement))
    bodies = sum(entry.size for entry in statement.entries)
    check_bodies(file, statement, layout, jobs=jobs, progress=_Part(progress))
    progress.advance(file.size - bodies)


class _Part:
    """The progress of a part: the whole is known already."""

    def __init__(self, whole: Progress) -> None:
        self.advance, self.begin, self.end, self.note = whole.advance, whole.begin, whole.end, whole.note

    def expect(self, total: int) -> None: ...


def _signatures(path: Path) -> dict[str, bytes]:
    return {f"{path.name}.{keyid}.sig": data for keyid, data in signatures_beside(path).items()}


def _together(loads: Sequence[Load]) -> Load:
    """Each file once. Raises Usage for two of one name."""
    items: dict[str, Item] = {}
    small: dict[str, bytes] = {}
    for load in loads:
        for item in load.items:
            if items.setdefault(item.source.name, item).source != item.source:
                raise Usage(message=f"two files have the name {item.source.name}")
        small |= load.small
    return Load(items=tuple(items.values()), small=small)


# --- what the medium can take


def _there(disk: Path, item: Item) -> int:
    """Bytes of a file that the medium has: whole under its name, or begun."""
    if (disk / item.source.name).exists():
        return item.size
    try:
        found = _partial(disk, item).lstat().st_size
    except FileNotFoundError:
        return 0
    return min(item.size, _durable(found))


def _partial(disk: Path, item: Item) -> Path:
    return disk / f"{item.source.name}.partial"


def _durable(size: int) -> int:
    return max(size - 1, 0) // MARK * MARK


def _refuse_too_much(load: Load, disk: Path, there: int) -> None:
    """Raises TooLargeForDisk, DiskFull."""
    kind = files.filesystem_of(disk)
    for item in load.items:
        if kind in _FAT and item.size > _LARGEST_ON_FAT:
            raise TooLargeForDisk(path=str(item.source), size=item.size, kind=f"the {kind} of {disk}")
    small = sum(max(len(data), 4096) for name, data in load.small.items() if not (disk / name).exists())
    missing = sum(item.size for item in load.items) + small - there - files.free_space(disk)
    if there:  # what was begun takes its room already, also what is behind the last mark
        begun = [_partial(disk, item) for item in load.items]
        missing -= sum(path.lstat().st_size - _durable(path.lstat().st_size) for path in begun if path.exists())
    if missing > 0:
        raise DiskFull(path=str(disk), missing=missing)


# --- onto it, and back


def _bring(item: Item, disk: Path, progress: Progress) -> int:
    """Gives how many bytes were in memory when they were read back."""
    out = disk / item.source.name
    if out.exists():
        progress.advance(item.size)
        return _read_back(item, out, progress, mine=False)
    resumed = _write(item, disk, progress)
    try:
        cached = _read_back(item, _partial(disk, item), progress, mine=True)
    except ReadBackDiffers:
        if not resumed:
            raise
        progress.note(f"{item.source.name}: what an earlier run had begun is not good; once more from the beginning")
        progress.advance(-2 * item.size)
        _write(item, disk, progress)
        cached = _read_back(item, _partial(disk, item), progress, mine=True)
    with files.writing(out):
        _partial(disk, item).rename(out)
        files.sync_directory(disk)
    return cached


def _write(item: Item, disk: Path, progress: Progress) -> bool:
    """True when an earlier run had begun. Raises DiskFull, CannotWrite, TooLargeForDisk, NotReadable."""
    path, buffer = _partial(disk, item), page_buffer(_PIECE)
    progress.begin(item.source.name)
    with closing(OneFile(item.source)) as source, files.writing(path, missing=item.size):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            begun = at = min(_durable(os.fstat(descriptor).st_size), item.size)
            os.ftruncate(descriptor, at)
            progress.advance(at)
            source.advise(at, item.size - at)
            while at < item.size:
                parallel.check_stopping()
                count = _read(item, source, buffer[: min(_PIECE, item.size - at)], at)
                if at % MARK == 0 and at > begun:
                    files.sync_data(descriptor)
                _put(descriptor, buffer[:count], at, item)
                at += count
                progress.advance(count)
            files.sync_file(descriptor)
        finally:
            os.close(descriptor)
            progress.end(item.source.name)
    return begun > 0


def _put(descriptor: int, data: memoryview, at: int, item: Item) -> None:
    try:
        files.write_at(descriptor, data, at)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise TooLargeForDisk(path=str(item.source), size=item.size, kind="this file system") from None


def _read(item: Item, source: OneFile, buffer: memoryview, at: int) -> int:
    try:
        count = source.read_into(buffer, at)
    except OSError as error:
        raise NotReadable(path=str(item.source), why=error.strerror or str(error)) from None
    if not count:
        raise NotReadable(path=str(item.source), why=f"it ends at byte {at}")
    return count


def _read_back(item: Item, path: Path, progress: Progress, *, mine: bool) -> int:
    """Raises ReadBackDiffers, what is wrong with the source, CannotWrite for a file that was there before us."""
    with closing(OneFile(path)) as file:
        cached = files.forget(file.descriptor)
    label = f"{READ_BACK} {item.source.name}"
    progress.begin(label)
    try:
        item.prove(path, progress)
    except BundleError as error:
        if not mine:
            raise CannotWrite(path=str(path), why="it is there already, with other bytes") from error
        item.prove(item.source, Silent())  # what was wrong before it was copied is not the medium's fault
        path.unlink()
        why = error.damaged[0][1] if isinstance(error, SliceDamaged) else str(error).replace("\n", "; ")
        raise ReadBackDiffers(path=str(path), why=why) from error
    finally:
        progress.end(label)
    return cached


def _bring_small(path: Path, data: bytes) -> None:
    if path.exists() and files.read_file(path, limit=len(data)) == data:
        return
    if path.exists():
        raise CannotWrite(path=str(path), why="it is there already, with other bytes")
    files.write_file(path, data)
    with closing(OneFile(path)) as file:
        files.forget(file.descriptor)
    if files.read_file(path, limit=len(data)) != data:
        path.unlink()
        raise ReadBackDiffers(path=str(path), why="another signature or document")
