"""Which path is what: the views of the current generation, a page that says what is here, and a health check."""

import re

from bundler.site.answer import ASK, FOREVER, Answer, plain, send_file
from bundler.site.frontpage import front_page
from bundler.site.http import Refused, Request, choose_type
from bundler.site.registry import answer_registry
from bundler.site.served import Generation
from bundler.views.carry import content_addressed
from bundler.views.pypi import normalised

_JSON, _HTML, _OLD_HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html", "text/html"
_SIMPLE = {  # what a client may ask for, best first, and what it gets (PEP 691)
    _JSON: _JSON,
    "application/vnd.pypi.simple.latest+json": _JSON,
    _HTML: _HTML,
    "application/vnd.pypi.simple.latest+html": _HTML,
    _OLD_HTML: _OLD_HTML,
}
KINDS = {
    ".asc": "application/pgp-keys",
    ".deb": "application/vnd.debian.binary-package",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".prov": "text/plain; charset=utf-8",
    ".tgz": "application/gzip",
    ".metadata": "text/plain; charset=utf-8",
    ".pgp": "application/pgp-keys",
    ".txt": "text/plain; charset=utf-8",
    ".whl": "application/zip",
    ".yaml": "application/yaml",
}
TEXTS = ("InRelease", "Packages", "Release", "SHA256SUMS")
_HEX = re.compile(r"[0-9a-f]{64}")


def answer(request: Request, generation: Generation, *, scheme: str) -> Answer:
    """Raises Refused; an open file in the answer is the caller's to close."""
    segments = request.segments
    if segments[0] == "v2":
        return answer_registry(request, generation, segments[1:])
    if request.method not in ("GET", "HEAD"):
        return plain(405, "only GET and HEAD", fields=(("Allow", "GET, HEAD"),))
    if segments == ("",):
        return Answer(status=200, kind=KINDS[".html"], body=front_page(request, generation, scheme=scheme))
    if segments == ("healthz",):
        return plain(200, "ok")
    if segments[:2] == ("pypi", "simple"):
        return _simple(request, generation, segments[2:])
    if segments[0] in ("pypi", "charts", "apt", "files"):
        return _view(generation, segments)
    raise Refused(404, "no such path")


def _simple(request: Request, generation: Generation, rest: tuple[str, ...]) -> Answer:
    """`simple/` and `simple/<project>/`: without the slash, or under another spelling, a relative redirect."""
    if rest == ():
        return _moved("simple/")
    project = normalised(rest[0])
    folder = "pypi/simple" if rest == ("",) else f"pypi/simple/{project}"
    if len(rest) > 2 or (len(rest) == 2 and rest[1]) or not generation.holds(folder):
        raise Refused(404, "no such project")
    if len(rest) == 1 and rest[0]:
        return _moved(f"{project}/")
    if project != rest[0]:
        return _moved(f"../{project}/")
    kind = _SIMPLE[choose_type(request.fields.get("accept", ""), tuple(_SIMPLE), _OLD_HTML)]
    name, written = ("index.json", kind) if kind == _JSON else ("index.html", f"{kind}; charset=utf-8")
    return send_file(generation, f"{folder}/{name}", kind=written, fields=(("Vary", "Accept"),))


def _moved(place: str) -> Answer:
    return plain(308, place, fields=(("Location", place),))


def _view(generation: Generation, segments: tuple[str, ...]) -> Answer:
    path, name = "/".join(segments), segments[-1]
    fixed = content_addressed(path)
    return send_file(
        generation, path, kind=_kind(name), etag=_etag(segments) if fixed else "", cache=FOREVER if fixed else ASK
    )


def _kind(name: str) -> str:
    if name in TEXTS:
        return KINDS[".txt"]
    _, dot, ending = name.rpartition(".")
    return KINDS.get(dot + ending, "application/octet-stream")


def _etag(segments: tuple[str, ...]) -> str:
    """The SHA-256 that the path names; a METADATA file beside a wheel has the wheel's and an ending."""
    found = next((segment for segment in segments if _HEX.fullmatch(segment)), "")
    return f"{found}.metadata" if segments[-1].endswith(".metadata") else found
