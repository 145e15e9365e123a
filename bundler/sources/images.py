"""Container images by the registry API (OCI distribution-spec 1.1, Docker Registry HTTP API V2)."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from bundler.errors import InvalidDocument, Malformed, Problem, ResolutionFailed, Unsupported, WrongBytes
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.lock import LockedImage
from bundler.model.platform import Platform
from bundler.model.reference import DOCKER_HUB, Reference
from bundler.sources.registry_auth import RegistryAuth
from bundler.sources.registry_credentials import Credentials
from bundler.sources.registry_documents import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Index,
    IndexEntry,
    Manifest,
    parse_config,
    parse_document,
)
from bundler.transport import Request, Response, Transport, Upstreams

_ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
_API_HOSTS = {DOCKER_HUB: "registry-1.docker.io"}
_UNSTATED = 16  # manifests of an index without platforms whose configurations are looked into


class Registry:
    """A client of all registries that references name, or of what stands in for them (`upstreams`).

    An upstream's path goes between `/v2/` and the repository: `docker.io=https://host/hub` asks for
    `https://host/v2/hub/library/…`. Plain http is spoken only to an upstream that is given with it.
    Besides what is named at each method, everything that the transport raises can come.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        upstreams: Upstreams,
        credentials: Credentials | None = None,
        realms: Mapping[str, str] | None = None,
    ) -> None:
        self._transport, self._upstreams = transport, upstreams
        credentials = Credentials.of() if credentials is None else credentials
        self._auth = RegistryAuth(transport=transport, credentials=credentials, realms=realms)

    def resolve(self, reference: Reference, platforms: Sequence[Platform]) -> LockedImage:
        """What the reference names now, for these platforms, with all digests and sizes.

        Raises ResolutionFailed for a platform that it is not made for, Unsupported, InvalidDocument for a broken
        manifest, WrongBytes for one whose bytes are not those of its digest, NotFound.
        """
        root, document = self._root(reference)
        if isinstance(document, Manifest):
            _require(reference, platforms, [(self._platform(reference, document), root)])
            chosen, manifests = [], [document]
        else:
            chosen = self._choose(reference, document, platforms)
            manifests = [self._read(reference, descriptor) for descriptor in chosen]
        blobs = [blob for manifest in manifests for blob in self._blobs(reference, manifest)]
        with _reading(reference):
            _check_sizes((root, *chosen, *blobs))
        return LockedImage(reference=reference, root=root, manifests=_sorted(chosen), blobs=_sorted(blobs))

    def still_there(self, reference: Reference, digest: Digest) -> bool:
        """Whether the registry still serves the manifest of this digest."""
        request = self._manifest(reference, str(digest), method="HEAD")
        return self._transport.get(request, limit=0, accept=(200, 404)).status == 200

    def current(self, reference: Reference) -> Digest:
        """The digest that the tag names now; a reference without a tag names its digest. Raises NotFound."""
        if not reference.tag and reference.digest is not None:
            return reference.digest
        head = self._transport.get(self._manifest(reference, reference.tag, method="HEAD"), limit=0)
        said = head.headers.get("docker-content-digest")
        if said is not None:
            with _reading(reference):
                return Digest.parse(said)
        return Digest.of(self._get(self._manifest(reference, reference.tag)).body)

    def manifest_request(self, reference: Reference, descriptor: Descriptor) -> Request:
        return self._manifest(reference, str(descriptor.digest))

    def blob_request(self, reference: Reference, descriptor: Descriptor) -> Request:
        return self._request(reference, f"blobs/{descriptor.digest}", what=f"{descriptor.digest} of {reference}")

    def _request(
        self,
        reference: Reference,
        tail: str,
        *,
        what: str,
        method: str = "GET",
        accept: str = "*/*",
    ) -> Request:
        upstream = self._upstreams.base(reference.registry)
        parts = urlsplit(upstream or f"https://{_API_HOSTS.get(reference.registry, reference.registry)}")
        base, repository = f"{parts.scheme}://{parts.netloc}", f"{parts.path}/{reference.repository}".lstrip("/")
        return Request(
            url=f"{base}/v2/{repository}/{tail}",
            method=method,
            headers={"Accept": accept},
            authorizer=self._auth.pull(base, repository),
            what=what,
        )

    def _manifest(self, reference: Reference, name: str, *, method: str = "GET") -> Request:
        what = f"{reference.name}{'@' if ':' in name else ':'}{name}"
        return self._request(reference, f"manifests/{name}", what=what, method=method, accept=_ACCEPT)

    def _get(self, request: Request) -> Response:
        return self._transport.get(request, limit=LIMITS.manifest)

    def _root(self, reference: Reference) -> tuple[Descriptor, Manifest | Index]:
        """What the reference names, described by its own bytes; reference and header must agree with them."""
        answer = self._get(self._manifest(reference, str(reference.digest or reference.tag)))
        digest = Digest.of(answer.body)
        for expected in (answer.headers.get("docker-content-digest"), reference.digest):
            if expected is not None and str(expected) != str(digest):
                raise WrongBytes(what=str(reference), expected=str(expected)[:80], found=str(digest))
        document = _parse(reference, answer.body, answer.headers.get("content-type", ""))
        return Descriptor(media_type=document.media_type, digest=digest, size=len(answer.body)), document

    def _small(self, request: Request, descriptor: Descriptor) -> bytes:
        """The bytes of a manifest or configuration, which are those of its descriptor or none."""
        body = self._get(request).body
        found = Digest.of(body)
        if (len(body), found) != (descriptor.size, descriptor.digest):
            raise WrongBytes(
                what=request.what,
                expected=f"{descriptor.size} bytes, {descriptor.digest}",
                found=f"{len(body)} bytes, {found}",
            )
        return body

    def _read(self, reference: Reference, descriptor: Descriptor) -> Manifest:
        if descriptor.media_type not in MANIFEST_TYPES:
            why = f"{descriptor.digest} of {reference} is neither an OCI nor a Docker image manifest."
            raise Unsupported(what=f"{descriptor.media_type} in an index", why=why)
        data = self._small(self.manifest_request(reference, descriptor), descriptor)
        manifest = _parse(reference, data, descriptor.media_type)
        assert isinstance(manifest, Manifest)  # by its declared type
        return manifest

    def _platform(self, reference: Reference, manifest: Manifest) -> Platform:
        with _reading(reference):
            return parse_config(self._small(self.blob_request(reference, manifest.config), manifest.config))

    def _choose(self, reference: Reference, index: Index, platforms: Sequence[Platform]) -> list[Descriptor]:
        """The manifests for these platforms; where an index does not say what they are for, their configurations do."""
        stated = [(each.platform, each.descriptor) for each in index.entries if each.platform is not None]
        if not stated:
            stated = list(self._look_into(reference, index.entries))
        return _require(reference, platforms, stated)

    def _look_into(self, reference: Reference, entries: Sequence[IndexEntry]) -> Iterator[tuple[Platform, Descriptor]]:
        for entry in entries[:_UNSTATED]:
            if entry.descriptor.media_type in MANIFEST_TYPES:
                yield self._platform(reference, self._read(reference, entry.descriptor)), entry.descriptor

    def _blobs(self, reference: Reference, manifest: Manifest) -> Iterator[Descriptor]:
        """Configuration and layers. A foreign layer's `urls` are never fetched: the registry has it, or nobody."""
        yield manifest.config
        for layer in manifest.layers:
            if layer.foreign and not self._has_blob(reference, layer.descriptor):
                why = f"{layer.descriptor.digest} of {reference} is kept at URLs of its own, not in the registry."
                raise Unsupported(what="a foreign layer", why=why)
            yield layer.descriptor

    def _has_blob(self, reference: Reference, descriptor: Descriptor) -> bool:
        request = self._request(reference, f"blobs/{descriptor.digest}", what=str(descriptor.digest), method="HEAD")
        return self._transport.get(request, limit=0, accept=(200, 404)).status == 200


def _require(
    reference: Reference, platforms: Sequence[Platform], offered: Sequence[tuple[Platform, Descriptor]]
) -> list[Descriptor]:
    """The first offer for each platform, each once. Raises ResolutionFailed."""
    found: dict[Descriptor, None] = {}
    missing = []
    for wanted in platforms:
        match = next((descriptor for platform, descriptor in offered if wanted.matches(platform)), None)
        if match is None:
            missing.append(str(wanted))
        else:
            found[match] = None
    if missing:
        there = ", ".join(sorted({str(platform) for platform, _ in offered})) or "none"
        raise ResolutionFailed(what=f"{reference} for {', '.join(missing)}", output=f"it is made for: {there}")
    return list(found)


@contextlib.contextmanager
def _reading(reference: Reference) -> Iterator[None]:
    """Name the image in what is wrong with its documents."""
    try:
        yield
    except Malformed as error:
        problem = Problem(file=str(reference), line=1, found=error.found, expected=error.expected)
        raise InvalidDocument(problems=(problem,)) from None
    except Unsupported as error:
        error.why = f"{error.why} It is in {reference}."
        raise


def _parse(reference: Reference, data: bytes, declared: str) -> Manifest | Index:
    with _reading(reference):
        return parse_document(data, declared=declared.partition(";")[0].strip().lower())


def _check_sizes(descriptors: Iterable[Descriptor]) -> None:
    sizes: dict[Digest, int] = {}
    for each in descriptors:
        if sizes.setdefault(each.digest, each.size) != each.size:
            raise Malformed(found=f"{each.digest} with {sizes[each.digest]} and {each.size} bytes", expected="one size")


def _sorted(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Each blob once, whatever media types it goes by."""
    return tuple(sorted({each.digest: each for each in descriptors}.values()))
