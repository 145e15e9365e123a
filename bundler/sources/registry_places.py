"""Where the content of a registry is asked for: its mirrors, the registry itself, and what stood in for it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from bundler.errors import (
    AuthenticationFailed,
    BadCertificate,
    BundleError,
    HttpFailure,
    NotFound,
    Stalled,
    TooLarge,
    Unreachable,
    UnsafeRedirect,
    WrongBytes,
)
from bundler.model.reference import DOCKER_HUB
from bundler.transport import Upstreams

T = TypeVar("T")
Note = Callable[[str], None]

_API_HOSTS = {DOCKER_HUB: "registry-1.docker.io"}
_ATTEMPTS = 2  # where there is another place to ask: more than one blip, less than a wait
_BROKEN = (Unreachable, Stalled, BadCertificate, HttpFailure, UnsafeRedirect, WrongBytes, TooLarge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A registry's API at `base`, with its repositories below `prefix`; `own` is the one that the name means."""

    base: str
    prefix: str
    own: bool

    @classmethod
    def at(cls, url: str, *, own: bool) -> "Place":
        parts = urlsplit(url)
        return cls(base=f"{parts.scheme}://{parts.netloc}", prefix=parts.path.strip("/"), own=own)

    def repository(self, name: str) -> str:
        return f"{self.prefix}/{name}".lstrip("/")


class Places:
    """The places of all registries; for all threads of one run, which remembers those that are down.

    What a digest names is the same everywhere: mirrors are asked first, in their order, and the registry last. What a
    tag names, and what refers to a manifest, is the registry's to say: mirrors may be behind, and are asked only when
    it does not answer. A place that failed, or that sent other bytes than a digest's, is not asked again; one that
    only lacks something is. The registry itself is always asked before something counts as gone.
    """

    def __init__(self, upstreams: Upstreams, note: Note = lambda text: None) -> None:
        self._upstreams, self._note = upstreams, note
        self._down: set[Place] = set()
        self._lock = threading.Lock()

    def own(self, registry: str) -> Place:
        """The registry, or its upstream."""
        upstream = self._upstreams.base(registry)
        return Place.at(upstream or f"https://{_API_HOSTS.get(registry, registry)}", own=True)

    def first(self, registry: str, ask: Callable[[Place, int | None], T], *, said: bool = False) -> T:
        """The first answer: `ask` gets a place and how many attempts it is worth (None: all). `said` is for what the
        registry itself has to say. Raises what the registry's own place raised."""
        order = self._order(registry, said)
        failures: list[tuple[bool, BundleError]] = []
        for place in order:
            try:
                return ask(place, None if place is order[-1] else _ATTEMPTS)
            except (NotFound, AuthenticationFailed, *_BROKEN) as error:
                if place.own and not _silent(error):
                    raise
                failures.append((place.own, error))
                if not (place.own and place is order[-1]):
                    self._failed(registry, place, error)
        raise next((error for own, error in failures if own), failures[-1][1])

    def _order(self, registry: str, said: bool) -> list[Place]:
        own = self.own(registry)
        mirrors = [Place.at(url, own=False) for url in self._upstreams.mirrors(registry)]
        with self._lock:
            mirrors = [mirror for mirror in mirrors if mirror not in self._down]
            return [own, *mirrors] if said and own not in self._down else [*mirrors, own]

    def _failed(self, registry: str, place: Place, error: BundleError) -> None:
        """Remember, and say once, that a place is down."""
        if not isinstance(error, _BROKEN):
            return
        with self._lock:
            known = place in self._down
            self._down.add(place)
        if not known:
            why = str(error).replace("\n", "; ")
            what = (
                f"{registry} does not answer, its mirrors are asked"
                if place.own
                else f"mirror {place.base} is left out"
            )
            self._note(f"{what}: {why}")


def _silent(error: BundleError) -> bool:
    """Whether the registry did not answer; "no" is an answer."""
    return isinstance(error, (Unreachable, Stalled)) or (isinstance(error, HttpFailure) and error.transient)
