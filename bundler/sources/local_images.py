"""Images that are on this machine: OCI layouts (folders or tars), what `docker save` wrote, the Docker daemon.

Files lie below the manifests' `files`. A layout keeps the image's own digests. What Docker saves has no manifest of a
registry: we write one, and the lock says so.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from bundler.catalog.manifests import Manifests
from bundler.errors import Malformed, NotFound, ResolutionFailed, TooLarge, Unsupported
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import LockedImage
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.sources.docker_daemon import SCHEME, StreamedSave, image_id
from bundler.sources.docker_save import MANIFEST, Measured, choose_saved, parse_saved, parts_of, synthesise
from bundler.sources.files import receive_local
from bundler.sources.image_choice import choose, proved, reading
from bundler.sources.referrers import with_referrers
from bundler.sources.registry_documents import MANIFEST_TYPES, parse_artifact, parse_layout
from bundler.sources.tar_index import Part, clean, index_tar
from bundler.support import parallel
from bundler.transport import BytesSink

Find = Callable[[str], Part | None]


class LocalImages:
    """Opens each source once; for all threads of one run."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._opened: dict[Path, Find] = {}
        self._lock = threading.Lock()

    def resolve(
        self, reference: Reference, source: str, platforms: Sequence[Platform], *, referrers: bool
    ) -> LockedImage:
        """The image at `source`, all of its bytes read where it has no digests of its own.

        Raises NotReadable, Malformed, ResolutionFailed, InvalidDocument, WrongBytes, Unsupported, and for the daemon
        what `docker_daemon.saving` raises.
        """
        kind, path, name = _split(source)
        if kind == "oci":
            return self._layout(source).resolve(reference, platforms, referrers=referrers)
        if referrers:
            why = "What `docker save` writes has no digest that a signature could be about."
            raise Unsupported(what=f"referrers of {source}", why=why)
        saved = StreamedSave.of(source) if kind == "docker-daemon" else _Archive(self._find(path), source)
        with reading(source):
            image = choose_saved(parse_saved(saved.read(MANIFEST)), name, source=source)
        return synthesise(reference, source, image, platforms, saved)

    def unchanged(self, image: LockedImage) -> bool:
        """Whether the daemon says that it has the locked image; for what only its bytes can tell, False.

        The id of an image in the daemon's classic store is the digest of its configuration. Raises as `image_id`.
        """
        return image.source.startswith(SCHEME) and image_id(image.source) == str(parts_of(image.synthesised)[0])

    def find(self, image: LockedImage, descriptor: Descriptor) -> Part:
        """Where a locked blob is. Raises NotFound when the source has another image now, NotReadable, Malformed."""
        kind, path, name = _split(image.source)
        what = f"{descriptor.digest} of {image.reference}"
        if kind == "oci":
            part = self._layout(image.source).part(descriptor.digest)
        else:
            find = self._find(path)
            archive = _Archive(find, image.source)
            saved = choose_saved(parse_saved(archive.read(MANIFEST)), name, source=image.source)
            places = dict(zip(parts_of(image.synthesised), (saved.config, *saved.layers), strict=False))
            part = find(places[descriptor.digest]) if descriptor.digest in places else None
        if part is None or part.size != descriptor.size:
            raise NotFound(url=image.source, what=what)
        return part

    def _layout(self, source: str) -> "_Layout":
        _, path, name = _split(source)
        return _Layout(self._find(path), source, name)

    def _find(self, path: str) -> Find:
        place = self._manifests.file(f"file:{path}")
        if place.is_dir():
            return lambda name: _in_folder(place, name)
        with self._lock:
            if place not in self._opened:
                self._opened[place] = index_tar(place).find
            return self._opened[place]


def _split(source: str) -> tuple[str, str, str]:
    """`oci:PATH[:TAG]` and `docker-archive:PATH[:NAME]`, as skopeo reads them: a path has no colon."""
    kind, _, rest = source.partition(":")
    path, _, name = rest.partition(":")
    return (kind, rest, "") if kind == "docker-daemon" else (kind, path, name)


def _in_folder(folder: Path, name: str) -> Part | None:
    place = folder / clean(name)
    try:
        return Part(path=place, offset=0, size=place.lstat().st_size, whole=True)
    except OSError:
        return None


class _Archive:
    """A `docker save` in a file."""

    def __init__(self, find: Find, source: str) -> None:
        self._find, self._source = find, source

    def read(self, name: str) -> bytes:
        return _read(self._part(name))

    def measure(self, name: str) -> Measured:
        part, sink = self._part(name), _Measure()
        receive_local(part.path, size=part.size, sink=sink, offset=None if part.whole else part.offset)
        return Measured(digest=Digest(sink.hash.hexdigest()), size=part.size, head=sink.head)

    def _part(self, name: str) -> Part:
        part = self._find(name)
        if part is None:
            raise Malformed(found=f"no member {name[:160]!r} in {self._source}", expected="one")
        return part


class _Layout:
    """An OCI image layout (image-spec, image-layout.md)."""

    def __init__(self, find: Find, source: str, name: str) -> None:
        self._find, self._source, self._name = find, source, name

    def resolve(self, reference: Reference, platforms: Sequence[Platform], *, referrers: bool) -> LockedImage:
        root = self._root()
        image = choose(reference, root, self.manifest(root), platforms, self)
        for descriptor in (*image.manifests, *image.blobs):
            if not self.has_blob(descriptor):
                raise ResolutionFailed(what=f"{reference} from {self._source}", output=f"{descriptor.digest} is absent")
        if referrers:
            image = with_referrers(image, self._referrers, self.manifest)
        return LockedImage(
            reference=reference,
            root=image.root,
            manifests=image.manifests,
            blobs=image.blobs,
            referrers=image.referrers,
            source=self._source,
        )

    def manifest(self, descriptor: Descriptor) -> bytes:
        part = self.part(descriptor.digest)
        if part is None:
            raise ResolutionFailed(what=f"an image in {self._source}", output=f"{descriptor.digest} is absent")
        return proved(_read(part), descriptor, what=f"{descriptor.digest} in {self._source}")

    config = manifest

    def has_blob(self, descriptor: Descriptor) -> bool:
        part = self.part(descriptor.digest)
        return part is not None and part.size == descriptor.size

    def part(self, digest: Digest) -> Part | None:
        return self._find(f"blobs/sha256/{digest.hex}")

    def _listed(self) -> tuple[tuple[Descriptor, tuple[str, ...]], ...]:
        index = self._find("index.json")
        if index is None:
            raise ResolutionFailed(what=self._source, output="it is no OCI image layout: it has no index.json")
        with reading(self._source):
            return parse_layout(_read(index))

    def _root(self) -> Descriptor:
        """What TAG names; without one, the only manifest that has a name, or the only one."""
        listed = self._listed()
        named = [each for each, names in listed if names]
        if self._name:
            found = [each for each, names in listed if self._name in names]
        else:
            found = named if len(named) == 1 else [each for each, _ in listed]
        if len(set(found)) != 1:
            there = ", ".join(name for _, names in listed for name in names) or f"{len(listed)} without a name"
            raise ResolutionFailed(what=f"one image in {self._source}", output=f"it holds: {there}")
        return found[0]

    def _referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """The manifests of index.json that say that they are about `subject`."""
        return tuple(each for each, _ in self._listed() if self._is_about(each, subject))

    def _is_about(self, descriptor: Descriptor, subject: Digest) -> bool:
        if descriptor.media_type not in MANIFEST_TYPES or self.part(descriptor.digest) is None:
            return False
        data = self.manifest(descriptor)
        try:
            return parse_artifact(data, declared=descriptor.media_type).subject == subject
        except (Malformed, Unsupported):
            return False


class _Measure:
    """A sink that keeps the digest and the first bytes."""

    def __init__(self) -> None:
        self.position, self.hash, self.head = 0, hashlib.sha256(), b""

    def write(self, data: memoryview) -> None:
        parallel.check_stopping()
        self.head = self.head or bytes(data[:8])
        self.hash.update(data)
        self.position += len(data)


def _read(part: Part) -> bytes:
    """A small part. Raises TooLarge."""
    if part.size > LIMITS.manifest:
        raise TooLarge(what=os.fspath(part.path), limit=LIMITS.manifest)
    sink = BytesSink()
    receive_local(part.path, size=part.size, sink=sink, offset=None if part.whole else part.offset)
    return bytes(sink.data)
