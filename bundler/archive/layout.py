"""Where everything of a tar lies: sizes in, offsets out, before the first byte is there."""

from collections.abc import Iterable
from dataclasses import dataclass

from bundler.archive import tar


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file to be laid out: its name, its size in bytes, and whether its body may be aligned."""

    name: str
    size: int
    shared: bool = False

    @property
    def aligned(self) -> bool:
        return self.shared and self.size >= tar.ALIGNED_FROM


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A member's header starts at `start`, its body at `body`; the next member starts at `end`."""

    member: Member
    start: int
    body: int

    @property
    def end(self) -> int:
        return self.body + self.member.size + (-self.member.size % tar.BLOCK)

    @property
    def header(self) -> bytes:
        return tar.header(name=self.member.name, size=self.member.size, aligned=self.member.aligned, offset=self.start)

    @property
    def padding(self) -> bytes:
        return tar.padding(self.member.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """All members in file order and the size of the whole file with its end mark."""

    places: tuple[Place, ...]
    size: int

    def place(self, name: str) -> Place:
        return next(place for place in self.places if place.member.name == name)


def lay_out(members: Iterable[Member]) -> Layout:
    """Put members one after the other from offset 0."""
    places: list[Place] = []
    offset = 0
    for member in members:
        header = tar.header(name=member.name, size=member.size, aligned=member.aligned, offset=offset)
        place = Place(member=member, start=offset, body=offset + len(header))
        places.append(place)
        offset = place.end
    return Layout(places=tuple(places), size=offset + len(tar.END))
