"""Where a bundle's bytes are: in one file, or in the slices of a set of volumes, which lie in one or several folders.

Slices are read in place. Only positional reads are made, so many threads may share what is open.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundler.archive.form import SIGNATURE_SIZE
from bundler.errors import NotReadable, SliceDamaged, SliceMissing, Usage
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.volumes import SUFFIX, Volumes, numbered, parse_volumes, pieces, slice_name
from bundler.signing.trust import Signed
from bundler.support import parallel
from bundler.support.buffers import page_buffer
from bundler.support.files import read_file

_CHUNK = 1 << 20
_KEYID = re.compile(r"ed25519-[0-9a-f]{64}")


class Medium(Protocol):
    """Bytes by their position in the bundle."""

    size: int

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """How many bytes of the buffer were filled; none only at the end. Raises OSError."""

    def advise(self, offset: int, count: int) -> None:
        """These bytes will be read in order."""

    def close(self) -> None: ...


class OneFile:
    """A regular file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        try:
            # O_NONBLOCK: a pipe that nobody writes to must not hold us up.
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise NotReadable(path=self.path, why=error.strerror or str(error)) from None
        state = os.fstat(self.descriptor)
        self.size = state.st_size
        if not stat.S_ISREG(state.st_mode):
            os.close(self.descriptor)
            raise NotReadable(path=self.path, why="it is no regular file")

    def read_into(self, buffer: memoryview, offset: int) -> int:
        return os.preadv(self.descriptor, [buffer], offset)

    def advise(self, offset: int, count: int) -> None:
        os.posix_fadvise(self.descriptor, offset, count, os.POSIX_FADV_SEQUENTIAL)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSet:
    """A set of volumes: `path` is its document, `name` the bundle's, `folders` where slices may lie."""

    path: Path
    name: str
    signed: Signed
    volumes: Volumes
    folders: tuple[Path, ...]

    def file(self, number: int) -> str:
        return slice_name(self.name, number)

    def find(self, number: int) -> Path | None:
        """A slice by its number: one of the right size, else any of its name, else None."""
        there = [folder / self.file(number) for folder in self.folders if (folder / self.file(number)).is_file()]
        wanted = self.volumes.slices[number - 1].size
        return next((path for path in there if path.stat().st_size == wanted), there[0] if there else None)

    def missing(self) -> tuple[int, ...]:
        return tuple(at for at in range(1, len(self.volumes.slices) + 1) if self.find(at) is None)

    def lacking(self, numbers: Iterable[int]) -> SliceMissing:
        """The error that names these slices."""
        missing = tuple((self.file(number), str(self.volumes.slices[number - 1].digest)) for number in numbers)
        return SliceMissing(path=str(self.path), missing=missing, folders=tuple(map(str, self.folders)))

    def open(self, number: int) -> OneFile:
        """Raises SliceMissing, SliceDamaged for one of another size, NotReadable."""
        path, wanted = self.find(number), self.volumes.slices[number - 1].size
        if path is None:
            raise self.lacking([number])
        file = OneFile(path)
        if file.size != wanted:
            file.close()
            why = f"it has {file.size} bytes, {wanted} belong to it"
            raise SliceDamaged(path=str(self.path), damaged=((str(path), why),))
        return file

    def damage(self, number: int) -> str:
        """What is wrong with a slice; nothing when it is good, or not there to be looked at."""
        path = self.find(number)
        if path is None:
            return ""
        file = OneFile(path)
        try:
            return self.damage_in(file, number)
        finally:
            file.close()

    def damage_in(self, file: OneFile, number: int, advance: Callable[[int], object] = lambda count: None) -> str:
        """What is wrong with the bytes of a slice; nothing when they are good. `advance` is told of each piece."""
        expected = self.volumes.slices[number - 1]
        if file.size != expected.size:
            return f"it has {file.size} bytes, {expected.size} belong to it"
        try:
            found = digest_of(file, file.size, advance)
        except OSError as error:
            return f"{error.strerror or error}; its digest should be {expected.digest}"
        return "" if found == expected.digest else f"its digest is {found}, and should be {expected.digest}"

    def blame(self, numbers: Iterable[int]) -> None:
        """Raises SliceDamaged when some of these slices are not what they should be."""
        found = [(self.file(number), self.damage(number)) for number in sorted(set(numbers))]
        damaged = tuple((name, why) for name, why in found if why)
        if damaged:
            raise SliceDamaged(path=str(self.path), damaged=damaged)

    def numbers(self, offset: int, count: int) -> list[int]:
        """The slices that these bytes of the bundle lie in."""
        return [index + 1 for index, _, _ in pieces(offset, max(count, 1), self.volumes.each)]


class ManyFiles:
    """All slices of a set, open."""

    def __init__(self, volumes: VolumeSet) -> None:
        """Raises SliceMissing with all that are, SliceDamaged."""
        missing = volumes.missing()
        if missing:
            raise volumes.lacking(missing)
        self.size, self._each = volumes.volumes.size, volumes.volumes.each
        self._files: list[OneFile] = []
        try:
            for number in range(1, len(volumes.volumes.slices) + 1):
                self._files.append(volumes.open(number))
        except BaseException:
            self.close()
            raise

    def read_into(self, buffer: memoryview, offset: int) -> int:
        count = min(len(buffer), self.size - offset)
        if count <= 0:
            return 0
        index, at, count = next(pieces(offset, count, self._each))
        return self._files[index].read_into(buffer[:count], at)

    def advise(self, offset: int, count: int) -> None:
        for index, at, length in pieces(offset, count, self._each):
            self._files[index].advise(at, length)

    def close(self) -> None:
        for file in self._files:
            file.close()


def medium_of(path: Path, volumes: VolumeSet | None = None) -> OneFile | ManyFiles:
    """The bytes of a bundle, or of any other file. Raises NotReadable, SliceMissing, SliceDamaged."""
    volumes = volumes or volumes_of(path)
    return OneFile(path) if volumes is None else ManyFiles(volumes)


def digest_of(file: Medium, size: int, advance: Callable[[int], object] = lambda count: None) -> Digest:
    """Of the first `size` bytes; `advance` is told of each piece. Raises OSError."""
    sha256, buffer, offset = hashlib.sha256(), page_buffer(_CHUNK), 0
    file.advise(0, size)
    while offset < size and (count := file.read_into(buffer[: min(_CHUNK, size - offset)], offset)):
        parallel.check_stopping()
        sha256.update(buffer[:count])
        advance(count)
        offset += count
    return Digest(sha256.hexdigest())


def volumes_of(path: Path, folders: Sequence[Path] = ()) -> VolumeSet | None:
    """The set that a path stands for: its document, one of its slices, the bundle's own name, or a folder with one set.

    None for any other path. Raises NotReadable, Usage for a folder with several sets, MalformedStatement. Nothing is
    judged here.
    """
    document = _document(path, folders)
    if document is None:
        return None
    name = document.name.removesuffix(SUFFIX)
    data = read_file(document, limit=LIMITS.document)
    places = tuple(dict.fromkeys((document.parent, *folders)))
    signed = Signed(path=str(document), statement=data, inside=(), beside=signatures_beside(document, places))
    return VolumeSet(
        path=document, name=name, signed=signed, volumes=parse_volumes(data, path=str(document)), folders=places
    )


def stands_for_volumes(path: Path) -> bool:
    """Whether `volumes_of` would look for a set there."""
    return _document(path, ()) is not None


def _document(path: Path, folders: Sequence[Path]) -> Path | None:
    try:
        return _sought(path, folders)
    except PermissionError:
        return None  # who opens the path says so


def _sought(path: Path, folders: Sequence[Path]) -> Path | None:
    if path.is_dir():
        found = sorted(path.glob(f"*{SUFFIX}"))
        if len(found) > 1:
            names = ", ".join(each.name for each in found[:5])
            raise Usage(message=f"{path} has several sets of volumes", advice=f"Name one of them: {names}")
        return found[0] if found else None
    if path.name.endswith(SUFFIX):
        return path
    part = numbered(path.name)
    if part is None and os.path.lexists(path):
        return None
    name = f"{part[0] if part else path.name}{SUFFIX}"
    candidates = [folder / name for folder in (path.parent, *folders)]
    return next((each for each in candidates if each.is_file()), None)


def signatures_beside(path: Path, folders: Iterable[Path] = ()) -> dict[str, bytes]:
    """Signatures made elsewhere: files NAME.<keyid>.sig in a file's own folder, or in one of the others."""
    found: dict[str, bytes] = {}
    for folder in dict.fromkeys((path.parent, *folders)):
        for beside in sorted(folder.glob(f"{_escaped(path.name)}.ed25519-*.sig")):
            keyid = beside.name.removeprefix(f"{path.name}.").removesuffix(".sig")
            full = len(found) == LIMITS.signers or keyid in found
            if full or not _KEYID.fullmatch(keyid) or not beside.is_file():
                continue
            try:
                with beside.open("rb") as file:
                    found[keyid] = file.read(SIGNATURE_SIZE + 1)
            except OSError as error:
                raise NotReadable(path=str(beside), why=error.strerror or str(error)) from None
    return found


def _escaped(name: str) -> str:
    """A file name as a glob pattern that matches itself."""
    return re.sub(r"([*?[])", r"[\1]", name)
