"""A bundle's missing blobs and patches on one stream, from a machine that has the file to one that fills a store.

    bundle stream 1\\n
    {"beside":[keyid…],"inside":[keyid…],"statement":SIZE}\\n     canonical JSON
    the statement, then the raw signatures (64 bytes each), those inside the bundle first
    for each missing blob, in the order of the bundle:
        NAME OFFSET COUNT\\n                                      decimal, without leading zeros
        the COUNT bytes of its body from OFFSET to its end
    end\\n

and nothing behind it. The front (all before the first blob) alone is the question what is missing; the answer is one
JSON document. The far end proves everything: nothing is hashed here. `bundler.archive.receiving` reads it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bundler.archive.form import SIGNATURE_SIZE
from bundler.archive.layout import Layout, Place
from bundler.archive.reader import BundleFile
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.document import Fields, Reader, parse_integer
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX
from bundler.signing.trust import Signed

MAGIC = b"bundle stream 1\n"
END = b"end\n"


def front_of(signed: Signed) -> bytes:
    """The statement and its signatures as the stream begins."""
    # One beside the file that is no signature at all is not worth the way.
    beside = {keyid: data for keyid, data in sorted(signed.beside.items()) if len(data) == SIGNATURE_SIZE}
    head = front_head(len(signed.statement), [keyid for keyid, _ in signed.inside], list(beside))
    return b"".join([MAGIC, head, signed.statement, *(data for _, data in signed.inside), *beside.values()])


def front_head(size: int, inside: Sequence[str], beside: Sequence[str]) -> bytes:
    return canonical.dump({"beside": list(beside), "inside": list(inside), "statement": size})


def blob_head(name: str, offset: int, count: int) -> bytes:
    return f"{name} {offset} {count}\n".encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A site's answer: `content` is that of the statement it judged, `blobs` maps the entry names of what it lacks to
    the bytes that it holds of each, `size` is the number of body bytes to send, `free` what its disk has left.
    `installed` says that this release is in use, so that with no blob missing there is nothing to do."""

    content: Digest
    installed: bool
    blobs: Mapping[str, int]
    size: int
    free: int

    @property
    def nothing_to_do(self) -> bool:
        return self.installed and not self.blobs


def parse_missing(data: bytes, *, source: str) -> Missing:
    """The answer to the front, from `source` (a host). Raises InvalidDocument."""
    reader = Reader(file=source)
    found = reader.json(data).whole(_missing)
    reader.finish()
    return found


def _missing(fields: Fields) -> Missing:
    content, size = fields.value("content", Digest.parse), fields.integer("bytes")
    blobs = fields.each("missing", _blob, name=lambda blob: blob[0])
    installed, free = fields.flag("installed"), fields.integer("free")
    fields.has("generation")  # what is in use now: for people and for the state question
    return fields.build(lambda: Missing(content=content, installed=installed, blobs=dict(blobs), size=size, free=free))


def _blob(fields: Fields) -> tuple[str, int]:
    return fields.text("name"), fields.value("offset", parse_integer)


class Sending:
    """The stream of `blobs` (entry name: bytes that the far end has) of a bundle file; `size` is known beforehand.

    Memory stays at one piece. `chunks` may be taken more than once: each time from the beginning. The layout is that
    of the judged statement. Names that are no blobs of it, or offsets beyond their ends, raise ValueError.
    """

    def __init__(self, file: BundleFile, signed: Signed, layout: Layout, blobs: Mapping[str, int]) -> None:
        self._file, self._front = file, front_of(signed)
        names = (place.member.name for place in layout.places)
        known = {name for name in names if name.startswith((BLOB_PREFIX, PATCH_PREFIX))}
        places = [place for place in layout.places if place.member.name in blobs]
        self._parts = [(place, blobs[place.member.name]) for place in places]
        if not known.issuperset(blobs) or any(offset > place.member.size for place, offset in self._parts):
            raise ValueError("blobs that the bundle does not have")
        bodies = sum(len(_head(place, offset)) + place.member.size - offset for place, offset in self._parts)
        self.size = len(self._front) + bodies + len(END)

    def chunks(self) -> Iterator[bytes]:
        """Raises DamagedContent when the medium cannot give a body's bytes."""
        yield self._front
        for place, offset in self._parts:
            yield _head(place, offset)
            yield from self._body(place, offset)
        yield END

    def _body(self, place: Place, offset: int) -> Iterator[bytes]:
        while offset < place.member.size:
            piece = self._file.piece(place, offset)
            yield piece
            offset += len(piece)


def _head(place: Place, offset: int) -> bytes:
    return blob_head(place.member.name, offset, place.member.size - offset)


class Body:
    """One whole body of a bundle file as a stream."""

    def __init__(self, file: BundleFile, place: Place) -> None:
        self._file, self._place = file, place
        self.size = place.member.size

    def chunks(self) -> Iterator[bytes]:
        """Raises DamagedContent."""
        offset = 0
        while offset < self.size:
            piece = self._file.piece(self._place, offset)
            yield piece
            offset += len(piece)
