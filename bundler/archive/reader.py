"""Reading a bundle file: its front before anything is trusted, then its frame and bodies by a known layout."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from bundler.archive import tar
from bundler.archive.form import BOOTSTRAP, SIGNATURE_SIZE, STATEMENT, signature_name
from bundler.archive.layout import Layout, Place
from bundler.errors import DamagedContent, HeaderMismatch, NotABundle, NotReadable, TrailingBytes, TruncatedBundle
from bundler.model.limits import LIMITS
from bundler.signing.trust import Signed

CHUNK = 1 << 20
_SIZE = slice(124, 135)  # the size field of a ustar header, eleven octal digits
_OCTAL = re.compile(rb"[0-7]{11}")
_SIGNATURE_NAME = re.compile(rb"bundle\.json\.(ed25519-[0-9a-f]{64})\.sig")
_KEYID = re.compile(r"ed25519-[0-9a-f]{64}")


class BundleFile:
    """An open bundle file. Only positional reads are made, so many threads may share it."""

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

    def __enter__(self) -> "BundleFile":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def front(self) -> Signed:
        """The statement's exact bytes and the signatures inside the file and beside it; nothing of them is parsed."""
        head = self._read(0, tar.BLOCK)
        size = _size_in(head)
        named = head.startswith(STATEMENT.encode() + b"\0")
        # A sound header with another name is another tar; one whose checksum is off is our own, damaged.
        if len(head) < tar.BLOCK or (not named and (head[257:262] != b"ustar" or tar.sound(head))):
            raise NotABundle(path=self.path, why=f"it does not begin with a tar entry named {STATEMENT}")
        if size is None or head != tar.header(name=STATEMENT, size=size):
            raise HeaderMismatch(path=self.path, entry=STATEMENT, offset=0)
        if size > LIMITS.document:
            raise NotABundle(path=self.path, why=f"its statement would have {size} bytes")
        statement = self._read(tar.BLOCK, size)
        if len(statement) < size:
            raise TruncatedBundle(path=self.path, size=self.size, expected=tar.BLOCK + size)
        inside = self._signatures(tar.BLOCK + size + -size % tar.BLOCK)
        return Signed(path=self.path, statement=statement, inside=inside, beside=self._beside())

    def _signatures(self, offset: int) -> tuple[tuple[str, bytes], ...]:
        """The signatures that follow the statement, up to the header of bootstrap.tar."""
        found: list[tuple[str, bytes]] = []
        while True:
            head = self._read(offset, tar.BLOCK)
            size = _size_in(head)
            if size is not None and head == tar.header(name=BOOTSTRAP, size=size):
                return tuple(found)
            match = _SIGNATURE_NAME.fullmatch(head[:100].rstrip(b"\0"))
            if len(head) < tar.BLOCK:
                raise TruncatedBundle(path=self.path, size=self.size, expected=offset + tar.BLOCK)
            if match is None or head != tar.header(
                name=signature_name(STATEMENT, match[1].decode()), size=SIGNATURE_SIZE
            ):
                raise HeaderMismatch(path=self.path, entry=f"what follows {STATEMENT}", offset=offset)
            if len(found) == LIMITS.signers:
                raise NotABundle(path=self.path, why=f"it has more than {LIMITS.signers} signatures")
            found.append((match[1].decode(), self._read(offset + tar.BLOCK, SIGNATURE_SIZE)))
            offset += 2 * tar.BLOCK

    def _beside(self) -> dict[str, bytes]:
        """Signatures made elsewhere: files NAME.<keyid>.sig in the bundle's folder."""
        path = Path(self.path)
        found: dict[str, bytes] = {}
        for beside in sorted(path.parent.glob(f"{_escaped(path.name)}.ed25519-*.sig")):
            keyid = beside.name.removeprefix(f"{path.name}.").removesuffix(".sig")
            if len(found) == LIMITS.signers or not _KEYID.fullmatch(keyid) or not beside.is_file():
                continue
            try:
                with beside.open("rb") as file:
                    found[keyid] = file.read(SIGNATURE_SIZE + 1)
            except OSError as error:
                raise NotReadable(path=str(beside), why=error.strerror or str(error)) from None
        return found

    def check_size(self, layout: Layout) -> None:
        """Raises TruncatedBundle or TrailingBytes."""
        if self.size < layout.size:
            raise TruncatedBundle(path=self.path, size=self.size, expected=layout.size)
        if self.size > layout.size:
            raise TrailingBytes(path=self.path, size=self.size, expected=layout.size)

    def check_frame(self, layout: Layout) -> None:
        """Compare every byte that is no body with what the layout implies. Raises HeaderMismatch."""
        for place in layout.places:
            self._compare(place.start, place.header, place.member.name)
            self._compare(place.body + place.member.size, place.padding, place.member.name)
        self._compare(layout.size - len(tar.END), tar.END, "the end mark")

    def _compare(self, offset: int, expected: bytes, entry: str) -> None:
        found = self._read(offset, len(expected))
        if found != expected:
            at = next((at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(found))
            raise HeaderMismatch(path=self.path, entry=entry, offset=offset + at)

    def stream(
        self, place: Place, take: Callable[[memoryview], object], buffer: bytearray | memoryview, *, skip: int = 0
    ) -> None:
        """Give the body of a place, less its first `skip` bytes, to `take`, piece by piece, through `buffer`.

        Raises DamagedContent.
        """
        view = memoryview(buffer)
        offset, end = place.body + skip, place.body + place.member.size
        while offset < end:
            try:
                count = os.preadv(self.descriptor, [view[: min(len(buffer), end - offset)]], offset)
            except OSError:
                count = 0  # a medium that cannot give a byte back has damaged it
            if count <= 0:
                raise DamagedContent(path=self.path, damaged=((place.member.name, ()),))
            take(view[:count])
            offset += count

    def piece(self, place: Place, offset: int) -> bytes:
        """The next bytes of a body from `offset` in it, CHUNK of them at most. Raises DamagedContent."""
        try:
            data = os.pread(self.descriptor, min(CHUNK, place.member.size - offset), place.body + offset)
        except OSError:
            data = b""
        if not data:
            raise DamagedContent(path=self.path, damaged=((place.member.name, ()),))
        return data

    def body(self, place: Place) -> bytes:
        """A whole small body."""
        return self._read(place.body, place.member.size)

    def _read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end of the file. Raises NotReadable when the disk cannot give them."""
        parts = []
        try:
            while count > 0:
                part = os.pread(self.descriptor, min(count, CHUNK), offset)
                if not part:
                    break
                parts.append(part)
                offset, count = offset + len(part), count - len(part)
        except OSError as error:
            raise NotReadable(path=self.path, why=error.strerror or str(error)) from None
        return b"".join(parts)


def _size_in(head: bytes) -> int | None:
    digits = head[_SIZE]
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None


def _escaped(name: str) -> str:
    """A file name as a glob pattern that matches itself."""
    return re.sub(r"([*?[])", r"[\1]", name)
