"""What a route answers: a status, a body, and what caches may know of it."""

from dataclasses import dataclass

from bundler.site.http import Content, Refused
from bundler.site.served import Generation, Missing, OpenFile

FOREVER = "public, max-age=31536000, immutable"  # the path fixes the content
ASK = "no-cache"  # a cache may keep it and must ask each time


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`content` is what conditions and ranges apply to; without it the body goes as it is."""

    status: int
    kind: str = "text/plain; charset=utf-8"
    body: bytes | OpenFile = b""
    content: Content | None = None
    cache: str = ASK
    fields: tuple[tuple[str, str], ...] = ()


def plain(status: int, text: str, *, fields: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status=status, body=f"{text}\n".encode(), fields=fields)


def send_file(
    generation: Generation,
    path: str,
    *,
    kind: str,
    etag: str = "",
    cache: str = ASK,
    fields: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """A file of the generation. Raises Refused (404)."""
    try:
        file = generation.open(path)
    except Missing:
        raise Refused(404, "no such file") from None
    return Answer(status=200, kind=kind, body=file, content=file.content(etag), cache=cache, fields=fields)
