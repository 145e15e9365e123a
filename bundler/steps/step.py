"""Steps, checks and components: what the installer knows about one thing that a site runs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, cast

from bundler.archive.layout import Layout
from bundler.archive.reader import BundleFile
from bundler.errors import NotCarried
from bundler.hosts.base import Host
from bundler.model.asked import Asked
from bundler.model.digest import Digest
from bundler.model.document import Fields
from bundler.model.lock import Lock, LockedFile
from bundler.model.site import Site, SiteHost
from bundler.model.statement import Statement
from bundler.secrets.vault import Vault
from bundler.signing.keys import PublicKey
from bundler.signing.trust import Signed
from bundler.steps.actions import Action
from bundler.steps.facts import Fact, Facts, HostFacts, PackageFact
from bundler.steps.resources import Packages, Resource

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The bundle file that a release is delivered from, judged already."""

    file: BundleFile
    signed: Signed
    layout: Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a component wrote down of its data, as a file on one host. Names sort by time; `about` is for people."""

    name: str
    digest: Digest
    size: int
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """`bundle restore`: back to the `snapshot` on the host `place`, or to the newest when nothing is named; `again`
    although it was restored already. `looked`: only what is left of one that was begun. `hosts` are those that a
    snapshot can be read from."""

    place: str = ""
    snapshot: str = ""
    again: bool = False
    looked: bool = False
    hosts: Mapping[str, Host] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What the hosts are to become: the site as declared and its `text`, the release and who must have signed it, the
    site's secrets; and the time, in UTC. Without `source` nothing can be delivered that the site hosts do not have.
    `recovery`: a site host mends itself, and renews nothing that all hosts share. `components` are those that the
    release brings. `restoring` is set for the steps that restore.

    `once` keeps what is the same for all hosts from being made for each.
    """

    site: Site
    text: str
    lock: Lock
    statement: Statement
    vault: Vault
    now: datetime
    trust: tuple[PublicKey, ...] = ()
    threshold: int = 1
    source: Source | None = None
    recovery: bool = False
    components: "tuple[Component, ...]" = ()
    restoring: Restoring = Restoring()
    _made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])

    def packages(self, component: str, *names: str, masked: tuple[str, ...] = ()) -> Packages:
        """The packages of these names as the release carries them. Raises NotCarried with all that it does not."""
        carried = self.once("packages", self._packages)
        missing = tuple(name for name in names if name not in carried)
        if missing:
            raise NotCarried(component=component, missing=tuple(f"package {name}" for name in missing))
        return Packages(component=component, packages=tuple(carried[name] for name in names), masked=masked)

    def _packages(self) -> dict[str, PackageFact]:
        versions: dict[str, dict[str, str]] = {}
        for deb in self.lock.debs:
            versions.setdefault(deb.package, {})[deb.release] = deb.version
        known = ((name, tuple(sorted(some.items()))) for name, some in versions.items())
        return {name: PackageFact(package=name, versions=some) for name, some in known}

    def asked(self, component: str) -> Asked | None:
        """What a component of the catalog asks for; None when the release does not carry it."""
        found = self.once("asked", lambda: {each.component: each for each in self.lock.asked})
        return found.get(component)

    def file(self, component: str, prefix: str) -> LockedFile:
        """The file of the release whose name begins so. Raises NotCarried."""
        for file in self.lock.files:
            if file.name.startswith(prefix):
                return file
        raise NotCarried(component=component, missing=(f"file {prefix}…",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A named unit of the installation, on all hosts with one of `roles` (all hosts, when there are none).

    `after` are steps of the same host that come before it, `needs` are steps that must be done on all their hosts. A
    `last` step comes after all others of its host. A `rolling` step is done on one host at a time, in the site's order;
    where it fails the hosts behind are left as they are. `when` says by a host's answers whether it is for it now.
    """

    name: str
    resources: Callable[[Goal, SiteHost], Sequence[Resource]]
    roles: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    last: bool = False
    rolling: bool = False
    when: Callable[[HostFacts], bool] = lambda facts: True

    def on(self, host: SiteHost) -> bool:
        return host.is_among(self.roles)

    def asks(self, goal: Goal, host: SiteHost) -> Iterator[Fact[Any]]:
        for resource in self.resources(goal, host):
            yield from resource.asks()

    def wanted(self, goal: Goal, host: SiteHost, facts: HostFacts) -> list[Action]:
        """What is missing on this host; no action means that it is so already."""
        if not self.when(facts):
            return []
        return [action for resource in self.resources(goal, host) for action in resource.wanted(facts)]

    def unwanted(self, goal: Goal, host: SiteHost, facts: HostFacts, *, purge: bool) -> list[Action]:
        """What removes it again, last things first."""
        resources = reversed(self.resources(goal, host))
        return [action for resource in resources for action in resource.unwanted(facts, purge=purge)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What recovery may do about a finding, on its own host: restart a unit, or bring steps back to what is wanted."""

    restart: str = ""
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`found` says what is wrong, `fix` what to do about it. A `warning` stops nothing. Without a remedy `watch` leaves
    it to people and says `fix`."""

    host: str
    check: str
    found: str
    fix: str
    warning: bool = False
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A judgement over the facts of all hosts: before the first change (preflight), or of what runs (health).

    `every`: where it finds nothing, recovery looks again after so many seconds, at the earliest: what does not change
    by itself need not be asked for at every look."""

    name: str
    asks: Callable[[Goal, SiteHost], Iterable[Fact[Any]]]
    judge: Callable[[Goal, Sequence[SiteHost], Facts], Iterable[Finding]]
    roles: tuple[str, ...] = ()
    every: float = 0

    def on(self, host: SiteHost) -> bool:
        return host.is_among(self.roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Bytes and files that a component will write below `path`, `why` in words. `have` asks for those bytes of it that
    are there already."""

    path: str
    size: int
    inodes: int
    why: str
    have: Fact[int] | None = None


def no_space(goal: Goal, host: SiteHost) -> Iterable[Space]:
    """What a component writes that needs no mention."""
    return ()


def no_ports(goal: Goal, host: SiteHost) -> Iterable[tuple[str, int]]:
    """Of a component whose services say themselves what they listen on."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A secret that people give: the content of the file at `path`, relative to site.yaml. Once read, the site's
    secrets keep it, and the file may go. `check` takes the content and the file's name, and raises InvalidDocument."""

    secret: str
    path: str
    check: Callable[[str, str], None]


def nothing_given(site: Site) -> Iterable[Given]:
    """The secrets of a component that makes its own."""
    return ()


def no_settings(fields: Fields) -> None:
    """The settings of a component that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restorable:
    """How a component's data comes back from a snapshot: `steps` of their own, named like the component's, which go on
    where they were cut off and end with nothing left to do. `kept` asks the hosts with one of `roles` which snapshots
    they have; without those hosts nothing is restored, others that do not answer are left out."""

    steps: tuple[Step, ...]
    kept: Fact[tuple[Snapshot, ...]]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One folder under bundler/components. `catalog` are components of the catalog: a release without them does not
    bring it. `settings` parses its part of site.yaml, `schema` is its JSON schema;
    `units` are its systemd units, for logs and restarts; `space` is what it writes that counts, `listens` gives
    the ports that it listens on beside those of its services: TCP or UDP, with the number; `given` are secrets that
    site.yaml names files of; `claims` are objects of a cluster that only one may have, each by the path of its kind in
    the API and a pattern of names."""

    name: str
    about: str
    steps: tuple[Step, ...]
    catalog: tuple[str, ...] = ()
    settings: Callable[[Fields], Any] = no_settings
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "additionalProperties": False})
    preflight: tuple[Check, ...] = ()
    health: tuple[Check, ...] = ()
    units: tuple[str, ...] = ()
    space: Callable[[Goal, SiteHost], Iterable[Space]] = no_space
    listens: Callable[[Goal, SiteHost], Iterable[tuple[str, int]]] = no_ports
    given: Callable[[Site], Iterable[Given]] = nothing_given
    claims: tuple[tuple[str, str], ...] = ()
    roles: tuple[str, ...] = ()
    restore: Restorable | None = None
