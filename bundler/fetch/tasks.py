"""What create has to fetch: one task for each blob that we do not write ourselves, with its place in the file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from bundler.archive.bootstrap import Bootstrap
from bundler.archive.contents import Contents
from bundler.archive.form import BOOTSTRAP
from bundler.archive.layout import Layout
from bundler.archive.oci import CHART_TYPE
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import Lock, LockedChart, LockedDeb, LockedFile, LockedImage, LockedWheel
from bundler.model.statement import BLOB_PREFIX, PATCH_PREFIX, Entry
from bundler.sources.tar_index import Part

# Large enough that asking for a piece costs nothing beside it, small enough that none is long in coming at the end.
PIECE = 32 << 20
LARGE = 2 * PIECE


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestOf:
    image: LockedImage
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobOf:
    image: LockedImage
    descriptor: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataOf:
    """A wheel's METADATA: read out of the wheel, which is in the file at `wheel_offset`."""

    wheel: LockedWheel
    wheel_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOf:
    """The archive of a chart, its provenance, or the documents that its registry has of it."""

    chart: LockedChart
    descriptor: Descriptor


T = TypeVar("T", LockedImage, LockedChart, LockedWheel, LockedDeb, LockedFile)
Origin = ManifestOf | BlobOf | PartOf | MetadataOf | LockedWheel | LockedDeb | LockedFile | Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`label` is for people; the bytes belong at `offset` of the bundle file; `slot` numbers the journal's entries.

    A large blob is fetched in pieces, each with a slot of its own behind that of the blob; any other is one piece.
    """

    label: str
    origin: Origin
    digest: Digest
    size: int
    offset: int
    slot: int

    @property
    def large(self) -> bool:
        return self.size > LARGE

    @property
    def pieces(self) -> int:
        return -(-self.size // PIECE) if self.large else 1

    @property
    def slots(self) -> int:
        return 1 + self.pieces if self.large else 1

    def piece_slot(self, piece: int) -> int:
        return self.slot + 1 + piece if self.large else self.slot

    def piece_start(self, piece: int) -> int:
        return piece * PIECE

    def piece_end(self, piece: int) -> int:
        return min((piece + 1) * PIECE, self.size) if self.large else self.size

    def piece_at(self, position: int) -> int:
        """The piece that a byte belongs to; the last one, at the end of all."""
        return min(position // PIECE, self.pieces - 1) if self.large else 0


def slots_of(tasks: Iterable[Task]) -> int:
    """How many slots the journal needs."""
    return sum(task.slots for task in tasks)


_Found = tuple[Origin, Descriptor | LockedWheel | LockedDeb | LockedFile | Entry, int, str]


def tasks_of(
    lock: Lock, contents: Contents, bootstrap: Bootstrap, layout: Layout, ready: Mapping[Digest, Part] | None = None
) -> tuple[Task, ...]:
    """All tasks, METADATA last, the others largest first: the long ones then never end alone. What is `ready` on this
    machine already, patches among it, comes from there."""
    ready = ready or {}
    bodies = {place.member.name: place.body for place in layout.places}
    carried = [blob for blob in contents.blobs if f"{BLOB_PREFIX}{blob.digest.hex}" in bodies]  # of a delta not all
    offsets = {blob.digest: bodies[f"{BLOB_PREFIX}{blob.digest.hex}"] for blob in carried}
    origins = dict(_origins(lock, offsets))
    found = _bootstrap_wheels(bootstrap, start=layout.place(BOOTSTRAP).body)
    for blob in carried:
        if blob.digest not in contents.ready:
            # A wheel that is only a patch here has no METADATA to give.
            origin, label = origins.get(blob.digest, (ready.get(blob.digest), blob.digest.hex[:12]))
            origin = ready.get(blob.digest, origin)
            assert origin is not None
            found.append((origin, blob, offsets[blob.digest], label))
    for name, body in bodies.items():
        if name.startswith(PATCH_PREFIX):
            digest = Digest(name.removeprefix(PATCH_PREFIX))
            entry = Entry(name=name, digest=digest, size=ready[digest].size)
            found.append((ready[digest], entry, body, f"patch {digest.hex[:12]}"))
    return _numbered(found)


def bootstrap_tasks(bootstrap: Bootstrap, *, start: int) -> tuple[Task, ...]:
    """The tasks of a bootstrap.tar whose first byte is at `start`."""
    return _numbered(_bootstrap_wheels(bootstrap, start=start))


def _bootstrap_wheels(bootstrap: Bootstrap, *, start: int) -> list[_Found]:
    inner = {place.member.name: place.body for place in bootstrap.layout.places}
    return [
        (wheel, wheel, start + inner[name], f"{wheel.file} (bootstrap)") for name, wheel in bootstrap.wheels.items()
    ]


def _numbered(found: list[_Found]) -> tuple[Task, ...]:
    found.sort(key=lambda each: (isinstance(each[0], MetadataOf), -each[1].size, each[2]))
    tasks: list[Task] = []
    slot = 0
    for origin, what, offset, label in found:
        tasks.append(Task(label=label, origin=origin, digest=what.digest, size=what.size, offset=offset, slot=slot))
        slot += tasks[-1].slots
    return tuple(tasks)


def _origins(lock: Lock, offsets: Mapping[Digest, int]) -> Iterator[tuple[Digest, tuple[Origin, str]]]:
    """Where each blob comes from; the first artifact that has it wins, so later pairs come first."""
    for wheel in reversed(_sorted(lock.wheels)):
        if wheel.digest in offsets:
            metadata = MetadataOf(wheel=wheel, wheel_offset=offsets[wheel.digest])
            yield wheel.metadata.digest, (metadata, f"{wheel.file} METADATA")
        yield wheel.digest, (wheel, wheel.file)
    for deb in reversed(_sorted(lock.debs)):
        yield deb.digest, (deb, deb.file)
    for file in reversed(_sorted(lock.files)):
        yield file.digest, (file, file.name)
    for chart in reversed(_sorted(lock.charts)):
        archive = Descriptor(media_type=CHART_TYPE, digest=chart.digest, size=chart.size)
        for descriptor in filter(None, (chart.config, chart.manifest, chart.provenance, archive)):
            label = chart.name if descriptor == archive else f"{chart.name} {descriptor.digest.hex[:12]}"
            yield descriptor.digest, (PartOf(chart=chart, descriptor=descriptor), label)
    for image in reversed(_sorted(lock.images)):
        for descriptor in image.blobs:
            yield descriptor.digest, (BlobOf(image=image, descriptor=descriptor), _label(image, descriptor))
        for descriptor in (*image.referrers, *image.manifests, image.root):
            yield descriptor.digest, (ManifestOf(image=image, descriptor=descriptor), _label(image, descriptor))


def _sorted(entries: Iterable[T]) -> list[T]:
    return sorted(entries, key=lambda entry: entry.name)


def _label(image: LockedImage, descriptor: Descriptor) -> str:
    return f"{image.name} {descriptor.digest.hex[:12]}" + (f" from {image.source}" if image.source else "")
