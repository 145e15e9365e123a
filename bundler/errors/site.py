"""The site root and its server. Exit codes 60-69."""

from dataclasses import dataclass
from typing import ClassVar

from bundler.errors.base import BundleError


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
