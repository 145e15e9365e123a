"""Container images by the registry API (OCI distribution-spec 1.1, Docker Registry HTTP API V2)."""

from collections.abc import Mapping, Sequence

from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.lock import LockedImage
from bundler.model.platform import Platform
from bundler.model.reference import Reference
from bundler.transport import Request, Transport, Upstreams


class Registry:
    """A client of every registry that references name."""

    def __init__(
        self, *, transport: Transport, upstreams: Upstreams, realms: Mapping[str, str] | None = None
    ) -> None:
        self.transport, self.upstreams = transport, upstreams

    def resolve(self, reference: Reference, platforms: Sequence[Platform]) -> LockedImage:
        raise NotImplementedError

    def still_there(self, reference: Reference, digest: Digest) -> bool:
        raise NotImplementedError

    def current(self, reference: Reference) -> Digest:
        raise NotImplementedError

    def manifest_request(self, reference: Reference, descriptor: Descriptor) -> Request:
        raise NotImplementedError

    def blob_request(self, reference: Reference, descriptor: Descriptor) -> Request:
        raise NotImplementedError
