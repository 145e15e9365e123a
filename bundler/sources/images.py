"""Container images by the registry API (OCI distribution-spec 1.1, Docker Registry HTTP API V2)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bundler.errors import NotFound, WrongBytes
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import LockedImage
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.sources.image_choice import choose, proved, reading
from bundler.sources.registry_documents import INDEX_TYPES, MANIFEST_TYPES, media_type_of
from bundler.sources.registry_places import Note, Place, Places
from bundler.transport import Request, Response, Transport, Upstreams
from bundler.transport.registry_auth import RegistryAuth
from bundler.transport.registry_credentials import Credentials

T = TypeVar("T")

_ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """`tail` is what follows the repository in the URL; `what` names it in errors."""

    reference: Reference
    tail: str
    what: str
    method: str = "GET"
    accept: str = "*/*"


class Registry:
    """A client of all registries that references name, of what stands in for them (`upstreams`) and of their mirrors.

    An upstream's or mirror's path goes between `/v2/` and the repository: `docker.io=https://host/hub` asks for
    `https://host/v2/hub/library/…`. Plain http is spoken only to one that is given with it. Each gets the credentials
    that are kept for its own host, never those of the name it stands for. `note` is told when a mirror is left out.
    Besides what is named at each method, everything that the transport raises can come.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        upstreams: Upstreams,
        credentials: Credentials | None = None,
        realms: Mapping[str, str] | None = None,
        note: Note = lambda text: None,
    ) -> None:
        self._transport, self._places = transport, Places(upstreams, note)
        credentials = Credentials.of() if credentials is None else credentials
        self._auth = RegistryAuth(transport=transport, credentials=credentials, realms=realms)

    def resolve(self, reference: Reference, platforms: Sequence[Platform]) -> LockedImage:
        """What the reference names now, for these platforms, with all digests and sizes.

        Raises ResolutionFailed for a platform that it is not made for, Unsupported, InvalidDocument for a broken
        manifest, WrongBytes for one whose bytes are not those of its digest, NotFound.
        """
        root, data = self.manifest(reference)
        return choose(reference, root, data, platforms, _Documents(self, reference))

    def manifest(self, reference: Reference) -> tuple[Descriptor, bytes]:
        """The manifest or index that the reference names, described by its own bytes; reference, header and document
        must agree with them. Raises WrongBytes, InvalidDocument, Unsupported, NotFound."""
        asked = _manifest(reference, str(reference.digest or reference.tag))

        def read(request: Request) -> tuple[Descriptor, bytes]:
            answer = self._transport.get(request, limit=LIMITS.manifest)
            digest = Digest.of(answer.body)
            for expected in (answer.headers.get("docker-content-digest"), reference.digest):
                if expected is not None and str(expected) != str(digest):
                    raise WrongBytes(what=str(reference), expected=str(expected)[:80], found=str(digest))
            with reading(reference):
                declared = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
                media_type = media_type_of(answer.body, declared=declared)
            return Descriptor(media_type=media_type, digest=digest, size=len(answer.body)), answer.body

        return self._first(asked, read, said=reference.digest is None)

    def still_there(self, reference: Reference, digest: Digest) -> bool:
        """Whether the registry, or a mirror of it, still serves the manifest of this digest."""
        return self._has(_manifest(reference, str(digest), method="HEAD"))

    def current(self, reference: Reference) -> Digest:
        """The digest that the tag names now; a reference without a tag names its digest. Raises NotFound."""
        if not reference.tag and reference.digest is not None:
            return reference.digest
        asked = _manifest(reference, reference.tag, method="HEAD")
        head = self._first(asked, lambda request: self._transport.get(request, limit=0), said=True)
        said = head.headers.get("docker-content-digest")
        if said is not None:
            with reading(reference):
                return Digest.parse(said)
        return Digest.of(self.get(reference, f"manifests/{reference.tag}", accept=_ACCEPT).body)

    def get(
        self,
        reference: Reference,
        tail: str,
        *,
        accept: str,
        statuses: Collection[int] = (200,),
        limit: int = LIMITS.manifest,
    ) -> Response:
        """A small answer that only the registry can give, at `tail` below the image's repository."""
        asked = _Asked(reference=reference, tail=tail, what=f"{tail} of {reference.name}", accept=accept)
        return self._first(asked, lambda request: self._transport.get(request, limit=limit, accept=statuses), said=True)

    def small(self, reference: Reference, descriptor: Descriptor, *, manifest: bool) -> bytes:
        """The bytes of a manifest or a small blob, which are those of its descriptor or none. Raises WrongBytes."""
        asked = _by_digest(reference, descriptor, manifest=manifest)

        def read(request: Request) -> bytes:
            return proved(self._transport.get(request, limit=LIMITS.manifest).body, descriptor, what=asked.what)

        return self._first(asked, read)

    def receive(
        self, reference: Reference, descriptor: Descriptor, take: Callable[[Request], None], *, manifest: bool
    ) -> None:
        """Have `take` receive a manifest or blob: from a mirror, and when it raises, from the next place."""
        self._first(_by_digest(reference, descriptor, manifest=manifest), take)

    def has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        return self._has(_Asked(reference=reference, tail=f"blobs/{descriptor.digest}", what="", method="HEAD"))

    def manifest_request(self, reference: Reference, descriptor: Descriptor) -> Request:
        """A request for a manifest to the registry's own place."""
        asked = _by_digest(reference, descriptor, manifest=True)
        return self._request(asked, self._places.own(reference.registry), None)

    def blob_request(self, reference: Reference, descriptor: Descriptor) -> Request:
        """A request for a blob to the registry's own place."""
        asked = _by_digest(reference, descriptor, manifest=False)
        return self._request(asked, self._places.own(reference.registry), None)

    def _has(self, asked: _Asked) -> bool:
        try:
            self._first(asked, lambda request: self._transport.get(request, limit=0))
        except NotFound:
            return False
        return True

    def _first(self, asked: _Asked, read: Callable[[Request], T], *, said: bool = False) -> T:
        def ask(place: Place, attempts: int | None) -> T:
            return read(self._request(asked, place, attempts))

        return self._places.first(asked.reference.registry, ask, said=said)

    def _request(self, asked: _Asked, place: Place, attempts: int | None) -> Request:
        repository = place.repository(asked.reference.repository)
        return Request(
            url=f"{place.base}/v2/{repository}/{asked.tail}",
            method=asked.method,
            headers={"Accept": asked.accept},
            authorizer=self._auth.pull(place.base, repository),
            what=asked.what,
            attempts=attempts,
        )


class _Documents:
    """The documents of one image in its registry."""

    def __init__(self, registry: Registry, reference: Reference) -> None:
        self._registry, self._reference = registry, reference

    def manifest(self, descriptor: Descriptor) -> bytes:
        return self._registry.small(self._reference, descriptor, manifest=True)

    def config(self, descriptor: Descriptor) -> bytes:
        return self._registry.small(self._reference, descriptor, manifest=False)

    def has_blob(self, descriptor: Descriptor) -> bool:
        return self._registry.has_blob(self._reference, descriptor)


def _manifest(reference: Reference, name: str, *, method: str = "GET") -> _Asked:
    what = f"{reference.name}{'@' if ':' in name else ':'}{name}"
    return _Asked(reference=reference, tail=f"manifests/{name}", what=what, method=method, accept=_ACCEPT)


def _by_digest(reference: Reference, descriptor: Descriptor, *, manifest: bool) -> _Asked:
    if manifest:
        return _manifest(reference, str(descriptor.digest))
    what = f"{descriptor.digest} of {reference}"
    return _Asked(reference=reference, tail=f"blobs/{descriptor.digest}", what=what)
