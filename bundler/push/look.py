"""What a registry lacks of a bundle, asked by HEAD; nothing is changed."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bundler.archive.layout import Place
from bundler.archive.reader import BundleFile
from bundler.errors import (
    AuthenticationFailed,
    BadCertificate,
    BundleError,
    DamagedContent,
    Stalled,
    TooLarge,
    Unreachable,
    UnsafeRedirect,
)
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.statement import BLOB_PREFIX
from bundler.push.plan import Item
from bundler.push.registry import Registry
from bundler.support import parallel

Key = tuple[str, str]  # a repository, and a tag or the text of a digest in it


class Blobs:
    """The blobs of a proved bundle file. Raises DamagedContent for what is not what was signed."""

    def __init__(self, file: BundleFile, places: Mapping[str, Place]) -> None:
        self.file, self._places = file, places

    def place(self, digest: Digest) -> Place:
        return self._places[f"{BLOB_PREFIX}{digest.hex}"]

    def size(self, digest: Digest) -> int:
        return self.place(digest).member.size

    def manifest(self, digest: Digest) -> bytes:
        place = self.place(digest)
        if place.member.size > LIMITS.manifest:
            raise TooLarge(what=f"the manifest {digest}", limit=LIMITS.manifest)
        data = self.file.body(place)
        if Digest.of(data) != digest:
            raise DamagedContent(path=self.file.path, damaged=((place.member.name, ()),))
        return data


@dataclass(slots=True, kw_only=True)
class BlobNeed:
    """The repositories that lack a blob, and those that have it."""

    lacking: list[str] = field(default_factory=list)
    having: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Need:
    """What a registry lacks: blobs, manifests, and tags with the digest that they name now. `failed` is what could not
    be asked."""

    blobs: dict[Digest, BlobNeed] = field(default_factory=dict)
    manifests: set[Key] = field(default_factory=set)
    tags: dict[Key, Digest | None] = field(default_factory=dict)
    failed: dict[Key, BundleError] = field(default_factory=dict)

    def to_send(self) -> list[Digest]:
        """The blobs that no repository has yet."""
        return [digest for digest, found in self.blobs.items() if found.lacking and not found.having]

    def to_mount(self) -> int:
        """How many times the registry can take a blob over from another of its repositories."""
        lacking = sum(len(found.lacking) for found in self.blobs.values())
        return lacking - len(self.to_send())

    def failure(self, item: Item) -> BundleError | None:
        names = (item.tag, *map(str, item.manifests), *map(str, item.blobs))
        return next((error for name in names if (error := self.failed.get((item.repository, name)))), None)


class _Look:
    def __init__(self, registry: Registry, blobs: Blobs) -> None:
        self._registry, self._blobs = registry, blobs
        self._lock = threading.Lock()
        self.need = Need()

    def blob(self, repository: str, digest: Digest) -> None:
        held = self._registry.holds_blob(repository, digest, self._blobs.size(digest))
        with self._lock:
            found = self.need.blobs.setdefault(digest, BlobNeed())
            (found.having if held else found.lacking).append(repository)

    def manifest(self, repository: str, digest: Digest) -> None:
        if self._registry.manifest_digest(repository, str(digest)) is None:
            with self._lock:
                self.need.manifests.add((repository, str(digest)))

    def tag(self, repository: str, name: str, root: Digest) -> None:
        found = self._registry.manifest_digest(repository, name)
        if found != root:
            with self._lock:
                self.need.tags[repository, name] = found

    def questions(self, item: Item) -> dict[Key, Callable[[], None]]:
        place = item.repository
        return {
            **{(place, str(digest)): partial(self.blob, place, digest) for digest in item.blobs},
            **{(place, str(digest)): partial(self.manifest, place, digest) for digest in item.manifests},
            **({(place, item.tag): partial(self.tag, place, item.tag, item.root)} if item.tag else {}),
        }


def look(registry: Registry, items: Sequence[Item], blobs: Blobs, *, jobs: int) -> Need:
    """Ask each question once. Raises what concerns the registry as a whole."""
    asking = _Look(registry, blobs)
    questions = {key: question for item in items for key, question in asking.questions(item).items()}
    failed = parallel.each(questions.items(), lambda each: each[1](), jobs=jobs, fatal=is_fatal)
    asking.need.failed = {key: error for (key, _), error in failed}
    return asking.need


def is_fatal(error: BundleError) -> bool:
    """What concerns the registry as a whole; all else concerns one blob or artifact."""
    return isinstance(error, (Unreachable, Stalled, BadCertificate, AuthenticationFailed, UnsafeRedirect))
