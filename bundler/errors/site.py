"""The site root and its server. Exit codes 60-69."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError

_NAMED = 12  # as many are named in full


@dataclass(kw_only=True, eq=False)
class NotASite(BundleError):
    """The root holds no installed release."""

    exit_code: ClassVar[int] = 60
    root: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.root} is not an installed site: {self.why}"

    @property
    def hint(self) -> str:
        return "Fill it first: `bundle install FILE --trust NAME.pub --root DIR`."


@dataclass(kw_only=True, eq=False)
class CannotListen(BundleError):
    """The address to serve at is taken, forbidden or not ours."""

    exit_code: ClassVar[int] = 61
    address: str
    why: str

    @property
    def summary(self) -> str:
        return f"cannot listen on {self.address}: {self.why}"


@dataclass(kw_only=True, eq=False)
class StaleLink(BundleError):
    """A view that points at a blob which the store does not have."""

    exit_code: ClassVar[int] = 62
    view: str
    digest: str

    @property
    def summary(self) -> str:
        return f"{self.view} names {self.digest}, which the store does not hold"


@dataclass(kw_only=True, eq=False)
class SecretsLocked(BundleError):
    """The site's secrets are encrypted, and the passphrase or key is wrong, missing, or not safe to use."""

    exit_code: ClassVar[int] = 63
    path: str
    why: str
    advice: str = "Give --key-file FILE, or the passphrase on the terminal or by --passphrase-file FILE."

    @property
    def summary(self) -> str:
        return f"cannot open {self.path}: {self.why}"

    @property
    def hint(self) -> str:
        return self.advice


@dataclass(kw_only=True, eq=False)
class SecretsDamaged(BundleError):
    """The file of the site's secrets, or something in it, is not what the tool wrote."""

    exit_code: ClassVar[int] = 64
    path: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.path} is damaged: {self.why}"

    @property
    def hint(self) -> str:
        return "Restore the file from a backup of the site. Nothing was changed."


@dataclass(kw_only=True, eq=False)
class NotCarried(BundleError):
    """The release lacks something that a component of the site needs."""

    exit_code: ClassVar[int] = 65
    component: str
    missing: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"the release does not carry what {self.component} needs: {', '.join(self.missing)}"

    @property
    def hint(self) -> str:
        return "Add it to the profile on the connected side, and make the bundle again."


@dataclass(kw_only=True, eq=False)
class FactUnknown(BundleError):
    """A host could not be asked, or its answer not be read: nothing is planned from what is not known."""

    exit_code: ClassVar[int] = 67
    host: str
    fact: str
    why: str

    @property
    def summary(self) -> str:
        return f"{self.host}: {self.fact} could not be found out: {self.why}"


@dataclass(kw_only=True, eq=False)
class HostsFailed(BundleError):
    """Several hosts could not be asked, or not be brought to what is wanted; everything else was done."""

    exit_code: ClassVar[int] = 68
    hosts: tuple[str, ...]
    said: tuple[str, ...]
    advice: tuple[str, ...] = ()
    waited: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        return f"not everything went well on {', '.join(self.hosts[:_NAMED])}{_more(self.hosts)}"

    @property
    def detail(self) -> str:
        waited = [f"not begun, because it needs that: {unit}" for unit in self.waited[:_NAMED]]
        return "\n".join((*self.said, *waited)) + _more(self.waited)

    @property
    def hint(self) -> str:
        return " ".join((*dict.fromkeys(self.advice), "Then run the same command again: what is done stays done."))


def _more(names: tuple[str, ...]) -> str:
    return f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""


@dataclass(kw_only=True, eq=False)
class Unhealthy(BundleError):
    """Hosts that do not answer, or on which something fails."""

    exit_code: ClassVar[int] = 69
    hosts: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"not everything is well on {', '.join(self.hosts[:_NAMED])}{_more(self.hosts)}"

    @property
    def hint(self) -> str:
        return "Each finding says its fix; `bundle logs COMPONENT` shows what the services say."
