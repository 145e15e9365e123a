"""Getting bytes from elsewhere failed. Exit codes 20-29."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


@dataclass(kw_only=True, eq=False)
class Unreachable(BundleError):
    """No connection: name, route, TLS, or the peer closed it in the middle."""

    exit_code: ClassVar[int] = 20
    temporary: ClassVar[bool] = True
    url: str
    why: str

    @property
    def summary(self) -> str:
        return f"cannot reach {self.url}: {self.why}"

    @property
    def hint(self) -> str:
        return "Check the network, proxy and CA settings; the command goes on where it stopped when run again."


@dataclass(kw_only=True, eq=False)
class BadCertificate(BundleError):
    """A TLS peer whose certificate does not hold: trying again does not help."""

    exit_code: ClassVar[int] = 29
    url: str
    why: str

    @property
    def summary(self) -> str:
        return f"the certificate of {self.url} does not hold: {self.why}"

    @property
    def hint(self) -> str:
        return "For a private authority, name its file in REQUESTS_CA_BUNDLE or SSL_CERT_FILE."


@dataclass(kw_only=True, eq=False)
class HttpFailure(BundleError):
    """An HTTP status that is no success."""

    exit_code: ClassVar[int] = 21
    url: str
    status: int
    body: str = ""
    retry_after: float | None = None

    @property
    def transient(self) -> bool:
        """True for what a later attempt may cure: 408, 425, 429 and 5xx but 501 and 505."""
        return self.status in (408, 425, 429) or (self.status >= 500 and self.status not in (501, 505))

    @property
    def summary(self) -> str:
        return f"{self.url} answered {self.status}"

    @property
    def detail(self) -> str:
        return self.body


@dataclass(kw_only=True, eq=False)
class AuthenticationFailed(BundleError):
    """The server wants credentials that we do not have, or refuses those that we have."""

    exit_code: ClassVar[int] = 22
    url: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.url} refuses us: {self.why}"

    @property
    def hint(self) -> str:
        return "Log in with `docker login` or `skopeo login`, or correct the credential helper."


@dataclass(kw_only=True, eq=False)
class UnsafeRedirect(BundleError):
    """A redirect that we do not follow: to plain http, to no URL, or one too many."""

    exit_code: ClassVar[int] = 23
    url: str
    target: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.url} redirects to {self.target}: {self.why}"


@dataclass(kw_only=True, eq=False)
class WrongBytes(BundleError):
    """A body whose size or digest is not what was promised."""

    exit_code: ClassVar[int] = 24
    what: str
    expected: str
    found: str

    @property
    def summary(self) -> str:
        return f"wrong bytes for {self.what}"

    @property
    def detail(self) -> str:
        return f"expected {self.expected}, found {self.found}"

    @property
    def hint(self) -> str:
        return "The source or something on the way changed the content. Nothing of it was kept."


@dataclass(kw_only=True, eq=False)
class TooLarge(BundleError):
    """A body beyond its bound."""

    exit_code: ClassVar[int] = 25
    what: str
    limit: int

    @property
    def summary(self) -> str:
        return f"{self.what} is larger than the {self.limit} bytes allowed"


@dataclass(kw_only=True, eq=False)
class Stalled(BundleError):
    """A peer that holds the connection and sends nothing, or not enough within the total time."""

    exit_code: ClassVar[int] = 26
    temporary: ClassVar[bool] = True
    url: str
    seconds: float

    @property
    def summary(self) -> str:
        return f"{self.url} sent too little in {self.seconds:g} s"


@dataclass(kw_only=True, eq=False)
class NotFound(BundleError):
    """The server says that there is no such thing (404, 410, MANIFEST_UNKNOWN)."""

    exit_code: ClassVar[int] = 27
    url: str
    what: str

    @property
    def summary(self) -> str:
        return f"{self.what} is not at {self.url}"


@dataclass(kw_only=True, eq=False)
class FetchFailed(BundleError):
    """Several artifacts could not be fetched, each with its own cause."""

    exit_code: ClassVar[int] = 28
    failures: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        return f"{len(self.failures)} artifact{'s' if len(self.failures) > 1 else ''} could not be fetched"

    @property
    def detail(self) -> str:
        return "\n".join(f"{name}: {why}" for name, why in self.failures)

    @property
    def hint(self) -> str:
        return "What has arrived is kept: run the same command again to go on from there."
