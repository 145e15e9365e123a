"""A package index: the simple repository API, JSON (PEP 691) or HTML (PEP 503), with METADATA files (PEP 658)."""

import functools
import html.parser
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from bundler.errors import Malformed
from bundler.model import canonical
from bundler.model.digest import Digest
from bundler.model.limits import LIMITS
from bundler.sources.pip_config import index_url
from bundler.transport import Request, Response, Transport, Upstreams, origin_of, redact

_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_JSON = ("application/vnd.pypi.simple.v1+json", "application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """One file of a project. `digest` and `size` are None where the index does not tell.

    `url` may hold credentials. `metadata` is the digest of the METADATA file served beside it; `has_metadata`
    is true where there is one, even without a digest.
    """

    name: str
    url: str = field(repr=False)
    digest: Digest | None
    size: int | None
    yanked: bool
    has_metadata: bool
    metadata: Digest | None


class PackageIndex:
    """Project pages, each read once. Threads may share one."""

    def __init__(self, transport: Transport, upstreams: Upstreams) -> None:
        self.transport = transport
        self._upstreams = upstreams
        self._pages: dict[str, Mapping[str, IndexFile]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @functools.cached_property
    def url(self) -> str:
        """The address is `--upstream pypi=URL`, else pip's configuration, else the resolver's own default.

        Looked for at the first use: without wheels nobody needs a resolver.
        """
        return index_url(self._upstreams)

    def files(self, project: str) -> Mapping[str, IndexFile]:
        """The files of a project (its normalised name) by name.

        Raises NotFound for an unknown project, Malformed for a page that is none, and what the transport raises.
        """
        with self._guard:
            lock = self._locks.setdefault(project, threading.Lock())
        with lock:
            if project not in self._pages:
                self._pages[project] = self._read(project)
            return self._pages[project]

    def page(self, project: str) -> str:
        """The address of a project's page, as it may be shown."""
        return redact(f"{self.url}/{project}/")

    def _read(self, project: str) -> Mapping[str, IndexFile]:
        url = f"{self.url}/{project}/"
        request = Request(url=url, headers={"Accept": _ACCEPT}, what=f"the project page of {project}")
        response = self.transport.get(request, limit=LIMITS.index_page)
        files = (self._file(response.url, entry) for entry in entries(response))
        return {file.name: file for file in files if file is not None}

    def _file(self, page: str, entry: "Entry") -> IndexFile | None:
        url = self._with_credentials(urljoin(page, urldefrag(entry.url).url))
        if url is None:
            return None
        return IndexFile(
            name=entry.name,
            url=url,
            digest=_sha256(entry.hashes),
            size=entry.size,
            yanked=entry.yanked,
            has_metadata=entry.metadata is not None,
            metadata=_sha256(entry.metadata or {}),
        )

    def _with_credentials(self, url: str) -> str | None:
        """The URL with the index's credentials if it is of the same origin; None for one that is not to be used:
        no http(s), or plain http from an https index."""
        try:
            origin, own = origin_of(url), origin_of(self.url)
        except ValueError:
            return None
        if own[0] == "https" and origin[0] != "https":
            return None
        userinfo, at, _ = urlsplit(self.url).netloc.rpartition("@")
        if not at or origin != own:
            return url
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"{userinfo}@{parts.netloc.rpartition('@')[2]}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What both forms of a page say of a file; `metadata` is None where no METADATA file is served."""

    name: str
    url: str
    hashes: Mapping[str, Any]
    size: int | None
    yanked: bool
    metadata: Mapping[str, Any] | None


def entries(response: Response) -> list[Entry]:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _JSON:
        return _json_entries(response.body)
    if kind in ("text/html", "application/vnd.pypi.simple.v1+html"):
        return _html_entries(response.body)
    raise Malformed(found=f"the content type {kind[:80]!r}", expected="a project page (PEP 691 or PEP 503)")


def _json_entries(body: bytes) -> list[Entry]:
    page = canonical.load(body, limit=LIMITS.index_page)
    files = page.get("files") if isinstance(page, dict) else None
    if not isinstance(files, list):
        raise Malformed(found="JSON without a list of files", expected="a project page (PEP 691)")
    return [_json_entry(file) for file in files]


def _json_entry(file: Any) -> Entry:
    match file:
        case {"filename": str(name), "url": str(url), "hashes": dict(hashes)}:
            size = file.get("size")
            beside = file.get("core-metadata", file.get("dist-info-metadata"))
            return Entry(
                name=name,
                url=url,
                hashes=hashes,
                size=size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None,
                yanked=bool(file.get("yanked")),
                metadata=beside if isinstance(beside, dict) else {} if beside is True else None,
            )
    raise Malformed(found=repr(file)[:80], expected="a file with filename, url and hashes (PEP 691)")


def _html_entries(body: bytes) -> list[Entry]:
    parser = _Anchors()
    parser.feed(body.decode("utf-8", "replace"))
    return [_html_entry(attributes) for attributes in parser.found if attributes.get("href")]


def _html_entry(attributes: Mapping[str, str | None]) -> Entry:
    url, fragment = urldefrag(attributes["href"] or "")
    beside = attributes.get("data-core-metadata", attributes.get("data-dist-info-metadata"))
    return Entry(
        name=unquote(urlsplit(url).path.rpartition("/")[2]),
        url=url,
        hashes=_named_hash(fragment),
        size=None,
        yanked="data-yanked" in attributes,
        metadata=None if beside is None else _named_hash(beside),
    )


def _named_hash(text: str) -> dict[str, str]:
    """`sha256=<hex>` as a mapping; anything else as none."""
    name, equals, value = text.partition("=")
    return {name: value} if equals else {}


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found.append(dict(attrs))


def _sha256(hashes: Mapping[str, Any]) -> Digest | None:
    try:
        return Digest(str(hashes["sha256"]).lower())
    except (KeyError, Malformed):
        return None
