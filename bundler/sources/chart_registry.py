"""Charts in OCI registries, as Helm pushes them (HIP-6): a manifest with Helm's config, the archive, its provenance."""

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from bundler.archive.oci import CHART_CONFIG_TYPE, CHART_PROVENANCE_TYPE, CHART_TYPE
from bundler.errors import InvalidDocument, Malformed, Problem, Unsupported, WrongBytes
from bundler.model import canonical
from bundler.model.descriptor import Descriptor
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.reference import Reference
from bundler.sources.chart_archive import LARGEST
from bundler.sources.chart_provenance import LARGEST as LARGEST_PROVENANCE
from bundler.sources.images import Registry
from bundler.sources.registry_documents import parse_artifact
from bundler.transport import BytesSink, Request, Transport

_LEGACY_TYPE = "application/tar+gzip"  # of archives that Helm pushed before 3.7
_PAGES = 200  # of tags


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChart:
    manifest: Descriptor
    config: Descriptor
    archive: Descriptor
    provenance: Descriptor | None


def chart_reference(repository: str, chart: str, version: str) -> Reference:
    """Helm writes `_` in a tag for the `+` of a version, which a tag cannot have. Raises Malformed."""
    return Reference.parse(f"{repository.removeprefix('oci://')}/{chart}:{version.replace('+', '_')}")


def stored_versions(registry: Registry, repository: str, chart: str) -> tuple[str, ...]:
    """The versions among the tags. Raises InvalidDocument, and what the registry raises."""
    reference = chart_reference(repository, chart, "latest")
    found: dict[str, None] = {}
    tail = f"tags/list?n={LIMITS.problems * 10}"
    for _ in range(_PAGES):
        answer = registry.get(reference, tail, accept="application/json", limit=LIMITS.manifest)
        found |= dict.fromkeys(tag.replace("_", "+") for tag in _tags(reference, answer.body))
        following = _following(answer.headers.get("link", ""), answer.url)
        if not following or f"tags/list?{following}" == tail:
            return tuple(found)
        tail = f"tags/list?{following}"
    raise _invalid(reference, Malformed(found=f"more than {_PAGES} pages of tags", expected="fewer"))


def stored_chart(registry: Registry, reference: Reference) -> StoredChart:
    """Raises Unsupported for what is no chart, InvalidDocument, WrongBytes, NotFound."""
    descriptor, data = registry.manifest(reference)
    try:
        config, *layers = parse_artifact(data, declared=descriptor.media_type).blobs
    except Malformed as error:
        raise _invalid(reference, error) from None
    archives = [layer for layer in layers if layer.media_type in (CHART_TYPE, _LEGACY_TYPE)]
    provenance = [layer for layer in layers if layer.media_type == CHART_PROVENANCE_TYPE]
    if config.media_type != CHART_CONFIG_TYPE or len(archives) != 1 or len(layers) != 1 + len(provenance[:1]):
        types = ", ".join(each.media_type for each in (config, *layers))
        raise Unsupported(what=f"{reference} as a chart", why=f"It consists of {types}.")
    too_large = archives[0].size > LARGEST or config.size > LIMITS.manifest
    if too_large or any(each.size > LARGEST_PROVENANCE for each in provenance):
        raise _invalid(reference, Malformed(found="a chart that is too large", expected=f"{LARGEST} bytes at most"))
    return StoredChart(
        manifest=descriptor, config=config, archive=archives[0], provenance=provenance[0] if provenance else None
    )


def read_blob(registry: Registry, transport: Transport, reference: Reference, descriptor: Descriptor) -> bytes:
    """The bytes of a blob. Raises WrongBytes, and what the registry raises."""
    found = b""

    def take(request: Request) -> None:
        nonlocal found
        sink = BytesSink()
        transport.receive(request, size=descriptor.size, sink=sink)
        found = check_bytes(bytes(sink.data), descriptor.digest, what=request.what)

    registry.receive(reference, descriptor, take, manifest=False)
    return found


def check_bytes(data: bytes, digest: Digest, *, what: str) -> bytes:
    """The data, which has this digest. Raises WrongBytes."""
    found = Digest.of(data)
    if found != digest:
        raise WrongBytes(what=what, expected=str(digest), found=str(found))
    return data


def _tags(reference: Reference, data: bytes) -> list[str]:
    try:
        document = canonical.load(data, limit=LIMITS.manifest)
        tags = document.get("tags") if isinstance(document, dict) else ()
        if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
            raise Malformed(found="tags that are no list", expected="a list of texts")
    except Malformed as error:
        raise _invalid(reference, error) from None
    return tags or []


def _following(link: str, url: str) -> str:
    """The query of the next page (distribution-spec, listing tags); none where it leads elsewhere."""
    target, _, relation = link.partition(">")
    if not target.startswith("<") or 'rel="next"' not in relation.replace("rel=next", 'rel="next"'):
        return ""
    parts = urlsplit(urljoin(url, target[1:]))
    return parts.query if parts.path == urlsplit(url).path and parts.query.isascii() else ""


def _invalid(reference: Reference, error: Malformed) -> InvalidDocument:
    problem = Problem(file=str(reference), line=1, found=error.found, expected=error.expected)
    return InvalidDocument(problems=(problem,))
