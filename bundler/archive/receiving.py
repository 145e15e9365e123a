"""The far end of `bundler.archive.sending`: reads the stream strictly and believes nothing of it."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable

from bundler.archive.form import SIGNATURE_SIZE
from bundler.archive.sending import END, MAGIC, blob_head, front_head
from bundler.errors import InvalidDocument, Malformed, NotABundle, TrailingBytes, TruncatedBundle, WrongBytes
from bundler.model.document import Fields, Reader
from bundler.model.limits import LIMITS
from bundler.signing.trust import Signed
from bundler.support.buffers import page_buffer

_PIECE = 1 << 20
_LINE = 4096  # more than the head of a front with twice `LIMITS.signers` keyids
_KEYID = re.compile(r"ed25519-[0-9a-f]{64}")


class Arriving:
    """The stream on a descriptor, read once from its beginning."""

    path = "the stream on standard input"

    def __init__(self, descriptor: int, *, begun: bytes = b"") -> None:
        """`begun` was read from it already."""
        self._descriptor = descriptor
        self._buffer = page_buffer(_PIECE)
        self._rest = memoryview(begun)  # what is read and not used yet
        self._read = len(begun)
        with contextlib.suppress(OSError):  # fewer and larger reads, where it is a pipe that may grow
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIECE)

    def front(self) -> Signed:
        """The statement and the signatures; nothing of them is parsed. Raises NotABundle, TruncatedBundle."""
        if self._line() != MAGIC:
            raise NotABundle(path=self.path, why=f"it does not begin with {MAGIC.decode().strip()!r}")
        line, reader = self._line(), Reader(file=self.path)
        try:
            head = reader.json(line, limit=_LINE).whole(_head)
            reader.finish()
        except InvalidDocument as error:
            raise NotABundle(path=self.path, why=f"its head has {error.problems[0].found}") from None
        size, inside, beside = head
        if front_head(size, inside, beside) != line:
            raise NotABundle(path=self.path, why="its head is not written as we write it")
        statement = self._whole(size)
        signatures = [(keyid, self._whole(SIGNATURE_SIZE)) for keyid in (*inside, *beside)]
        return Signed(
            path=self.path,
            statement=statement,
            inside=tuple(signatures[: len(inside)]),
            beside=dict(signatures[len(inside) :]),
        )

    def body(self, name: str, offset: int, size: int, take: Callable[[memoryview], object]) -> None:
        """Give the bytes from `offset` of the blob that must come next to `take`, piece by piece.

        Raises WrongBytes when another one comes, TruncatedBundle.
        """
        self._expect(blob_head(name, offset, size - offset))
        left = size - offset
        while left:
            data = self._some(left)
            take(data)
            left -= len(data)

    def end(self) -> None:
        """The stream must be over here. Raises WrongBytes, TrailingBytes."""
        self._expect(END)
        self.finish()

    def finish(self) -> None:
        """Nothing may follow. Raises TrailingBytes."""
        at = self._read - len(self._rest)
        if self._rest or self._more():
            raise TrailingBytes(path=self.path, size=self._read, expected=at)

    def _expect(self, line: bytes) -> None:
        found = self._line()
        if found != line:
            shown = found[:160].decode("ascii", "backslashreplace").strip()
            raise WrongBytes(what=self.path, expected=repr(line.decode().strip()), found=repr(shown))

    def _line(self) -> bytes:
        """Up to the next newline; what is longer than any line of ours ends without one. Raises TruncatedBundle."""
        found = bytearray()
        while not found.endswith(b"\n") and len(found) < _LINE:
            if not self._rest and not self._more():
                raise TruncatedBundle(path=self.path, size=self._read, expected=self._read + 1)
            end = bytes(self._rest[:_LINE]).find(b"\n") + 1
            found += self._used(end or min(len(self._rest), _LINE))
        return bytes(found)

    def _whole(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            found += self._some(count - len(found))
        return bytes(found)

    def _some(self, most: int) -> memoryview:
        """The next bytes, valid until the next call. Raises TruncatedBundle."""
        if not self._rest and not self._more():
            raise TruncatedBundle(path=self.path, size=self._read, expected=self._read + most)
        return self._used(min(len(self._rest), most))

    def _used(self, count: int) -> memoryview:
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def _more(self) -> bool:
        """Fill the buffer, which is used up; False at the end of the stream."""
        count = os.readv(self._descriptor, [self._buffer])
        self._rest = self._buffer[:count]
        self._read += count
        return count > 0


def _head(fields: Fields) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    size = fields.integer("statement")
    inside, beside = fields.values("inside", _keyid), fields.values("beside", _keyid)
    if fields.ok and (size > LIMITS.document or max(len(inside), len(beside)) > LIMITS.signers):
        fields.fail(found="more than a bundle has", expected="less")
    return size, inside, beside


def _keyid(text: str) -> str:
    if not _KEYID.fullmatch(text):
        raise Malformed(found=repr(text[:80]), expected="a key's id")
    return text
