"""The push side of the registry API (OCI distribution-spec 1.1, "Push" and "Content Management"), as a client."""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from bundler.errors import AuthenticationFailed, Malformed, NotFound, WrongBytes
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.push.target import Target
from bundler.transport import Outgoing, Request, Response, Transport, follow, origin_of, redact
from bundler.transport.registry_auth import RegistryAuth
from bundler.transport.registry_credentials import Credentials
from bundler.views.referrers import INDEX_TYPE, MANIFEST_TYPE, media_type

_DOCKER = "application/vnd.docker.distribution.manifest"
_ACCEPT = ", ".join((INDEX_TYPE, MANIFEST_TYPE, f"{_DOCKER}.list.v2+json", f"{_DOCKER}.v2+json", "*/*"))
_SHOWN = 200  # characters of a registry's own words


class Registry:
    """One registry, for all threads. Plain http only where the target says it; credentials are shown to the target's
    origin and its token realm alone. Everything that the transport raises can come; WrongBytes for another digest."""

    def __init__(
        self,
        target: Target,
        *,
        transport: Transport,
        credentials: Credentials | None = None,
        realms: Mapping[str, str] | None = None,
    ) -> None:
        self.target, self.transport = target, transport
        credentials = Credentials.of() if credentials is None else credentials
        self._auth = RegistryAuth(transport=transport, credentials=credentials, realms=realms)
        self.whole = False  # it takes no uploads in chunks

    def ping(self) -> None:
        """Raises NotFound where no registry is."""
        try:
            request = Request(url=f"{self.target.base}/v2/", what="the registry API")
            self.transport.get(request, limit=LIMITS.token, accept=(200, 401))
        except AuthenticationFailed:
            return  # it says so to whoever asks for nothing: the first question about a repository will tell

    def holds_blob(self, repository: str, digest: Digest, size: int) -> bool:
        answer = self.ask("HEAD", repository, f"blobs/{digest}", accept=(200, 404))
        if answer.status == 404:
            return False
        self.check_digest(answer, digest, f"the blob {digest} of {repository}")
        length = answer.headers.get("content-length", str(size))
        if length != str(size):
            raise WrongBytes(what=f"{digest} of {repository}", expected=f"{size} bytes", found=f"{length[:20]} bytes")
        return True

    def mount(self, repository: str, digest: Digest, source: str) -> tuple[bool, str | None]:
        """Take a blob over from another repository: whether that was done, or the upload that was begun instead."""
        tail = f"blobs/uploads/?mount={digest}&from={source}"
        try:
            answer = self.ask("POST", repository, tail, accept=(201, 202, 400, 404, 405), source=source)
        except AuthenticationFailed:
            return False, None  # it may not be read there: that is no reason not to push
        if answer.status == 201:
            self.check_digest(answer, digest, f"the blob {digest} of {repository}")
        return answer.status == 201, self.location(answer) if answer.status == 202 else None

    def manifest_digest(self, repository: str, reference: str) -> Digest | None:
        """What a tag or digest names there; None for nothing."""
        answer = self.ask("HEAD", repository, f"manifests/{reference}", headers={"Accept": _ACCEPT}, accept=(200, 404))
        if answer.status == 404:
            return None
        if stated := answer.headers.get("docker-content-digest"):
            return Digest.parse(stated)
        data = self.manifest(repository, reference)
        return None if data is None else Digest.of(data)

    def manifest(self, repository: str, reference: str) -> bytes | None:
        answer = self.ask(
            "GET",
            repository,
            f"manifests/{reference}",
            headers={"Accept": _ACCEPT},
            accept=(200, 404),
            limit=LIMITS.manifest,
        )
        return answer.body if answer.status == 200 else None

    def put_manifest(
        self, repository: str, reference: str, data: bytes, *, accept: Collection[int] = (201,)
    ) -> Response:
        """Store these very bytes under a digest or a tag."""
        headers = {"Content-Type": media_type(data)}
        answer = self.ask(
            "PUT", repository, f"manifests/{reference}", headers=headers, body=data, accept=(201, *accept)
        )
        if answer.status == 201:
            self.check_digest(answer, Digest.of(data), f"the manifest {repository}:{reference}")
        return answer

    def referrers(self, repository: str, subject: Digest) -> bytes | None:
        """The index of what refers to a manifest; None where the registry has no API for it."""
        answer = self.ask("GET", repository, f"referrers/{subject}", accept=(200, 400, 404, 405), limit=LIMITS.manifest)
        return answer.body if answer.status == 200 else None

    def ask(
        self,
        method: str,
        repository: str,
        tail: str,
        *,
        accept: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        source: str = "",
        attempts: int | None = None,
        limit: int = LIMITS.token,
    ) -> Response:
        """One request below a repository."""
        request = Request(
            url=f"{self.target.base}/v2/{repository}/{tail}",
            method=method,
            headers=headers or {},
            body=body,
            authorizer=self._auth.push(self.target.base, repository, source=source),
            what=f"{tail.partition('?')[0]} of {repository}",
            attempts=attempts,
        )
        try:
            return self.transport.get(request, limit=limit, accept=accept)
        except NotFound as error:
            error.what += " (is there such a project, and may you push to it?)" if method == "POST" else ""
            raise

    def ask_at(
        self,
        method: str,
        url: str,
        repository: str,
        *,
        accept: Collection[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | Outgoing | None = None,
    ) -> Response:
        """One attempt where the registry sent us: credentials go there only if that is the registry itself."""
        own = origin_of(url) == origin_of(self.target.base)
        request = Request(
            url=url,
            method=method,
            headers=headers or {},
            body=body,
            authorizer=self._auth.push(self.target.base, repository) if own else None,
            what=f"an upload to {repository}",
            attempts=1,
        )
        return self.transport.get(request, limit=LIMITS.token, accept=accept)

    def location(self, answer: Response) -> str:
        """Where an upload goes on. Raises UnsafeRedirect where https would be left for http."""
        return follow(answer.url, answer.headers.get("location"))

    def check_digest(self, answer: Response, digest: Digest, what: str) -> None:
        """A registry that calls our bytes by another digest has other bytes. Raises WrongBytes."""
        stated = answer.headers.get("docker-content-digest", str(digest))
        if stated != str(digest):
            raise WrongBytes(what=f"{what} at {redact(self.target.base)}", expected=str(digest), found=stated[:100])


def words_of(answer: Response) -> str:
    """Status, and the first error in the registry's own words (distribution-spec, "Error Codes")."""
    try:
        errors = canonical.load(answer.body, limit=LIMITS.token)["errors"]
        said = f"{errors[0].get('code', '')} {errors[0].get('message', '')}"
    except (Malformed, LookupError, TypeError, AttributeError):
        said = answer.body[: 4 * _SHOWN].decode("utf-8", "replace")
    said = "".join(mark if mark.isprintable() else " " for mark in said).strip()[:_SHOWN]
    return f"{answer.status} {said}".strip()


def with_digest(url: str, digest: Digest) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}digest={digest}"
