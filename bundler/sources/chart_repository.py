"""HTTP chart repositories: index.yaml and what it names (Helm's pkg/repo/index.go)."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from bundler.catalog.manifests import Manifests
from bundler.errors import BundleError, InvalidDocument, Malformed, Problem, ResolutionFailed, UnsafeRedirect
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.model.nodes import Node, Scalar, Sequence, Table
from bundler.model.scalars import parse_file_url
from bundler.sources.chart_archive import LARGEST
from bundler.sources.chart_provenance import LARGEST as LARGEST_PROVENANCE
from bundler.sources.chart_provenance import is_provenance
from bundler.sources.chart_registry import check_bytes
from bundler.sources.chart_yaml import read_yaml
from bundler.sources.files import file_source
from bundler.transport import Request, Transport, Upstreams, redact

_NOWHERE = Manifests(folders=())
_URLS = 16  # of one version


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One version in a repository's index; `digest` is None where the index has none."""

    repository: str
    version: str
    urls: tuple[str, ...]
    digest: Digest | None


@dataclass(slots=True)
class _Index:
    """An index as it came, fetched once however many charts are looked for in it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    data: bytes | None = None


class ChartRepositories:
    """A client of all HTTP chart repositories, or of what stands in for their hosts."""

    def __init__(self, transport: Transport, upstreams: Upstreams) -> None:
        self._transport, self._upstreams = transport, upstreams
        self._lock = threading.Lock()
        self._indexes: dict[str, _Index] = {}

    def versions(self, repository: str, chart: str) -> tuple[Listed, ...]:
        """What the index has of a chart. Raises ResolutionFailed when it has none, InvalidDocument, and the transport's
        errors."""
        place = f"{repository}/index.yaml"
        node = read_yaml(self._index(repository, place), file=redact(place), below=("entries", chart))
        found = tuple(_entries(node, repository)) if isinstance(node, Sequence) else ()
        if not found:
            raise ResolutionFailed(what=chart, output=f"{redact(place)} lists no usable version of it")
        return found

    def request(self, url: str) -> Request:
        """Raises Malformed for what is no http(s) URL."""
        source = file_source(_checked(url), manifests=_NOWHERE, upstreams=self._upstreams)
        assert isinstance(source, Request)  # by its scheme
        return source

    def archive(self, listed: Listed) -> tuple[str, bytes]:
        """The archive from the first of its URLs that has it, and that URL. Raises what the last one raised: also
        UnsafeRedirect for an index that came by https and leads to plain http."""
        failure: BundleError = ResolutionFailed(what=listed.version, output="its index has no URL for it")
        for url in listed.urls:
            try:
                if listed.repository.startswith("https://") and not url.startswith("https://"):
                    why = "it leaves https for something else"
                    raise UnsafeRedirect(url=redact(listed.repository), target=redact(url), why=why)
                data = self._transport.get(self.request(url), limit=LARGEST).body
                return url, check_bytes(data, listed.digest, what=url) if listed.digest else data
            except BundleError as error:
                failure = error
        raise failure

    def provenance(self, url: str) -> bytes | None:
        """The provenance file beside an archive; None where there is none: some buckets say 403 then."""
        if urlsplit(url).query:
            return None
        request = self.request(f"{url}.prov")
        answer = self._transport.get(request, limit=LARGEST_PROVENANCE, accept=(200, 403, 404, 410))
        return answer.body if answer.status == 200 and is_provenance(answer.body) else None

    def _index(self, repository: str, place: str) -> bytes:
        with self._lock:
            index = self._indexes.setdefault(repository, _Index())
        with index.lock:
            if index.data is None:
                index.data = self._transport.get(self.request(place), limit=LIMITS.document).body
            return index.data


def _entries(entries: Sequence, repository: str) -> Iterator[Listed]:
    """Entries that Helm could not use are passed over, as Helm does. Raises InvalidDocument for a broken digest."""
    for entry in entries.items:
        pairs = entry.pairs if isinstance(entry, Table) else {}
        version, urls = _text(pairs.get("version")), pairs.get("urls")
        if not version or not isinstance(urls, Sequence):
            continue
        places = tuple(urljoin(f"{repository}/", url) for url in map(_text, urls.items[:_URLS]) if url)
        digest = _text(pairs.get("digest")).removeprefix("sha256:")
        try:
            yield Listed(repository=repository, version=version, urls=places, digest=Digest(digest) if digest else None)
        except Malformed as error:
            problem = Problem(
                file=redact(f"{repository}/index.yaml"), line=entry.line, found=error.found, expected=error.expected
            )
            raise InvalidDocument(problems=(problem,)) from None


def _text(node: Node | None) -> str:
    return node.text if isinstance(node, Scalar) else ""


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise Malformed(found=repr(redact(url)[:160]), expected="an http(s) URL")
    return parse_file_url(url)
