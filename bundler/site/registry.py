"""The pull side of the registry API (OCI distribution-spec 1.1), read from the registry view.

containerd names the registry that it looks for by `?ns=`: the repository then lies under that host's name.
"""

from collections.abc import Callable

from bundler.errors import Malformed
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.reference import is_repository, site_host
from bundler.site.answer import ASK, FOREVER, Answer, send_file
from bundler.site.http import Content, Refused, Request
from bundler.site.served import Generation, Missing
from bundler.views.referrers import INDEX_TYPE, media_type, only_of_type, referrers_index, referrers_tag
from bundler.views.registry import ROOT, data_path, layer_path, repository_path, revision_path, tag_path, tags_path

PAGE = 1000  # names in one answer, when the client asks for no less
_VERSION = ("Docker-Distribution-Api-Version", "registry/2.0")


def answer_registry(request: Request, generation: Generation, rest: tuple[str, ...]) -> Answer:
    """`rest` is the path below /v2. Errors are answers, in the specification's JSON."""
    if request.method not in ("GET", "HEAD"):
        return _error(405, "UNSUPPORTED", "this registry is read-only", ("Allow", "GET, HEAD"))
    try:
        return _route(request, generation, rest)
    except Refused as error:
        return _error(error.status, "UNSUPPORTED", error.why)
    except _Failed as error:
        return _error(error.status, error.code, error.why)


class _Failed(Exception):
    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(why)
        self.status, self.code, self.why = status, code, why


def _error(status: int, code: str, why: str, *fields: tuple[str, str]) -> Answer:
    return _json(status, {"errors": [{"code": code, "message": why, "detail": None}]}, *fields)


def _json(status: int, value: canonical.Json, *fields: tuple[str, str], kind: str = "application/json") -> Answer:
    return Answer(status=status, kind=kind, body=canonical.dump(value), fields=(_VERSION, *fields))


def _route(request: Request, generation: Generation, rest: tuple[str, ...]) -> Answer:
    if rest in ((), ("",)):
        return _json(200, {})
    if rest == ("_catalog",):
        names = _Page(request, _repositories(generation), "/v2/_catalog")
        return _json(200, {"repositories": names.found}, *names.fields)
    *name, kind, last = rest if len(rest) > 2 else ("", "", "")
    if kind not in _ROUTES or not last:
        raise Refused(404, "no such path")
    repository = _repository(request, "/".join(name))
    if not generation.holds(f"{repository_path(repository)}/_manifests"):
        raise _Failed(404, "NAME_UNKNOWN", f"there is no repository {repository}")
    return _ROUTES[kind](request, generation, repository, last)


def _repository(request: Request, name: str) -> str:
    namespace = request.parameter("ns")
    repository = f"{site_host(namespace)}/{name}" if namespace else name
    if not is_repository(repository):
        raise _Failed(400, "NAME_INVALID", "a repository is a path of lower-case components")
    return repository


def _manifest(request: Request, generation: Generation, repository: str, reference: str) -> Answer:
    if ":" in reference:
        digest, cache = _digest(reference), FOREVER
    else:
        digest, cache = _tagged(generation, repository, reference), ASK
    try:
        generation.open(revision_path(repository, digest)).close()
        file = generation.open(data_path(digest))
    except Missing:
        raise _Failed(404, "MANIFEST_UNKNOWN", f"{repository} has no manifest {reference}") from None
    data, modified = file.read(LIMITS.manifest), file.modified
    return Answer(
        status=200,
        kind=media_type(data),
        body=data,
        content=Content(size=len(data), etag=str(digest), modified=modified),
        cache=cache,
        fields=(_VERSION, ("Docker-Content-Digest", str(digest))),
    )


def _tagged(generation: Generation, repository: str, tag: str) -> Digest:
    try:
        return Digest.parse(generation.open(tag_path(repository, tag)).read(LIMITS.name).decode("ascii", "replace"))
    except (Missing, Malformed):
        raise _Failed(404, "MANIFEST_UNKNOWN", f"{repository} has no tag {tag}") from None


def _blob(request: Request, generation: Generation, repository: str, reference: str) -> Answer:
    digest = _digest(reference)
    if not generation.holds(layer_path(repository, digest)):
        raise _Failed(404, "BLOB_UNKNOWN", f"{repository} has no blob {digest}")
    try:
        return send_file(
            generation,
            data_path(digest),
            kind="application/octet-stream",
            etag=str(digest),
            cache=FOREVER,
            fields=(_VERSION, ("Docker-Content-Digest", str(digest))),
        )
    except Refused:
        raise _Failed(404, "BLOB_UNKNOWN", f"{repository} has no blob {digest}") from None


def _tags(request: Request, generation: Generation, repository: str, last: str) -> Answer:
    if last != "list":
        raise Refused(404, "no such path")
    name = request.target.removeprefix("/v2/").removesuffix("/tags/list")
    tags = _Page(request, generation.names(tags_path(repository)), f"/v2/{name}/tags/list")
    return _json(200, {"name": name, "tags": tags.found}, *tags.fields)


def _referrers(request: Request, generation: Generation, repository: str, reference: str) -> Answer:
    """The index that the view has under a tag; an empty one tells clients that nothing refers to the manifest."""
    tag = referrers_tag(_digest(reference))
    try:
        index = generation.open(data_path(_tagged(generation, repository, tag))).read(LIMITS.manifest)
    except (Missing, _Failed):
        index = referrers_index(())
    kind = request.parameter("artifactType")
    filtered = (("OCI-Filters-Applied", "artifactType"),) if kind else ()
    body = only_of_type(index, kind) if kind else index
    return Answer(status=200, kind=INDEX_TYPE, body=body, fields=(_VERSION, *filtered), cache=ASK)


_ROUTES: dict[str, Callable[[Request, Generation, str, str], Answer]] = {
    "manifests": _manifest,
    "blobs": _blob,
    "tags": _tags,
    "referrers": _referrers,
}


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except Malformed as error:
        raise _Failed(400, "DIGEST_INVALID", error.summary) from None


def _repositories(generation: Generation) -> list[str]:
    """Every repository, in order; a repository may lie below another."""
    found, waiting = [], [""]
    while waiting:
        folder = waiting.pop()
        for name in generation.names(f"{ROOT}/repositories{folder}"):
            if name == "_manifests":
                found.append(folder[1:])
            elif not name.startswith("_"):
                waiting.append(f"{folder}/{name}")
    return sorted(found)


class _Page:
    """The names after `last`, `n` of them, and the Link to the next page (distribution-spec, listing tags)."""

    def __init__(self, request: Request, names: list[str], path: str) -> None:
        wanted, last = request.parameter("n"), request.parameter("last") or ""
        if wanted is not None and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
            raise _Failed(400, "PAGINATION_NUMBER_INVALID", "n is a number")
        count = min(int(wanted), PAGE) if wanted is not None else PAGE
        after = [name for name in names if name > last]
        self.found = after[:count]
        self.fields: tuple[tuple[str, str], ...] = ()
        if self.found and len(after) > count:
            self.fields = (("Link", f'<{path}?last={self.found[-1]}&n={count}>; rel="next"'),)
