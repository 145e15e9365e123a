"""Where a bundle is pushed to: a registry, and what goes before the names of its repositories."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from bundler.errors import Malformed
from bundler.model.reference import is_repository
from bundler.transport import origin_of, redact

_EXPECTED = "REGISTRY[/PREFIX], such as harbor.example/platform; http:// before it for a registry without TLS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`base` is scheme, host and port of the API; `prefix` has no slash at its ends."""

    base: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """https, unless http is asked for. Raises Malformed; credentials have no place on a command line."""
        url = text if "://" in text else f"https://{text}"
        try:
            origin_of(url)
            sound = text.isprintable() and not any(mark in text for mark in "@?#\\ ")
        except ValueError:
            sound = False
        if not sound:
            raise Malformed(found=repr(redact(url)[:160]), expected=_EXPECTED)
        parts = urlsplit(url)
        prefix = parts.path.strip("/")
        if prefix and not is_repository(prefix):
            raise Malformed(
                found=repr(prefix[:80]), expected="a PREFIX of lower-case components, as in repository names"
            )
        return cls(base=f"{parts.scheme}://{parts.netloc}", prefix=prefix)

    def repository(self, name: str) -> str:
        """Raises Malformed for a name that no registry takes."""
        full = f"{self.prefix}/{name}".lstrip("/")
        if not is_repository(full):
            raise Malformed(found=repr(full), expected="a repository name of 255 characters at most")
        return full

    def __str__(self) -> str:
        host = self.base.removeprefix("https://")
        return f"{host}/{self.prefix}".rstrip("/")
