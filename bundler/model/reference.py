"""Image references, with the grammar and the defaults of the `distribution/reference` specification."""

import re
from dataclasses import dataclass

from bundler.errors import Malformed
from bundler.model.digest import Digest

DOCKER_HUB = "docker.io"
_HOST = re.compile(
    r"(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ABOUT = re.compile(r"sha256-([a-f0-9]{64})\.(?:sig|att|sbom)")
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_EXPECTED = "[HOST[:PORT]/]PATH[:TAG][@sha256:DIGEST]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A full reference: registry host (with port), repository path, and a tag, a digest or both.

    `str()` gives the canonical name, Docker Hub's host and `library/` included.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if not _HOST.fullmatch(self.registry):
            raise Malformed(found=repr(self.registry[:80]), expected="a registry host, HOST or HOST:PORT")
        if not _PATH.fullmatch(self.repository) or len(self.registry) + 1 + len(self.repository) > 255:
            raise Malformed(
                found=repr(self.repository[:80]),
                expected="a repository path of lower-case components, 255 characters with its host at most",
            )
        if self.tag and not _TAG.fullmatch(self.tag):
            raise Malformed(found=repr(self.tag[:80]), expected="a tag: [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a reference as `docker pull` does; no tag and no digest means `latest`. Raises Malformed."""
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        if _IDENTIFIER.fullmatch(text):
            raise Malformed(found=repr(text), expected=f"{_EXPECTED}; 64 hex digits alone are an image's id")
        first, slash, rest = name.partition("/")
        if slash and (first == "localhost" or first != first.lower() or any(mark in first for mark in ".:")):
            registry, remainder = first, rest
        else:
            registry, remainder = DOCKER_HUB, name
        if registry == "index.docker.io":
            registry = DOCKER_HUB
        path, colon, tag = remainder.partition(":")
        if not path or (colon and not tag):
            raise Malformed(found=repr(text[:160]), expected=_EXPECTED)
        if registry == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if not tag and digest is None:
            tag = "latest"
        return cls(registry=registry, repository=path, tag=tag, digest=digest)

    @property
    def name(self) -> str:
        """`host/path`, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def about(self) -> Digest | None:
        """The manifest that this is a signature, attestation or SBOM of, when the tag is one of cosign's."""
        match = _ABOUT.fullmatch(self.tag)
        return Digest(match[1]) if match else None

    @property
    def site_repository(self) -> str:
        """The repository on the site's registry: `host/path`, a port's colon written as `_`."""
        return f"{site_host(self.registry)}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def is_repository(text: str) -> bool:
    """Whether this is a repository path on a registry: lower-case components, 255 characters at most."""
    return len(text) <= 255 and _PATH.fullmatch(text) is not None


def site_host(host: str) -> str:
    """A registry host as a repository component: lower case, the colon of a port as `_`, `[::1]` as `ip6---1`."""
    if host.startswith("["):
        address, _, port = host[1:].lower().partition("]")
        address += "0" if address.endswith(":") else ""  # a component does not end in a dash
        return f"ip6-{address.replace(':', '-')}{port.replace(':', '_')}"
    return host.lower().replace(":", "_")
