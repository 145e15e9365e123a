"""`--upstream HOST=URL`: where the bytes of a registry, index or archive come from instead; `--mirror HOST=URL`: where
the bytes of a registry are asked for first."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from bundler.errors import Malformed
from bundler.transport.urls import redact

# A registry host with its port, or the role of an index or archive (`pypi`, `debian`).
_NAME = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_EXPECTED = "HOST=URL, such as docker.io=http://127.0.0.1:5055"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """Names and the URLs that stand for them; a name without one is reached in its own way. `lists` are the mirrors of
    a name, in the order in which they are asked."""

    bases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, values: Iterable[str], mirrors: Iterable[str] = ()) -> "Upstreams":
        """Read `HOST=URL` values. Raises Malformed; credentials have no place on a command line."""
        bases: dict[str, str] = {}
        for name, base in map(_pair, values):
            if name in bases:
                raise Malformed(found=f"{name} twice", expected="each upstream once")
            bases[name] = base
        lists: dict[str, tuple[str, ...]] = {}
        for name, base in map(_pair, mirrors):
            lists[name] = tuple(dict.fromkeys((*lists.get(name, ()), base)))
        return cls(bases=MappingProxyType(bases), lists=MappingProxyType(lists))

    def base(self, name: str) -> str | None:
        """The URL for a host or role, without a slash at its end; None where none was given."""
        return self.bases.get(name.lower())

    def mirrors(self, name: str) -> tuple[str, ...]:
        """The URLs of a host's mirrors, without a slash at their ends."""
        return self.lists.get(name.lower(), ())


def _pair(value: str) -> tuple[str, str]:
    name, equals, url = value.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise Malformed(found=repr(name[:80]), expected=_EXPECTED)
    return name.lower(), _check_base(url)


def _check_base(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not url.isprintable() or any(mark in url for mark in "@?#\\ "):
        raise Malformed(found=repr(redact(url)[:160]), expected="an http(s) URL without credentials, query or fragment")
    return url.rstrip("/")
